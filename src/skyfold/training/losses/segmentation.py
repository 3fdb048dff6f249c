"""Segmentation and image-label losses on logits, in `keras.ops`: cross-entropy, Dice, focal, Lovász, OHEM.

Masks: target (B, H, W, K + 1), planes 0 .. K - 1 the masks, the last 1 where a pixel counts; logits (B, H, W, K).
Undefined pixels enter no sum and no count. Image labels: target and logits (B, K). Each loss is one number, 0 where no
pixel counts.

Options that several losses have:

class_weights  a factor for each class, by which its loss is multiplied before the mean over classes
ohem_fraction  online hard example mining: the fraction of the counting pixels of a batch, those with the highest loss,
               that the mean is taken over (Shrivastava, Gupta and Girshick 2016, "Training region-based object
               detectors with online hard example mining"); pixels that tie with the last of them are included
dice_weight    of "bce_dice" and "cce_dice": weight of the Dice loss; that of the cross-entropy is 1 - dice_weight
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator

from skyfold.config.fields import Fraction, NonNegative, PositiveFraction
from skyfold.training.losses import ops


def _not_all_zero(factors: tuple[float, ...]) -> tuple[float, ...]:
    if not any(factors):
        raise ValueError("give factors that are not all 0")
    return factors


ClassWeights = Annotated[tuple[NonNegative, ...], AfterValidator(_not_all_zero)] | None


def bce(target: Any, logits: Any, class_weights: ClassWeights = None, ohem_fraction: PositiveFraction = 1.0) -> Any:
    """Binary cross-entropy, mean over the pixels that count and the classes."""
    mask, valid = _split(target)
    return _mean(_weighted(_cross_entropy(mask, logits), class_weights), valid, ohem_fraction)


def cce(target: Any, logits: Any, class_weights: ClassWeights = None, ohem_fraction: PositiveFraction = 1.0) -> Any:
    """Categorical cross-entropy: -log probability of the class that a pixel has, mean over the pixels that count.

    logits: of a network with `activation: softmax`, whose log-odds they are. A pixel of no class costs nothing.
    """
    mask, valid = _split(target)
    costs = _weighted(mask * ops.softplus(-logits), class_weights)
    return mask.shape[-1] * _mean(costs, valid, ohem_fraction)


def dice(target: Any, logits: Any, smooth: NonNegative = 1.0, class_weights: ClassWeights = None) -> Any:
    """1 - soft Dice over the whole batch, mean over classes (Milletari, Navab and Ahmadi 2016, "V-Net").

    Dice = (2 sum(p t) + smooth) / (sum(p) + sum(t) + smooth): 1 where both are empty.
    """
    mask, valid = _split(target)
    probability = ops.sigmoid(logits) * valid
    overlap = ops.sum(probability * mask * valid, axis=(0, 1, 2))
    total = ops.sum(probability, axis=(0, 1, 2)) + ops.sum(mask * valid, axis=(0, 1, 2))
    missed = _weighted(1.0 - (2.0 * overlap + smooth) / (total + smooth), class_weights)
    return ops.mean(missed) * ops.cast(ops.any(valid > 0), missed.dtype)


def _with_dice(pixelwise: Callable[..., Any]) -> Callable[..., Any]:
    """The loss `(1 - dice_weight) x pixelwise + dice_weight x dice`, where `pixelwise` is `bce` or `cce`."""

    def loss(
        target: Any,
        logits: Any,
        dice_weight: Fraction = 0.5,
        smooth: NonNegative = 1.0,
        class_weights: ClassWeights = None,
        ohem_fraction: PositiveFraction = 1.0,
    ) -> Any:
        overlap = dice(target, logits, smooth=smooth, class_weights=class_weights)
        by_pixel = pixelwise(target, logits, class_weights=class_weights, ohem_fraction=ohem_fraction)
        return (1.0 - dice_weight) * by_pixel + dice_weight * overlap

    return loss


def image_label_bce(target: Any, logits: Any, class_weights: ClassWeights = None) -> Any:
    """Cross-entropy of whether an image shows a class, said by logits (B, K) of it; target of masks.

    Mean over classes and the images with counting pixels.
    """
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


def lovasz(target: Any, logits: Any, class_weights: ClassWeights = None) -> Any:
    """Lovász hinge of the Jaccard loss, mean over images and classes, each a binary problem.

    Berman, Triki and Blaschko 2018, "The Lovász-softmax loss", section 3. Undefined pixels get an error so low that
    they come last and weigh nothing.
    """
    mask, valid = _split(target)
    errors = 1.0 - logits * (2.0 * mask - 1.0)  # hinge: above 0 inside the margin
    counted = ops.broadcast_to(valid, ops.shape(mask))
    parts = (ops.where(valid > 0, errors, -1e9), mask * valid, counted)
    errors, mask, counted = (_problems(part) for part in parts)
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
        by_class = ops.reshape(per_problem, (-1, logits.shape[-1]))
        per_problem = ops.reshape(_weighted(by_class, class_weights), (-1,))
    has_pixels = ops.cast(ops.any(counted > 0, axis=-1), per_problem.dtype)
    return ops.sum(per_problem * has_pixels) / ops.maximum(ops.sum(has_pixels), 1.0)


def presence_bce(target: Any, logits: Any, class_weights: ClassWeights = None) -> Any:
    """Binary cross-entropy, mean over images and classes. target, logits (B, K)."""
    return ops.mean(_weighted(_cross_entropy(target, logits), class_weights))


def presence_focal(
    target: Any, logits: Any, gamma: NonNegative = 2.0, alpha: Fraction = 0.25, class_weights: ClassWeights = None
) -> Any:
    """`focal` for target, logits (B, K)."""
    return ops.mean(_weighted(_focal(target, logits, gamma, alpha), class_weights))


MASK_LOSSES: dict[str, Callable[..., Any]] = {
    "bce": bce,
    "dice": dice,
    "bce_dice": _with_dice(bce),
    "cce": cce,
    "cce_dice": _with_dice(cce),
    "focal": focal,
    "lovasz": lovasz,
}
PRESENCE_LOSSES: dict[str, Callable[..., Any]] = {"bce": presence_bce, "focal": presence_focal}


def _split(target: Any) -> tuple[Any, Any]:
    return target[..., :-1], target[..., -1:]


def _cross_entropy(mask: Any, logits: Any) -> Any:
    """-log probability of the truth: log(1 + exp(x)) - x t, which Keras computes without overflow."""
    return ops.softplus(logits) - logits * mask


def _focal(mask: Any, logits: Any, gamma: float, alpha: float) -> Any:
    wrong = ops.sigmoid(logits * (1.0 - 2.0 * mask))  # 1 - probability of the truth
    weight = alpha * mask + (1.0 - alpha) * (1.0 - mask)
    return weight * ops.power(ops.maximum(wrong, 1e-7), gamma) * _cross_entropy(mask, logits)


def _weighted(values: Any, class_weights: ClassWeights) -> Any:
    """values (..., K), each class times its factor."""
    return values if class_weights is None else values * ops.convert_to_tensor(list(class_weights), dtype=values.dtype)


def _mean(values: Any, valid: Any, ohem_fraction: float) -> Any:
    """Over all classes and the hardest of the counting pixels: values (B, H, W, K) from 0 up, valid (B, H, W, 1)."""
    per_pixel = ops.mean(values, axis=-1, keepdims=True)
    counted = valid if ohem_fraction == 1 else valid * _hardest(per_pixel, valid, ohem_fraction)
    return ops.sum(per_pixel * counted) / ops.maximum(ops.sum(counted), 1.0)


def _hardest(per_pixel: Any, valid: Any, fraction: float) -> Any:
    """1 where a pixel costs no less than the last one of the hardest `fraction` of the counting pixels."""
    costs = ops.stop_gradient(ops.where(valid > 0, per_pixel, -1.0))
    hardest_first = -ops.sort(-ops.reshape(costs, (-1,)))
    count = ops.maximum(ops.round(fraction * ops.sum(valid)), 1.0)
    last = ops.take(hardest_first, ops.cast(count, "int32") - 1)
    return ops.cast(costs >= last, per_pixel.dtype)


def _problems(values: Any) -> Any:
    """(B, H, W, K) with one row per image and class: (B x K, H x W)."""
    return ops.reshape(ops.transpose(values, (0, 3, 1, 2)), (-1, values.shape[1] * values.shape[2]))
