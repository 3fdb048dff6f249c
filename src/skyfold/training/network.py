"""The network of a run with its optimizer: re-initialised for each fold and seed, traced only once.

Tracing the training step takes seconds, as long as an epoch of a small run. All fits of a run have the same graph, so
a fit reuses the traced one and sets every number in it: weights, optimizer state, random state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from skyfold.data.seeding import derived_seed
from skyfold.errors import ConfigError
from skyfold.memory import too_large
from skyfold.models import NetworkFamily, family_of
from skyfold.models._encoder_layers import encoder_layers
from skyfold.models._softmax import with_softmax
from skyfold.training import backend
from skyfold.training.aux_losses import losses_of_outputs, with_aux_losses
from skyfold.training.encoder_training import FrozenEncoder, require_encoder
from skyfold.training.fused import fuse_batchnorm
from skyfold.training.losses import ops
from skyfold.training.objective import Objective
from skyfold.training.optimizers import make_optimizer

PREDICTED_PIXELS = 1 << 19  # of a batch that is predicted on a CPU: larger ones take more memory and no less time


@dataclass(frozen=True)
class _Phase:
    """Epochs in which the same layers learn: their traced step and optimizer, and the state that this begins with."""

    network: Any
    optimizer: Any
    initial: list[np.ndarray | None]  # None for zeros, which moments begin as: they would take as much memory again


class Network:
    """The model of a run, and a network around its layers that is trained: with an optimizer and, with `aux_losses`,
    more outputs.

    model        predicts, and is stored; pretrained weights are read by `restart` only
    input_shape  (H, W, C)
    threads      that a deterministic network computes in; None: as many as there are cores

    Starts the backend; networks made before in this process become unusable. ConfigError where the output of the
    model has not the shape that the task needs and, before it is trained, where a batch does not fit into memory.
    """

    def __init__(self, objective: Objective, *, input_shape: tuple[int, int, int], threads: int | None = None) -> None:
        config = objective.config
        training = config.training
        backend.start(deterministic=training.deterministic, threads=threads)
        backend.prepare(precision=training.mixed_precision, devices=training.devices, batch_size=training.batch_size)
        self.objective, self.config = objective, config
        self.batch_size = training.batch_size
        self.input_shape, self._classes = input_shape, len(objective.classes)
        self._loss = objective.make_loss(config, len(objective.classes))
        family = family_of(config.model)
        assert isinstance(family, NetworkFamily)
        require_encoder(config)
        self._family = family
        self.model = self._built(family.without_pretrained_weights(), seed=0)
        expected = (None, *objective.output_shape(input_shape))
        if tuple(self.model.output_shape) != expected:
            raise ConfigError(
                f"model.family: '{config.model.family}' returns {self.model.output_shape[1:]}, but task: {config.task} "
                f"needs {expected[1:]}. Use a family of that kind, or another task."
            )
        fuse_batchnorm(self.model)
        self._encoder = FrozenEncoder(encoder_layers(self.model), batchnorm=training.freeze_encoder_batchnorm)
        self.model.jit_compile = backend.compiles_whole_steps()
        self._frozen = False
        self._random_states = [variable for variable in self.model.variables if "seed_generator" in variable.path]

    @cached_property
    def predicted_batch_size(self) -> int:
        """Images of a batch that is predicted: on a CPU by their size, two at least, at most as many as are trained on.

        An image becomes other bits in batches of another size, so that training and `predict_bundle` use this one. One
        image at a time is left to who trains so: oneDNN has no fast convolution for it where BatchNorm is fused with
        it. A backend that compiles a step for each size of a batch keeps that of training.
        """
        if not backend.on_cpu() or backend.compiles_whole_steps():
            return self.batch_size
        return min(self.batch_size, max(2, PREDICTED_PIXELS // math.prod(self.input_shape[:2])))

    @cached_property
    def _trained(self) -> Any:
        """The network that is trained, which predicting does without."""
        self._refuse_batch()
        backend.note_slow_precision(self.config.training.mixed_precision)
        return self._to_train(self.model)

    @cached_property
    def _phases(self) -> list[_Phase]:
        """With optimizers, two numbers a weight. The last phase trains all that learns."""
        first = [self._phase(frozen=True)] if self.config.training.freeze_encoder_epochs else []
        return [*first, self._phase(frozen=False)]

    @property
    def _now(self) -> _Phase:
        return self._phases[0 if self._frozen else -1]

    def restart(self, *, seed: int) -> None:
        """Set the weights of a model initialised by `seed`, and the optimizer to its state before the first step.

        ConfigError where pretrained weights cannot be had.
        """
        self._trained.set_weights(self._to_train(self._built(self._family, seed=seed)).get_weights())
        for phase in self._phases:
            for variable, value in zip(phase.optimizer.variables, phase.initial, strict=True):
                variable.assign(ops.zeros_like(variable.value) if value is None else value)

    def begin_epoch(self, epoch: int, *, seed: int) -> None:
        """Seed dropout for the coming epoch, from 0, reset the mean loss, and freeze the encoder where the config asks
        for it."""
        phases = self._phases  # whose making sets what is frozen
        self._frozen = len(phases) > 1 and epoch < self.config.training.freeze_encoder_epochs
        self._encoder.set_frozen(self._frozen)
        for index, variable in enumerate(self._random_states):
            variable.assign(np.array([derived_seed("dropout", seed, index), 0], dtype=variable.dtype))
        backend.seed_dropout(derived_seed("dropout", seed))
        self._now.network.reset_metrics()

    def train(self, inputs: np.ndarray, targets: np.ndarray, *, learning_rate: float) -> float:
        """Train on one batch: inputs float32 (B, H, W, C), targets as the loss reads them.

        With gradient accumulation the weights change after every `training.gradient_accumulation_steps` batches.
        Returns the mean loss of the epoch so far, auxiliary losses included.
        """
        self._now.optimizer.learning_rate = learning_rate
        wanted = [targets] * len(self._trained.outputs) if self.config.aux_losses else targets
        return float(self._now.network.train_on_batch(inputs, wanted, return_dict=True)["loss"])

    def logits(self, inputs: np.ndarray) -> np.ndarray:
        """Outputs of the model for inputs float32 (B, H, W, C), of few different B: each is traced anew.

        Returns float32 logits (B, H, W, K) or (B, K); of a forecast network the values themselves,
        with lead times in the place of classes.
        """
        return np.asarray(self.model.predict_on_batch(inputs), dtype=np.float32)

    def loss(self, targets: np.ndarray, logits: np.ndarray) -> float:
        """Mean loss of a batch of targets and outputs, without that of auxiliary outputs."""
        return float(self._loss(ops.convert_to_tensor(targets, "float32"), ops.convert_to_tensor(logits)))

    def weights(self) -> list[np.ndarray]:
        """A copy of the weights of the model."""
        return _values(self.model.weights)

    def set_weights(self, weights: list[np.ndarray]) -> None:
        """Set the weights of the model; the optimizer keeps its state."""
        self.model.set_weights(weights)

    def averaged_weights(self) -> list[np.ndarray]:
        """Weights that predict: with `training.ema` their moving average, and the current BatchNorm statistics.

        The average begins anew when the encoder stops being frozen, as the optimizer does.
        """
        if not self.config.training.ema:
            return self.weights()
        own = self._trained.get_weights()
        self._now.optimizer.finalize_variable_values(self._now.network.trainable_variables)
        averaged = self.weights()
        self._trained.set_weights(own)
        return averaged

    def state(self) -> dict[str, np.ndarray]:
        """Everything that training is resumed from, by name; the random state is set at the start of each epoch."""
        weights = {f"weight{i}": value for i, value in enumerate(_values(self._trained.weights))}
        optimizer = {f"optimizer{i}": value for i, value in enumerate(_values(self._optimizer_variables))}
        return {**weights, **optimizer}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Resume from what `state` returned."""
        self._trained.set_weights([state[f"weight{i}"] for i in range(len(self._trained.weights))])
        for i, variable in enumerate(self._optimizer_variables):
            variable.assign(state[f"optimizer{i}"])

    @property
    def _optimizer_variables(self) -> list[Any]:
        return [variable for phase in self._phases for variable in phase.optimizer.variables]

    def _phase(self, *, frozen: bool) -> _Phase:
        """The network `_trained` with an optimizer of the weights that learn, the encoder's or not."""
        import keras

        self._encoder.set_frozen(frozen)
        network = keras.Model(self._trained.inputs, self._trained.outputs) if frozen else self._trained
        encoder = [variable for layer in encoder_layers(self.model) for variable in layer.trainable_variables]
        optimizer = make_optimizer(self.config.optimizer, self.config.training, encoder=encoder)
        losses, weights = losses_of_outputs(self.config.aux_losses, self._loss, len(network.outputs))
        network.compile(optimizer=optimizer, loss=losses, loss_weights=weights, jit_compile=self.model.jit_compile)
        optimizer.build(network.trainable_variables)
        initial = [value if value.any() else None for value in map(_value, optimizer.variables)]
        return _Phase(network, optimizer, initial)

    def _refuse_batch(self) -> None:
        """On a CPU, ConfigError where what the layers give for one batch, which training keeps, is too large."""
        if not backend.on_cpu():
            return
        import keras

        outputs = [output for layer in self.model.layers for output in keras.tree.flatten(layer.output)]
        numbers = sum(math.prod(side or 1 for side in output.shape[1:]) for output in outputs)
        size = self.batch_size * numbers * (4 if self.config.training.mixed_precision == "float32" else 2)
        if shortage := too_large(size):
            shape = "x".join(map(str, self.input_shape[:2]))
            raise ConfigError(
                f"training.batch_size: the layers of model.family '{self.config.model.family}' for a batch of "
                f"{self.batch_size} of {shape}: {shortage}. Set training.batch_size or image.size lower, or take a "
                "smaller model."
            )

    def _to_train(self, model: Any) -> Any:
        """The network that is trained: it shares the layers of `model`, which is stored without an optimizer."""
        import keras

        if self.config.aux_losses is None:
            return keras.Model(model.input, model.output, name=model.name)
        return with_aux_losses(model, self.config.aux_losses, softmax=self.config.activation == "softmax")

    def _built(self, family: NetworkFamily, *, seed: int) -> Any:
        backend.seed(seed)
        model = family.build(input_shape=self.input_shape, classes=self._classes)
        return with_softmax(model) if self.config.activation == "softmax" else model


def _values(variables: list[Any]) -> list[np.ndarray]:
    return [_value(variable) for variable in variables]


def _value(variable: Any) -> np.ndarray:
    return np.array(ops.convert_to_numpy(variable.value))
