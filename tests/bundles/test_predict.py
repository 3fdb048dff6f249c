"""A trained blend is packed into a folder that predicts elsewhere, bit for bit as training did."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bundles.conftest import SIZES, assert_as_trained, predict, rows_by_id
from skyfold.cli.main import main

pytestmark = pytest.mark.usefixtures("own_data", "tiny_families")


def test_predictions_are_those_of_training_bit_for_bit(project, tmp_path):
    clouds, sample = project.data("clouds") / "test_images", project.data("clouds") / "sample_submission.csv"
    assert predict(project.bundle("clouds"), clouds, tmp_path / "a", "--sample", sample) == 0
    assert_as_trained(project, "tiny", tmp_path / "a", ("turned", "bright", "gate"))
    assert (tmp_path / "a/submission.csv").read_bytes() == project.submission("tiny/both")
    assert not (tmp_path / "a/preview.png").exists()
    everything = [option for kind in ("csv", "masks", "probabilities", "preview") for option in ("--write", kind)]
    assert predict(project.bundle("deep"), project.data("deep") / "test", tmp_path / "b", *everything) == 0
    assert_as_trained(project, "deep", tmp_path / "b", ("deep",))
    assert (tmp_path / "b/submission.csv").read_bytes() == project.submission("deep/deep_blend")
    assert (tmp_path / "b/preview.png").read_bytes().startswith(b"\x89PNG")
    for number, size in enumerate(SIZES, start=len(SIZES)):
        assert np.load(tmp_path / "b" / "probabilities" / f"i{number:02}.npy").shape == (*size, 1)
        assert (tmp_path / "b" / "masks" / f"i{number:02}.png").is_file()


def test_scenes_are_predicted_by_tiles_and_become_maps(project, tmp_path):
    images = project.data("scenes") / "images/test"
    assert predict(project.bundle("scenes"), images, tmp_path, "--write", "csv", "--write", "products") == 0
    assert_as_trained(project, "scenes", tmp_path, ("scenes",))
    assert (tmp_path / "submission.csv").read_bytes() == project.submission("scenes/scenes_alone")
    assert main(["submit", str(project.trained("scenes")), "--products", "--root", str(project.root)]) == 0
    trained = project.root / "submissions/scenes/scenes_alone_products"
    for path in trained.glob("*"):
        assert (tmp_path / "products" / path.name).read_bytes() == path.read_bytes()
    assert len(list(trained.glob("*.png"))) == 2
    clouds = project.data("clouds") / "test_images"
    assert predict(project.bundle("clouds"), clouds, tmp_path / "no", "--write", "products") == 2


def test_any_subset_of_the_images_is_predicted_alike_and_those_in_deeper_folders_are_named(
    project, images, tmp_path, capsys
):
    subset = sorted(images.iterdir())[::2]
    (images / "later").mkdir()
    for path in subset:
        path.rename(images / "later" / path.name)
    assert predict(project.bundle("clouds"), images, tmp_path / "out") == 0
    assert f"3 images in folders inside it are not predicted: later/{subset[0].name}" in capsys.readouterr().err
    assert len(rows_by_id(tmp_path / "out/.work/rows/turned")) == 2
    assert_as_trained(project, "tiny", tmp_path / "out", ("turned", "bright", "gate"))


def test_masks_that_lie_among_the_images_are_not_named(project, images, capsys):
    for _ in range(2):
        assert predict(project.bundle("clouds"), images, images / "out", "--write", "masks") == 0
        assert "folders inside it" not in capsys.readouterr().err
    assert list((images / "out").rglob("*.png"))


def test_a_zip_file_predicts_like_the_folder_and_nothing_is_written_elsewhere(project, tmp_path):
    bundle = tmp_path / "deep.zip"
    assert project.run("pack", project.trained("deep"), "--out", bundle) == 0
    before = sorted(tmp_path.rglob("*"))
    assert predict(bundle, project.data("deep") / "test", tmp_path / "out") == 0
    assert [path for path in sorted(tmp_path.rglob("*")) if not path.is_relative_to(tmp_path / "out")] == before
    assert_as_trained(project, "deep", tmp_path / "out", ("deep",))


def test_a_command_that_was_killed_goes_on_and_a_finished_one_repeats_nothing(project, tmp_path, monkeypatch):
    """On the contest's own folder, whose sample submission gives the order."""
    from skyfold.training.network import Network

    asked, logits = [], Network.logits
    command = ["predict", project.bundle("clouds"), "--data", project.data("clouds"), "--out", tmp_path]

    def counted(self, inputs):
        asked.append(len(inputs))
        if len(asked) == 5:
            raise KeyboardInterrupt
        return logits(self, inputs)

    monkeypatch.setattr(Network, "logits", counted)
    assert main([*map(str, command)]) == 130
    assert not (tmp_path / "submission.csv").exists()
    assert main([*map(str, command)]) == 0
    assert (tmp_path / "submission.csv").read_bytes() == project.submission("tiny/both")
    done = len(asked)
    assert main([*map(str, command)]) == 0
    assert len(asked) == done


def test_an_image_that_cannot_be_read_stops_or_gets_an_empty_mask(project, images, tmp_path, capsys):
    first = sorted(images.iterdir())[0]
    first.write_bytes(first.read_bytes()[:200])
    assert predict(project.bundle("clouds"), images, tmp_path / "out") == 2
    assert first.name in capsys.readouterr().err
    assert not (tmp_path / "out" / "submission.csv").exists()
    assert predict(project.bundle("clouds"), images, tmp_path / "out", "--on-error", "skip") == 0
    assert pd.read_csv(tmp_path / "out" / "skipped.csv")["id"].tolist() == [first.name]
    table = pd.read_csv(tmp_path / "out" / "submission.csv", keep_default_na=False).set_index("Image_Label")
    assert len(table) == 5 * 4
    assert (table.loc[[name for name in table.index if name.startswith(first.name)], "EncodedPixels"] == "").all()


def test_images_unlike_those_of_training_are_named_and_predicted_all_the_same(project, images, tmp_path, capsys):
    known, out = project.data("clouds") / "train_images", tmp_path / "out"
    assert predict(project.bundle("clouds"), known, out) == 0
    assert not (out / "unlike_training.csv").exists()
    first = sorted(images.iterdir())[0]
    Image.fromarray(np.zeros_like(np.array(Image.open(first)))).save(first)
    capsys.readouterr()
    assert predict(project.bundle("clouds"), images, out) == 0
    said, listed = capsys.readouterr(), pd.read_csv(out / "unlike_training.csv").set_index("id")
    assert listed.loc[first.name, "reason"].startswith("mean of band")
    assert f"{len(listed)} of 5 images are unlike those of training" in said.err
    assert f"written: {out / 'unlike_training.csv'}" in said.out
    assert len(pd.read_csv(out / "submission.csv")) == 5 * 4


def test_a_bundle_says_what_it_holds_and_no_path_of_the_machine_it_was_made_on(project):
    for name in ("clouds", "deep"):
        bundle = project.bundle(name)
        texts = [(bundle / file).read_text() for file in ("manifest.json", "README.md")]
        assert not any(str(project.root) in text or str(Path.home()) + "/" in text for text in texts)
        manifest = json.loads(texts[0])
        listed = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
        assert listed == {
            *manifest["files"],
            "manifest.json",
            *(["kernel.ipynb", "kernel-metadata.json"] * (name == "clouds")),
        }
        assert f"{manifest['scores']['cv_cross_fitted']:.4f}" in texts[1]
        assert "CC0" in texts[1]
        wheels = [path for path in listed if path.startswith("wheels/")]
        assert wheels == [f"wheels/skyfold-{manifest['versions']['skyfold']}-py3-none-any.whl"]  # plain families
        assert f"keras {manifest['needs']['keras']}" in texts[1]
