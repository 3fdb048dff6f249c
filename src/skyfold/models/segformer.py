"""SegFormer (Xie et al., arXiv:2105.15203): a hierarchical transformer, MiT-B0 to B5, and a decoder of MLPs."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import field_validator

from skyfold.config.fields import BelowOne
from skyfold.config.options import one_of
from skyfold.errors import ConfigError
from skyfold.models import WEIGHTS_KEY, _blocks
from skyfold.models._encoder_layers import mark_encoder
from skyfold.models._pytorch_layers import Naming, layer_weights, load_pytorch
from skyfold.models._tensor_files import SUFFIXES, read_tensors
from skyfold.models._weights import PretrainedFamily, is_of_pytorch, weights_file


class _Size(NamedTuple):
    """Blocks and channels of each stage, channels of the decoder."""

    blocks: tuple[int, int, int, int]
    channels: tuple[int, int, int, int]
    decoder: int


_WIDE = (64, 128, 320, 512)
SIZES = {
    "mit_b0": _Size((2, 2, 2, 2), (32, 64, 160, 256), 256),
    "mit_b1": _Size((2, 2, 2, 2), _WIDE, 256),
    "mit_b2": _Size((3, 4, 6, 3), _WIDE, 768),
    "mit_b3": _Size((3, 4, 18, 3), _WIDE, 768),
    "mit_b4": _Size((3, 8, 27, 3), _WIDE, 768),
    "mit_b5": _Size((3, 6, 40, 3), _WIDE, 768),
}
_HEADS, _REDUCTIONS = (1, 2, 5, 8), (8, 4, 2, 1)  # of attention, by stage
_MULTIPLE = 32
# Names since transformers 5, where they differ from those of the files on the Hugging Face Hub.
_RENAMED = (
    (r"^patch_embeddings\.(\d+)", r"stages.\1.patch_embeddings"),
    (r"^block\.(\d+)", r"stages.\1.blocks"),
    (r"^layer_norm\.(\d+)", r"stages.\1.layer_norm"),
    (r"self\.query", "q_proj"),
    (r"self\.key", "k_proj"),
    (r"self\.value", "v_proj"),
    (r"self\.sr", "sequence_reduction.sequence_reduction"),
    (r"self\.layer_norm", "sequence_reduction.layer_norm"),
    (r"output\.dense", "o_proj"),
    (r"mlp\.dense", "mlp.fc"),
    (r"layer_norm_1", "layernorm_before"),
    (r"layer_norm_2", "layernorm_after"),
)


class SegFormer(PretrainedFamily):
    """encoder          mit_b0 to mit_b5
    encoder_weights  none, or a local file as published for transformers (nvidia/mit-b0, or segformer-b0-finetuned-...,
                     whose decoder is taken, too, but for its classes); ImageNet's are not published for Keras
    dropout          rate, of the decoder's joined maps
    drop_path        rate of stochastic depth of the last block; that of the first is 0
    """

    takes_pytorch: ClassVar[tuple[str, ...]] = tuple(SIZES)
    encoder: Annotated[str, one_of(SIZES)] = "mit_b0"
    encoder_weights: str = "none"
    dropout: BelowOne = 0.1
    drop_path: BelowOne = 0.1

    @field_validator("encoder_weights")
    @classmethod
    def _weights_are_a_file(cls, source: str) -> str:
        if source != "none" and not is_of_pytorch(source):
            raise ValueError(
                f"{source}: give a local file of the weights ({', '.join(SUFFIXES)}), or none for random weights"
            )
        return source

    @property
    def input_normalization(self) -> str:
        return "torch"

    def build(self, *, input_shape: tuple[int, int, int], classes: int) -> Any:
        """A keras.Model from (H, W, C), any size and number of bands, to logits (H, W, K), float32 under any precision.

        They are computed at a quarter of the size.
        """
        from skyfold.models import _padding

        model = _padding.padded_model(
            input_shape,
            lambda image: self._logits(image, classes),
            multiple=_MULTIPLE,
            name=f"segformer_{self.encoder}",
            batchnorm_momentum=self.batchnorm_momentum,
        )
        if self.encoder_weights != "none":
            self._load(model)
        return model

    def _logits(self, image: Any, classes: int) -> Any:
        import keras

        size, stages = SIZES[self.encoder], _stages(image, SIZES[self.encoder], self.drop_path)
        joined = []
        for stage, maps in enumerate(stages):
            x = keras.layers.Dense(size.decoder, name=f"decode_head.linear_c.{stage}.proj")(maps)
            joined.append(_blocks.upsampled(x, 2**stage, name=f"decode_head.enlarged.{stage}"))
        x = keras.layers.Concatenate(name="decode_head.joined")(joined[::-1])
        x = keras.layers.Conv2D(size.decoder, 1, use_bias=False, name="decode_head.linear_fuse")(x)
        x = keras.layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name="decode_head.batch_norm")(x)
        x = keras.layers.ReLU(name="decode_head.relu")(x)
        x = keras.layers.Dropout(self.dropout, name="decode_head.dropout")(x)
        return _blocks.logits(x, classes, 4)

    def _load(self, model: Any) -> None:
        """Set the weights of the encoder to those of the file, and, where it has one, those of the decoder."""
        import keras

        file = weights_file(self.encoder_weights, what=self.encoder)
        tensors = read_tensors(file, key=WEIGHTS_KEY)
        layers = {layer.name: layer for layer in model.layers}
        last = layers[f"layer_norm.{len(_HEADS) - 1}"]
        encoder = keras.Model(model.input, last.output)
        names = [layer.name for layer in model.layers if layer.weights]
        published = {name: name for name in names}
        renamed = {name: _renamed(name) for name in names}
        namings = [Naming("transformers", published), Naming("transformers 5", renamed)]
        load_pytorch(encoder, tensors, namings, file=file, what=self.encoder)
        for name in names:
            spelled = (name, name.replace("linear_c", "linear_projections"))
            prefix = next((each for each in spelled if f"{each}.weight" in tensors), None)
            if not name.startswith("decode_head.") or prefix is None:
                continue
            values = layer_weights(layers[name], prefix, lambda key: tensors[key].read())
            if [value.shape for value in values] != [tuple(weight.shape) for weight in layers[name].weights]:
                raise ConfigError(f"{WEIGHTS_KEY}: {file}: {prefix} is of another size than that of {self.encoder}.")
            layers[name].set_weights(values)


PLUGIN = SegFormer


def _stages(image: Any, size: _Size, drop_path: float) -> list[Any]:
    """The maps of strides 4, 8, 16 and 32 of images (B, H, W, C) whose sides are multiples of 32."""
    import keras

    x, found, total, done = image, [], sum(size.blocks), 0
    for stage, (blocks, channels) in enumerate(zip(size.blocks, size.channels, strict=True)):
        kernel, stride = (3, 2) if stage else (7, 4)
        x = keras.layers.ZeroPadding2D(kernel // 2, name=f"patch_embeddings.{stage}.pad")(x)
        x = _learned(keras.layers.Conv2D(channels, kernel, stride, name=f"patch_embeddings.{stage}.proj"), x)
        x = _norm(x, f"patch_embeddings.{stage}.layer_norm")
        for index in range(blocks):
            rate, block = drop_path * done / max(total - 1, 1), f"block.{stage}.{index}"
            change = _norm(x, f"{block}.layer_norm_1")
            change = _attention(change, f"{block}.attention", _HEADS[stage], _REDUCTIONS[stage])
            x = _residual(x, change, rate, f"{block}.attention")
            x = _residual(x, _mix_ffn(_norm(x, f"{block}.layer_norm_2"), f"{block}.mlp"), rate, f"{block}.mlp")
            done += 1
        x = _norm(x, f"layer_norm.{stage}")
        found.append(x)
    return found


def _attention(x: Any, name: str, heads: int, reduction: int) -> Any:
    """Self-attention of each pixel with maps that a convolution has made `reduction` times smaller."""
    import keras

    height, width, channels = x.shape[1:]
    keys = x
    if reduction > 1:
        keys = _learned(keras.layers.Conv2D(channels, reduction, reduction, name=f"{name}.self.sr"), keys)
        keys = _norm(keys, f"{name}.self.layer_norm")

    def parts(maps: Any, part: str) -> Any:
        projected = _learned(keras.layers.Dense(channels, name=f"{name}.self.{part}"), maps)
        return keras.ops.reshape(projected, (-1, maps.shape[1] * maps.shape[2], heads, channels // heads))

    attended = keras.ops.dot_product_attention(parts(x, "query"), parts(keys, "key"), parts(keys, "value"))
    attended = keras.layers.Reshape((height, width, channels), name=f"{name}.joined")(attended)
    return _learned(keras.layers.Dense(channels, name=f"{name}.output.dense"), attended)


def _mix_ffn(x: Any, name: str) -> Any:
    """A feed-forward network with a depthwise convolution, which tells it of positions."""
    import keras

    channels = x.shape[-1]
    x = _learned(keras.layers.Dense(4 * channels, name=f"{name}.dense1"), x)
    x = _learned(keras.layers.DepthwiseConv2D(3, padding="same", name=f"{name}.dwconv.dwconv"), x)
    x = keras.layers.Activation("gelu", name=f"{name}.gelu")(x)
    return _learned(keras.layers.Dense(channels, name=f"{name}.dense2"), x)


def _residual(x: Any, change: Any, rate: float, name: str) -> Any:
    """The sum; while training, the change of an image is left out with the probability `rate` (stochastic depth)."""
    import keras

    change = keras.layers.Dropout(rate, noise_shape=(None, 1, 1, 1), name=f"{name}.drop_path")(change)
    return keras.layers.Add(name=f"{name}.add")([x, change])


def _norm(x: Any, name: str) -> Any:
    import keras

    return _learned(keras.layers.LayerNormalization(epsilon=1e-5, name=name), x)


def _learned(layer: Any, x: Any) -> Any:
    mark_encoder([layer])
    return layer(x)


def _renamed(name: str) -> str:
    for pattern, replacement in _RENAMED:
        name = re.sub(pattern, replacement, name)
    return name
