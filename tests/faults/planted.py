"""Twelve bugs that can be planted, each of which makes a command silently use or show what is out of date or damaged.

The stateful test must find them: a test that finds none of them proves nothing. Where two barriers catch the same
change, a plant takes both away.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from skyfold.config.blend import BlendConfig
from skyfold.data import cache, contents, images, masks
from skyfold.pipeline import leaderboard
from skyfold.postprocess import measure
from skyfold.store.contents import Contents
from skyfold.store.fingerprint import PARTS, Fingerprint
from skyfold.store.folds import Folds
from skyfold.store.rows import RowStore
from skyfold.tasks import stored_blend, task
from skyfold.training import run_folds

Plant = Callable[[pytest.MonkeyPatch], None]


def changed_data_are_trained_on(patch: pytest.MonkeyPatch) -> None:
    """Images and masks are not compared with those that a run or blend was made from."""
    patch.setattr(Contents, "changes", lambda self, now: [])
    _ignore(patch, "data")


def a_file_of_old_times_is_the_old_file(patch: pytest.MonkeyPatch) -> None:
    """Files are told apart by size and time of modification, which a program can set."""
    state = contents._state
    patch.setattr(contents, "_state", lambda file: [*state(file)[:2], 0, 0])
    patch.setattr(contents, "SETTLED_NS", 0)
    for module in (images, masks):
        patch.setattr(module, "files_stamp", lambda paths: repr([(p.name, *state(p)[:2]) for p in paths]))


def damaged_rows_are_read(patch: pytest.MonkeyPatch) -> None:
    """The checksums of stored predictions are not verified."""
    patch.setattr(RowStore, "holds", lambda self, row, values: True)


def counts_of_other_rows_are_used(patch: pytest.MonkeyPatch) -> None:
    """The threshold sweep of a run is taken from the folder whatever rows it was counted on."""
    patch.setattr(measure, "_fingerprint", lambda folder, oof, samples: "rows")


def runs_trained_since_are_not_noticed(patch: pytest.MonkeyPatch) -> None:
    """A blend is submitted although its runs were trained anew, with another config."""
    patch.setattr(stored_blend, "require_members", lambda folder, name, result: None)
    patch.setattr(BlendConfig, "members", ())


def outdated_entries_are_listed_like_others(patch: pytest.MonkeyPatch) -> None:
    """The leaderboard does not compare what a run was made from with what is there."""
    patch.setattr(leaderboard, "outdated_run", lambda *what: "")


def a_changed_config_trains_nothing(patch: pytest.MonkeyPatch) -> None:
    """A run whose config has changed counts as trained."""
    _ignore(patch, "fit", "rows")


def a_changed_blend_config_is_submitted(patch: pytest.MonkeyPatch) -> None:
    """A submission comes from the stored blend though its config asks for other weights or rules."""
    whole = stored_blend.config_json
    for module in (stored_blend, task):
        patch.setattr(module, "config_json", lambda config: {**whole(config), "weights": None, "postprocess": None})


def rows_of_other_test_images_are_kept(patch: pytest.MonkeyPatch) -> None:
    """Test rows are not predicted again when test images change."""
    open_rows, of = run_folds.open_rows, Contents.of
    patch.setattr(run_folds, "open_rows", lambda *args, checksum="", **options: open_rows(*args, **options))
    patch.setattr(Contents, "of", lambda self, *parts: of(self, *[part for part in parts if part != "test"]))


def decoded_images_outlive_their_files(patch: pytest.MonkeyPatch) -> None:
    """The cache of decoded images is used whatever files it was decoded from."""
    patch.setattr(cache, "fingerprint_of", lambda arrays: "arrays")


def other_folds_are_not_noticed(patch: pytest.MonkeyPatch) -> None:
    """Rows of another folds.csv count as out-of-fold."""
    patch.setattr(Folds, "hash", lambda self: "folds")


def rows_count_before_they_are_written(patch: pytest.MonkeyPatch) -> None:
    """Rows that a stopped command has left unwritten are taken for predictions."""
    patch.setattr(RowStore, "holds", lambda self, row, values: True)
    patch.setattr(RowStore, "complete", property(lambda self: np.full(len(self), bool(self._complete.any()))))


def _ignore(patch: pytest.MonkeyPatch, *ignored: str) -> None:
    different = Fingerprint.different
    patch.setattr(
        Fingerprint,
        "different",
        lambda self, other, *parts: [one for one in different(self, other, *(parts or PARTS)) if one not in ignored],
    )


PLANTS: tuple[Plant, ...] = (
    changed_data_are_trained_on,
    a_file_of_old_times_is_the_old_file,
    damaged_rows_are_read,
    counts_of_other_rows_are_used,
    runs_trained_since_are_not_noticed,
    outdated_entries_are_listed_like_others,
    a_changed_config_trains_nothing,
    a_changed_blend_config_is_submitted,
    rows_of_other_test_images_are_kept,
    decoded_images_outlive_their_files,
    other_folds_are_not_noticed,
    rows_count_before_they_are_written,
)
