"""Further outputs that a network has while it is trained, and that its stored weights and predictions know nothing of.

Each is a linear layer on maps inside the network, with a loss of its own: whether the image shows a class, said by the
deepest maps; and the masks, said by coarser maps of the decoder (Lee et al. 2015, "Deeply-supervised nets").
"""

from __future__ import annotations

from typing import Any

from skyfold.config.training import AuxLossesConfig
from skyfold.errors import ConfigError
from skyfold.models._softmax import log_odds


def with_aux_losses(model: Any, aux_losses: AuxLossesConfig, *, softmax: bool = False) -> Any:
    """`model`, image (B, H, W, C) to logits (B, H, W, K), with more outputs; its layers and weights are shared.

    Outputs: the model's own; with `classification` logits (B, K); with `deep_supervision` logits (B, H, W, K) of
    `levels` coarser maps, finest first; softmax: as log-odds, like the model's own. ConfigError where the network
    has no such maps.
    """
    import keras

    holder = next((layer for layer in model.layers if isinstance(layer, keras.Model)), model)
    maps = _coarser_maps(holder)
    wanted = aux_losses.levels if aux_losses.deep_supervision else 0
    if len(maps) < max(wanted, 1):
        raise ConfigError(
            f"aux_losses: the network has maps of {len(maps)} sizes below its output's, {max(wanted, 1)} are needed. "
            "Set aux_losses.levels lower, or remove aux_losses."
        )
    factors = list(maps)[:wanted]
    taps = [maps[factor] for factor in factors]
    if aux_losses.classification:
        taps.append(maps[max(maps)])
    image, logits, found = _tapped(model, holder, taps)
    classes = logits.shape[-1]
    outputs = [logits]
    if aux_losses.classification:
        outputs.append(_presence(found.pop(), classes))
    for number, (factor, coarse) in enumerate(zip(factors, found, strict=True), start=1):
        masks = _masks(coarse, image, classes, factor, f"deep{number}")
        outputs.append(log_odds(masks, classes) if softmax else masks)
    return keras.Model(image, outputs, name=f"{model.name}_with_heads")


def _coarser_maps(network: Any) -> dict[int, Any]:
    """The maps (B, h, w, channels) that `network` computes last of each size that its full size is a multiple of.

    Keys: how many times smaller than the full size, ascending. Maps of one pixel, which some networks pool, are left
    out.
    """
    import keras

    around = keras.layers.InputLayer | keras.layers.ZeroPadding2D | keras.layers.Cropping2D
    outputs: list[tuple[Any, Any]] = [
        (operation, getattr(operation, "output", None)) for operation in network.operations
    ]
    maps = [(operation, output) for operation, output in outputs if len(getattr(output, "shape", ())) == 4]
    computed = [
        output.shape[1:3]
        for operation, output in maps
        if isinstance(operation, keras.layers.Layer) and not isinstance(operation, around)
    ]
    height, width = max(computed, default=(0, 0))
    found = {}
    for _, output in maps:
        h, w = output.shape[1:3]
        if h * w > 1 and height % h == 0 and width % w == 0 and height // h == width // w > 1:
            found[height // h] = output
    return dict(sorted(found.items()))


def _tapped(model: Any, holder: Any, taps: list[Any]) -> tuple[Any, Any, list[Any]]:
    """Input and output of `model`, and the maps `taps` of the network `holder` within it, or that it is itself."""
    import keras

    if holder is model:
        return model.input, model.output, taps
    probe = keras.Model(holder.inputs, [holder.output, *taps])
    maps: list[Any] = []

    def call(layer: Any, *arguments: Any, **options: Any) -> Any:
        if layer is not holder:
            return layer(*arguments, **options)
        output, *found = probe(*arguments, **options)
        maps.extend(found)
        return output

    again = keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)
    return again.input, again.output, maps


def _presence(maps: Any, classes: int) -> Any:
    import keras

    pooled = keras.layers.GlobalAveragePooling2D(dtype="float32", name="head_presence_pooled")(maps)
    return keras.layers.Dense(classes, dtype="float32", name="head_presence")(pooled)


def _masks(maps: Any, image: Any, classes: int, factor: int, name: str) -> Any:
    """Logits of `maps`, enlarged by `factor` to the mirrored image, and of it what is the image itself."""
    import keras

    logits = keras.layers.Conv2D(classes, 1, dtype="float32", name=f"head_{name}")(maps)
    enlarged = keras.layers.UpSampling2D(
        factor, interpolation="bilinear", dtype="float32", name=f"head_{name}_enlarged"
    )(logits)
    height, width = image.shape[1:3]
    top, left = (enlarged.shape[1] - height) // 2, (enlarged.shape[2] - width) // 2
    return enlarged[:, top : top + height, left : left + width, :]
