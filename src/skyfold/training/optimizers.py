"""The optimizer of a config, which may gather the gradients of several batches before it changes the weights."""

from __future__ import annotations

from typing import Any

from skyfold.config.training import OptimizerConfig
from skyfold.training.fused import fused_adam


def make_optimizer(config: OptimizerConfig, *, ema: float, gradient_accumulation_steps: int) -> Any:
    """A Keras optimizer. ema: decay of the moving average of the weights (0: none).

    accumulate: after so many batches the weights change once, by the mean of the batches' gradients; clipping, weight
    decay and the moving average then see that mean and these changes alone, as with one batch of all their images.
    """
    import keras

    shared: dict[str, Any] = {
        "learning_rate": config.learning_rate,
        "weight_decay": config.weight_decay or None,
        "global_clipnorm": config.clip_norm,
        "use_ema": bool(ema),
        "ema_momentum": ema or 0.99,
    }
    if config.name == "sgd":
        shared |= {"momentum": 0.9, "nesterov": True}
    kind = {"sgd": keras.optimizers.SGD, "adamw": keras.optimizers.AdamW, "adam": keras.optimizers.Adam}[config.name]
    if config.name in ("adam", "adamw"):
        kind = fused_adam(kind)
    if gradient_accumulation_steps == 1:
        return kind(**shared)
    if ema:
        kind = _averaged_where_weights_change(kind, gradient_accumulation_steps)
    return kind(gradient_accumulation_steps=gradient_accumulation_steps, **shared)


def _averaged_where_weights_change(kind: Any, gradient_accumulation_steps: int) -> Any:
    """`kind`, whose moving average stands still between changes of the weights.

    Keras moves it after every batch, so that it would follow the weights `accumulate` times as fast.
    """
    from keras import ops

    class AveragedWhereWeightsChange(kind):
        @property
        def ema_momentum(self) -> Any:
            changes = ops.equal(ops.mod(self._iterations + 1, gradient_accumulation_steps), 0)
            return ops.where(changes, self._own_momentum, 1.0)

        @ema_momentum.setter
        def ema_momentum(self, value: float) -> None:
            self._own_momentum = value

    return AveragedWhereWeightsChange
