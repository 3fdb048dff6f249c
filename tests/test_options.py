"""Options of plug-ins: what each refuses, with the key, the nearest name and what was given."""

from __future__ import annotations

from typing import Any

import pytest

from skyfold import plugins
from skyfold.competition import Contest
from skyfold.competitions.cloud_cover.sample import CLASSES
from skyfold.config.options import Options, checked, configured
from skyfold.errors import ConfigError
from skyfold.forecasting.baselines import Baseline
from skyfold.forecasting.frame_adapters import FrameAdapter
from skyfold.models import ModelFamily

PLUGINS = {  # package: base of its classes, key of their options in a config
    "models": (ModelFamily, "model.options"),
    "forecasting.baselines": (Baseline, "options"),
    "forecasting.frame_adapters": (FrameAdapter, "frame_adapter.options"),
    "competitions": (Contest, "data.options"),
}
CSMASK = {"encoder": "efficientnetb4", "encoder_weights": "ukis_csmask"}
CLOUD = {"classes": {"cloud": 255}, "grid": [4, 4]}
ALL_PLUGINS = [(package, name) for package in PLUGINS for name in plugins.names(package)]


@pytest.mark.parametrize(("package", "name"), ALL_PLUGINS)
def test_every_module_declares_a_plug_in_and_refuses_an_option_that_it_has_not(package: str, name: str) -> None:
    assert issubclass(plugins.load(package, name).PLUGIN, PLUGINS[package][0])
    with pytest.raises(ConfigError, match=r"unknown key 'options.colr'.*Known: "):
        configured(package, name, {"colr": 1}, where="options")


class Example(Options):
    count: int = 3
    counts: tuple[int, ...] = ()
    rate: float | None = None
    flag: bool = False


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": True}, "'options.count': true and false are no values of this option; got True"),
        ({"count": 1.5}, "'options.count': Input should be a valid integer.*; got 1.5"),
        ({"counts": [1, False]}, r"'options.counts': true and false are no values of this option; got \[1, False\]"),
        ({"counts": 4}, "'options.counts': Input should be a list; got 4"),
        ({"counts": [1, 0.5]}, "'options.counts.1': Input should be a valid integer.*; got 0.5"),
        ({"rate": float("nan")}, "'options.rate': Input should be a finite number; got nan"),
        ({"rate": "fast"}, "'options.rate': Input should be a valid number.*; got 'fast'"),
        ({"flag": 1}, "'options.flag': expected true or false; got 1"),
        ({"flag": "yes"}, "'options.flag': expected true or false; got 'yes'"),
        ({"cuont": 1}, r"unknown key 'options.cuont' \(did you mean 'count'\?\). Known: count, counts, flag"),
    ],
)
def test_values_of_another_type_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        checked(Example, options, where="options")


def test_every_wrong_option_is_listed_and_numbers_may_be_text() -> None:
    with pytest.raises(ConfigError, match=r"(?s)'options.count'.*\n'options.flag'"):
        checked(Example, {"count": None, "flag": None}, where="options")
    assert checked(Example, {"rate": "1e-4", "counts": [1, 2]}, where="options") == Example(rate=1e-4, counts=(1, 2))


WRONG_OPTIONS: dict[str, list[tuple[str, dict[str, Any], str]]] = {
    "models": [
        ("anomaly_unet", {"filters": []}, r"'model.options.filters': List should have at least 1 item.*; got \[\]"),
        ("anomaly_unet", {"cell_filters": 0}, "cell_filters': Input should be greater than 0; got 0"),
        ("anomaly_unet", {"dropout": 1}, "dropout': Input should be less than 1; got 1"),
        ("anomaly_unet", {"shared": -1}, "shared': Input should be greater than or equal to 0; got -1"),
        ("colour_threshold", {"feature": "brightnes"}, r"unknown \(did you mean 'brightness'\?\). There are: "),
        ("deeplabv3plus", {"encoder": "resnet51"}, "did you mean 'resnet5?[0-9]+"),
        ("deeplabv3plus", {"encoder": "hrnet_w18"}, "no ImageNet weights of hrnet_w18"),
        ("deeplabv3plus", {"encoder": "seresnext50"}, "it has Lambda layers"),
        ("deeplabv3plus", {"filters": 0}, "filters': Input should be greater than 0; got 0"),
        ("efficientnet_classifier", {"encoder": "efficientnetb8"}, "did you mean 'efficientnetb"),
        ("efficientnet_classifier", {"dropout": 1.5}, "dropout': Input should be less than 1; got 1.5"),
        ("efficientnet_classifier", CSMASK, "in one of the families deeplabv3plus, fpn and unet"),
        ("hrnet", {}, "no ImageNet weights of hrnet_w18 .* Set it to none, or to a .weights.h5 file"),
        ("hrnet", {"encoder": "resnet50", "encoder_weights": "none"}, "resnet50 is no HRNet. There are: hrnet_w"),
        ("hrnet", {"encoder": "hrnet_w0", "encoder_weights": "none"}, "hrnet_w0 is no HRNet"),
        ("hrnet", {"encoder_weights": "none", "dropout": 1}, "dropout': Input should be less than 1; got 1"),
        ("ice_codes", {"core": "lsmt"}, r"or 'none' \(did you mean 'lstm'\?\); got 'lsmt'"),
        ("ice_codes", {"filters": [16, 0]}, "filters.1': Input should be greater than 0; got 0"),
        ("ice_codes", {"blocks": 0}, "blocks': Input should be greater than 0; got 0"),
        ("plain_unet", {"filters": [4]}, r"filters': List should have at least 2 items.*; got \[4\]"),
        ("plain_unet", {"batchnorm_momentum": 2}, "batchnorm_momentum': Input should be less than 1; got 2"),
        ("rain_unet", {"filters": [8]}, "List should have at least 2 items"),
        ("segmentation_models", {"encoder": "resnet19"}, "did you mean 'resnet1[08]'"),
        ("segmentation_models", {"encoder": "densenet121"}, "layer names contain '/'"),
        ("segmentation_models", {"decoder": "unett"}, "did you mean 'unet'"),
        ("segmentation_models", {"decoder": "fpn", "psp_dropout": 0}, "psp_dropout: fpn has no such option"),
        ("segmentation_models", {"decoder_filters": [0, 1, 1, 1, 1]}, "decoder_filters.0': Input should be gr"),
        ("segmentation_models", {"decoder_filters": [None, 1, 1, 1, 1]}, "null is for decoder: linknet"),
        ("segmentation_models", {"decoder_filters": [8]}, "List should have at least 5 items"),
        ("segmentation_models", {"decoder": "pspnet", "downsample_factor": 5}, "should be 4, 8 or 16; got 5"),
        ("segmentation_models", {"decoder": "fpn", "pyramid_dropout": 1.5}, "should be less than 1; got 1.5"),
        ("segmentation_models", CSMASK, "in one of the families deeplabv3plus, fpn and unet"),
        ("simvp", {"spatial_filters": 3}, "spatial_filters': Input should be a multiple of 2; got 3"),
        ("trajgru", {"filters": [0]}, "filters.0': Input should be greater than 0; got 0"),
        ("unet", {**CSMASK, "encoder": "resnet50"}, "ukis_csmask needs encoder: efficientnetb4"),
    ],
    "forecasting.baselines": [
        ("damped_anomaly", {"years": 2}, "'options.years': Input should be greater than or equal to 3; got 2"),
        ("edge_blend", {"n_repeats": 2}, "options.n_repeats: only boostings are repeated"),
        ("edge_blend", {"seed": -1}, "'options.seed': Input should be greater than or equal to 0; got -1"),
        ("mean_of_years", {"years": 0}, "'options.years': Input should be greater than 0; got 0"),
        ("nearest_neighbours", {"k": 0}, "'options.k': Input should be greater than 0; got 0"),
        ("persistence", {"years": 1}, "unknown key 'options.years'. Known: none"),
        ("rain_blend", {"combine": "max"}, "'options.combine': unknown. There are: mean, median; got 'max'"),
        ("rain_blend", {"combine": ["mean"]}, "'options.combine': Input should be a valid string"),
        ("rain_blend", {"stride": 0}, "'options.stride': Input should be greater than 0; got 0"),
        ("rain_extrapolation", {"motions": ["farnebeck"]}, r"motions.0': unknown \(did you mean 'farneback'\?\)"),
        ("rain_extrapolation", {"motions": []}, "'options.motions': List should have at least 1 item"),
        ("weighted_blend", {"event": "snow"}, "'options.event': Input should be 'rain' or 'ice'; got 'snow'"),
        ("weighted_blend", {"blocks": [0, 4]}, "'options.blocks.0': Input should be greater than 0; got 0"),
    ],
    "forecasting.frame_adapters": [
        ("advected", {"motions": []}, "'frame_adapter.options.motions': List should have at least 1 item"),
        ("anomalies", {"reduce": 0}, "'frame_adapter.options.reduce': Input should be greater than 0; got 0"),
        ("recent_frames", {"years": 0}, "'frame_adapter.options.years': Input should be greater than 0; got 0"),
    ],
    "competitions": [
        ("arctic_sea_ice", {"cadence": "montly"}, r"cadence': unknown \(did you mean 'monthly'\?\). There are: "),
        ("arctic_sea_ice", {"since": "2017"}, "'data.options.since': expected yyyymm, got '2017'"),
        ("arctic_sea_ice", {"cadence": "weekly", "since": "2017-02"}, "'data.options.since': expected yyyymmdd"),
        ("cloud_cover", {"colours": {"sky": "#000000"}}, "colours: name background, thick_cloud, thin_cloud, shadow"),
        ("cloud_cover", {"colours": dict(zip(CLASSES, range(4), strict=True))}, "give colours as '#rrggbb'"),
        ("cloud_cover", {"grid": [0, 4]}, "'data.options.grid.0': Input should be greater than 0; got 0"),
        ("mask_folder", {}, "'data.options.classes' is missing"),
        ("mask_folder", {"classes": ["cloud"]}, r"data.options.classes: expected names and .* got \['cloud'\]"),
        ("mask_folder", {"classes": {1: 255}}, r"data.options.classes: expected .* got \{1: 255\}. Names are text"),
        ("mask_folder", {**CLOUD, "metric": "mean_dise"}, r"metric': unknown \(did you mean 'mean_dice'\?\)"),
        ("mask_folder", {**CLOUD, "group": "a.csv"}, "group': expected a table of keys and values; got 'a.csv'"),
        ("mask_folder", {**CLOUD, "group": {"file": "a.csv", "id": "a"}}, "'data.options.group.column' is missing"),
        ("understanding_clouds", {"grid": [70]}, "'data.options.grid.1' is missing"),
    ],
}


@pytest.mark.parametrize(
    ("package", "name", "options", "message"),
    [(package, *case) for package, cases in WRONG_OPTIONS.items() for case in cases],
)
def test_wrong_options_of_a_plug_in_are_refused(package: str, name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        configured(package, name, options, where=PLUGINS[package][1])
