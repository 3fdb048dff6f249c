"""Auxiliary losses and deep supervision: more outputs of a network while it is trained, each with a loss of its own.

Image labels are predicted from the deepest maps, masks from coarser maps of the decoder, each by one linear layer (Lee
et al. 2015, "Deeply-supervised nets"). Stored weights and predictions are those of the network without them.
"""

from __future__ import annotations

from typing import Any

from skyfold.config.training import AuxLossesConfig
from skyfold.errors import ConfigError
from skyfold.models._softmax import log_odds
from skyfold.training.losses.named import Loss
from skyfold.training.losses.segmentation import image_label_bce


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
        pooled = keras.layers.GlobalAveragePooling2D(dtype="float32", name="head_presence_pooled")(found.pop())
        outputs.append(keras.layers.Dense(classes, dtype="float32", name="head_presence")(pooled))
    for number, (factor, coarse) in enumerate(zip(factors, found, strict=True), start=1):
        masks = _masks(coarse, image, classes, factor, f"deep{number}")
        outputs.append(log_odds(masks, classes) if softmax else masks)
    return keras.Model(image, outputs, name=f"{model.name}_with_heads")


def losses_of_outputs(
    aux_losses: AuxLossesConfig | None, loss: Loss, outputs: int
) -> tuple[Loss | list[Loss], list[float] | None]:
    """Losses of the `outputs` of `with_aux_losses`, and their weights; `loss` is that of the masks.

    The weight of deep supervision is divided evenly among its maps.
    """
    if aux_losses is None:
        return loss, None
    labels = [image_label_bce] if aux_losses.classification else []
    deep = outputs - 1 - len(labels)
    weights = [1.0, *[aux_losses.classification] * len(labels), *[aux_losses.deep_supervision / max(deep, 1)] * deep]
    return [loss, *labels, *[loss] * deep], weights


def _coarser_maps(network: Any) -> dict[int, Any]:
    """The maps (B, h, w, channels) that `network` computes last of each size that its full size is a multiple of.

    Keys: how many times smaller than the full size, ascending. Maps of one pixel, which some networks pool, are left
    out.
    """
    import keras

    around = keras.layers.InputLayer | keras.layers.ZeroPadding2D | keras.layers.Cropping2D
    maps = [each for each in network.operations if len(getattr(getattr(each, "output", None), "shape", ())) == 4]
    layers = [each for each in maps if isinstance(each, keras.layers.Layer) and not isinstance(each, around)]
    height, width = max((layer.output.shape[1:3] for layer in layers), default=(0, 0))
    found = {}
    for output in (each.output for each in maps):
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
