"""A network is trained on the fractions of soft labels where the config says so."""

import cv2
import numpy as np
import pytest

from skyfold.cli.main import main
from skyfold.config.files import load_run
from skyfold.data.cache import reduce_fractions
from skyfold.errors import ConfigError
from skyfold.metrics.segmentation import MeanDice
from skyfold.tasks.open_run import open_run
from skyfold.tasks.segmentation import MaskScore
from skyfold.workspace import Workspace

CONFIG = """
data:
  competition: mask_folder
  name: votes
  options: {{classes: {{cloud: 255}}, masks: {{files: "{{annotator}}/{{id}}.png", annotators: [ann, bob, cho, dee]}}}}
  folds: {{k: 2, phash_max_distance: -1}}
name: net
image: {{size: [16, 16]}}
model: {{family: plain_unet, options: {{filters: [4, 8]}}}}
loss: {{name: {loss}}}
training: {{epochs: 1, batch_size: 2, soft_labels: {soft}}}
"""


def project(root, *, loss="bce", soft="true"):
    """Four images; the rows of each that are cloud to all, three, two, one and none of four people."""
    for i in range(4):
        (root / "data" / "votes" / "images").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / "data" / "votes" / "images" / f"{i}.png"), np.full((16, 16, 3), 40 * i, np.uint8))
        for rows, name in zip((12, 9, 6, 3), ("ann", "bob", "cho", "dee"), strict=True):
            folder = root / "data" / "votes" / "masks" / name
            folder.mkdir(parents=True, exist_ok=True)
            mask = np.zeros((16, 16), np.uint8)
            mask[:rows] = 255
            cv2.imwrite(str(folder / f"{i}.png"), mask)
    (root / "net.yaml").write_text(CONFIG.format(loss=loss, soft=soft))
    return root / "net.yaml"


def test_the_loss_reads_fractions_and_the_score_masks_decided_at_one_half(tmp_path):
    path = project(tmp_path)
    assert main(["prepare", str(path), "--root", str(tmp_path)]) == 0
    config = load_run(path)
    run = open_run(config, Workspace(tmp_path))
    stored = run.arrays["train"].targets[0]
    assert stored[:, 0, 0].tolist() == [255] * 3 + [191] * 3 + [127] * 3 + [64] * 3 + [0] * 4
    assert stored[..., 1].all()
    labels = run.task.labels(stored[np.newaxis])
    assert labels.dtype == np.float32
    np.testing.assert_allclose(labels[0, [0, 4, 7, 10, 14], 0, 0], [1, 0.75, 0.5, 0.25, 0], atol=0.002)
    logits = np.full((1, 16, 16, 1), -1.0)
    logits[:, :6] = 1
    both, pred, target = MaskScore(MeanDice()).stats(labels, logits)[0] / 16
    assert (both, pred, target) == (6, 6, 6)  # two of four is not more than one half


def test_a_network_is_trained_on_them(tmp_path):
    path = project(tmp_path, loss="bce_dice")
    assert main(["prepare", str(path), "--root", str(tmp_path)]) == 0
    assert main(["train", str(path), "--root", str(tmp_path)]) == 0


def test_fractions_are_averaged_over_the_valid_area():
    fractions = np.array([[1.0, 0.5], [0.0, 0.2]], dtype=np.float32)[..., None]
    assert reduce_fractions(fractions, None, (1, 1)).ravel().tolist() == [round(255 * 1.7 / 4), 1]
    valid = np.array([[True, True], [True, False]])
    assert reduce_fractions(fractions, valid, (1, 1)).ravel().tolist() == [127, 1]


def test_what_does_not_go_with_soft_labels_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"training\.soft_labels: not supported with loss\.name: lovasz; remove one"):
        load_run(project(tmp_path, loss="lovasz"))
    path = project(tmp_path)
    for name in ("ann", "bob", "cho", "dee"):
        for file in (tmp_path / "data" / "votes" / "masks" / name).iterdir():
            file.rename(tmp_path / "data" / "votes" / "masks" / file.name)
    text = path.read_text().replace(', masks: {files: "{annotator}/{id}.png", annotators: [ann, bob, cho, dee]}', "")
    path.write_text(text)
    assert main(["prepare", str(path), "--root", str(tmp_path)]) == 0
    with pytest.raises(ConfigError, match="the ground truth of these data has no fractions"):
        open_run(load_run(path), Workspace(tmp_path))
