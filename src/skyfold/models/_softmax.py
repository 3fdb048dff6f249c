"""A network whose classes share each pixel: softmax, given as log-odds, so that what reads logits stays as it is."""

from __future__ import annotations

from typing import Any

from skyfold.errors import ConfigError


def with_softmax(model: Any) -> Any:
    """`model`, logits (B, H, W, K), followed by `log_odds`; ConfigError where there is one class alone.

    The sigmoid of its output is the softmax of the logits: probabilities that sum to 1 over the classes. Where no
    weights come after, weights files are those of `model`.
    """
    import keras

    classes = model.output_shape[-1]
    if classes < 2:
        raise ConfigError("activation: softmax shares pixels among two classes or more, the run has one. Use sigmoid.")
    return keras.Model(model.inputs, log_odds(model.output, classes), name=model.name)


def log_odds(logits: Any, classes: int) -> Any:
    """log(p / (1 - p)) of the softmax p of logits (..., K): a logit less the log-sum-exp of all the others.

    So nothing is lost where p is next to 1.
    """
    from keras import ops

    planes = [logits[..., k : k + 1] for k in range(classes)]
    return ops.concatenate(
        [
            plane - ops.logsumexp(ops.concatenate([*planes[:k], *planes[k + 1 :]], axis=-1), axis=-1, keepdims=True)
            for k, plane in enumerate(planes)
        ],
        axis=-1,
    )
