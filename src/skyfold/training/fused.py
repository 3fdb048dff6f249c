"""Fused TensorFlow kernels for BatchNorm and Adam, each one pass over memory where Keras takes many small steps.

Formulas and stored weights are those of Keras; results differ in the last bits of float32. Other backends, which
compile such steps into one themselves, use Keras as it is.
"""

from __future__ import annotations

from typing import Any

FEWEST_CHANNELS = 8  # of 16 bits: on the 3 of an image a step of the kernel takes four times as long as Keras' own


def fuse_batchnorm(model: Any) -> None:
    """Let every BatchNorm of images in `model`, before it is traced, use TensorFlow's kernel.

    It reads bfloat16 and adds up in float32, so that maps are not converted before and after.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        return
    kind = _fused_batchnorm()
    for layer in model._flatten_layers(include_self=False):
        plain = type(layer) is keras.layers.BatchNormalization and not (
            getattr(layer, "renorm", False) or layer.synchronized
        )
        if plain and len(layer.moving_mean.shape) == 1 and layer.input_spec.ndim == 4 and layer.axis in (3, -1):
            layer.__class__ = kind  # not a copy, which could not be made of networks with Lambda layers


def fused_adam(kind: Any) -> Any:
    """`kind`, Adam or AdamW of Keras, with the update of the weights and of their moving average each in one pass."""
    import keras

    if keras.backend.backend() != "tensorflow":
        return kind
    import tensorflow as tf

    class FusedAdam(kind):
        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            index = self._get_variable_index(variable)
            step = tf.cast(self.iterations + 1, variable.dtype)
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=self._momentums[index].value.handle,
                v=self._velocities[index].value.handle,
                beta1_power=tf.pow(tf.cast(self.beta_1, variable.dtype), step),
                beta2_power=tf.pow(tf.cast(self.beta_2, variable.dtype), step),
                lr=tf.cast(learning_rate, variable.dtype),
                beta1=self.beta_1,
                beta2=self.beta_2,
                epsilon=self.epsilon,
                grad=tf.cast(gradient, variable.dtype),
            )

        def _update_model_variables_moving_average(self, trainable_variables: Any) -> None:
            if not self.use_ema:
                return
            begun = tf.cast(tf.not_equal(self.iterations, 0), tf.float32)
            share = 1.0 - begun * self.ema_momentum  # of the new weights; at first the average is these alone
            for variable, average in zip(trainable_variables, self._model_variables_moving_average, strict=True):
                behind = average.value - variable.value
                tf.raw_ops.ResourceApplyGradientDescent(var=average.value.handle, alpha=share, delta=behind)

    return FusedAdam


def _fused_batchnorm() -> Any:
    import keras
    import tensorflow as tf

    # The name of the class is part of the names under which weights are stored.
    class BatchNormalization(keras.layers.BatchNormalization):
        def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
            channels = self.moving_mean.shape
            own = bool(training and self.trainable)
            slow = inputs.dtype != tf.float32 and channels[0] < FEWEST_CHANNELS
            if slow or mask is not None:
                return super().call(inputs, training=training, mask=mask)
            outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
                x=inputs,
                scale=self.gamma.value if self.scale else tf.ones(channels),
                offset=self.beta.value if self.center else tf.zeros(channels),
                mean=tf.zeros([0]) if own else self.moving_mean.value,
                variance=tf.zeros([0]) if own else self.moving_variance.value,
                epsilon=self.epsilon,
                is_training=own,
            )
            if own:
                count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:3]), variance.dtype)
                # The kernel gives the variance over count - 1, Keras keeps the one over count.
                variance = variance * ((count - 1.0) / count)
                for moving, new in ((self.moving_mean, mean), (self.moving_variance, variance)):
                    moving.assign(moving * self.momentum + new * (1.0 - self.momentum))
            return outputs

    return BatchNormalization
