"""Config of a training run: one model, its folds and its seeds."""

from __future__ import annotations

import json
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import model_validator

from skyfold import plugins
from skyfold.config.data import DataConfig, FrameAdapterConfig, ImageConfig
from skyfold.config.fields import Distinct, RunName, Strict, refuse
from skyfold.config.merging import nested
from skyfold.config.options import one_of
from skyfold.config.training import (
    IMPORTED,
    NAMED_WEIGHTS,
    AugmentConfig,
    AuxLossesConfig,
    LoggerConfig,
    LossConfig,
    MixConfig,
    ModelConfig,
    OptimizerConfig,
    Precision,
    PseudoLabelsConfig,
    ScheduleConfig,
    TrainingConfig,
)
from skyfold.files import digest

# Keys that change how a trained network predicts, not its weights.
PREDICTION_KEYS = ("tta", "image.guided_filter", "image.crop.overlap")
# Keys that change neither: names, the procedural sample, submissions, trackers, and folds with what they exclude, which
# have a digest of their own.
NEITHER_KEYS = (
    "name",
    "data.name",
    "data.sample",
    "data.submissions_per_day",
    "data.exclude",
    "data.folds",
    "loggers",
)


class RunConfig(Strict):
    """One training run: one model, its folds and its seeds.

    task: a module of `tasks`: "segmentation", "classification" of whole images, or "forecasting" of frames, whose
    network reads past frames through a `frame_adapter` instead of an `image`. classes: the subset of the competition's
    classes that the run learns; empty: all. activation: "softmax" where classes exclude each other, "sigmoid" where
    they may overlap. loggers: experiment trackers of its fits, modules of `skyfold.loggers`.
    """

    name: RunName
    data: DataConfig
    task: Annotated[str, one_of(partial(plugins.names, "tasks"))] = "segmentation"
    classes: tuple[str, ...] = ()
    activation: Literal["sigmoid", "softmax"] = "sigmoid"
    image: ImageConfig | None = None
    frame_adapter: FrameAdapterConfig | None = None
    model: ModelConfig
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    training: TrainingConfig = TrainingConfig()
    augment: tuple[AugmentConfig, ...] = ()
    mix: tuple[MixConfig, ...] = ()
    aux_losses: AuxLossesConfig | None = None
    pseudo_labels: PseudoLabelsConfig | None = None
    tta: Annotated[tuple[Literal["hflip", "vflip", "rot90", "d4"], ...], Distinct] = ()
    loggers: tuple[LoggerConfig, ...] = ()

    @property
    def imported(self) -> bool:
        """Whether its predictions come from elsewhere (`skyfold import`)."""
        return self.model.family == IMPORTED

    @property
    def images(self) -> ImageConfig:
        """`image`, which every run but a forecast has."""
        assert self.image is not None
        return self.image

    @model_validator(mode="after")
    def _keys_fit(self) -> RunConfig:
        if not self.imported:  # nothing is read or trained
            plugins.load("tasks", self.task).TASK.check(self)
        height, width = self.image.size if self.image else (1, 1)
        turning = [name for name in self.tta if name in ("rot90", "d4")]
        loss, init, teacher = self.loss.name, self.model.init_from, self.pseudo_labels
        own = (self.data.folder, self.name)
        refuse(
            ("d4" in self.tta and len(self.tta) > 1, "tta: d4 is all 8 flips and quarter turns; give no other with it"),
            (
                turning and height != width,
                f"tta: {', '.join(turning)} turns images of {height}x{width} pixels into {width}x{height}, which the "
                "network does not take. Make image.size square, or use hflip and vflip only",
            ),
            (
                loss in ("cce", "cce_dice") and self.activation != "softmax",
                f"loss.name: {loss} is for activation: softmax; set it, or use bce or bce_dice",
            ),
            (
                not self.training.epochs and not init,
                "training.epochs: 0 leaves a network as it began; name a trained run in model.init_from",
            ),
            (
                init and (init.data or self.data.folder, init.run) == own,
                f"model.init_from: {self.name} cannot start from itself; name a run trained before",
            ),
            (
                teacher and teacher.run == self.name,
                f"pseudo_labels.run: {self.name} cannot be its own teacher; name another trained run",
            ),
        )
        return self

    def in_precision(self, precision: Precision) -> RunConfig:
        """The same run, whose networks compute in `precision`."""
        return self.model_copy(update={"training": self.training.model_copy(update={"mixed_precision": precision})})

    def hash(self) -> str:
        """Digest of the keys that change the predictions, whatever their order; keys at their default do not count, nor
        does where initial weights lie."""
        return self._digest()

    def fit_hash(self) -> str:
        """Digest of every key that changes the weights of a fit; PREDICTION_KEYS do not, nor do the seeds of others."""
        return self._digest("training.seeds", *PREDICTION_KEYS)

    def stored(self, *left_out: str) -> dict[str, Any]:
        """The config as a run's folder stores it, without these dotted keys, and without `loggers`, whose options may
        hold passwords."""
        return self.model_dump(mode="json", exclude=nested(dict.fromkeys((*left_out, "loggers"), True)))

    def _digest(self, *left_out: str) -> str:
        of_all = {"data", "task", "classes", "model"} if self.imported else None  # nothing is trained
        excluded = nested(dict.fromkeys((*NEITHER_KEYS, *left_out), True))
        values = self.model_dump(mode="json", include=of_all, exclude=excluded, exclude_defaults=True)
        model, data = values["model"], values["data"]
        training = values.setdefault("training", {})  # of which all keys may be left out, as of the options
        if training.get("deterministic"):  # what None is on a CPU, where results are promised to be the same
            del training["deterministic"]
        left = self._not_trained_on()
        data["options"] = {name: value for name, value in data.get("options", {}).items() if name not in left}
        # Which weights a run begins with is known by what they hold (`Fingerprint.init_weights`), not by their name.
        if "init_from" in model:
            model["init_from"] = "a run"
        if model.get("options", {}).get("encoder_weights", "none") not in NAMED_WEIGHTS:
            model["options"]["encoder_weights"] = "a file"
        return digest(json.dumps(values, sort_keys=True))

    def _not_trained_on(self) -> frozenset[str]:
        name = self.data.competition
        known = name in plugins.names("competitions")
        return plugins.load("competitions", name).PLUGIN.NOT_TRAINED_ON if known else frozenset()
