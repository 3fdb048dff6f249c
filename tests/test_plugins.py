"""Plug-ins are found by file name."""

import pytest

from skyfold import plugins
from skyfold.errors import ConfigError


def test_helpers_of_a_folder_are_no_plug_ins():
    names = plugins.names("models")
    assert "segmentation_models" in names
    assert not [name for name in names if name.startswith("_")]


def test_unknown_name_gets_the_nearest():
    with pytest.raises(ConfigError, match=r"there is no 'mask_foler' \(did you mean 'mask_folder'"):
        plugins.load("competitions", "mask_foler")
