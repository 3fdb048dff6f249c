"""A bundle that this environment packs predicts the same in one of the oldest versions that pyproject.toml allows.

`make test-oldest` makes that environment, and names its interpreter in $SKYFOLD_OLDEST.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml

from skyfold.cli.main import main
from skyfold.store.rows import RowStore

OLDEST = os.environ.get("SKYFOLD_OLDEST")
CONFIG = yaml.safe_load("""
data:
  competition: understanding_clouds
  name: tiny
  folds: {k: 2, seed: 0}
  sample: {train: 8, test: 6, seed: 0, height: 96}
image: {size: [64, 96]}
name: both
training: {epochs: 2, batch_size: 4}
runs:
  - {name: plain, tta: [hflip], model: {family: plain_unet, options: {filters: [4, 8]}}}
  - {name: fpn, model: {family: fpn, options: {encoder: mobilenetv2, encoder_weights: none, filters: 8}}}
  - name: resnet
    model: {family: segmentation_models, options: {encoder_weights: none, decoder_filters: [8, 8, 8, 8, 8]}}
  - {name: bright, model: {family: colour_threshold, options: {feature: brightness}}}
classifier_gate:
  name: gate
  task: classification
  model: {family: efficientnet_classifier, options: {encoder_weights: none}}
  loss: {name: bce}
postprocess: {thresholds: 17, min_areas: [0, 20]}
bootstrap: 20
""")


@pytest.mark.usefixtures("own_data")
@pytest.mark.skipif(OLDEST is None, reason="needs an environment of the oldest versions; run make test-oldest")
def test_a_bundle_predicts_the_same_masks_in_the_oldest_versions(tmp_path):
    """Masks as stored differ by one level of 255 at most, probabilities of the classifier by 1e-4."""
    (tmp_path / "configs").mkdir()
    config = tmp_path / "configs" / "both.yaml"
    config.write_text(yaml.safe_dump(CONFIG))
    bundle, packages, out = tmp_path / "bundle", tmp_path / "packages", tmp_path / "out"
    assert main(["run", str(config), "--root", str(tmp_path)]) == 0
    assert main(["pack", str(config), "--out", str(bundle), "--root", str(tmp_path)]) == 0

    def run(*command: str | Path) -> None:
        env = {**os.environ, "PYTHONPATH": str(packages)}
        done = subprocess.run([OLDEST, "-m", *command], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    wheels = sorted((bundle / "wheels").glob("*.whl"))
    run("pip", "install", "--quiet", "--no-index", "--no-deps", "--target", packages, *wheels)
    data = tmp_path / "data/tiny"
    sample = ("--sample", data / "sample_submission.csv")
    run("skyfold", "predict", bundle, "--images", data / "test_images", "--out", out, *sample)
    for name in ("plain", "fpn", "resnet", "bright", "gate"):
        here = np.asarray(RowStore.open(tmp_path / "oof/tiny" / name / "test").values)
        there = np.asarray(RowStore.open(out / ".work/rows" / name).values)
        atol = 1 if here.dtype == np.uint8 else 1e-4
        np.testing.assert_allclose(there.astype(np.float32), here.astype(np.float32), rtol=0, atol=atol, err_msg=name)
    submitted = tmp_path / "submissions/tiny/both.csv"
    assert (out / "submission.csv").read_bytes() == submitted.read_bytes()
