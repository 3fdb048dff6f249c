"""Plug-ins are found by file name, in the package and in folders outside."""

import sys

import cv2
import numpy as np
import pytest

import skyfold.competitions
import skyfold.models
import skyfold.postprocess.rules
from skyfold import plugins
from skyfold.cli.main import main
from skyfold.competition import build
from skyfold.config.files import load_config
from skyfold.data.mask_tables import MaskTables
from skyfold.errors import ConfigError, InvalidSubmission
from skyfold.metrics.segmentation import named_metric
from skyfold.submission.formats import RleTable

CONTEST = """
from skyfold.api import Contest, MaskTables, MeanDice, RleTable

class Own(Contest):
    threshold: int = 3

    def build(self, folder):
        return MaskTables(RleTable(("a",), (4, 6), "id", "rle", bare_ids=True), "rle").competition("own", MeanDice())

PLUGIN = Own
"""
METRIC = """
from dataclasses import dataclass
from skyfold.api import OverlapMetric

@dataclass(frozen=True)
class Area(OverlapMetric):
    name: str = "area"

    def of_counts(self, both, pred, target):
        return 1.0 * both
"""


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """A folder of plug-ins outside skyfold; what a test adds is forgotten."""
    for package in (skyfold.competitions, skyfold.models, skyfold.postprocess.rules):
        monkeypatch.setattr(package, "__path__", [*package.__path__])
    monkeypatch.setattr(plugins, "_searched", [])
    forget()
    folder = tmp_path / "mine"
    (folder / "competitions").mkdir(parents=True)
    (folder / "competitions" / "own_lakes.py").write_text(CONTEST)
    yield folder
    forget()


def forget():
    """Let files of plug-ins be imported anew."""
    for name in [name for name in sys.modules if name.endswith(("own_lakes", "my_lakes", ".broken"))]:
        del sys.modules[name]


def test_helpers_of_a_folder_are_no_plug_ins():
    names = plugins.names("models")
    assert "segmentation_models" in names
    assert not [name for name in names if name.startswith("_")]


def test_unknown_name_gets_the_nearest():
    with pytest.raises(ConfigError, match=r"there is no 'mask_foler' \(did you mean 'mask_folder'"):
        plugins.load("competitions", "mask_foler")


def test_a_config_names_folders_relative_to_its_own(outside, tmp_path):
    (tmp_path / "configs").mkdir()
    config = tmp_path / "configs" / "data.yaml"
    config.write_text("plugins: [../mine]\ndata: {competition: own_lakes, options: {threshold: 5}}\n")
    loaded = load_config(config)
    assert build(loaded.data.competition, loaded.data.options).grid == (4, 6)
    config.write_text("plugins: [../mine]\ndata: {competition: own_lakes, options: {treshold: 5}}\n")
    with pytest.raises(ConfigError, match=r"treshold.*did you mean 'threshold'"):
        load_config(config)
    config.write_text("plugins: [../yours]\ndata: {competition: own_lakes}\n")
    with pytest.raises(ConfigError, match=r"data\.yaml: plugins: .*yours: no such folder"):
        load_config(config)
    config.write_text("plugins: ../mine\ndata: {competition: own_lakes}\n")
    with pytest.raises(ConfigError, match=r"plugins: expected a list of folders, got '\.\./mine'"):
        load_config(config)


def test_the_environment_names_folders(outside, monkeypatch, capsys):
    monkeypatch.setenv("SKYFOLD_PLUGINS", str(outside))
    truth = outside / "truth.csv"
    truth.write_text("id,rle\nx,1 2\n")
    assert main(["score", "own_lakes", str(truth), "--truth", str(truth)]) == 0
    assert "mean_dice: 1.000000" in capsys.readouterr().out


def test_code_outside_is_part_of_what_is_read_by_it(outside):
    plugins.add_folder(outside)
    before = build("own_lakes").source
    assert before == plugins.source_digest("competitions", "own_lakes") != ""
    assert build("understanding_clouds").source == ""
    (outside / "competitions" / "own_lakes.py").write_text(CONTEST.replace("(4, 6)", "(4, 8)"))
    assert plugins.outside_digest("competitions", "own_lakes") != before


def test_a_metric_in_the_file_of_a_competition_is_no_part_of_what_reads(outside):
    file = outside / "competitions" / "own_lakes.py"
    text = METRIC + CONTEST.replace("MeanDice()", "Area()")
    found = []
    for version in (text, text.replace("1.0 * both", "2.0 * both"), text.replace("(4, 6)", "(4, 8)")):
        forget()
        file.write_text(version)
        plugins.add_folder(outside)
        found.append(build("own_lakes"))
    assert found[0].source == found[1].source != found[2].source
    assert found[0].metric_source != found[1].metric_source


def test_what_cannot_be_a_plug_in_is_refused_by_file(outside):
    plugins.add_folder(outside)
    (outside / "competitions" / "broken.py").write_text("import skyfold.nothing\n")
    with pytest.raises(ConfigError, match=r"broken\.py: cannot be imported \(ModuleNotFoundError"):
        plugins.load("competitions", "broken")
    (outside / "models").mkdir()
    (outside / "models" / "unet.py").write_text("")
    with pytest.raises(ConfigError, match=r"unet\.py: there is a plug-in of this name\. Rename it"):
        plugins.add_folder(outside)


def test_a_metric_is_a_class_of_a_file(outside):
    plugins.add_folder(outside)
    (outside / "my_metric.py").write_text(METRIC)
    metric = named_metric("my_metric.py:Area")
    assert (metric.name, float(metric.of_counts(2, 3, 4))) == ("area", 2.0)
    with pytest.raises(ConfigError, match=r"there is no 'Arae' \(did you mean 'Area'\?\)"):
        named_metric("my_metric.py:Arae")
    with pytest.raises(ConfigError, match=r"no such file beside the config or in a folder of plug-ins"):
        named_metric("other.py:Area")
    (outside / "half.py").write_text("class Half:\n    name = 'half'\n")
    with pytest.raises(ConfigError, match=r"half\.py:Half': has no 'greater_is_better'"):
        named_metric("half.py:Half")


def test_a_new_competition_keeps_the_contract_at_once(outside, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    assert main(["new", "competition", "my_lakes"]) == 0
    written = tmp_path / "plugins" / "competitions" / "my_lakes.py"
    assert len(written.read_text().splitlines()) <= 80
    config = str(tmp_path / "configs" / "my_lakes" / "demo.yaml")
    assert main(["prepare", config, "--sample"]) == 0
    assert main(["check", "competition", config]) == 0
    assert "keeps the contract" in capsys.readouterr().out
    assert main(["new", "competition", "my_lakes"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main(["new", "competition", "My Lakes"]) == 2
    assert main(["new", "competition", "tgs_salt"]) == 2
    assert "there is a competition of this name" in capsys.readouterr().err


BREAKS = {
    "image int64": ("return ImageFiles(", "return Wide("),
    "Is greater_is_better right?": ("MeanDice(), write", "Upside(), write"),
    "has changed its files": ("files = {", "(folder / 'mine').touch()\n        files = {"),
    "image 64 x 96, masks 96 x 64. Give RleTable the size": ("RleTable(CLASSES, GRID", "RleTable(CLASSES, GRID[::-1]"),
    "samples score at once 1, in two halves 1, one by one": ("MeanDice(), write", "OfTheChunk(), write"),
    "metric: stats of 8 samples have shape (1, 3), expected (8, S)": ("MeanDice(), write", "Summed(), write"),
    "sample_submission.csv: sample submission: KeyError: 'mine' (my_lakes.py, line": ("RleTable(CL", "Odd(CL"),
    "the image differs when it is read again": ("return ImageFiles(", "return Noisy("),
}
WRONG = """
class Wide(ImageFiles):
    def __getitem__(self, index):
        return super().__getitem__(index).astype(int)

class Noisy(ImageFiles):
    def __getitem__(self, index):
        return np.random.default_rng().integers(0, 255, (8, 8, 3), dtype=np.uint8)

class Upside(MeanDice):
    def of_counts(self, both, pred, target):
        return 1.0 * (both == 0)

class OfTheChunk(MeanDice):
    def stats(self, **masks):
        stats = super().stats(**masks)
        return stats * (len(stats) == 1)

class Summed(MeanDice):
    def stats(self, **masks):
        return super().stats(**masks).sum(axis=0, keepdims=True)

class Odd(RleTable):
    def check_sample(self, path, ids):
        raise KeyError("mine")

class MyLakes"""


@pytest.mark.parametrize("said", BREAKS)
def test_what_breaks_the_contract_is_told(outside, tmp_path, monkeypatch, capsys, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    assert main(["new", "competition", "my_lakes"]) == 0
    config = str(tmp_path / "configs" / "my_lakes" / "demo.yaml")
    assert main(["prepare", config, "--sample"]) == 0
    path = tmp_path / "plugins" / "competitions" / "my_lakes.py"
    path.write_text(path.read_text().replace(*BREAKS[said]).replace("class MyLakes", WRONG))
    forget()
    assert main(["check", "competition", config]) == 2
    assert said in capsys.readouterr().err


def test_masks_of_another_size_than_the_images_are_right_where_the_contest_says_so(outside, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    assert main(["new", "competition", "my_lakes"]) == 0
    path = tmp_path / "plugins" / "competitions" / "my_lakes.py"
    smaller = path.read_text().replace("RleTable(CLASSES, GRID", "RleTable(CLASSES, (32, 48)")
    path.write_text(
        smaller.replace("cloud[..., np.newaxis])", "cloud[::2, ::2, np.newaxis])").replace(
            "write_sample=write_sample)", "write_sample=write_sample, resized=True)"
        )
    )
    config = str(tmp_path / "configs" / "my_lakes" / "demo.yaml")
    assert main(["prepare", config, "--sample"]) == 0
    assert main(["check", "competition", config]) == 0


def test_a_metric_whose_code_changed_is_noticed(outside, tmp_path, monkeypatch, capsys):
    """Blended, then the metric is edited: submitting and the leaderboard say so, blending again mends it."""
    monkeypatch.chdir(tmp_path)
    for folder in ("configs/lakes", "data/lakes/images", "data/lakes/masks", "data/lakes/test"):
        (tmp_path / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(8):
        mask = np.zeros((16, 24), np.uint8)
        mask[2 : 8 + i, 3:12] = 255
        image = np.repeat((50 + mask // 2 + rng.integers(0, 40, mask.shape)).astype(np.uint8)[..., None], 3, axis=2)
        cv2.imwrite(str(tmp_path / "data" / "lakes" / ("images" if i < 6 else "test") / f"{i}.png"), image)
        if i < 6:
            cv2.imwrite(str(tmp_path / "data" / "lakes" / "masks" / f"{i}.png"), mask)
    metric = tmp_path / "configs" / "lakes" / "my_metric.py"
    metric.write_text(
        f"import numpy as np\n{METRIC.replace('1.0 * both', 'both / np.maximum(pred + target - both, 1)')}"
    )
    config = tmp_path / "configs" / "lakes" / "blend.yaml"
    config.write_text(
        "data:\n  competition: mask_folder\n  name: lakes\n  folds: {k: 2, phash_max_distance: -1}\n"
        "  options: {classes: {lake: 255}, test_images: test, metric: my_metric.py:Area}\n"
        "name: mean\nimage: {size: [16, 24]}\npostprocess: {thresholds: 5}\n"
        "runs: [{name: bright, model: {family: colour_threshold, options: {feature: brightness}}}]\n"
    )
    assert main(["run", str(config)]) == 0
    assert main(["leaderboard", "lakes"]) == 0
    assert "outdated" not in capsys.readouterr().out  # the file beside the config is found
    metric.write_text(metric.read_text().replace("both / np", "1 - both / np"))
    assert main(["submit", str(config)]) == 3
    assert "metric 'area' or its code changed since 'mean' was blended" in capsys.readouterr().err
    assert main(["leaderboard", "lakes"]) == 0
    assert "metric 'area' or its code changed since it was scored" in capsys.readouterr().out
    assert main(["blend", str(config)]) == 0
    assert main(["submit", str(config)]) == 0
    assert main(["score", "lakes", "submissions/lakes/mean.csv", "--truth", "submissions/lakes/mean.csv"]) == 0


SHIPS = CONTEST.replace("own", "ships").replace("bare_ids=True", "bare_ids=True, objects=True")


def test_a_contest_of_objects_goes_from_its_tables_to_a_submission_of_objects(outside, tmp_path, monkeypatch, capsys):
    """Tables with several rows an image: of the truth, of predictions that are imported, and of the submission."""
    plugins.add_folder(outside)
    (outside / "competitions" / "own_ships.py").write_text(SHIPS)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "data" / "own_ships").mkdir(parents=True)
    ships = "id,rle\n" + "".join(f"{name},1 2\n{name},{9 + 4 * i} 2\n" for i, name in enumerate("abcd"))
    tables = {"train": ships, "sample_submission": "id,rle\ny,\nz,\n", "test_truth": "id,rle\ny,1 2\ny,9 3\nz,\n"}
    for name, text in tables.items():
        (tmp_path / "data" / "own_ships" / f"{name}.csv").write_text(text)
    config = tmp_path / "configs" / "ships.yaml"
    config.write_text(
        f"plugins: [../{outside.name}]\ndata: {{competition: own_ships, folds: {{k: 2}}}}\nname: mean\n"
        "postprocess: {thresholds: 3}\nruns: [{name: theirs, model: {family: imported}}]\n"
    )
    assert main(["prepare", str(config)]) == 0
    assert main(["check", "competition", str(config)]) == 0
    (tmp_path / "oof.csv").write_text(ships)
    (tmp_path / "test.csv").write_text("id,rle\nz,5 4\ny,9 3\ny,1 2\ny,1 1\n")
    assert main(["import", "theirs", "--data", str(config), "--oof", "oof.csv", "--test", "test.csv"]) == 0
    assert "test.csv: objects overlap, what they share counts once: 'y'." in capsys.readouterr().err
    assert main(["blend", str(config)]) == 0
    assert main(["submit", str(config)]) == 0
    submission = tmp_path / "submissions" / "own_ships" / "mean.csv"
    assert submission.read_text() == "id,rle\ny,1 2\ny,9 3\nz,5 4\n"
    truth = tmp_path / "data" / "own_ships" / "test_truth.csv"
    assert main(["score", str(config), str(submission), "--truth", str(truth)]) == 0
    assert "mean_dice: 0.500000 (2 samples)" in capsys.readouterr().out


def test_truth_of_objects_is_joined_where_submissions_have_a_row_an_image(tmp_path):
    path = tmp_path / "ships.csv"
    path.write_text("ImageId,EncodedPixels\na.jpg,9 2\nb.jpg,\na.jpg,1 3\na.jpg,3 1\n")
    table = RleTable(("ship",), (4, 3), "ImageId", "EncodedPixels", bare_ids=True)
    truth = MaskTables(table, "EncodedPixels", joined=True).read_truth(path)
    assert truth.ids.tolist() == ["a.jpg", "b.jpg"]
    assert truth.targets[0][..., 0].ravel(order="F").nonzero()[0].tolist() == [0, 1, 2, 8, 9]
    assert not truth.targets[1].any()
    with pytest.raises(
        InvalidSubmission, match=r"Where each row is an object of an image, give RleTable\(..., objects"
    ):
        MaskTables(table, "EncodedPixels").read_truth(path)
