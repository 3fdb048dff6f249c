"""Losses for masks and for presence, from logits, in `keras.ops` alone.

Masks: target (B, H, W, K + 1), planes 0 .. K - 1 the masks, the last 1 where a pixel counts; logits (B, H, W, K).
Undefined pixels enter no sum and no count. Presence: target and logits (B, K). Each loss is one number, 0 where no
pixel counts.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from skyfold.errors import ConfigError
from skyfold.plugins import nearest

Loss = Callable[[Any, Any], Any]


def make_loss(name: str, options: Mapping[str, Any], *, target: str) -> Loss:
    """The loss `name` with its options, as `loss(target, logits)`. target: "masks" or "presence".

    ConfigError on unknown names and options; presence has cross-entropy (bce) and focal.
    """
    kinds = MASK_LOSSES if target == "masks" else PRESENCE_LOSSES
    if name not in kinds:
        raise ConfigError(
            f"loss.name: no loss '{name}' for {target}{nearest(name, list(kinds))}. There are: {', '.join(kinds)}."
        )
    kind = kinds[name]
    accepted = [key for key in inspect.signature(kind).parameters if key not in ("target", "logits")]
    for key, value in options.items():
        if key not in accepted:
            raise ConfigError(
                f"loss.options: {name} has no option '{key}'{nearest(key, accepted)}. "
                f"Known: {', '.join(accepted) or 'none'}."
            )
        if isinstance(value, str):
            raise ConfigError(f"loss.options.{key}: {value!r} is not a number.")

    def loss(target: Any, logits: Any) -> Any:
        return kind(target, logits, **options)

    loss.__name__ = name
    return loss


def bce(target: Any, logits: Any) -> Any:
    """Binary cross-entropy, mean over the pixels that count and the classes."""
    mask, valid = _split(target)
    return _mean(_cross_entropy(mask, logits), valid)


def dice(target: Any, logits: Any, smooth: float = 1.0, per_image: bool = False) -> Any:
    """1 - soft Dice, mean over classes; over the whole batch at once, or the mean over its images.

    Dice = (2 sum(p t) + smooth) / (sum(p) + sum(t) + smooth): 1 where both are empty.
    """
    from keras import ops

    mask, valid = _split(target)
    probability = ops.sigmoid(logits) * valid
    axes = (1, 2) if per_image else (0, 1, 2)
    overlap = ops.sum(probability * mask * valid, axis=axes)
    total = ops.sum(probability, axis=axes) + ops.sum(mask * valid, axis=axes)
    score = (2.0 * overlap + smooth) / (total + smooth)
    if not per_image:
        return ops.mean(1.0 - score) * ops.cast(ops.any(valid > 0), score.dtype)
    counts = ops.cast(ops.any(valid > 0, axis=(1, 2)), score.dtype)  # (B, 1)
    return ops.sum(ops.mean(1.0 - score, axis=-1) * counts[:, 0]) / ops.maximum(ops.sum(counts), 1.0)


def bce_dice(target: Any, logits: Any, dice_weight: float = 0.5, smooth: float = 1.0, per_image: bool = False) -> Any:
    """(1 - dice_weight) x cross-entropy + dice_weight x Dice loss."""
    overlap = dice(target, logits, smooth=smooth, per_image=per_image)
    return (1.0 - dice_weight) * bce(target, logits) + dice_weight * overlap


def focal(target: Any, logits: Any, gamma: float = 2.0, alpha: float = 0.25) -> Any:
    """Cross-entropy x (1 - probability of the truth)^gamma x alpha (1 - alpha where the class is absent).

    Lin et al. 2017, "Focal loss for dense object detection". Mean over counting pixels and classes.
    """
    mask, valid = _split(target)
    return _mean(_focal(mask, logits, gamma, alpha), valid)


def lovasz(target: Any, logits: Any, per_image: bool = True) -> Any:
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
    has_pixels = ops.cast(ops.any(counted > 0, axis=-1), per_problem.dtype)
    return ops.sum(per_problem * has_pixels) / ops.maximum(ops.sum(has_pixels), 1.0)


def presence_bce(target: Any, logits: Any) -> Any:
    """Binary cross-entropy, mean over images and classes. target, logits (B, K)."""
    from keras import ops

    return ops.mean(_cross_entropy(target, logits))


def presence_focal(target: Any, logits: Any, gamma: float = 2.0, alpha: float = 0.25) -> Any:
    """`focal` for target, logits (B, K)."""
    from keras import ops

    return ops.mean(_focal(target, logits, gamma, alpha))


MASK_LOSSES: dict[str, Callable[..., Any]] = {
    "bce": bce,
    "dice": dice,
    "bce_dice": bce_dice,
    "focal": focal,
    "lovasz": lovasz,
}
PRESENCE_LOSSES: dict[str, Callable[..., Any]] = {"bce": presence_bce, "focal": presence_focal}


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


def _mean(values: Any, valid: Any) -> Any:
    """Over counting pixels and all classes: values (B, H, W, K), valid (B, H, W, 1)."""
    from keras import ops

    return ops.sum(ops.mean(values, axis=-1, keepdims=True) * valid) / ops.maximum(ops.sum(valid), 1.0)


def _problems(values: Any, classes: int, groups: int) -> Any:
    """(B, H, W, K) as (B x K, H x W), or (1 x K, B x H x W) with groups = 1."""
    from keras import ops

    if groups == 1:
        return ops.transpose(ops.reshape(values, (-1, classes)))
    pixels = values.shape[1] * values.shape[2]
    by_class = ops.transpose(values, (0, 3, 1, 2))
    return ops.reshape(by_class, (-1, pixels))
