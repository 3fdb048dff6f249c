"""Losses for masks and for presence, from logits, in `keras.ops` alone.

Masks: target (B, H, W, K + 1), planes 0 .. K - 1 the masks, the last 1 where a pixel counts; logits (B, H, W, K).
Undefined pixels enter no sum and no count. Presence: target and logits (B, K). Each loss is one number, 0 where no
pixel counts.

Options that several losses share: class_weights, a factor for each class, by which its loss is multiplied before the
mean over classes; ohem_fraction, the share of the counting pixels of a batch, those with the highest loss, over which
the
mean is taken (Shrivastava, Gupta and Girshick 2016, "Training region-based object detectors with online hard example
mining"; pixels that tie with the last of them are taken too).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator

from skyfold.config.fields import Fraction, NonNegative, PositiveFraction
from skyfold.errors import ConfigError
from skyfold.training.losses.named import Loss, named_loss


def _not_all_zero(factors: tuple[float, ...]) -> tuple[float, ...]:
    if not any(factors):
        raise ValueError("give factors that are not all 0")
    return factors


ClassWeights = Annotated[tuple[NonNegative, ...], AfterValidator(_not_all_zero)] | None


def make_mask_loss(name: str, options: Mapping[str, Any], *, classes: int | None = None) -> Loss:
    """The loss `name` of masks with its options, as `loss(target, logits)`. classes: their number, where it is known.

    ConfigError as `named_loss`, and where `class_weights` are not as many as the classes.
    """
    _check_count(options, classes)
    return named_loss(name, options, MASK_LOSSES, purpose="segmentation")


def make_presence_loss(name: str, options: Mapping[str, Any], *, classes: int | None = None) -> Loss:
    """The loss `name` of image labels, target and logits (B, K); as `make_mask_loss`."""
    _check_count(options, classes)
    return named_loss(name, options, PRESENCE_LOSSES, purpose="classification")


def bce(target: Any, logits: Any, class_weights: ClassWeights = None, ohem_fraction: PositiveFraction = 1.0) -> Any:
    """Binary cross-entropy, mean over the pixels that count and the classes."""
    mask, valid = _split(target)
    return _mean(_weighted(_cross_entropy(mask, logits), class_weights), valid, ohem_fraction)


def cce(target: Any, logits: Any, class_weights: ClassWeights = None, ohem_fraction: PositiveFraction = 1.0) -> Any:
    """Categorical cross-entropy: -log probability of the class that a pixel has, mean over the pixels that count.

    logits: of a network with `activation: softmax`, whose log-odds they are. A pixel of no class costs nothing.
    """
    from keras import ops

    mask, valid = _split(target)
    costs = _weighted(mask * ops.softplus(-logits), class_weights)
    return mask.shape[-1] * _mean(costs, valid, ohem_fraction)


def dice(
    target: Any, logits: Any, smooth: NonNegative = 1.0, per_image: bool = False, class_weights: ClassWeights = None
) -> Any:
    """1 - soft Dice, mean over classes; over the whole batch at once, or the mean over its images.

    Dice = (2 sum(p t) + smooth) / (sum(p) + sum(t) + smooth): 1 where both are empty.
    """
    from keras import ops

    mask, valid = _split(target)
    probability = ops.sigmoid(logits) * valid
    axes = (1, 2) if per_image else (0, 1, 2)
    overlap = ops.sum(probability * mask * valid, axis=axes)
    total = ops.sum(probability, axis=axes) + ops.sum(mask * valid, axis=axes)
    missed = _weighted(1.0 - (2.0 * overlap + smooth) / (total + smooth), class_weights)
    if not per_image:
        return ops.mean(missed) * ops.cast(ops.any(valid > 0), missed.dtype)
    counts = ops.cast(ops.any(valid > 0, axis=(1, 2)), missed.dtype)  # (B, 1)
    return ops.sum(ops.mean(missed, axis=-1) * counts[:, 0]) / ops.maximum(ops.sum(counts), 1.0)


def bce_dice(
    target: Any,
    logits: Any,
    dice_weight: Fraction = 0.5,
    smooth: NonNegative = 1.0,
    per_image: bool = False,
    class_weights: ClassWeights = None,
    ohem_fraction: PositiveFraction = 1.0,
    topk_weight: NonNegative = 0.0,
    topk_fraction: PositiveFraction = 0.01,
) -> Any:
    """(1 - dice_weight) x cross-entropy + dice_weight x Dice loss + topk_weight x loss of presence.

    The last makes the pixels classify their image (see `topk_pixels_bce`, where `topk_fraction` is its share).
    """
    overlap = dice(target, logits, smooth=smooth, per_image=per_image, class_weights=class_weights)
    pixelwise = bce(target, logits, class_weights=class_weights, ohem_fraction=ohem_fraction)
    loss = (1.0 - dice_weight) * pixelwise + dice_weight * overlap
    if not topk_weight:
        return loss
    return loss + topk_weight * topk_pixels_bce(target, logits, share=topk_fraction, class_weights=class_weights)


def cce_dice(
    target: Any,
    logits: Any,
    dice_weight: Fraction = 0.5,
    smooth: NonNegative = 1.0,
    per_image: bool = False,
    class_weights: ClassWeights = None,
    ohem_fraction: PositiveFraction = 1.0,
) -> Any:
    """(1 - dice_weight) x categorical cross-entropy + dice_weight x Dice loss; logits as for `cce`."""
    overlap = dice(target, logits, smooth=smooth, per_image=per_image, class_weights=class_weights)
    pixelwise = cce(target, logits, class_weights=class_weights, ohem_fraction=ohem_fraction)
    return (1.0 - dice_weight) * pixelwise + dice_weight * overlap


def topk_pixels_bce(target: Any, logits: Any, share: float, class_weights: ClassWeights = None) -> Any:
    """Cross-entropy of whether an image shows a class, which its surest pixels say.

    The logit of a class is the mean over the `share` of the image's pixels with the highest logits (those that count;
    at least one). Mean over classes and the images with counting pixels.
    """
    from keras import ops

    mask, valid = _split(target)
    classes, pixels = mask.shape[-1], mask.shape[1] * mask.shape[2]
    lowest = -1e9
    by_class = _problems(ops.where(valid > 0, logits, lowest), classes, groups=-1)  # (B x K, H x W)
    surest, _ = ops.top_k(by_class, max(1, round(share * pixels)))
    counted = ops.cast(surest > lowest / 2, surest.dtype)
    logit = ops.sum(surest * counted, axis=-1) / ops.maximum(ops.sum(counted, axis=-1), 1.0)
    return image_label_bce(target, ops.reshape(logit, (-1, classes)), class_weights)


def image_label_bce(target: Any, logits: Any, class_weights: ClassWeights = None) -> Any:
    """Cross-entropy of whether an image shows a class, said by logits (B, K) of it; target of masks.

    Mean over classes and the images with counting pixels.
    """
    from keras import ops

    mask, valid = _split(target)
    shown = ops.max(mask * valid, axis=(1, 2))  # (B, K)
    costs = _weighted(_cross_entropy(shown, logits), class_weights)
    has_pixels = ops.max(valid, axis=(1, 2))  # (B, 1)
    return ops.sum(ops.mean(costs, axis=-1) * has_pixels[:, 0]) / ops.maximum(ops.sum(has_pixels), 1.0)


def focal(
    target: Any,
    logits: Any,
    gamma: NonNegative = 2.0,
    alpha: Fraction = 0.25,
    class_weights: ClassWeights = None,
    ohem_fraction: PositiveFraction = 1.0,
) -> Any:
    """Cross-entropy x (1 - probability of the truth)^gamma x alpha (1 - alpha where the class is absent).

    Lin et al. 2017, "Focal loss for dense object detection". Mean over counting pixels and classes.
    """
    mask, valid = _split(target)
    return _mean(_weighted(_focal(mask, logits, gamma, alpha), class_weights), valid, ohem_fraction)


def lovasz(target: Any, logits: Any, per_image: bool = True, class_weights: ClassWeights = None) -> Any:
    """Lovász hinge of the Jaccard loss, mean over classes (and images): each class a binary problem of its own.

    Berman, Triki and Blaschko 2018, "The Lovász-softmax loss", section 3. Undefined pixels get an error so low that
    they come last and weigh nothing.
    """
    from keras import ops

    mask, valid = _split(target)
    classes = mask.shape[-1]
    errors = 1.0 - logits * (2.0 * mask - 1.0)  # hinge: above 0 inside the margin
    errors = ops.where(valid > 0, errors, -1e9)
    mask = mask * valid
    groups = -1 if per_image else 1
    # One row a problem: (B x K, H x W), or (K, B x H x W).
    errors, mask, counted = (
        _problems(part, classes, groups) for part in (errors, mask, ops.broadcast_to(valid, ops.shape(mask)))
    )
    order = ops.argsort(-errors, axis=-1)
    errors = ops.take_along_axis(errors, order, axis=-1)
    mask = ops.take_along_axis(mask, order, axis=-1)
    counted = ops.take_along_axis(counted, order, axis=-1)
    positives = ops.sum(mask, axis=-1, keepdims=True)
    intersection = positives - ops.cumsum(mask, axis=-1)
    union = positives + ops.cumsum(counted - mask, axis=-1)
    jaccard_loss = 1.0 - intersection / ops.maximum(union, 1.0)
    step = ops.concatenate([jaccard_loss[:, :1], jaccard_loss[:, 1:] - jaccard_loss[:, :-1]], axis=-1)
    per_problem = ops.sum(ops.relu(errors) * ops.stop_gradient(step * counted), axis=-1)
    if class_weights is not None:
        per_problem = ops.reshape(_weighted(ops.reshape(per_problem, (-1, classes)), class_weights), (-1,))
    has_pixels = ops.cast(ops.any(counted > 0, axis=-1), per_problem.dtype)
    return ops.sum(per_problem * has_pixels) / ops.maximum(ops.sum(has_pixels), 1.0)


def presence_bce(target: Any, logits: Any, class_weights: ClassWeights = None) -> Any:
    """Binary cross-entropy, mean over images and classes. target, logits (B, K)."""
    from keras import ops

    return ops.mean(_weighted(_cross_entropy(target, logits), class_weights))


def presence_focal(
    target: Any, logits: Any, gamma: NonNegative = 2.0, alpha: Fraction = 0.25, class_weights: ClassWeights = None
) -> Any:
    """`focal` for target, logits (B, K)."""
    from keras import ops

    return ops.mean(_weighted(_focal(target, logits, gamma, alpha), class_weights))


MASK_LOSSES: dict[str, Callable[..., Any]] = {
    "bce": bce,
    "dice": dice,
    "bce_dice": bce_dice,
    "cce": cce,
    "cce_dice": cce_dice,
    "focal": focal,
    "lovasz": lovasz,
}
PRESENCE_LOSSES: dict[str, Callable[..., Any]] = {"bce": presence_bce, "focal": presence_focal}


def _check_count(options: Mapping[str, Any], classes: int | None) -> None:
    weights = options.get("class_weights")
    if classes is not None and isinstance(weights, list | tuple) and len(weights) != classes:
        raise ConfigError(
            f"loss.options.class_weights: give one factor for each of the {classes} classes, not {weights}."
        )


def _split(target: Any) -> tuple[Any, Any]:
    return target[..., :-1], target[..., -1:]


def _cross_entropy(mask: Any, logits: Any) -> Any:
    """-log probability of the truth: log(1 + exp(x)) - x t, which Keras computes without overflow."""
    from keras import ops

    return ops.softplus(logits) - logits * mask


def _focal(mask: Any, logits: Any, gamma: float, alpha: float) -> Any:
    from keras import ops

    wrong = ops.sigmoid(logits * (1.0 - 2.0 * mask))  # 1 - probability of the truth
    weight = alpha * mask + (1.0 - alpha) * (1.0 - mask)
    return weight * ops.power(ops.maximum(wrong, 1e-7), gamma) * _cross_entropy(mask, logits)


def _weighted(values: Any, class_weights: ClassWeights) -> Any:
    """values (..., K), each class times its factor."""
    from keras import ops

    return values if class_weights is None else values * ops.convert_to_tensor(list(class_weights), dtype=values.dtype)


def _mean(values: Any, valid: Any, ohem_fraction: float) -> Any:
    """Over all classes and the hardest of the counting pixels: values (B, H, W, K) from 0 up, valid (B, H, W, 1)."""
    from keras import ops

    per_pixel = ops.mean(values, axis=-1, keepdims=True)
    counted = valid if ohem_fraction == 1 else valid * _hardest(per_pixel, valid, ohem_fraction)
    return ops.sum(per_pixel * counted) / ops.maximum(ops.sum(counted), 1.0)


def _hardest(per_pixel: Any, valid: Any, share: float) -> Any:
    """1 where a pixel costs no less than the last one of the hardest `share` of the counting pixels."""
    from keras import ops

    costs = ops.stop_gradient(ops.where(valid > 0, per_pixel, -1.0))
    hardest_first = -ops.sort(-ops.reshape(costs, (-1,)))
    count = ops.maximum(ops.round(share * ops.sum(valid)), 1.0)
    last = ops.take(hardest_first, ops.cast(count, "int32") - 1)
    return ops.cast(costs >= last, per_pixel.dtype)


def _problems(values: Any, classes: int, groups: int) -> Any:
    """(B, H, W, K) as (B x K, H x W), or (1 x K, B x H x W) with groups = 1."""
    from keras import ops

    if groups == 1:
        return ops.transpose(ops.reshape(values, (-1, classes)))
    pixels = values.shape[1] * values.shape[2]
    by_class = ops.transpose(values, (0, 3, 1, 2))
    return ops.reshape(by_class, (-1, pixels))
