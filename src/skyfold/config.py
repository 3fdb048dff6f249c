"""What may stand in a config, and what is refused (`config_files` reads them).

Five kinds, told apart by their keys: a data set (`data` alone), a run (`model`), a blend (`runs`), a table of models
(`models`), forecasts beside each other (`forecasts`). Each may name another file as `base:`, whose keys it takes over
unless it sets them itself (paths are relative to the file).
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator, model_validator

from skyfold.config_faults import explain
from skyfold.files import digest
from skyfold.types import IntPair

Positive = Annotated[int, Field(gt=0)]
Seed = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
FixedWeights = tuple[Annotated[float, Field(ge=0)], ...]
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$"


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)


class FoldsConfig(Strict):
    """How the training samples are divided; written once to `oof/<data name>/folds.csv` and shared by all runs.

    near_duplicate_bits: images whose 256-bit difference hashes differ in at most this many bits share a fold; -1: off.
    years: the first and last of the years that forecasts are validated on, one fold each, fitted on the past alone; k
    and seed then say nothing. years_a_fold: so many years share a fold, and are forecast by what was fitted before the
    first of them.
    """

    k: Annotated[int, Field(ge=2)] = 5
    seed: Seed = 0
    near_duplicate_bits: Annotated[int, Field(ge=-1, le=32)] = 3
    years: IntPair | None = Field(default=None, exclude_if=lambda years: years is None)
    years_a_fold: Positive = Field(default=1, exclude_if=lambda count: count == 1)

    @field_validator("years")
    @classmethod
    def _in_order(cls, years: IntPair | None) -> IntPair | None:
        if years is not None and not years[0] <= years[1]:
            raise ValueError("the first year and the last")
        return years

    @model_validator(mode="after")
    def _of_years(self) -> FoldsConfig:
        if self.years is None and self.years_a_fold > 1:
            raise ValueError("years_a_fold: folds are of years where `years` says which; give it, or leave this off")
        return self


class DataConfig(Strict):
    """`competition` says what the files mean; `name` is the folder they lie in and under which results are kept.

    options: for the competition (a class table, say); sample: settings of its procedural sample, where one is wanted.
    """

    competition: str
    name: Annotated[str, Field(pattern=NAME_PATTERN)] | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    folds: FoldsConfig = FoldsConfig()
    sample: dict[str, Any] | None = None

    @property
    def folder(self) -> str:
        return self.name or self.competition


class GuideConfig(Strict):
    """How maps follow the edges of the image when they are enlarged (see postprocess/guided_filter.py).

    guide: the plane of the image whose edges count, a feature of data/colour.py; radius: of the window, in pixels of
    the competition's grid; eps: in squares of the guide, which lies in 0 .. 1.
    """

    guide: Literal["red_blue_ratio", "brightness", "lowest_band", "whiteness", "local_contrast"]
    radius: Annotated[int, Field(ge=1, le=64)] = 8
    eps: Annotated[float, Field(gt=0)] = 1e-5


class CropConfig(Strict):
    """Big scenes are learned from by crops and predicted by overlapping tiles, instead of being reduced as a whole.

    `image.size` is then the size of a crop and of a tile. per_scene: crops of each scene in an epoch; scales: the least
    and greatest side of a crop over `image.size`, drawn anew for each epoch, all crops being brought to `image.size`;
    balanced: share of crops laid around a pixel of a class that is drawn evenly, however rare it is; overlap: what
    neighbouring tiles share at least, of the shorter side of a tile. Tiles are predicted at the scene's own scale.
    """

    per_scene: Positive = 4
    scales: tuple[float, float] = (1.0, 1.0)
    balanced: Fraction = 0.5
    overlap: Annotated[float, Field(ge=0, le=0.5)] = 0.25

    @field_validator("scales")
    @classmethod
    def _ascending(cls, scales: tuple[float, float]) -> tuple[float, float]:
        if not 0 < scales[0] <= scales[1] < math.inf:
            raise ValueError("the least and the greatest, both above 0")
        return scales


class ImageConfig(Strict):
    """size: (H, W) the network sees; images are reduced with area averaging, or, with `crop`, cut.

    scaling: how bytes become numbers (see data/scaling.py); encoder: as the encoder's pretrained weights want it.
    edges: how probabilities follow the edges of the image on the competition's grid; none: enlarged bilinearly alone.
    """

    size: IntPair
    scaling: Literal["unit", "byte", "symmetric", "imagenet", "caffe", "reflectance", "per_image", "encoder"] = "unit"
    edges: GuideConfig | None = None
    crop: CropConfig | None = None

    @field_validator("size")
    @classmethod
    def _positive(cls, size: IntPair) -> IntPair:
        if min(size) < 8:
            raise ValueError("both sides must be at least 8 pixels")
        return size

    @model_validator(mode="after")
    def _cut_or_reduced(self) -> ImageConfig:
        if self.crop and self.edges:
            raise ValueError("edges: tiles see the image at its own scale; leave edges off, or crop")
        return self


class ViewConfig(Strict):
    """How a network sees what is known on a date. name: a module of `skyfold.views`; options: of its `build`.

    newest: a fold learns from so many of its last dates alone, the last 15 years, say; None: from all.
    """

    name: str
    options: dict[str, Any] = Field(default_factory=dict)
    newest: Positive | None = None


class LossConfig(Strict):
    name: str = "bce_dice"
    options: dict[str, Any] = Field(default_factory=dict)


class OptimizerConfig(Strict):
    name: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    clip_norm: Annotated[float, Field(gt=0)] | None = None


class ScheduleConfig(Strict):
    """cosine: after a linear warm-up, down to `floor` x the rate; plateau: times `factor` after `patience` epochs
    without a better validation score."""

    name: Literal["constant", "cosine", "plateau"] = "cosine"
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
    floor: Fraction = 0.01
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    patience: Positive = 3


class TrainingConfig(Strict):
    """ema: decay of the moving average of the weights that predicts (0: none); patience: epochs without a better
    validation score before a fold ends (None: all epochs). validate_every: one in so many epochs is validated, and the
    last; a fold ends, and the best epoch is chosen, among these alone.

    accumulate: the weights change once in so many batches, by the mean of their gradients: a batch of batch_size x
    accumulate images, but for what depends on a batch as a whole (BatchNorm, Dice, hard_share), at the memory of one.
    keep: the weights of the epoch with the best validation score, of the last epoch, or the mean of the weights of the
    last `average_epochs`. bootstrap: each fit sees a training set drawn with replacement from its fold's, another one
    for each seed, so that averaging over seeds is bagging. devices: among how many each batch is divided. epochs: 0
    predicts with the weights of `model.init_from` as they are.
    """

    epochs: Annotated[int, Field(ge=0)] = 20
    batch_size: Positive = 16
    accumulate: Positive = 1
    precision: Literal["float32", "bfloat16"] = "float32"
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    patience: Positive | None = None
    validate_every: Positive = 1
    seeds: tuple[Seed, ...] = (0,)
    bootstrap: bool = False
    keep: Literal["best", "last", "average"] = "best"
    average_epochs: Positive = 5
    devices: Positive | Literal["all"] = 1
    deterministic: bool = True

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if not seeds or len(set(seeds)) != len(seeds):
            raise ValueError("give at least one seed, each once")
        return seeds


class InitConfig(Strict):
    """A run whose weights another one starts from (see training/starting_weights.py).

    data: the data set that it was trained on, where it is another one.
    """

    run: Annotated[str, Field(pattern=NAME_PATTERN)]
    data: Annotated[str, Field(pattern=NAME_PATTERN)] | None = None


class ModelConfig(Strict):
    """family: a module of `skyfold.models`; options: the arguments of its `build`."""

    family: str
    options: dict[str, Any] = Field(default_factory=dict)
    init_from: InitConfig | None = None


class RampConfig(Strict):
    """Arguments that change over the epochs, from those in `start` to those beside the ramp, linearly.

    epochs: the last that has the values of `start`, and the first that has the final ones, counted from 1. Between
    whole numbers the values are whole (but p's); write 1.0 for what may lie between.
    """

    start: Annotated[dict[str, Any], Field(min_length=1)]
    epochs: tuple[Positive, Positive]

    @field_validator("epochs")
    @classmethod
    def _ascending(cls, epochs: tuple[int, int]) -> tuple[int, int]:
        if not epochs[0] < epochs[1]:
            raise ValueError("the first epoch must be before the last")
        return epochs

    def at(self, epoch: int, final: dict[str, Any]) -> dict[str, Any]:
        """`final` as it is in `epoch`, counted from 0."""
        first, last = self.epochs
        share = min(max((epoch + 1 - first) / (last - first), 0.0), 1.0)
        start = {key: float(value) if key == "p" else value for key, value in self.start.items()}
        return {**final, **{key: _between(value, final[key], share) for key, value in start.items()}}

    def check(self, final: dict[str, Any]) -> None:
        """ValueError where a start has no end, or one of another kind."""
        for key, value in self.start.items():
            if key not in final:
                raise ValueError(f"ramp.start: {key} has no final value; write it beside the ramp, as {key}: ...")
            if not _alike(value, final[key]):
                raise ValueError(f"ramp.start: {key} cannot go from {value!r} to {final[key]!r}; both must be numbers")


class AugmentConfig(BaseModel):
    """One albumentations transform: its class name, and its arguments beside it."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str
    ramp: RampConfig | None = Field(default=None, exclude_if=lambda ramp: ramp is None)

    @model_validator(mode="after")
    def _ramp_fits(self) -> AugmentConfig:
        if self.ramp:
            self.ramp.check(self.arguments)
        return self

    @property
    def arguments(self) -> dict[str, Any]:
        return dict(self.model_extra or {})

    def arguments_in(self, epoch: int) -> dict[str, Any]:
        return self.ramp.at(epoch, self.arguments) if self.ramp else self.arguments


class MixConfig(Strict):
    """Training images made of several (see data/mix.py). p: how likely; its ramp may hold `start: {p: ...}`."""

    name: Literal["cutmix", "mosaic"]
    p: Fraction = 0.5
    ramp: RampConfig | None = None

    @model_validator(mode="after")
    def _ramp_fits(self) -> MixConfig:
        if self.ramp:
            self.ramp.check({"p": self.p})
            if not 0 <= float(self.ramp.start["p"]) <= 1:
                raise ValueError(f"ramp.start: p is a probability, from 0 to 1, not {self.ramp.start['p']!r}")
        return self

    def p_in(self, epoch: int) -> float:
        return float(self.ramp.at(epoch, {"p": self.p})["p"]) if self.ramp else self.p


class PseudoConfig(Strict):
    """The test images are learned from too, as the run of this name labels them (see training/pseudo_labels.py).

    A pixel counts where the probability of each class is at most `low` (the class is absent) or at least `high`.
    """

    run: Annotated[str, Field(pattern=NAME_PATTERN)]
    low: Fraction = 0.1
    high: Fraction = 0.9

    @model_validator(mode="after")
    def _apart(self) -> PseudoConfig:
        if not self.low < self.high:
            raise ValueError("low must be below high")
        return self


class HeadsConfig(Strict):
    """Further losses while a network is trained (see training/heads.py), each weighed against the one of its masks.

    presence_weight: of whether the image shows a class, said by the deepest maps; deep_weight: of the masks, said by
    the `deep_maps` finest maps below the output's size, together.
    """

    presence_weight: Annotated[float, Field(ge=0)] = 0.0
    deep_weight: Annotated[float, Field(ge=0)] = 0.0
    deep_maps: Positive = 2

    @model_validator(mode="after")
    def _one_at_least(self) -> HeadsConfig:
        if not self.presence_weight and not self.deep_weight:
            raise ValueError("give presence_weight or deep_weight, above 0")
        return self


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

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
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


class PostprocessConfig(Strict):
    """thresholds: how many lattice levels are searched; min_areas: pixels on the competition's grid, searched too.

    rule: "component" drops small components, "total" empties a small mask, "triplet" empties a mask that has too few
    pixels above a second, higher threshold (`min_areas` are then their counts). gate: how the classifier may empty a
    class. gate_wanted: the precision or recall wanted, for the gates of these names. presence: what the gate goes by,
    the classifier's probability alone, or stacked with the blend's own surest pixels by a logistic regression.
    """

    thresholds: Annotated[int, Field(ge=1, le=255)] = 51
    min_areas: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0,)
    rule: Literal["component", "total", "triplet"] = "component"
    gate: Literal["dice", "expected_dice", "precision", "recall"] = "dice"
    gate_wanted: Fraction | None = None
    presence: Literal["classifier", "stacked"] = "stacked"

    @model_validator(mode="after")
    def _wanted(self) -> PostprocessConfig:
        if self.gate in ("precision", "recall") and self.gate_wanted is None:
            raise ValueError(f"gate: {self.gate} needs gate_wanted, the {self.gate} to reach")
        return self


class WeightsConfig(Strict):
    """How the weights of a weighted mean are searched on the out-of-fold rows, together with a threshold per class.

    search: "greedy" adds models one by one, with replacement, whichever helps most; "hill_climb" moves weight between
    two models as long as that helps; "slsqp" follows the gradient of the correlation with the truth. steps: models that
    greedy adds; bags: how often the search is repeated, each on a random `row_share` of the groups and `model_share` of
    the runs, and averaged (1: once, on all). thresholds: how many levels, evenly over `threshold_range`.
    """

    search: Literal["greedy", "hill_climb", "slsqp"] = "greedy"
    steps: Annotated[int, Field(ge=1, le=250)] = 25
    bags: Annotated[int, Field(ge=1, le=100)] = 1
    row_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    model_share: Annotated[float, Field(gt=0, le=1)] = 0.75
    thresholds: Annotated[int, Field(ge=1, le=255)] = 15
    threshold_range: tuple[Fraction, Fraction] = (0.2, 0.8)

    @field_validator("threshold_range")
    @classmethod
    def _ascending(cls, ends: tuple[float, float]) -> tuple[float, float]:
        if not ends[0] < ends[1]:
            raise ValueError("the first threshold must be below the last")
        return ends


class MergeConfig(Strict):
    """How classes, each learned by one run or several, become one map in which each pixel has one class.

    rule: "largest" takes the class with the largest probability; "normalised" too, after each class's probabilities are
    stretched so that the threshold at which it alone scores best lies at one half; "priority" the first class of
    `order` that is above that threshold. The class that no run learned (under "priority": that `order` leaves out) is
    where no other is. Thresholds are chosen on out-of-fold rows, and again without each fold.
    """

    rule: Literal["largest", "normalised", "priority"] = "largest"
    order: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _order_fits(self) -> MergeConfig:
        if (self.rule == "priority") != (self.order is not None):
            raise ValueError("order: give it with rule: priority, and with no other; all classes but one, first wins")
        return self


class BlendConfig(Strict):
    """Runs blended into one prediction, post-processed, and handed in.

    runs: config files of the runs, relative to this file; gate: config of a run with target "presence", or none.
    With a gate two submissions are written: `<name>_before_gate` and `<name>`.
    combine: "vote" is the share of runs above a level of their own per class, "stack" a logistic regression per class
    on the runs' probabilities; both are fitted on the out-of-fold rows. weights: one a run, or `{search: greedy}` to
    have those of a mean searched (see WeightsConfig); none: equal. merge: give each pixel one class; the runs may then
    know different classes, and nothing is cut or dropped after it.
    """

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    data: DataConfig
    runs: Annotated[tuple[str, ...], Field(min_length=1)]
    gate: str | None = None
    combine: Literal["mean", "geometric", "rank", "vote", "stack"] = "mean"
    weights: tuple[float, ...] | WeightsConfig | None = None
    merge: MergeConfig | None = Field(default=None, exclude_if=lambda merge: merge is None)
    postprocess: PostprocessConfig = PostprocessConfig()
    bootstrap: Positive = 1000
    seed: Seed = 0

    @model_validator(mode="before")
    @classmethod
    def _merged_masks_are_final(cls, given: Any) -> Any:
        """What is merged is cut at one half, where its classes part."""
        if not isinstance(given, dict) or given.get("merge") is None:
            return given
        if given.get("postprocess") is not None:
            raise ValueError("postprocess: thresholds and areas would undo what merge: decides; leave it off")
        return {**given, "postprocess": PostprocessConfig(thresholds=1)}

    @field_validator("weights", mode="before")
    @classmethod
    def _fixed_or_searched(cls, given: Any) -> tuple[float, ...] | WeightsConfig | None:
        kind: Any = WeightsConfig if isinstance(given, dict | WeightsConfig) else FixedWeights | None
        try:
            weights: tuple[float, ...] | WeightsConfig | None = TypeAdapter(kind).validate_python(given)
        except ValidationError as error:
            raise ValueError("; ".join(explain(WeightsConfig, error))) from None
        return weights

    @model_validator(mode="after")
    def _weights_fit(self) -> BlendConfig:
        if isinstance(self.weights, tuple) and (len(self.weights) != len(self.runs) or not sum(self.weights)):
            raise ValueError(f"weights: give one for each of the {len(self.runs)} runs, not all of them 0")
        if isinstance(self.weights, WeightsConfig) and self.combine != "mean":
            raise ValueError(f"weights: they are searched for combine: mean, not {self.combine}; give fixed ones")
        if self.merge and (self.gate or self.combine != "mean" or isinstance(self.weights, WeightsConfig)):
            raise ValueError("merge: it goes with the mean of runs, equal or of fixed weights, and without a gate")
        if self.weights is not None and self.combine == "stack":
            raise ValueError("weights: combine: stack fits its own; leave them off")
        return self


class PublishedFigures(Strict):
    """What somebody reached with a model on the contest's own files; minutes: of training."""

    iou: Fraction
    dice: Fraction
    pixel_accuracy: Fraction
    minutes: Annotated[float, Field(gt=0)]


class TableRow(Strict):
    """One model of a table: the config of a run, of a blend, or a study of `trials` trials whose best one is trained;
    all relative to the table's file."""

    model: str
    run: str | None = None
    blend: str | None = None
    study: str | None = None
    trials: Positive | None = None
    published: PublishedFigures | None = None

    @model_validator(mode="after")
    def _one_of_three(self) -> TableRow:
        if sum(given is not None for given in (self.run, self.blend, self.study)) != 1:
            raise ValueError("give one of run, blend and study")
        if (self.study is None) != (self.trials is None):
            raise ValueError("give trials with a study, and with a study alone")
        return self


class TableConfig(Strict):
    """Models compared on the folds of one data set, a row each."""

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    data: DataConfig
    models: Annotated[tuple[TableRow, ...], Field(min_length=1)]


class ForecastModel(Strict):
    """One forecast, of a family or of a network.

    family: a module of `skyfold.forecasts`; options: of its `forecast`. members: names of forecasts above it in the
    list, for a family that learns from theirs. run: the config of a network with `target: forecast`, of the same name.
    """

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    family: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    members: tuple[str, ...] = ()
    run: str | None = Field(default=None, exclude_if=lambda run: run is None)

    @model_validator(mode="after")
    def _family_or_run(self) -> ForecastModel:
        if (self.family is None) == (self.run is None):
            raise ValueError(f"{self.name}: give a family, or a run")
        if self.run is not None and (self.options or self.members):
            raise ValueError(f"{self.name}: options and members are of a family; a run has a config of its own")
        return self


class ForecastConfig(Strict):
    """Forecasts of families and networks, compared on the same dates; the last one is handed in.

    scored: the first and last year of the table; None: all that the folds validate. against: the forecast that the
    others are compared with year by year; None: the first.
    """

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    data: DataConfig
    forecasts: Annotated[tuple[ForecastModel, ...], Field(min_length=1)]
    scored: IntPair | None = None
    against: str | None = None

    @model_validator(mode="after")
    def _names_fit(self) -> ForecastConfig:
        names = [model.name for model in self.forecasts]
        if len(set(names)) != len(names):
            raise ValueError(f"forecasts: each needs a name of its own, got {', '.join(names)}")
        for place, model in enumerate(self.forecasts):
            if len(set(model.members)) != len(model.members):
                raise ValueError(f"forecasts: {model.name}: a member is named twice, {', '.join(model.members)}")
            unknown = [member for member in model.members if member not in names[:place]]
            if unknown:
                raise ValueError(f"forecasts: {model.name} learns from '{unknown[0]}', which does not stand above it")
        if self.against is not None and self.against not in names:
            raise ValueError(f"against: there is no forecast '{self.against}'")
        if self.scored is not None and self.scored[0] > self.scored[1]:
            raise ValueError(f"scored: the first year comes first, got {list(self.scored)}")
        return self


class DatasetConfig(Strict):
    """A data set alone: what prepare.py and score.py need."""

    data: DataConfig


AnyConfig = RunConfig | BlendConfig | TableConfig | ForecastConfig | DatasetConfig


def _between(start: Any, end: Any, share: float) -> Any:
    """What lies `share` of the way between two numbers, or between the numbers of two lists or tables."""
    if isinstance(end, dict):
        return {key: _between(start[key], end[key], share) for key in end}
    if isinstance(end, list | tuple):
        return [_between(one, other, share) for one, other in zip(start, end, strict=True)]
    between = start + (end - start) * share
    return round(between) if isinstance(start, int) and isinstance(end, int) else between


def _alike(start: Any, end: Any) -> bool:
    """Whether there is something between the two."""
    if isinstance(start, dict) and isinstance(end, dict):
        return set(start) == set(end) and all(_alike(start[key], end[key]) for key in end)
    if isinstance(start, list | tuple) and isinstance(end, list | tuple):
        return len(start) == len(end) and all(_alike(one, other) for one, other in zip(start, end, strict=True))
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in (start, end))
