"""Every encoder x decoder that the config accepts: it builds, takes a step, and its weights come back.

    nice pytest -m by_hand tests/test_every_encoder.py

writes the outcome to docs/encoders.md.
"""

from __future__ import annotations

import gc
import re
from pathlib import Path

import numpy as np
import pytest

from skyfold.models.segmentation_models import DECODERS, ENCODERS, REFUSED, SegmentationModels
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
    """Put one outcome into the table of the page, which is written anew after every case."""
    found = read_table()
    found[encoder, decoder] = outcome
    lines = [
        "# Encoders of segmentation_models",
        "",
        "Values of `model.options.encoder` and `decoder` of the family `segmentation_models` (U-Net, LinkNet, FPN,",
        f"PSPNet). Each pair was built for 3 and 4 bands at {ODD[0]} x {ODD[1]} pixels and took one "
        "training step; its weights were saved",
        "and loaded into a newly built model. The cells are numbers of parameters.",
        "`nice pytest -m by_hand tests/test_every_encoder.py` measures them again. The other families and their",
        "encoders: [Model architectures](architectures.md).",
        "",
        f"| encoder | {' | '.join(DECODERS)} |",
        f"|---|{'---|' * len(DECODERS)}",
    ]
    for name in ENCODERS:
        cells = [found.get((name, kind), "not tried") for kind in DECODERS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", "Encoders refused when the config is read:", ""]
    lines += [f"- `{name}`: {reason}." for name, reason in REFUSED.items()]
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_table() -> dict[tuple[str, str], str]:
    if not PAGE.is_file():
        return {}
    rows = [re.findall(r"[^|]+", line) for line in PAGE.read_text(encoding="utf-8").splitlines() if line[:2] == "| "]
    return {
        (row[0].strip(), kind): cell.strip()
        for row in rows
        if row[0].strip() in ENCODERS
        for kind, cell in zip(DECODERS, row[1:], strict=True)
    }
