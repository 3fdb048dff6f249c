"""A trained blend is packed into a folder that predicts elsewhere, bit for bit as training did."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from skyfold.cli.main import main
from skyfold.errors import DamagedFile, SkyfoldError
from skyfold.files import read_json
from skyfold.pipeline.kernel import kernel_files
from skyfold.store.bundle import open_bundle
from skyfold.store.records import write_record
from skyfold.store.rows import RowStore

pytestmark = pytest.mark.usefixtures("own_data", "tiny_families")
CLOUDS = yaml.safe_load("""
data:
  competition: understanding_clouds
  name: tiny
  folds: {k: 2, seed: 0}
  sample: {train: 20, test: 7, seed: 0, height: 112}
image: {size: [32, 48]}
name: both
model: {family: plain_unet, options: {filters: [4, 8]}}
training: {epochs: 1, batch_size: 4}
runs:
  - {name: turned, tta: [hflip], training: {seeds: [0, 1]}}
  - {name: bright, image: {size: [56, 84]}, model: {family: colour_threshold, options: {feature: brightness}}}
combine: stack
classifier_gate:
  name: gate
  task: classification
  model: {family: tiny_net, options: {pooled: true}}
  loss: {name: bce}
postprocess: {thresholds: 17, min_areas: [0, 20]}
bootstrap: 20
""")
SIZES = ((40, 48), (32, 64), (56, 40), (48, 48), (64, 32), (40, 40))
DEEP = yaml.safe_load("""
data:
  competition: mask_folder
  name: deep
  options: {classes: {field: 1}, grid: own, test_images: test}
  folds: {k: 2, seed: 0}
image: {size: [32, 32], rescale: {kind: percentile}}
name: deep_blend
model: {family: plain_unet, options: {filters: [4, 8]}}
training: {epochs: 1, batch_size: 2}
runs: [{name: deep}]
postprocess: {thresholds: 9}
bootstrap: 20
""")

CHIPS = yaml.safe_load("""
data: {competition: on_cloud_n, name: chips, folds: {k: 2, phash_max_distance: -1}, sample: {train: 4, test: 2}}
image: {size: [32, 32], rescale: {kind: percentile}}
name: chips_blend
model: {family: plain_unet, options: {filters: [4, 8]}}
training: {epochs: 1, batch_size: 2}
runs: [{name: chips}]
postprocess: {thresholds: 9}
bootstrap: 20
""")


SCENES = yaml.safe_load("""
data:
  competition: cloud_cover
  name: scenes
  options: {grid: [20, 24]}
  folds: {k: 2, phash_max_distance: -1}
  sample: {train: 4, validation: 1, test: 2, side: 80}
image: {size: [32, 32], crop: {crops_per_image: 2}}
name: scenes
model: {family: tiny_net}
training: {epochs: 1, batch_size: 2}
""")


def write_deep(folder):
    """Images of four bands in 16 bits, of six sizes."""
    for name in ("images", "masks", "test"):
        (folder / name).mkdir(parents=True)
    for number, size in enumerate(SIZES * 2):
        rng = np.random.default_rng(number)
        image = rng.integers(500, 4000, (*size, 4)).astype(np.uint16)
        part = "test" if number >= len(SIZES) else "images"
        options = {"photometric": "minisblack", "planarconfig": "contig"}
        tifffile.imwrite(folder / part / f"i{number:02}.tif", image, **options)
        if part == "images":
            tifffile.imwrite(folder / "masks" / f"i{number:02}.tif", (image[..., 0] > 2500).astype(np.uint8))


@pytest.fixture(scope="module")
def project(tmp_path_factory, own_data, tiny_families):
    """Three blends and a run trained, and packed as the folders `clouds`, `deep`, `chips` and `scenes`."""
    root = tmp_path_factory.mktemp("project")
    (root / "configs").mkdir()
    write_deep(root / "data" / "deep")
    for name, config in (("clouds", CLOUDS), ("deep", DEEP), ("chips", CHIPS), ("scenes", SCENES)):
        path = root / "configs" / f"{name}.yaml"
        path.write_text(yaml.safe_dump(config))
        assert main(["run", str(path), "--root", str(root)]) == 0
        kernel = ["--kernel"] if name == "clouds" else []
        assert (
            main(["pack", str(path), "--out", str(root / name), "--root", str(root), "--licence", "CC0", *kernel]) == 0
        )
    return root


@pytest.fixture
def images(project, tmp_path):
    return Path(shutil.copytree(project / "data" / "tiny" / "test_images", tmp_path / "images"))


def predict(bundle, images, out, *more):
    return main(["predict", str(bundle), "--images", str(images), "--out", str(out), *map(str, more)])


def rows_by_id(folder):
    store = RowStore.open(folder)
    return {name: store[row] for row, name in enumerate(store.ids.tolist())}


def assert_as_trained(project, data, out, runs):
    """Rows below `out` are those that training stored, whichever of them there are."""
    for run in runs:
        trained, found = rows_by_id(project / "oof" / data / run / "test"), rows_by_id(out / ".work" / "rows" / run)
        for name, values in found.items():
            np.testing.assert_array_equal(values, trained[name])


def test_predictions_are_those_of_training_bit_for_bit(project, tmp_path):
    sample = project / "data" / "tiny" / "sample_submission.csv"
    assert predict(project / "clouds", project / "data/tiny/test_images", tmp_path / "a", "--sample", sample) == 0
    assert_as_trained(project, "tiny", tmp_path / "a", ("turned", "bright", "gate"))
    assert (tmp_path / "a/submission.csv").read_bytes() == (project / "submissions/tiny/both.csv").read_bytes()
    assert not (tmp_path / "a/preview.png").exists()
    everything = [option for kind in ("csv", "masks", "probabilities", "preview") for option in ("--write", kind)]
    assert predict(project / "deep", project / "data/deep/test", tmp_path / "b", *everything) == 0
    assert_as_trained(project, "deep", tmp_path / "b", ("deep",))
    assert (tmp_path / "b/submission.csv").read_bytes() == (project / "submissions/deep/deep_blend.csv").read_bytes()
    assert (tmp_path / "b/preview.png").read_bytes().startswith(b"\x89PNG")
    for number, size in enumerate(SIZES, start=len(SIZES)):
        assert np.load(tmp_path / "b" / "probabilities" / f"i{number:02}.npy").shape == (*size, 1)
        assert (tmp_path / "b" / "masks" / f"i{number:02}.png").is_file()


def test_scenes_are_predicted_by_tiles_and_become_maps(project, tmp_path):
    images = project / "data/scenes/images/test"
    assert predict(project / "scenes", images, tmp_path, "--write", "csv", "--write", "products") == 0
    assert_as_trained(project, "scenes", tmp_path, ("scenes",))
    assert (tmp_path / "submission.csv").read_bytes() == (project / "submissions/scenes/scenes_alone.csv").read_bytes()
    assert main(["submit", str(project / "configs/scenes.yaml"), "--products", "--root", str(project)]) == 0
    trained = project / "submissions/scenes/scenes_alone_products"
    for path in trained.glob("*"):
        assert (tmp_path / "products" / path.name).read_bytes() == path.read_bytes()
    assert len(list(trained.glob("*.png"))) == 2
    assert predict(project / "clouds", project / "data/tiny/test_images", tmp_path / "no", "--write", "products") == 2


def test_any_subset_of_the_images_is_predicted_alike(project, images, tmp_path):
    for path in sorted(images.iterdir())[::2]:
        path.unlink()
    assert predict(project / "clouds", images, tmp_path / "out") == 0
    assert len(rows_by_id(tmp_path / "out/.work/rows/turned")) == 3
    assert_as_trained(project, "tiny", tmp_path / "out", ("turned", "bright", "gate"))


def test_the_contests_own_folder_is_predicted_in_the_order_of_its_sample_submission(project, tmp_path):
    out = tmp_path / "out"
    assert main(["predict", str(project / "clouds"), "--data", str(project / "data/tiny"), "--out", str(out)]) == 0
    assert (out / "submission.csv").read_bytes() == (project / "submissions/tiny/both.csv").read_bytes()


def test_a_zip_file_predicts_in_a_fresh_process_with_nothing_written_elsewhere(project, images, tmp_path):
    bundle = tmp_path / "deep.zip"
    config = project / "configs/deep.yaml"
    assert main(["pack", str(config), "--out", str(bundle), "--root", str(project)]) == 0
    home = tmp_path / "home"
    for name in ("home", "empty"):
        (tmp_path / name).mkdir()
    before = sorted(tmp_path.rglob("*"))
    command = [sys.executable, "-m", "skyfold", "predict", bundle, "--images", project / "data/deep/test"]
    env = {**os.environ, "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    for name in ("KERAS_HOME", "MPLCONFIGDIR", "NUMBA_CACHE_DIR"):
        env.pop(name, None)
    done = subprocess.run([*command, "--out", tmp_path / "out"], cwd=tmp_path / "empty", env=env, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert [path for path in sorted(tmp_path.rglob("*")) if not path.is_relative_to(tmp_path / "out")] == before
    assert_as_trained(project, "deep", tmp_path / "out", ("deep",))


def test_a_kernel_names_what_kaggle_attaches_and_may_be_edited(project, tmp_path):
    bundle = Path(shutil.copytree(project / "clouds", tmp_path / "bundle"))
    notebook, metadata = (read_json(bundle / name) for name in ("kernel.ipynb", "kernel-metadata.json"))
    assert metadata["code_file"] == "kernel.ipynb"
    assert metadata["id"] == "USERNAME/skyfold-both"
    assert (metadata["enable_internet"], metadata["enable_gpu"]) == (False, True)
    assert metadata["dataset_sources"] == ["USERNAME/skyfold-both", "USERNAME/skyfold-plugins"]  # tiny_net is no family
    assert metadata["competition_sources"] == ["understanding_cloud_organization"]
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    keys = {"markdown": {"id", "cell_type", "metadata", "source"}}
    keys["code"] = keys["markdown"] | {"execution_count", "outputs"}
    assert all(cell.keys() == keys[cell["cell_type"]] for cell in notebook["cells"])
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    code = "\n".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code")
    compile(code, "kernel.ipynb", "exec")
    assert '["--data", attached("understanding_cloud_organization"), "--plugins", attached("skyfold-plugins")]' in code
    (bundle / "kernel-metadata.json").write_text(json.dumps({**metadata, "id": "me/skyfold-both"}))
    assert open_bundle(bundle, tmp_path / "unpacked").folder == bundle
    assert '["--images", attached("images")' in kernel_files({"name": "own", "plugins": {}}, None)[
        "kernel.ipynb"
    ].replace("\\", "")


def dependencies(names):
    """Names of the distributions `names` and of all that they require here, but of those that are not installed."""
    found, rest = set(), {canonicalize_name(name) for name in names}
    while rest:
        name = rest.pop()
        try:
            lines = [Requirement(line) for line in distribution(name).requires or ()]
        except PackageNotFoundError:
            continue
        found.add(name)
        rest |= {canonicalize_name(one.name) for one in lines if not one.marker or one.marker.evaluate()} - found
    return found


def link_packages(names, folder):
    """Make `folder` a place of packages that holds those of the distributions `names` and no other."""
    folder.mkdir()
    for name in names:
        parts = {file.parts[0]: file for file in distribution(name).files if file.parts[0] not in ("..", "__pycache__")}
        for part, file in parts.items():
            if not (folder / part).exists():
                (folder / part).symlink_to(Path(*file.locate().parts[: len(file.locate().parts) - len(file.parts) + 1]))
    return folder


def test_wheels_and_what_the_manifest_names_are_all_that_a_machine_needs(project, tmp_path):
    images, bundle, installed = project / "data/deep/test", project / "deep", tmp_path / "installed"
    wheels = sorted((bundle / "wheels").glob("*.whl"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", installed, *wheels]
    subprocess.run(pip, check=True)
    needs = dependencies(json.loads((bundle / "manifest.json").read_text())["needs"])
    assert not needs & {"skyfold", "optuna", "albumentations", "segmentation-models"}
    places = [installed, link_packages(needs, tmp_path / "packages")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places)), "PYTHONDONTWRITEBYTECODE": "1"}
    python = [Path(sys.executable).resolve(), "-S"]  # nothing of this environment but what `places` hold
    where = [*python, "-c", "import skyfold, sys; print(skyfold.__file__, *sys.path)"]
    found = subprocess.run(where, cwd=tmp_path, env=env, check=True, capture_output=True, text=True).stdout
    assert found.startswith(str(installed))
    assert str(Path(__file__).parents[1]) not in found
    command = [*python, "-m", "skyfold", "predict", bundle, "--images", images, "--out", tmp_path / "there"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert predict(bundle, images, tmp_path / "here") == 0
    assert (tmp_path / "there/submission.csv").read_bytes() == (tmp_path / "here/submission.csv").read_bytes()


def test_main_py_of_the_page_writes_a_tiff_for_each_chip(project, tmp_path):
    page = (Path(__file__).parents[1] / "docs" / "predict.md").read_text()
    (tmp_path / "main.py").write_text(re.search('title="main.py"\n(.*?)```', page, re.DOTALL)[1])
    (tmp_path / "bundle").symlink_to(project / "chips")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "test_features").symlink_to(project / "data" / "chips" / "test_features")
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "main.py"], cwd=tmp_path, env=env, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    submitted = {path.name: path.read_bytes() for path in (project / "submissions/chips/chips_blend").iterdir()}
    assert {path.name: path.read_bytes() for path in (tmp_path / "predictions").iterdir()} == submitted
    assert len(submitted) == 2


KERNEL = yaml.safe_load("""
data:
  competition: understanding_clouds
  name: kaggle
  folds: {k: 2, seed: 0}
  sample: {train: 6, test: 3, seed: 0, height: 64}
image: {size: [32, 32]}
training: {epochs: 1, batch_size: 2}
name: with_packages
runs:
  - name: resnet
    model: {family: segmentation_models, options: {encoder_weights: none, decoder_filters: [8, 8, 8, 8, 8]}}
classifier_gate:
  name: effnet
  task: classification
  model: {family: efficientnet_classifier, options: {encoder_weights: none}}
  loss: {name: bce}
postprocess: {thresholds: 9}
bootstrap: 20
""")
# Root folders of this machine, read-only but for /tmp, and Kaggle's; $1 to $5: a mount point, bundle, data, working
# folder, home; then the command.
OFFLINE = """
set -e
ip link set lo up
root=$1; mount -t tmpfs none "$root"
for entry in /*; do
  if [ -L "$entry" ]; then cp -P "$entry" "$root/"; fi
  if [ ! -d "$entry" ] || [ -L "$entry" ]; then continue; fi
  mkdir "$root$entry"; mount --rbind "$entry" "$root$entry"
  case "$entry" in /tmp|/proc|/dev|/sys) ;; *) mount -o remount,ro,bind "$root$entry" ;; esac
done
place() { mkdir -p "$root$2"; mount --bind "$1" "$root$2"; }
sealed() { place "$1" "$2"; mount -o remount,ro,bind "$root$2"; }
sealed "$2" /kaggle/input/skyfold-with-packages
sealed "$3" /kaggle/input/understanding_cloud_organization
place "$4" /kaggle/working
sealed "$5" /kaggle/home
shift 5
exec chroot "$root" "$@"
"""
RUN_CELLS = """
import json, socket, sys
from importlib.util import find_spec
from pathlib import Path
assert not any(map(find_spec, ("skyfold", "segmentation_models", "classification_models", "efficientnet")))
for folder in (Path.home(), *Path("/kaggle/input").iterdir()):
    try:
        (folder / "written").touch()
    except OSError:
        continue
    raise AssertionError(f"{folder} can be written")
try:
    socket.create_connection(("1.1.1.1", 53), timeout=2)
except OSError:
    print("no network, nothing to write to but /kaggle/working and /tmp")
space = {}
for cell in json.loads(Path("/kaggle/input/skyfold-with-packages/kernel.ipynb").read_text())["cells"]:
    if cell["cell_type"] == "code":
        exec("".join(cell["source"]), space)
"""


@pytest.mark.by_hand
def test_the_kernel_predicts_without_network_packages_or_a_home(tmp_path):
    for name in ("configs", "root", "working", "home"):
        (tmp_path / name).mkdir()
    python = Path(sys.executable).resolve()
    offline = ["unshare", "-nm", "sh", "-c", OFFLINE, "sh", tmp_path / "root"]
    probe = subprocess.run([*offline, *[tmp_path / "home"] * 4, "true"], capture_output=True, text=True)
    if probe.returncode:
        pytest.skip(f"namespaces or mounts are not permitted here: {probe.stderr.strip()}")
    if subprocess.run([python, "-c", "import segmentation_models"], capture_output=True).returncode == 0:
        pytest.skip(f"{python} itself has segmentation-models")
    config, bundle = tmp_path / "configs" / "kernel.yaml", tmp_path / "bundle"
    config.write_text(yaml.safe_dump(KERNEL))
    assert main(["run", str(config), "--root", str(tmp_path)]) == 0
    assert main(["pack", str(config), "--out", str(bundle), "--root", str(tmp_path), "--kernel"]) == 0
    needs = dependencies(json.loads((bundle / "manifest.json").read_text())["needs"])
    packages = link_packages({*needs, "pip"}, tmp_path / "packages")
    env = {**os.environ, "HOME": "/kaggle/home", "PYTHONPATH": str(packages), "PYTHONDONTWRITEBYTECODE": "1"}
    folders = [bundle, tmp_path / "data" / "kaggle", tmp_path / "working", tmp_path / "home"]
    done = subprocess.run([*offline, *folders, python, "-c", RUN_CELLS], env=env, capture_output=True, text=True)
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    (submission,) = (tmp_path / "working").iterdir()
    assert submission.read_bytes() == (tmp_path / "submissions" / "kaggle" / "with_packages.csv").read_bytes()


def test_a_command_that_was_killed_goes_on_and_a_finished_one_repeats_nothing(project, images, tmp_path, monkeypatch):
    from skyfold.training.network import Network

    asked, logits = [], Network.logits

    def counted(self, inputs):
        asked.append(len(inputs))
        if len(asked) == 5:
            raise KeyboardInterrupt
        return logits(self, inputs)

    monkeypatch.setattr(Network, "logits", counted)
    assert predict(project / "clouds", images, tmp_path / "out") == 130
    assert not (tmp_path / "out" / "submission.csv").exists()
    assert predict(project / "clouds", images, tmp_path / "out") == 0
    assert_as_trained(project, "tiny", tmp_path / "out", ("turned", "bright", "gate"))
    done = len(asked)
    assert predict(project / "clouds", images, tmp_path / "out") == 0
    assert len(asked) == done


def test_an_image_that_cannot_be_read_stops_or_gets_an_empty_mask(project, images, tmp_path, capsys):
    first = sorted(images.iterdir())[0]
    first.write_bytes(first.read_bytes()[:200])
    assert predict(project / "clouds", images, tmp_path / "out") == 2
    assert first.name in capsys.readouterr().err
    assert not (tmp_path / "out" / "submission.csv").exists()
    assert predict(project / "clouds", images, tmp_path / "out", "--on-error", "skip") == 0
    assert pd.read_csv(tmp_path / "out" / "skipped.csv")["id"].tolist() == [first.name]
    table = pd.read_csv(tmp_path / "out" / "submission.csv", keep_default_na=False).set_index("Image_Label")
    assert len(table) == 7 * 4
    assert (table.loc[[name for name in table.index if name.startswith(first.name)], "EncodedPixels"] == "").all()


def test_what_does_not_fit_is_refused_before_anything_is_predicted(project, images, tmp_path, capsys):
    def refused(*arguments, says):
        assert main(["predict", *map(str, arguments), "--out", str(tmp_path / "out")]) == 2
        assert says in capsys.readouterr().err
        assert not any((tmp_path / "out").glob("*.csv"))

    (tmp_path / "none").mkdir()
    refused(project / "clouds", "--images", tmp_path / "none", says="no images")
    refused(project / "clouds", "--images", tmp_path / "nowhere", says="no such folder")
    refused(project / "clouds", says="--images DIR")
    refused(tmp_path / "none", "--images", images, says="no bundle here")
    refused(project / "clouds", "--images", project / "data/deep/test", says="bands")
    refused(project / "deep", "--images", images, says="was trained on 4 bands of uint16")
    sample = project / "data" / "tiny" / "sample_submission.csv"
    gone = sorted(images.iterdir())[0]
    gone.unlink()
    refused(project / "clouds", "--images", images, "--sample", sample, says=f"no image for 1 of the 7 ids of {sample}")
    assert (
        main(["pack", str(project / "configs/deep.yaml"), "--out", str(project / "deep"), "--root", str(project)]) == 2
    )
    assert "is there already" in capsys.readouterr().err


@pytest.fixture
def bundle(project, tmp_path):
    return Path(shutil.copytree(project / "deep", tmp_path / "bundle"))


def test_a_bundle_that_was_changed_or_is_newer_is_refused(bundle, images, tmp_path, capsys):
    def refused(says, code):
        assert predict(bundle, images, tmp_path / "out") == code
        assert says in capsys.readouterr().err

    manifest = bundle / "manifest.json"
    values = read_json(manifest)
    del values["format"], values["checksum"]
    weights = bundle / values["runs"][0]["fits"][0]["weights"]
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    refused("not the file that was packed", 3)
    weights.unlink()
    refused("missing from the bundle", 3)
    weights.write_bytes(whole)
    text = manifest.read_text()
    manifest.write_text(text.replace('"deep_blend"', '"other"'))
    refused("edited since it was written", 3)
    write_record(manifest, {**values, "bundle": 2})
    refused("a bundle of format 2", 3)
    write_record(manifest, {**values, "requires": ["telepathy"]})
    refused("requires 'telepathy'", 3)
    outside = {**values["runs"][0]["fits"][0], "weights": "../weights.h5"}
    write_record(manifest, {**values, "runs": [{**values["runs"][0], "fits": [outside]}]})
    refused("no path inside the bundle", 3)


WRONG = [None, True, -1, 0.5, "text", "", [], [[]], {}, {"": None}, [{"name": 1}]]


def test_a_damaged_manifest_is_named_whatever_stands_in_it(bundle, tmp_path):
    path = bundle / "manifest.json"
    values = read_json(path)
    del values["format"], values["checksum"]
    accepted, refusals = [], []
    for key, value in [(key, value) for key in values for value in WRONG]:
        write_record(path, {**values, key: value})
        try:
            opened = open_bundle(bundle, tmp_path / "unpacked")
            assert [opened.fits(run) for run in opened.members()]
            accepted.append(value)
        except SkyfoldError as error:
            refusals.append(str(error))
    assert all(str(path) in refusal for refusal in refusals)
    assert all(isinstance(value, str | dict | None) or not value for value in accepted)  # another name, other figures
    assert len(accepted) < len(values) * len(WRONG) / 3
    for content in (b"", b"[]", b"{}", b'{"bundle": 1', b"[" * 100_000, b'{"bundle": NaN}', b"9" * 10_000):
        path.write_bytes(content)
        with pytest.raises(DamagedFile, match="manifest"):
            open_bundle(bundle, tmp_path / "unpacked")


@pytest.mark.parametrize("name", ["../evil.txt", "/tmp/evil.txt", "runs/../../evil.txt"])
def test_a_zip_file_never_writes_outside_its_folder(bundle, tmp_path, name):
    path = tmp_path / "b.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.write(bundle / "manifest.json", "manifest.json")
        file.writestr(name, "evil")
    with pytest.raises(DamagedFile, match="no path inside the bundle"):
        open_bundle(path, tmp_path / "out" / "unpacked")
    assert not list(tmp_path.rglob("evil.txt"))


def test_a_bundle_says_what_it_holds_and_no_path_of_the_machine_it_was_made_on(project):
    for name in ("clouds", "deep"):
        texts = [(project / name / file).read_text() for file in ("manifest.json", "README.md")]
        assert not any(str(project) in text or str(Path.home()) + "/" in text for text in texts)
        manifest = json.loads(texts[0])
        listed = {path.relative_to(project / name).as_posix() for path in (project / name).rglob("*") if path.is_file()}
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
