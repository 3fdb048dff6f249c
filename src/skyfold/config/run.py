"""A training run: one model, its folds and its seeds."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from skyfold.config.augmentation import AugmentConfig, MixConfig
from skyfold.config.data import DataConfig
from skyfold.config.fields import RunName, Strict
from skyfold.config.inputs import ImageConfig, ViewConfig
from skyfold.config.training import (
    HeadsConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    PseudoConfig,
    ScheduleConfig,
    TrainingConfig,
)
from skyfold.files import digest

# Of a RunConfig: changed, a run predicts anew with the weights it has.
PREDICTION_KEYS = ("tta", "image.edges", "image.crop.overlap")
# Of a RunConfig, added when runs were stored already: at its default such a key is neither hashed nor stored, so that
# those runs stay valid.
LATER_KEYS = (
    "heads",
    "activation",
    "classes",
    "data.folds.years",
    "data.folds.years_a_fold",
    "image.crop",
    "mix",
    "model.init_from",
    "pseudo",
    "training.accumulate",
    "training.average_epochs",
    "training.bootstrap",
    "training.devices",
    "training.validate_every",
    "view",
)
# Transforms that take numbers of any size and unit: what a forecast sees is no picture.
FLIPS_AND_TURNS = ("HorizontalFlip", "VerticalFlip", "RandomRotate90", "Transpose", "D4")


class RunConfig(Strict):
    """One training run: one model, k folds, one or more seeds. target: "masks" to segment, "presence" to classify,
    "forecast" to say the frames to come, seen by a `view` in the place of an `image`.

    classes: those that the run learns, of the competition's; none named: all. activation: "softmax" shares each pixel
    among the classes, where it has one of them; "sigmoid" asks of each class whether it is there.
    """

    name: RunName
    data: DataConfig
    target: Literal["masks", "presence", "forecast"] = "masks"
    classes: tuple[str, ...] = ()
    activation: Literal["sigmoid", "softmax"] = "sigmoid"
    image: ImageConfig | None = None
    view: ViewConfig | None = None
    model: ModelConfig
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    training: TrainingConfig = TrainingConfig()
    augment: tuple[AugmentConfig, ...] = ()
    mix: tuple[MixConfig, ...] = ()
    heads: HeadsConfig | None = None
    pseudo: PseudoConfig | None = None
    tta: tuple[Literal["hflip", "vflip", "rot90", "d4"], ...] = ()

    @property
    def images(self) -> ImageConfig:
        """`image`, which every run but a forecast has."""
        assert self.image is not None
        return self.image

    @model_validator(mode="after")
    def _image_or_view(self) -> RunConfig:
        forecasts = self.target == "forecast"
        if forecasts and (self.view is None or self.image is not None):
            raise ValueError("target: forecast sees frames through a view; write view: {name: ...}, and no image")
        if not forecasts and (self.image is None or self.view is not None):
            raise ValueError(f"target: {self.target} sees images; write image: {{size: [height, width]}}, and no view")
        if forecasts:
            looks = {"keep: best": self.training.keep == "best", "patience": self.training.patience}
            for key, given in {**looks, "schedule plateau": self.schedule.name == "plateau"}.items():
                if given:
                    raise ValueError(
                        f"training: {key} goes by what came after the forecast, which no forecast may know; use keep: "
                        "last or average, no patience, and another schedule"
                    )
            for key in ("classes", "mix", "pseudo"):
                if getattr(self, key):
                    raise ValueError(f"{key}: it is for images; a forecast leaves it off")
            for entry in self.augment:
                if entry.name not in FLIPS_AND_TURNS:
                    raise ValueError(
                        f"augment: {entry.name} is for pictures; frames are numbers with a unit, and can be turned: "
                        f"{', '.join(FLIPS_AND_TURNS)}"
                    )
        return self

    @model_validator(mode="after")
    def _views_fit(self) -> RunConfig:
        if len(set(self.tta)) != len(self.tta) or ("d4" in self.tta and len(self.tta) > 1):
            raise ValueError(f"tta: give each name once, and d4 (all 8 flips and quarter turns) alone; got {self.tta}")
        height, width = self.image.size if self.image else (1, 1)
        turning = [name for name in self.tta if name in ("rot90", "d4")]
        if turning and height != width:
            raise ValueError(
                f"tta: {turning[0]} turns images of {height}x{width} pixels into {width}x{height}, which the network "
                "does not take. Make image.size square, or use hflip and vflip alone"
            )
        return self

    @model_validator(mode="after")
    def _activation_fits(self) -> RunConfig:
        if self.activation == "softmax" and (self.target != "masks" or len(self.classes) == 1):
            raise ValueError("activation: softmax shares the pixels of masks among two classes or more; use sigmoid")
        if self.loss.name in ("cce", "cce_dice") and self.activation != "softmax":
            raise ValueError(f"loss.name: {self.loss.name} is for activation: softmax; set it, or take bce or bce_dice")
        return self

    @model_validator(mode="after")
    def _heads_fit(self) -> RunConfig:
        if self.heads and self.target != "masks":
            raise ValueError(f"heads: they are for target: masks, not {self.target}; leave heads off")
        return self

    @model_validator(mode="after")
    def _start_fits(self) -> RunConfig:
        init = self.model.init_from
        if not self.training.epochs and not init:
            raise ValueError("training.epochs: 0 leaves a network as it began; name a trained run in model.init_from")
        if init and init.run == self.name and (init.data or self.data.folder) == self.data.folder:
            raise ValueError(f"model.init_from: {self.name} cannot start from itself; name a run trained before")
        return self

    @model_validator(mode="after")
    def _teacher_fits(self) -> RunConfig:
        if self.pseudo and self.target != "masks":
            raise ValueError(f"pseudo: labels are masks, which target: {self.target} does not learn; leave pseudo off")
        if self.pseudo and self.pseudo.run == self.name:
            raise ValueError(f"pseudo.run: {self.name} cannot be its own teacher; name a run that was trained before")
        return self

    @model_validator(mode="after")
    def _edges_of_maps(self) -> RunConfig:
        if self.target == "presence" and self.images.edges:
            raise ValueError("target: presence predicts no maps that could follow edges; leave image.edges off")
        return self

    @model_validator(mode="after")
    def _crops_of_maps(self) -> RunConfig:
        if not self.image or not self.image.crop:
            return self
        if self.target != "masks":
            raise ValueError(f"image.crop: target: {self.target} is said of a whole image; leave image.crop off")
        if self.pseudo:
            raise ValueError("image.crop: a teacher labels reduced images, not crops; leave pseudo or image.crop off")
        return self

    def hash(self) -> str:
        """Changes with anything that changes the predictions; not with where the files lie."""
        return digest(self._hashed())

    def fit_hash(self) -> str:
        """Changes with anything that changes the trained weights; not with how they predict (PREDICTION_KEYS)."""
        return digest(self._hashed(*PREDICTION_KEYS))

    def stored(self, *left_out: str) -> dict[str, Any]:
        """As a run's folder keeps it, without these dotted keys."""
        return self.model_dump(mode="json", exclude=self._without(*left_out))

    def _hashed(self, *left_out: str) -> str:
        return self.model_dump_json(exclude=self._without("data.sample", *left_out))

    def _without(self, *left_out: str) -> dict[str, Any]:
        """For pydantic: the keys to leave out, and those of LATER_KEYS that say nothing."""
        exclude: dict[str, Any] = {}
        for key in (*left_out, *(key for key in LATER_KEYS if self._at_default(key))):
            *tables, name = key.split(".")
            table = exclude
            for part in tables:
                table = table.setdefault(part, {})
            table[name] = True
        return exclude

    def _at_default(self, key: str) -> bool:
        *tables, name = key.split(".")
        table: Any = self
        for part in tables:
            table = getattr(table, part)
        if table is None:
            return False
        return bool(getattr(table, name) == type(table).model_fields[name].default)
