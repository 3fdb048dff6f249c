"""Losses for forecasts of maps, in `keras.ops` alone.

target (B, H, W, 2 L): first L true values, then L weights, 0 where a cell does not count; output (B, H, W, L); both in
the unit in which the network answers. What stands in a cell that does not count, even NaN, enters no sum and gets no
gradient. Each loss is one number, a mean by weight over all cells and lead times; 0 where no cell counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from skyfold.config.fields import Above0, NonNegative
from skyfold.training.losses import ops

LEAST = 1e-6  # fractions are clipped to LEAST .. 1 - LEAST, since the logarithms of 0 and 1 - 1 are not finite


def mae(target: Any, output: Any) -> Any:
    """Mean absolute error."""
    truth, output, weights = _counting(target, output)
    return _mean(ops.abs(output - truth), weights)


def logcosh(target: Any, output: Any, scale: Above0 = 1.0) -> Any:
    """scale x log cosh(error / scale): errors far below `scale` cost their square, far above it their amount."""
    truth, output, weights = _counting(target, output)
    error = (output - truth) / scale
    return _mean(scale * (ops.softplus(2.0 * error) - error - math.log(2.0)), weights)


def weighted_mae(
    target: Any, output: Any, growth: NonNegative = 1.0, greatest: Annotated[float, Field(ge=1)] = 10.0
) -> Any:
    """Absolute error x (1 + growth x true value), a factor of 1 to `greatest`; below 0 a true value has factor 1.

    Divided by how many cells count and not by the factors, so that much rain teaches more than little.
    """
    truth, output, weights = _counting(target, output)
    factor = ops.clip(1.0 + growth * truth, 1.0, greatest)
    return _mean(factor * ops.abs(output - truth), weights)


def mae_csi(
    target: Any,
    output: Any,
    threshold: float,
    steepness: Above0 = 5.0,
    score_weight: NonNegative = 0.1,
    smooth: Above0 = 1.0,
) -> Any:
    """Mean absolute error + score_weight x (1 - soft CSI of the event that a value reaches `threshold`).

    The event is forecast with probability sigmoid(steepness x (output - threshold)). Hits h, misses m and false alarms
    f of the whole batch are summed by weight. CSI, the critical success index, is (h + smooth) / (h + m + f + smooth):
    1 where the event neither occurs nor is forecast.
    """
    truth, output, weights = _counting(target, output)
    forecast = ops.sigmoid(steepness * (output - threshold))
    event = ops.cast(truth >= threshold, output.dtype)
    hits = ops.sum(weights * event * forecast)
    wrong = ops.sum(weights * (event * (1.0 - forecast) + (1.0 - event) * forecast))
    missed = 1.0 - (hits + smooth) / (hits + wrong + smooth)
    return _mean(ops.abs(output - truth), weights) + score_weight * missed


def share_bce(target: Any, output: Any) -> Any:
    """Binary cross-entropy of shares, all from 0 to 1: least where the output is the truth, though not 0 there.

    Its gradient does not vanish where a last sigmoid is far on the wrong side, as that of the mean error does.
    """
    truth, output, weights = _counting(target, output)
    output = ops.clip(output, LEAST, 1.0 - LEAST)
    return _mean(-truth * ops.log(output) - (1.0 - truth) * ops.log(1.0 - output), weights)


FORECAST_LOSSES: dict[str, Callable[..., Any]] = {
    "mae": mae,
    "logcosh": logcosh,
    "weighted_mae": weighted_mae,
    "mae_csi": mae_csi,
    "share_bce": share_bce,
}


def _counting(target: Any, output: Any) -> tuple[Any, Any, Any]:
    """True values, output and weights (B, H, W, L), float32; all 0 where a cell does not count."""
    target = ops.cast(target, "float32")
    truth, weights = ops.split(target, 2, axis=-1)
    counts = weights > 0
    zeros = ops.zeros_like(truth)
    truth, output, weights = (
        ops.where(counts, values, zeros) for values in (truth, ops.cast(output, "float32"), weights)
    )
    return truth, output, weights


def _mean(costs: Any, weights: Any) -> Any:
    total = ops.sum(weights)
    return ops.sum(weights * costs) / ops.where(total > 0, total, ops.ones_like(total))
