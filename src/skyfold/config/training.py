"""Training settings of a run: model, loss, optimizer, learning rate schedule, augmentation, pseudo-labels."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from skyfold.config.fields import Fraction, Many, Name, Positive, Seeds, Strict, refuse_numbers

Precision = Literal["float32", "bfloat16", "float16"]


class InitConfig(Strict):
    """Initial weights from another trained run (transfer learning, fine-tuning; see training/init_weights.py).

    run: its name; data: the name of its data set, where that is another one.
    """

    run: Name
    data: Name | None = None


NAMED_WEIGHTS = ("imagenet", "none", "ukis_csmask")  # values of `options.encoder_weights` that are no file
IMPORTED = "imported"  # the family of predictions that come from elsewhere


class ModelConfig(Strict):
    """family: a module of `skyfold.models`; options: the arguments of its `build`."""

    family: str
    options: dict[str, Any] = Field(default_factory=dict)
    init_from: InitConfig | None = None


class LoggerConfig(Strict):
    """An experiment tracker: a module of `skyfold.loggers`, and its options. In a file its name is enough."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, given: Any) -> Any:
        return {"name": given} if isinstance(given, str) else given


class LossConfig(Strict):
    name: str = "bce_dice"
    options: dict[str, Any] = Field(default_factory=dict)


class OptimizerConfig(Strict):
    """encoder_lr_factor: learning rate of the encoder, as a fraction or multiple of `learning_rate` (discriminative
    learning rates); decoupled weight decay follows it."""

    name: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    encoder_lr_factor: Annotated[float, Field(gt=0)] = 1.0


class ScheduleConfig(Strict):
    """cosine: after a linear warm-up, down to `floor` x the learning rate."""

    name: Literal["constant", "cosine"] = "cosine"
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
    floor: Fraction = 0.01


class TrainingConfig(Strict):
    """How a network is trained.

    gradient_accumulation_steps  batches whose mean gradient makes one optimizer step: an effective batch of batch_size
                                 times as many images at the memory of one, except for what a whole batch decides
                                 (BatchNorm, Dice, ohem_fraction)
    ema                 decay of the exponential moving average of the weights, which predicts; 0: none
    patience            early stopping: epochs without a better validation score; None: train all epochs
    validation_freq     validate every N epochs and after the last; early stopping and the best epoch use these only
    checkpoint          weights that are kept: of the best validated epoch, of the last, or their mean over the last
                        `swa_epochs` epochs (stochastic weight averaging)
    bagging             each fit sees a bootstrap sample of its training set, another one for each seed
    mixed_precision     bfloat16 or float16: what the layers compute in; float16 with dynamic loss scaling
    devices             devices that share each batch
    deterministic       bit-identical results on one machine; None: on a CPU, not on an accelerator, which it slows down
    epochs              0 predicts with the weights of `model.init_from` as they are
    soft_labels         train on fractions, where the ground truth has them, not on masks decided at one half
    freeze_encoder_epochs     first epochs in which the encoder is not trained, BatchNorm statistics included; the
                              optimizer then starts anew
    freeze_encoder_batchnorm  BatchNorm layers of the encoder are in inference mode, as they were when it was pretrained
    """

    epochs: Annotated[int, Field(ge=0, le=1_000_000)] = 20
    batch_size: Many = 16
    gradient_accumulation_steps: Many = 1
    mixed_precision: Precision = "float32"
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    patience: Positive | None = None
    validation_freq: Positive = 1
    seeds: Seeds = (0,)
    bagging: bool = False
    checkpoint: Literal["best", "last", "swa"] = "best"
    swa_epochs: Positive = 5
    devices: Positive | Literal["all"] = 1
    deterministic: bool | None = None
    soft_labels: bool = False
    freeze_encoder_epochs: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    freeze_encoder_batchnorm: bool = False


class PseudoLabelsConfig(Strict):
    """Pseudo-labels: test images, labelled by another run, join the training set (see training/pseudo_labels.py).

    run: name of the run that labels them. A pixel counts where the probability of each class is at most `low` (the
    class is absent) or at least `high`.
    """

    run: Name
    low: Fraction = 0.1
    high: Fraction = 0.9

    @model_validator(mode="after")
    def _apart(self) -> PseudoLabelsConfig:
        if not self.low < self.high:
            raise ValueError("low must be below high")
        return self


class AuxLossesConfig(Strict):
    """Auxiliary losses during training (see training/aux_losses.py), as multiples of the loss of the masks.

    classification: whether the image shows a class, predicted from the deepest feature maps; deep_supervision: the
    masks, predicted from the `levels` finest feature maps below the output's size, all together.
    """

    classification: Annotated[float, Field(ge=0)] = 0.0
    deep_supervision: Annotated[float, Field(ge=0)] = 0.0
    levels: Positive = 2

    @model_validator(mode="after")
    def _one_at_least(self) -> AuxLossesConfig:
        if not self.classification and not self.deep_supervision:
            raise ValueError("give classification or deep_supervision, above 0")
        return self


class AugmentConfig(Strict):
    """One albumentations transform: its class name, and its arguments beside it."""

    model_config = ConfigDict(extra="allow")
    name: str

    @model_validator(mode="after")
    def _finite(self) -> AugmentConfig:
        for key, value in self.arguments.items():
            try:
                refuse_numbers(value)
            except ValueError as error:
                raise ValueError(f"{self.name}.{key}: {error}; got {value!r}") from None
        return self

    @property
    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of the transform, as they stand in the config."""
        return dict(self.model_extra or {})


class MixConfig(Strict):
    """CutMix (see data/mix.py), applied to an image with probability `p`."""

    name: Literal["cutmix"]
    p: Fraction = 0.5
