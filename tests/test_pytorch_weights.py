"""Weights of PyTorch's libraries: their networks and Keras' see the same; a file of another network is explained."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytorch_tensors import image, tensor
from skyfold.errors import ConfigError
from skyfold.models import _encoders, efficientnet_classifier, encoder_classifier, unet
from skyfold.models._encoders import encoder_maps
from skyfold.models._state_dict import Tensor

pytestmark = pytest.mark.usefixtures("float32_backend")

# Names, shapes and maps (every 37th channel) that torchvision 0.28.0 and timm 1.0.31 have (make_pytorch_encoders.py).
GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "golden" / "pytorch_encoders.json").read_text())
ENCODERS = {
    "torchvision/resnet18": "resnet18",
    "torchvision/resnet50": "resnet50",
    "torchvision/efficientnet_b0": "efficientnetb0",
    "torchvision/mobilenet_v3_small": "mobilenetv3small",
    "torchvision/mobilenet_v3_large": "mobilenetv3large",
    "torchvision/convnext_tiny": "convnexttiny",
    "timm/efficientnet_b0": "efficientnetb0",
    "timm/tf_efficientnet_b0": "efficientnetb0",
    "timm/mobilenetv3_large_100": "mobilenetv3large",
    "timm/convnext_tiny": "convnexttiny",
}
BY_HAND = ("torchvision/resnet50", "torchvision/mobilenet_v3_large", "timm/efficientnet_b0", "timm/convnext_tiny")


def tensors_of(name: str) -> dict[str, Tensor]:
    shapes = GOLDEN[name]["tensors"]
    return {key: Tensor(tuple(shape), partial(tensor, key, tuple(shape))) for key, shape in shapes.items()}


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """stored(tensors, name): a file that holds these tensors where it is read."""
    held: dict[str, dict[str, Tensor]] = {}

    def store(tensors: dict[str, Tensor], name: str = "weights.pth") -> Path:
        (tmp_path / name).touch()
        held[name] = tensors
        return tmp_path / name

    monkeypatch.setattr(_encoders, "read_tensors", lambda path, key: held[path.name])
    return store


def maps_of(encoder: str, file: Path | str, images: np.ndarray) -> np.ndarray:
    import keras

    inputs = keras.Input(images.shape[1:])
    return np.asarray(keras.Model(inputs, encoder_maps(inputs, encoder, weights=str(file)).deep)(images))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.by_hand if name in BY_HAND else ()) for name in ENCODERS]
)
def test_keras_sees_what_pytorch_sees(name: str, stored: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Seen: differences of at most 2e-5 of the deviation of the maps."""
    tensors = tensors_of(name)
    file = stored({f"module.{key}": value for key, value in tensors.items()}, f"{name.rpartition('/')[2]}.pth")
    maps = maps_of(ENCODERS[name], file, image())[0]
    channels = maps.reshape(-1, maps.shape[-1]).T[::37]
    np.testing.assert_allclose(channels, GOLDEN[name]["maps"], rtol=0, atol=1e-4 * GOLDEN[name]["deviation"])
    counted = [key for key in tensors if not key.endswith("num_batches_tracked")]
    of_top = 4 if "mobilenet" in name else 2
    assert f"{file.name}: {len(counted) - of_top} of its {len(counted)}" in capsys.readouterr().err


def test_a_file_of_another_network_is_refused_with_what_is_missing(stored: Any) -> None:
    file = stored(tensors_of("torchvision/resnet18"))
    with pytest.raises(ConfigError, match=r"has 100 of the 180 tensors of resnet34.*missing: layer1\.2\.conv1\.weight"):
        maps_of("resnet34", file, image())
    tensors = tensors_of("torchvision/resnet18")
    del tensors["layer4.1.bn2.running_var"]
    with pytest.raises(ConfigError, match=r"has 99 of the 100 tensors of resnet18.*missing: layer4\.1\.bn2\.run"):
        maps_of("resnet18", stored(tensors), image())
    tensors = tensors_of("torchvision/resnet18")
    tensors["layer1.0.conv1.weight"] = Tensor((64, 64, 1, 1), partial(np.zeros, 1))
    with pytest.raises(ConfigError, match=r"tensor layer1\.0\.conv1\.weight has the shape \(64, 64, 1, 1\), that of"):
        maps_of("resnet18", stored(tensors), image())


def test_the_first_kernel_is_adapted_to_the_bands(stored: Any) -> None:
    grey = np.ascontiguousarray(image()[..., :1])
    file = stored(tensors_of("torchvision/resnet18"))
    colour, single = (maps_of("resnet18", file, images) for images in (grey.repeat(3, axis=-1), grey))
    np.testing.assert_allclose(single, colour, rtol=0, atol=1e-4 * colour.std())


def test_without_its_weights_it_is_the_same_network_and_reads_no_file(stored: Any) -> None:
    file = stored(tensors_of("torchvision/mobilenet_v3_small"))
    family = encoder_classifier.EncoderClassifier(encoder="mobilenetv3small", encoder_weights=str(file))
    assert family.input_normalization == "torch"
    first = family.build(input_shape=(40, 64, 3), classes=2)
    file.unlink()
    second = family.without_pretrained_weights().build(input_shape=(40, 64, 3), classes=2)
    second.set_weights(first.get_weights())
    images = image()[:, :40, :64]
    np.testing.assert_array_equal(np.asarray(first(images)), np.asarray(second(images)))


def test_a_file_is_known_by_what_it_holds_and_refused_where_no_names_are_known(tmp_path: Path) -> None:
    file = tmp_path / "resnet50.safetensors"
    file.write_bytes(b"weights")
    family = unet.Unet(encoder="resnet50", encoder_weights=str(file))
    family.require()
    assert len(family.init_weights()) == 64
    for kind, encoder in ((unet.Unet, "vgg16"), (efficientnet_classifier.EfficientNetClassifier, "efficientnetb0")):
        with pytest.raises(ValueError, match=r"resnet50\.safetensors: \.pth, .* are read in the families"):
            kind(encoder=encoder, encoder_weights=str(file))
