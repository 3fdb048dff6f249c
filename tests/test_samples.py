"""Procedural samples of the competitions: one per seed, never written over other files."""

import numpy as np
import pytest

from skyfold.competition import build
from skyfold.competitions.cloud_cover.sample import scene as cloud_scene
from skyfold.competitions.leeds_sea_ice.sample import scene as ice_scene
from skyfold.competitions.understanding_clouds.sample import EMPTY_RATES
from skyfold.competitions.understanding_clouds.sample import scene as pattern_scene
from skyfold.data.images import resize
from skyfold.errors import ConfigError, DataLayoutError

SETTINGS = {
    "understanding_clouds": {"train": 2, "test": 1, "height": 64},
    "leeds_sea_ice": {"train": 2, "test": 1, "side": 48},
    "cloud_cover": {"train": 1, "validation": 1, "test": 1, "side": 64},
    "hydro_rain": {"train": 2, "test": 1, "train_events": 1, "test_events": 1},
}


def write(name, folder, **settings):
    build(name).write_sample(folder, **{**SETTINGS[name], **settings})
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", SETTINGS)
def test_sample_depends_only_on_its_settings_and_overwrites_nothing(name, tmp_path):
    files = write(name, tmp_path / "sample")
    assert write(name, tmp_path / "same") == files
    assert write(name, tmp_path / "other", seed=1) != files
    (tmp_path / "sample" / "note.txt").touch()
    assert len(write(name, tmp_path / "sample")) == len(files) + 1
    with pytest.raises(DataLayoutError, match="holds other files already"):
        write(name, tmp_path / "sample", seed=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "same", "sample"]


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("understanding_clouds", {"images": 3}, "unknown sample setting 'images'. Known: train, test, seed, height"),
        ("understanding_clouds", {"height": 65}, r"data\.sample\.height: expected a multiple of 8, got 65"),
        ("understanding_clouds", {"seed": -1}, r"data\.sample\.seed: expected a whole number from 0 on, got -1"),
        ("understanding_clouds", {"train": "a"}, r"data\.sample\.train: expected a whole number from 1 on, got 'a'"),
        ("leeds_sea_ice", {"height": 8}, "unknown sample setting 'height'. Known: train, test, seed, side"),
        ("leeds_sea_ice", {"side": 8}, r"data\.sample\.side: expected a whole number from 32 on, got 8"),
        ("cloud_cover", {"side": 8}, r"data\.sample\.side: expected a whole number from 32 on, got 8"),
        ("hydro_rain", {"side": 8}, "unknown sample setting 'side'"),
        ("cloud_cover", {"hight": 8}, "unknown sample setting 'hight'. Known: train, validation, test, side, seed"),
    ],
)
def test_unknown_and_impossible_settings_are_refused(name, settings, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        write(name, tmp_path / "sample", **settings)
    assert not list(tmp_path.iterdir())


def test_cloud_patterns_are_absent_at_the_rates_of_the_contest():
    empty = np.array([~pattern_scene(np.random.default_rng([5, i]), 64)[1].any(axis=(1, 2)) for i in range(50)])
    # 2.8 standard errors of a rate of one half from 50 scenes are 0.2; the seeds are fixed.
    assert np.abs(empty.mean(axis=0) - list(EMPTY_RATES.values())).max() < 0.2
    assert not empty.all(axis=1).any()


def test_light_and_radar_tell_more_together_than_either_does():
    from sklearn.linear_model import LogisticRegression

    scenes = [ice_scene(np.random.default_rng([3, i]), 32) for i in range(60)]
    bands = np.stack([np.dstack([vis, resize(sar[..., np.newaxis], (32, 32))]) for vis, sar, _ in scenes]) / 255
    ice = np.stack([mask for _, _, mask in scenes])

    def accuracy(chosen):
        train, test = (part[..., chosen].reshape(-1, len(chosen)) for part in (bands[:40], bands[40:]))
        return LogisticRegression().fit(train, ice[:40].ravel()).score(test, ice[40:].ravel())

    light, radar, both = accuracy([0, 1, 2]), accuracy([3]), accuracy([0, 1, 2, 3])
    assert both > max(light, radar) + 0.01
    assert min(light, radar) > max(ice.mean(), 1 - ice.mean())


def test_shadow_is_darker_and_thick_cloud_brighter_than_the_ground():
    image, classes = cloud_scene(np.random.default_rng(7), (160, 150))
    background, thick, thin, shadow = (image[classes == place].mean() for place in range(4))
    assert shadow < background < thin < thick
