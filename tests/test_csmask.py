"""The encoder of ukis-csmask: what it sees in Keras is what it sees in onnxruntime, in three and four bands."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from skyfold.config.run import RunConfig
from skyfold.errors import ConfigError
from skyfold.models import _csmask, unet
from skyfold.models._encoders import encoder_maps
from skyfold.training.input_normalization import normalization_of

pytestmark = pytest.mark.usefixtures("float32_backend")

SIZE = 256  # the one that the package's network takes
OPTIONS = {"encoder": "efficientnetb4", "encoder_weights": "ukis_csmask"}
installed = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("ukis_csmask", "onnx", "onnxruntime")),
    reason="needs the extra: pip install -e .[weights]",
)


# The last layer of a group of blocks in Keras, and the node that ends the same block in the package.
ENDS = {
    "block1b_add": "/model/encoder/_blocks.1/Add",
    "block2d_add": "/model/encoder/_blocks.5/Add",
    "block3d_add": "/model/encoder/_blocks.9/Add",
    "block5f_add": "/model/encoder/_blocks.21/Add",
    "block7b_add": "/model/encoder/_blocks.31/Add",
}


def scene(bands: int) -> np.ndarray:
    """Soft bright patches over a darker ground, (1, 256, 256, bands), as data/normalization.py gives them."""
    rng = np.random.default_rng(0)
    coarse = rng.normal(size=(1, 16, 16, bands)).astype(np.float32)
    return coarse.repeat(16, axis=1).repeat(16, axis=2) + 0.1 * rng.normal(size=(1, SIZE, SIZE, bands)).astype(
        np.float32
    )


def in_onnxruntime(images: np.ndarray, nodes: list[str], *, bits: int) -> list[np.ndarray]:
    """What these nodes of the package's own network answer to images of blue, green, red, infrared; channels last.

    bits: 16, in which it computes, or 32, in which Keras computes with the same weights.
    """
    import onnx
    import onnxruntime

    model = onnx.load(_csmask.weights_file())
    if bits == 32:
        constants = [node.attribute[0].t for node in model.graph.node if node.op_type == "Constant"]
        for tensor in [*model.graph.initializer, *constants]:
            if tensor.data_type == onnx.TensorProto.FLOAT16:
                widened = onnx.numpy_helper.to_array(tensor).astype(np.float32)
                tensor.CopyFrom(onnx.numpy_helper.from_array(widened, tensor.name))
        for cast in (node.attribute[0] for node in model.graph.node if node.op_type == "Cast"):
            cast.i = onnx.TensorProto.FLOAT if cast.i == onnx.TensorProto.FLOAT16 else cast.i
        del model.graph.value_info[:]
    outputs = {node.name: node.output[0] for node in model.graph.node}
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(outputs[name]) for name in nodes)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    seen = {session.get_inputs()[0].name: images.transpose(0, 3, 1, 2)}
    answers = session.run([outputs[name] for name in nodes], seen)
    return [answer.astype(np.float32).transpose(0, 2, 3, 1) for answer in answers]


def in_keras(images: np.ndarray, layers: list[str]) -> list[np.ndarray]:
    import keras

    image = keras.Input(images.shape[1:])
    whole = keras.Model(image, encoder_maps(image, "efficientnetb4", weights="ukis_csmask").deep)
    return [np.asarray(map_) for map_ in keras.Model(image, [whole.get_layer(name).output for name in layers])(images)]


def test_without_its_weights_it_is_the_same_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Some layers pad as at the size that the package's network takes."""
    monkeypatch.setattr(_csmask, "weights_file", lambda: tmp_path)
    monkeypatch.setattr(_csmask, "_read", lambda file: {})
    monkeypatch.setattr(_csmask, "_of_layer", lambda layer, weights, prefix, bands: layer.get_weights())
    family = unet.Unet.model_validate(OPTIONS)
    built = [one.build(input_shape=(64, 64, 3), classes=1) for one in (family, family.without_pretrained_weights())]
    built[1].set_weights(built[0].get_weights())
    first, second = (np.asarray(network(scene(3)[:, :64, :64])) for network in built)
    assert first.std() > 0
    np.testing.assert_array_equal(first, second)


@installed
def test_keras_sees_what_onnxruntime_sees() -> None:
    """Seen: differences of at most 4e-5 of the deviation in 32 bits; of 3.3e-3 on average (r.m.s.) in the package's 16,
    where single values differ by up to 5e-3 of the largest."""
    images = scene(4)
    blue_first = images[..., [2, 1, 0, 3]]
    own = in_keras(images, list(ENDS))
    exact, rounded = (in_onnxruntime(blue_first, list(ENDS.values()), bits=bits) for bits in (32, 16))
    for name, seen, in32, in16 in zip(ENDS, own, exact, rounded, strict=True):
        assert seen.shape == in32.shape
        assert in32.std() > 0.1
        assert np.abs(seen - in32).max() < 1e-3 * in32.std(), name
        assert (seen - in16).std() < 1e-2 * in16.std(), name
        assert np.abs(seen - in16).max() < 1e-2 * np.abs(in16).max(), name


@installed
def test_a_scene_alike_in_all_bands_is_seen_alike_in_three_bands_and_four() -> None:
    grey = scene(1)
    three, four, one = (in_keras(grey.repeat(bands, axis=-1), ["block3d_add"])[0] for bands in (3, 4, 1))
    for other in (three, one):
        np.testing.assert_allclose(other, four, atol=1e-3 * four.std())


@installed
def test_a_network_of_four_bands_takes_the_weights_and_their_digest_is_known() -> None:
    family = unet.Unet(**OPTIONS)
    family.require()
    assert len(family.init_weights()) == 64
    assert family.input_normalization == "reflectance"
    assert normalization_of(run(normalization="encoder")) == "reflectance"
    with pytest.raises(ConfigError, match="ukis_csmask weights of this encoder, which were trained with reflectance"):
        normalization_of(run(normalization="unit"))


def run(*, normalization: str) -> RunConfig:
    return RunConfig.model_validate(
        {
            "name": "csmask",
            "data": {"competition": "any"},
            "image": {"size": (64, 64), "normalization": normalization},
            "model": {"family": "unet", "options": OPTIONS},
        }
    )


def test_the_infrared_of_a_kernel_is_shared_where_there_is_none() -> None:
    kernel = np.array([1.0, 2, 4, 9], np.float32).reshape(1, 1, 4, 1)  # blue, green, red, near infrared
    assert _csmask.for_bands(kernel, 4).ravel().tolist() == [4, 2, 1, 9]
    assert _csmask.for_bands(kernel, 3).ravel().tolist() == [7, 5, 4]
    np.testing.assert_allclose(_csmask.for_bands(kernel, 2).ravel(), [8, 8])
    np.testing.assert_allclose(_csmask.for_bands(kernel, 5).ravel(), 0.8 * np.array([4, 2, 1, 9, 4]))


def test_without_the_package_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_csmask, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install -e \.\[weights\]"):
        unet.Unet(**OPTIONS).require()
