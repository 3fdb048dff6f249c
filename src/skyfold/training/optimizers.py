"""Optimizers: gradient accumulation and clipping, weight decay, learning rate of the encoder, EMA, loss scaling."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from skyfold.config.training import OptimizerConfig, TrainingConfig
from skyfold.training.fused import fused_adam


def make_optimizer(config: OptimizerConfig, training: TrainingConfig, *, encoder: Iterable[Any] = ()) -> Any:
    """A Keras optimizer: Adam, AdamW, or SGD with Nesterov momentum 0.9.

    encoder                               variables whose learning rate is `config.encoder_lr_factor` times that of the
                                          others, and with it their weight decay
    training.ema                          decay of the exponential moving average of the weights; 0: none
    training.gradient_accumulation_steps  batches whose mean gradient makes one update of the weights; clipping, weight
                                          decay and the moving average act once per update, as with one large batch
    training.mixed_precision              float16: the loss is scaled up before gradients are taken, so that small ones
                                          do not become 0; a batch whose gradients are not finite changes nothing but
                                          the scale, which is halved. The scale is one of the optimizer's variables
    """
    import keras

    shared: dict[str, Any] = {
        "learning_rate": config.learning_rate,
        "weight_decay": config.weight_decay or (0.0 if config.name == "adamw" else None),
        "global_clipnorm": config.clip_norm,
        "use_ema": bool(training.ema),
        "ema_momentum": training.ema or 0.99,
    }
    if config.name == "sgd":
        shared |= {"momentum": 0.9, "nesterov": True}
    kind = {"sgd": keras.optimizers.SGD, "adamw": keras.optimizers.AdamW, "adam": keras.optimizers.Adam}[config.name]
    if config.name in ("adam", "adamw"):
        kind = fused_adam(kind)
    if config.encoder_lr_factor != 1:
        kind = _with_rate_of_encoder(kind, config.encoder_lr_factor, frozenset(map(id, encoder)))
    steps = training.gradient_accumulation_steps
    if steps > 1:
        shared["gradient_accumulation_steps"] = steps
        kind = _averaged_where_weights_change(kind, steps) if training.ema else kind
    optimizer = kind(**shared)
    return keras.optimizers.LossScaleOptimizer(optimizer) if training.mixed_precision == "float16" else optimizer


def _with_rate_of_encoder(kind: Any, factor: float, encoder: frozenset[int]) -> Any:
    """`kind` with another learning rate of the variables whose `id` is in `encoder`."""

    class WithRateOfEncoder(kind):
        weight_decay: float | None

        def _backend_update_step(self, grads: Any, trainable_variables: Any, learning_rate: Any) -> None:
            pairs = list(zip(grads, trainable_variables, strict=True))
            for own, scale in ((True, factor), (False, 1.0)):
                part = [pair for pair in pairs if (id(pair[1]) in encoder) == own]
                if part:
                    super()._backend_update_step(*map(list, zip(*part, strict=True)), learning_rate * scale)

        def _apply_weight_decay(self, variables: Any) -> None:
            whole = self.weight_decay
            if whole is None:
                return
            for own, scale in ((True, factor), (False, 1.0)):
                self.weight_decay = whole * scale
                super()._apply_weight_decay([variable for variable in variables if (id(variable) in encoder) == own])
            self.weight_decay = whole

    return WithRateOfEncoder


def _averaged_where_weights_change(kind: Any, gradient_accumulation_steps: int) -> Any:
    """`kind` with a moving average that is updated once per update of the weights.

    Keras updates it after every batch, so that it would follow the weights `gradient_accumulation_steps` times as fast.
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
