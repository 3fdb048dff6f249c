"""Every encoder x decoder that the config accepts: it builds, takes a step, and its weights come back.

    nice pytest -m by_hand tests/test_every_encoder.py

writes the outcome to docs/encoders.md.
"""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest

from skyfold.models.segmentation_models import DECODERS, ENCODERS, SegmentationModels
from skyfold.training import backend
from skyfold.training.losses.named import make_loss
from skyfold.training.losses.segmentation import MASK_LOSSES

PAGE = Path(__file__).parents[1] / "docs/encoders.md"
ODD = (41, 50)

pytestmark = pytest.mark.by_hand


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("decoder", DECODERS)
def test_encoder_with_decoder(decoder, encoder, tmp_path):
    outcome = "fails"
    try:
        build_step_save_load(decoder, encoder, 4, tmp_path)
        parameters = build_step_save_load(decoder, encoder, 3, tmp_path)
        outcome = f"{parameters / 1e6:.1f} M"
    finally:
        record(encoder, decoder, outcome)


def build_step_save_load(decoder: str, encoder: str, bands: int, folder: Path) -> int:
    """Returns the number of parameters."""
    backend.start(deterministic=True)
    backend.prepare(precision="float32")
    gc.collect()

    def fresh():
        family = SegmentationModels(decoder=decoder, encoder=encoder, encoder_weights="none")
        return family.build(input_shape=(*ODD, bands), classes=2)

    backend.seed(1)
    model = fresh()
    rng = np.random.default_rng(0)
    images = rng.random((2, *ODD, bands), dtype=np.float32)
    target = np.ones((2, *ODD, 3), np.float32)
    target[..., :2] = rng.random((2, *ODD, 2)) > 0.5
    assert model.output_shape == (None, *ODD, 2)
    before = model.get_weights()
    # A step without a traced graph: tracing the largest takes minutes and proves nothing more.
    model.compile(optimizer="sgd", loss=make_loss(MASK_LOSSES, "bce_dice", {}, task="segmentation"), run_eagerly=True)
    assert np.isfinite(model.train_on_batch(images, target))
    assert any(not np.array_equal(old, new) for old, new in zip(before, model.get_weights(), strict=True))
    model.save_weights(folder / "a.weights.h5")
    backend.seed(2)
    again = fresh()
    again.load_weights(folder / "a.weights.h5")
    for one, two in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    return int(model.count_params())


def record(encoder: str, decoder: str, outcome: str) -> None:
    """Write one outcome into the table of the page, which has a row for each encoder."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    row = next(place for place, line in enumerate(lines) if line.startswith(f"| {encoder} |"))
    cells = lines[row].split("|")
    cells[2 + list(DECODERS).index(decoder)] = f" {outcome} "
    lines[row] = "|".join(cells)
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")
