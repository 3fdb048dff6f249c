"""SegFormer: as many parameters as published, the logits of transformers, any size and bands, and it learns."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytorch_tensors import image, tensor
from skyfold.config.run import RunConfig
from skyfold.config.training import AuxLossesConfig
from skyfold.errors import ConfigError
from skyfold.models import segformer
from skyfold.models._encoder_layers import encoder_layers
from skyfold.models._state_dict import Tensor
from skyfold.training import backend
from skyfold.training.aux_losses import with_aux_losses
from skyfold.training.input_normalization import normalization_of
from skyfold.training.losses.named import make_loss
from skyfold.training.losses.segmentation import MASK_LOSSES

pytestmark = pytest.mark.usefixtures("float32_backend")

# Names, shapes and logits (every 7th pixel) of transformers 5.24.0 for three classes (make_pytorch_encoders.py).
GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "golden" / "pytorch_encoders.json").read_text())[
    "transformers/mit_b0"
]


@pytest.fixture
def file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A file of MiT-B0 with decoder, under the names that `request.param` makes of the published ones."""
    (tmp_path / "model.safetensors").touch()
    shapes = {name: tuple(shape) for name, shape in GOLDEN["tensors"].items()}
    named = getattr(request, "param", str)
    tensors = {named(name): Tensor(shape, partial(tensor, name, shape)) for name, shape in shapes.items()}
    monkeypatch.setattr(segformer, "read_tensors", lambda path, key: tensors)
    return tmp_path / "model.safetensors"


def as_transformers_5(name: str) -> str:
    head, _, rest = name.partition("segformer.encoder.")
    return f"segformer.{segformer._renamed(rest)}" if rest else head.replace("linear_c", "linear_projections")


@pytest.mark.parametrize("file", [str, as_transformers_5], indirect=True)
def test_logits_are_those_of_transformers(file: Path) -> None:
    """Seen: differences of at most 2e-5; logits have a standard deviation of 1.4."""
    import keras

    model = segformer.SegFormer(encoder_weights=str(file)).build(input_shape=(64, 96, 3), classes=3)
    kernel, bias = (
        tensor(f"decode_head.classifier.{name}", shape) for name, shape in (("weight", (3, 256, 1, 1)), ("bias", (3,)))
    )
    model.get_layer("logits").set_weights([kernel.transpose(2, 3, 1, 0), bias])
    logits = np.asarray(keras.Model(model.input, model.get_layer("logits").output)(image()))[0]
    np.testing.assert_allclose(logits.reshape(-1, 3).T[:, ::7], GOLDEN["maps"], rtol=0, atol=1e-4)


# Of the encoder in the paper, in millions (Table 1a), and of the encoder and all with 150 classes in transformers.
PARAMETERS = {
    "mit_b0": (3.4, 3_319_392, 3_752_694),
    "mit_b1": (13.1, 13_151_424, 13_715_798),
    "mit_b2": (24.2, 24_196_288, 27_461_974),
    "mit_b3": (44.0, 44_072_128, 47_337_814),
    "mit_b4": (60.8, 60_842_688, 64_108_374),
    "mit_b5": (81.4, 81_443_008, 84_708_694),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.by_hand if name > "mit_b1" else ()) for name in PARAMETERS]
)
def test_parameters_are_as_many_as_published(name: str, without_values: None) -> None:
    published, encoder, whole = PARAMETERS[name]
    model = segformer.SegFormer(encoder=name).build(input_shape=(32, 32, 3), classes=150)
    assert sum(layer.count_params() for layer in encoder_layers(model)) == encoder
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == whole
    assert encoder / 1e6 == pytest.approx(published, abs=0.1)


@pytest.mark.parametrize("bands", [1, 5])
def test_images_of_any_size_and_bands_are_classified(bands: int, file: Path) -> None:
    model = segformer.SegFormer(encoder_weights=str(file)).build(input_shape=(41, 70, bands), classes=2)
    logits = np.asarray(model(np.random.default_rng(0).random((2, 41, 70, bands), dtype=np.float32)))
    assert (logits.shape, logits.dtype) == ((2, 41, 70, 2), np.float32)
    assert np.isfinite(logits).all()


def test_loss_falls_and_every_weight_learns() -> None:
    import keras

    backend.seed(0)
    # On images of half the size each query has one key, whose weight is 1 whatever the query.
    model = segformer.SegFormer().build(input_shape=(64, 64, 3), classes=1)
    rng = np.random.default_rng(0)
    images = rng.random((4, 64, 64, 3), dtype=np.float32)
    images[:, 16:48, :32] += 1
    target = np.zeros((4, 64, 64, 2), np.float32)
    target[:, 16:48, :32, 0] = 1
    target[..., 1] = 1
    loss = make_loss(MASK_LOSSES, "bce", {}, task="segmentation")
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss=loss, run_eagerly=True)
    before = [np.asarray(weight) for weight in model.trainable_weights]
    means = [float(model.train_on_batch(images, target)) for _ in range(3)]
    assert means[-1] < 0.9 * means[0]
    still = [w.path for w, old in zip(model.trainable_weights, before, strict=True) if np.array_equal(w, old)]
    assert all("key" in path and "bias" in path for path in still)  # a softmax does not see them


def test_a_file_of_another_size_is_refused_and_so_are_other_kinds(file: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"tensor segformer\.encoder\.patch_embeddings\.0\.proj\.weight has the shape"
    ):
        segformer.SegFormer(encoder="mit_b1", encoder_weights=str(file)).build(input_shape=(32, 32, 3), classes=1)
    for source in ("imagenet", "mit.h5"):
        with pytest.raises(ValueError, match="give a local file of the weights"):
            segformer.SegFormer(encoder_weights=source)


def test_without_a_file_any_normalization_will_do() -> None:
    config = {
        "name": "segformer",
        "data": {"competition": "any"},
        "image": {"size": (64, 64), "normalization": "per_image"},
        "model": {"family": "segformer"},
    }
    assert normalization_of(RunConfig.model_validate(config)) == "per_image"


def test_auxiliary_losses_find_its_maps() -> None:
    """Which the heads of the attention, (B, N, heads, d), are not."""
    model = segformer.SegFormer().build(input_shape=(32, 32, 3), classes=2)
    outputs = with_aux_losses(model, AuxLossesConfig(classification=0.1, deep_supervision=0.1)).outputs
    assert [output.shape[1:] for output in outputs] == [(32, 32, 2), (2,), (32, 32, 2), (32, 32, 2)]
