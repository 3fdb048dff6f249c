"""The families that take any encoder: they learn, are saved and loaded, and take weights that were learned before."""

from __future__ import annotations

import gc
import hashlib

import numpy as np
import pytest

from skyfold import plugins
from skyfold.errors import ConfigError
from skyfold.models import _weights, deeplabv3plus, fpn, hrnet, unet
from skyfold.models._encoders import ENCODERS, REFUSED, encoder_maps
from skyfold.training import backend
from skyfold.training.losses.named import make_loss
from skyfold.training.losses.segmentation import MASK_LOSSES

pytestmark = pytest.mark.usefixtures("float32_backend")

MOBILE = {"encoder": "mobilenetv2", "encoder_weights": "none"}
VGG = {"encoder": "vgg16", "encoder_weights": "none"}  # has few layers, and is built and traced in no time
FAMILIES = {
    "deeplabv3plus": (deeplabv3plus, {"filters": 16, "outline_filters": 8}),
    "hrnet": (hrnet, {"encoder": "hrnet_w4_small", "encoder_weights": "none"}),
    "unet": (unet, {"decoder_filters": (16, 8, 8, 8, 8)}),
    "fpn": (fpn, {"pyramid_filters": 16, "filters": 8}),
}


def pixels(count: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).random((count, *shape), dtype=np.float32)


def built(family: str, encoder: dict[str, str], shape: tuple[int, int, int], classes: int):
    """With this encoder; the family hrnet with its own."""
    module, small = FAMILIES[family]
    return module.PLUGIN(**{**encoder, **small}).build(input_shape=shape, classes=classes)


@pytest.mark.parametrize("family", FAMILIES)
def test_loss_falls_on_eight_samples(family):
    import keras

    backend.seed(0)
    model = built(family, VGG, (32, 32, 3), 1)
    images = pixels(8, (32, 32, 3))
    images[:, 8:24, :16] += 1  # what is to be found
    target = np.zeros((8, 32, 32, 2), np.float32)
    target[:, 8:24, :16, 0] = 1
    target[..., 1] = 1  # every pixel counts
    loss = make_loss(MASK_LOSSES, "bce", {}, task="segmentation")
    model.compile(optimizer=keras.optimizers.SGD(0.3), loss=loss, run_eagerly=True)
    before = [np.asarray(weight) for weight in model.trainable_weights]
    means = [float(model.train_on_batch(images, target)) for _ in range(2)]  # of the steps so far
    assert means[-1] < 0.9 * means[0]
    for weight, old in zip(model.trainable_weights, before, strict=True):
        assert not np.array_equal(weight, old), f"{weight.path} does not learn"


@pytest.mark.parametrize(("family", "encoder"), [("deeplabv3plus", MOBILE), ("unet", VGG), ("fpn", VGG)])
def test_saved_model_and_saved_weights_give_the_same_logits(family, encoder, tmp_path):
    import keras

    images = pixels(1, (40, 33, 4))

    def fresh(seed):
        backend.seed(seed)
        return built(family, encoder, (40, 33, 4), 2)

    first, second = fresh(1), fresh(2)
    expected = np.asarray(first(images))
    assert not np.array_equal(expected, second(images))
    first.save_weights(tmp_path / "a.weights.h5")
    second.load_weights(tmp_path / "a.weights.h5")
    np.testing.assert_array_equal(expected, second(images))
    first.save(tmp_path / "a.keras")
    whole = keras.saving.load_model(tmp_path / "a.keras", compile=False, safe_mode=True)
    np.testing.assert_array_equal(expected, whole(images))


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_computed_in_float32_under_bfloat16(family):
    backend.prepare(precision="bfloat16")
    model = built(family, VGG, (32, 32, 3), 2)
    computed = {layer.name: layer.compute_dtype for layer in model.layers if layer.weights}
    assert computed.pop("logits") == "float32"
    assert set(computed.values()) == {"bfloat16"}
    logits = np.asarray(model(pixels(1, (32, 32, 3))))
    assert logits.dtype == np.float32
    rounded = (logits.view(np.uint32) & 0xFFFF) == 0  # a bfloat16 number is a float32 with 16 zero bits
    assert rounded.mean() < 0.5


def test_batchnorm_momentum_is_set_everywhere(without_values):
    import keras

    model = deeplabv3plus.DeepLabV3Plus(batchnorm_momentum=0.5, **VGG, **FAMILIES["deeplabv3plus"][1]).build(
        input_shape=(32, 32, 3), classes=1
    )
    momenta = {layer.momentum for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)}
    assert momenta == {0.5}


def test_unet_has_as_many_parameters_as_that_of_segmentation_models(without_values):
    """8.0 M with MobileNetV2 (docs/encoders.md); theirs differs by the bias of the last convolution at most."""
    segmentation_models = plugins.load("models", "segmentation_models")
    theirs = segmentation_models.SegmentationModels(decoder="unet", **MOBILE).build(input_shape=(32, 32, 3), classes=2)
    ours = unet.Unet(**MOBILE).build(input_shape=(32, 32, 3), classes=2)
    assert ours.count_params() == pytest.approx(theirs.count_params(), rel=1e-3)


def test_encoder_keeps_the_weights_of_its_file_and_adapts_them_to_the_bands(tmp_path):
    import keras

    source = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(64, 64, 3))
    source.save_weights(tmp_path / "MobileNet-V2.weights.h5")

    def maps(bands):
        image = keras.Input((64, 64, bands))
        found = encoder_maps(image, "mobilenetv2", weights=str(tmp_path))
        return keras.Model(image, found.deep)

    grey = pixels(1, (64, 64, 1))
    colour = np.repeat(grey, 3, axis=-1)
    np.testing.assert_allclose(maps(3)(colour), source(colour), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(maps(1)(grey), source(colour), rtol=1e-3, atol=1e-4)


def test_file_with_other_layers_is_refused_with_what_keras_found(tmp_path):
    import keras

    keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]).save_weights(tmp_path / "dense.weights.h5")
    with pytest.raises(ConfigError, match=r"dense.weights.h5 do not fit mobilenetv2 \(.*(layers|variables).*\)"):
        unet.Unet(encoder="mobilenetv2", encoder_weights=str(tmp_path / "dense.weights.h5")).build(
            input_shape=(32, 32, 3), classes=1
        )


def test_folder_of_weights_is_searched_by_the_encoders_name(tmp_path):
    for name in ("resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5", "resnet50v2_weights_notop.h5", "b.h5"):
        (tmp_path / name).write_bytes(name.encode())

    def found(what):
        return _weights.weights_file(str(tmp_path), what=what).name

    assert found("resnet50").startswith("resnet50_weights")
    assert found("resnet50v2").startswith("resnet50v2")
    with pytest.raises(ConfigError, match=r"encoder_weights: .* has no file of resnet101 \(b.h5, resnet50_weights"):
        found("resnet101")
    (tmp_path / "ResNet50.weights.h5").write_bytes(b"")
    with pytest.raises(ConfigError, match="several files of resnet50"):
        found("resnet50")


def test_digest_is_that_of_the_file_used(tmp_path):
    file = tmp_path / "mobilenetv2.weights.h5"
    file.write_bytes(b"weights")
    expected = hashlib.sha256(b"weights").hexdigest()
    for source in (file, tmp_path):
        assert unet.Unet(encoder="mobilenetv2", encoder_weights=str(source)).init_weights() == expected
    assert unet.Unet(encoder_weights="none").init_weights() == ""


def test_every_encoder_of_keras_applications_is_accepted_or_refused_by_name():
    import keras

    constructors = {
        name.lower()
        for name in dir(keras.applications)
        if callable(getattr(keras.applications, name)) and name[0].isupper()
    }
    assert constructors <= {*ENCODERS, *REFUSED}
    assert not set(ENCODERS) & set(REFUSED)


@pytest.mark.by_hand
@pytest.mark.parametrize(
    ("name", "stride"), sorted({(n, s) for n, e in ENCODERS.items() for s in (e.least_stride, 32)})
)
def test_encoder_builds_at_the_output_strides_it_claims(name, stride):
    """Minutes in all: nice pytest -m by_hand tests/test_encoder_families.py"""
    import keras

    gc.collect()
    image = keras.Input((64, 96, 4))
    maps = encoder_maps(image, name, weights="none", output_stride=stride)
    for nominal, found in maps.by_stride.items():
        own = min(nominal, stride)
        assert tuple(found.shape[1:3]) == (64 // own, 96 // own)
    deep = np.asarray(keras.Model(image, maps.deep)(pixels(1, (64, 96, 4))))
    assert np.isfinite(deep).all()
