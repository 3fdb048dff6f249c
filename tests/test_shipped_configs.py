"""Every config that is shipped can be read, asks for what there is, and names files that are there."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from skyfold import plugins
from skyfold.config.blend import BlendConfig
from skyfold.config.files import load_config, load_forecasts
from skyfold.config.run import RunConfig
from skyfold.pipeline import check_forecasts
from skyfold.pipeline.blend import member_configs
from skyfold.tasks.open_run import check

CONFIGS = Path(__file__).parent.parent / "configs"
PATHS = sorted(path for path in CONFIGS.glob("*/*.yaml") if not path.name.startswith("tune"))
SHARED = {"training.yaml", "demo_training.yaml"}  # tables that others take over, not configs of their own
FORECASTS = [path for path in PATHS if "\nforecasts:" in path.read_text()]


@pytest.mark.parametrize(
    "path",
    [p for p in PATHS if p.name not in SHARED and p not in FORECASTS],
    ids=lambda path: f"{path.parent.name}/{path.name}",
)
def test_config_is_sound(path):
    config = load_config(path)
    assert config.data.competition in plugins.names("competitions")
    if isinstance(config, RunConfig):
        if config.model.options.get("encoder_weights") == "ukis_csmask" and find_spec("ukis_csmask") is None:
            pytest.skip("needs the extra: pip install -e .[weights]")
        check(config)
        assert path.stem in (config.name, f"demo_{config.name}")
    if isinstance(config, BlendConfig):
        runs, gate = member_configs(config, path)
        assert {run.task for run in runs} == {"segmentation"}
        assert gate is None or gate.task == "classification"


@pytest.mark.parametrize("path", FORECASTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_forecasts_are_sound(path):
    config = load_forecasts(path)
    assert config.data.competition in plugins.names("competitions")
    check_forecasts.check(config, check_forecasts.network_runs(config, path))
    assert path.stem == config.name
