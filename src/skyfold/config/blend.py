"""Config of a blend of runs: how they are combined, post-processed and written as a submission."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError, field_serializer, field_validator, model_validator

from skyfold import plugins
from skyfold.config.data import DataConfig
from skyfold.config.errors import explain
from skyfold.config.fields import Ascending, Fraction, Many, RunName, Seed, Strict, refuse
from skyfold.config.options import one_of
from skyfold.config.run import RunConfig

FixedWeights = tuple[Annotated[float, Field(ge=0)], ...]


class PostprocessConfig(Strict):
    """thresholds: how many are searched; min_areas: pixels on the competition's grid, searched too.

    rule: a module of `skyfold.postprocess.rules`: "component" drops small components, "total" empties a small mask,
    "triplet" empties a mask that has too few pixels above a second, higher threshold (`min_areas` are their counts).
    gate_criterion: how the classifier's threshold per class is chosen; gate_target: the precision or recall to reach,
    for the criteria of these names. gate_input: the probability that is thresholded, the classifier's only, or a
    logistic regression on it and on the blend's most probable pixels ("stacked").
    """

    thresholds: Annotated[int, Field(ge=1, le=255)] = 51
    min_areas: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1, max_length=255)] = (0,)
    rule: Annotated[str, one_of(partial(plugins.names, "postprocess.rules"))] = "component"
    gate_criterion: Literal["dice", "precision", "recall"] = "dice"
    gate_target: Fraction | None = None
    gate_input: Literal["classifier", "stacked"] = "stacked"

    @model_validator(mode="after")
    def _has_target(self) -> PostprocessConfig:
        if self.gate_criterion in ("precision", "recall") and self.gate_target is None:
            raise ValueError(
                f"gate_criterion: {self.gate_criterion} needs gate_target, the {self.gate_criterion} to reach"
            )
        return self


class WeightsConfig(Strict):
    """Greedy search of the weights of a mean on the out-of-fold rows, together with a threshold per class.

    steps: members that are added one by one, with replacement, whichever scores best with those added before.
    thresholds: number of thresholds searched, evenly over `threshold_range`.
    """

    search: Literal["greedy"] = "greedy"
    steps: Annotated[int, Field(ge=1, le=250)] = 25
    thresholds: Annotated[int, Field(ge=1, le=255)] = 15
    threshold_range: Annotated[tuple[Fraction, Fraction], Ascending] = (0.2, 0.8)


class MergeConfig(Strict):
    """Merge runs of single classes into one map with exactly one class per pixel.

    rule: "largest" takes the class with the largest probability; "normalised" does so after each class's probabilities
    are rescaled so that its best threshold lies at 0.5; "priority" takes the first class of `order` above its
    threshold. The class that no run was trained on (with "priority": that `order` leaves out) fills the rest.
    Thresholds are chosen on out-of-fold rows and cross-fitted.
    """

    rule: Literal["largest", "normalised", "priority"] = "largest"
    order: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _order_fits(self) -> MergeConfig:
        if (self.rule == "priority") != (self.order is not None):
            raise ValueError("order: give it with rule: priority, and with no other; all classes but one, first wins")
        return self


class BlendConfig(Strict):
    """Runs blended into one prediction, post-processed, and written as a submission.

    runs: the members; classifier_gate: a classification run, with which two submissions are written,
    `<name>_before_gate` and `<name>`. In a file each is written inline, or is the file or the name of a config.
    combine: "mean" of the runs' probabilities, or "stack", a logistic regression per class on them, fitted on the
    out-of-fold rows. weights: of the mean, one a run, or `{search: greedy}` to have them searched (see WeightsConfig);
    none: equal. merge: give each pixel one class; the runs may then know different classes, and nothing is cut or
    dropped after it.
    """

    name: RunName
    data: DataConfig
    runs: Annotated[tuple[RunConfig, ...], Field(min_length=1)]
    classifier_gate: RunConfig | None = None
    combine: Literal["mean", "stack"] = "mean"
    weights: tuple[float, ...] | WeightsConfig | None = None
    merge: MergeConfig | None = None
    postprocess: PostprocessConfig = PostprocessConfig()
    bootstrap: Many = 1000
    seed: Seed = 0

    @classmethod
    def of_run(cls, run: RunConfig) -> BlendConfig:
        """The blend of one run, `<run>_alone`, whose thresholds and areas are chosen like those of any other."""
        return cls(name=f"{run.name}_alone", data=run.data, runs=(run,))

    @property
    def task(self) -> str:
        """Task of the runs."""
        return self.runs[0].task

    @model_validator(mode="before")
    @classmethod
    def _merged_masks_are_final(cls, given: Any) -> Any:
        """What is merged is cut at one half, where its classes part."""
        if not isinstance(given, dict) or given.get("merge") is None:
            return given
        final = PostprocessConfig(thresholds=1)
        if given.get("postprocess") not in (None, final, final.model_dump(mode="json")):
            raise ValueError("postprocess: thresholds and areas would undo what merge: decides; leave it off")
        return {**given, "postprocess": final}

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
    def _keys_fit(self) -> BlendConfig:
        searched = isinstance(self.weights, WeightsConfig)
        names = [*(run.name for run in self.members), self.name]
        other = [f"{run.name} ({run.data.folder})" for run in self.members if run.data.folder != self.data.folder]
        refuse(
            (
                isinstance(self.weights, tuple) and (len(self.weights) != len(self.runs) or not sum(self.weights)),
                f"weights: give one for each of the {len(self.runs)} runs, not all of them 0",
            ),
            (
                self.merge and (self.classifier_gate or self.combine != "mean" or searched),
                "merge: it goes with the mean of runs, equal or of fixed weights, and without a gate",
            ),
            (
                self.weights is not None and self.combine == "stack",
                "weights: combine: stack fits its own; leave them off",
            ),
            (other, f"runs: all must be of the data set of the blend, {self.data.folder}; got {', '.join(other)}"),
            (len(set(names)) < len(names), f"runs, gate and blend need different names, got {', '.join(names)}"),
        )
        return self

    @property
    def members(self) -> tuple[RunConfig, ...]:
        """The runs, and the gate behind them."""
        return (*self.runs, *([self.classifier_gate] if self.classifier_gate else []))

    @field_serializer("runs", "classifier_gate")
    def _names(self, value: tuple[RunConfig, ...] | RunConfig | None) -> list[str] | str | None:
        """The folder of each run has its config."""
        return [run.name for run in value] if isinstance(value, tuple) else value.name if value else None
