"""One network of a run with its optimizer: begun afresh for each fold and seed, but traced only once.

Tracing the training step costs seconds, as much as an epoch of a small job. All folds and seeds of a run have the same
graph, so a fit takes over the traced one and sets every number in it: weights, optimizer state, random state.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from skyfold.data.seeding import derived_seed
from skyfold.errors import ConfigError
from skyfold.models import NetworkFamily, family_of
from skyfold.models._softmax import with_softmax
from skyfold.training import backend
from skyfold.training.aux_losses import losses_of_outputs, with_aux_losses
from skyfold.training.fused import fuse_batchnorm
from skyfold.training.objective import Objective
from skyfold.training.optimizers import make_optimizer

State = dict[str, np.ndarray]


class Network:
    """The model of a config, and what trains it: its layers with an optimizer and, with `heads`, more outputs.

    model: predicts, and is what is stored. input_shape (H, W, C). Starts the backend; networks made before
    in this process become unusable.
    """

    def __init__(self, objective: Objective, *, input_shape: tuple[int, int, int]) -> None:
        config = objective.config
        backend.start(deterministic=config.training.deterministic)
        training = config.training
        backend.prepare(precision=training.mixed_precision, devices=training.devices, batch_size=training.batch_size)
        self.objective, self.config = objective, config
        self.batch_size = config.training.batch_size
        self.input_shape, self._classes = input_shape, len(objective.classes)
        self._loss = objective.make_loss(config, len(objective.classes))
        self.model = self._fresh_model(seed=0)
        expected = (None, *objective.output_shape(input_shape))
        if tuple(self.model.output_shape) != expected:
            raise ConfigError(
                f"model.family: '{config.model.family}' returns {self.model.output_shape[1:]}, but task: {config.task} "
                f"needs {expected[1:]}. Use a family of that kind, or another task."
            )
        fuse_batchnorm(self.model)
        self._trained = self._to_train(self.model)
        self._optimizer = make_optimizer(
            config.optimizer,
            ema=config.training.ema,
            gradient_accumulation_steps=config.training.gradient_accumulation_steps,
        )
        losses: Any = self._loss
        weights = None
        if config.aux_losses is not None:
            losses, weights = losses_of_outputs(config.aux_losses, self._loss, len(self._trained.outputs))
        self.model.jit_compile = backend.compiles_whole_steps()
        self._trained.compile(
            optimizer=self._optimizer, loss=losses, loss_weights=weights, jit_compile=self.model.jit_compile
        )
        self._optimizer.build(self._trained.trainable_variables)
        self._zeros = _values(self._optimizer.variables)
        self._random_states = [variable for variable in self.model.variables if "seed_generator" in variable.path]

    def restart(self, *, seed: int) -> None:
        """Weights as a model built under `seed` has them; the optimizer as if it had never stepped."""
        self._trained.set_weights(self._to_train(self._fresh_model(seed=seed)).get_weights())
        for variable, value in zip(self._optimizer.variables, self._zeros, strict=True):
            variable.assign(value)

    def begin_epoch(self, *, seed: int) -> None:
        """Set what dropout draws in the coming epoch, and forget the mean loss of the one before."""
        for index, variable in enumerate(self._random_states):
            variable.assign(np.array([derived_seed("dropout", seed, index), 0], dtype=variable.dtype))
        self._trained.reset_metrics()

    def train(self, inputs: np.ndarray, targets: np.ndarray, *, learning_rate: float) -> float:
        """One batch; with `training.gradient_accumulation_steps` the weights change at every so many-th. Returns the
        mean loss of the epoch so far, that of heads included."""
        self._optimizer.learning_rate = learning_rate
        wanted = [targets] * len(self._trained.outputs) if self.config.aux_losses else targets
        return float(self._trained.train_on_batch(inputs, wanted, return_dict=True)["loss"])

    def logits(self, inputs: np.ndarray) -> np.ndarray:
        """inputs float32 (batch_size, H, W, C). Returns float32 (batch_size, H, W, K) or (batch_size, K); of a network
        for forecasts the values themselves, with lead times in the place of classes."""
        return np.asarray(self.model.predict_on_batch(inputs), dtype=np.float32)

    def loss(self, targets: np.ndarray, logits: np.ndarray) -> float:
        import keras

        return float(self._loss(keras.ops.convert_to_tensor(targets, "float32"), keras.ops.convert_to_tensor(logits)))

    def weights(self) -> list[np.ndarray]:
        return _values(self.model.weights)

    def set_weights(self, weights: list[np.ndarray]) -> None:
        self.model.set_weights(weights)

    def averaged_weights(self) -> list[np.ndarray]:
        """The weights that predict: their moving average, if the config has one; BatchNorm's statistics as they are."""
        if not self.config.training.ema:
            return self.weights()
        own = self._trained.get_weights()
        self._optimizer.finalize_variable_values(self._trained.trainable_variables)
        averaged = self.weights()
        self._trained.set_weights(own)
        return averaged

    def state(self) -> State:
        """All that training goes on from; the random state is set anew at each epoch."""
        weights = {f"weight{i}": value for i, value in enumerate(_values(self._trained.weights))}
        optimizer = {f"optimizer{i}": value for i, value in enumerate(_values(self._optimizer.variables))}
        return {**weights, **optimizer}

    def set_state(self, state: State) -> None:
        self._trained.set_weights([state[f"weight{i}"] for i in range(len(self._trained.weights))])
        for i, variable in enumerate(self._optimizer.variables):
            variable.assign(state[f"optimizer{i}"])

    def _to_train(self, model: Any) -> Any:
        """A network of its own around the layers of `model`, so that this one is stored without an optimizer."""
        import keras

        if self.config.aux_losses is None:
            return keras.Model(model.input, model.output, name=model.name)
        return with_aux_losses(model, self.config.aux_losses, softmax=self.config.activation == "softmax")

    def _fresh_model(self, *, seed: int) -> Any:
        backend.seed(seed)
        family = family_of(self.config.model)
        assert isinstance(family, NetworkFamily)
        model = family.build(input_shape=self.input_shape, classes=self._classes)
        return with_softmax(model) if self.config.activation == "softmax" else model


def _values(variables: list[Any]) -> list[np.ndarray]:
    import keras

    return [np.array(keras.ops.convert_to_numpy(variable.value)) for variable in variables]
