"""The Kaggle kernel of a bundle."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from bundles.conftest import dependencies, link_packages
from skyfold.cli.main import main
from skyfold.files import read_json
from skyfold.pipeline.kernel import kernel_files
from skyfold.store.bundle import open_bundle

pytestmark = pytest.mark.usefixtures("own_data", "tiny_families")


def test_a_kernel_names_what_kaggle_attaches_and_may_be_edited(project, tmp_path):
    bundle = Path(shutil.copytree(project.bundle("clouds"), tmp_path / "bundle"))
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
    for given, options in (
        ("--images DIR", '"--images", attached("images")'),
        ("--data DIR", '"--data", attached("data")'),
        ("--frames FILE ...", '"--frames", *files(attached("frames"))'),
    ):
        made = json.loads(kernel_files({"name": "own", "plugins": {}}, None, given)["kernel.ipynb"])
        assert "".join(made["cells"][1]["source"]).endswith(f"\nOPTIONS = [{options}]")


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
