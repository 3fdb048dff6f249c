"""Records: the JSON files that skyfold writes and reads again, a schema for each kind, checked whenever one is read.

Each carries the number of its format, and a checksum of its values. One without a number was written before there were
numbers, and has format 1; checksums came with format 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import AfterValidator, ConfigDict, Field, ValidationError, ValidationInfo, model_validator
from pydantic_core import to_json

from skyfold import plugins
from skyfold.config.errors import explain
from skyfold.config.fields import Strict, Text, refuse
from skyfold.errors import DamagedFile, NewerFile
from skyfold.files import read_json, values_checksum, with_checksum, write_json
from skyfold.store.fingerprint import Fingerprint
from skyfold.types import JsonDict

FORMAT = 2  # of all records; raised when one of them changes so that an older skyfold would misread it

OF_ALL = ("format", "checksum")  # keys of every record, beside its values

Kind = Literal["run", "blend", "forecast", "imported"]  # of what a folder below oof/<data> holds
LARGEST = 1e300  # of a score: whole numbers beyond every float can stand in a JSON file
Count = Annotated[int, Field(ge=0)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Record(Strict):
    """Base of the schemas: no text counts as a number, no number as text."""

    model_config = ConfigDict(strict=True)


class Part(Record):
    """Base of the schemas of what is read in part only: other keys may stand there, too."""

    model_config = ConfigDict(extra="allow")


def read_record(path: Path, kind: type[Record], *, remedy: str) -> JsonDict:
    """The values of the record in `path`, as they stand there, checked by the schema `kind` and by their checksum.

    NewerFile where it was written by a newer skyfold; DamagedFile, with the value that is wrong and `remedy`, where it
    is cut off or is not what `write_record` wrote.
    """
    stored = read_json(path, remedy=remedy)
    values = {key: stored[key] for key in stored if key not in OF_ALL} if isinstance(stored, dict) else stored
    number = stored.get("format", 1) if isinstance(stored, dict) else 1
    if type(number) is not int or number < 1:
        raise DamagedFile(f"{path}: format {number!r} is no number of a format. {remedy}")
    if number > FORMAT:
        raise NewerFile(
            f"{path}: written by a newer skyfold, in format {number}; this one reads format {FORMAT} and older. "
            "Update skyfold."
        )
    try:
        kind.model_validate_json(to_json(values), context=path)
    except ValidationError as error:
        raise DamagedFile(f"{path}: not what was written there. {explain(kind, error)[0]} {remedy}") from None
    checked: JsonDict = values
    if number > 1 and stored.get("checksum") != values_checksum({**checked, "format": number}):
        raise DamagedFile(f"{path}: edited since it was written; its values do not match its checksum. {remedy}")
    return checked


def write_record(path: Path, values: Mapping[str, Any]) -> None:
    """Write a record with the number of its format and its checksum.

    Keys keep their order: that of the classes in the options of a data set is the order of its masks.
    """
    write_json(path, with_checksum({**values, "format": FORMAT}), sort_keys=False)


def _fingerprint(values: JsonDict, info: ValidationInfo) -> JsonDict:
    Fingerprint.from_json(values, str(info.context))
    return values


def _scores(values: JsonDict) -> JsonDict:
    others = {"metric": str, "metric_source": str, "best_single": str, "greater_is_better": bool}
    for name, value in values.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST
        if not (isinstance(value, others[name]) if name in others else is_number):
            raise ValueError(f"the score '{name}' is {value!r}")
    return values


def _task(name: str) -> str:
    if name not in (known := plugins.names("tasks")):
        raise ValueError(f"there is no task '{name}'; there are: {', '.join(known)}")
    return name


def _dtype(text: str) -> str:
    try:
        plain = np.dtype(text).str == text and np.dtype(text).kind in "iuf"
    except TypeError:
        plain = False
    if not plain:
        raise ValueError(f"there are no numbers of type '{text}'")
    return text


def _distinct(values: list[str]) -> list[str]:
    if len(set(values)) < len(values):
        raise ValueError("an id is listed twice")
    return values


FingerprintParts = Annotated[JsonDict, AfterValidator(_fingerprint)]
Scores = Annotated[JsonDict, AfterValidator(_scores)]


class StoredData(Part):
    """`data` of a stored config."""

    competition: str | None = None
    options: JsonDict | None = None


class StoredConfig(Part):
    """The keys of a stored config that are read again; it is checked as a whole where a run is built from it."""

    data: StoredData | None = None
    model: JsonDict | None = None
    family: str | None = None
    classes: list[str] | None = None
    image: JsonDict | None = None


class RunRecord(Record):
    """run.json, see `runs.RunInfo`."""

    name: Text
    kind: Kind
    task: Annotated[str, AfterValidator(_task)]
    classes: list[str]
    unit: str
    config: StoredConfig
    fingerprint: FingerprintParts
    scores: Scores


class RowsRecord(Record):
    """rows.json, see `rows.RowStore`."""

    ids: Annotated[list[str], AfterValidator(_distinct)]
    shape: list[Count]
    shapes: list[list[Count]] | None = None
    dtype: Annotated[str, AfterValidator(_dtype)]
    fingerprint: str


class RescaleRecord(Record):
    """Limits of `data.rescale.Rescale`."""

    low: list[float]
    high: list[float]
    dtype: str


class Environment(Record):
    """What a fit was made with. versions: of Python and of packages, by name; device: kind and model; deterministic:
    None: the record is older, which always was; threads: of an operation, None: not told; commit: of the project's git
    repository, None: there is none."""

    versions: dict[str, str]
    backend: str
    device: str
    precision: str
    deterministic: bool | None = None
    threads: Count | None
    commit: str | None


class FitRecord(Record):
    """fold<f>_seed<s>.json, see `fits.FitResult`."""

    fingerprint: FingerprintParts
    score: float
    best_epoch: Count
    epochs: Count
    seconds: float
    weights_sha256: Sha256 | None = None  # records without it are older
    rescale: RescaleRecord | None = None
    metric: str | None = None  # records without it and what follows are older
    metric_source: str | None = None
    started: str | None = None
    images_per_second: float | None = None
    peak_memory_mb: float | None = None
    environment: Environment | None = None


class PartContentsRecord(Record):
    """`contents.PartContents`: digests by id."""

    inputs: dict[str, str]
    targets: dict[str, str]


class ContentsRecord(Record):
    """contents.json, see `contents.Contents`."""

    parts: dict[str, PartContentsRecord]


class MadeOf(Record):
    """A member or the gate of a blend; rows: checksums by part."""

    name: Text
    fingerprint: FingerprintParts
    rows: dict[str, str] | None = None


class Limits(Record):
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float


class PerClass(Record):
    """Base of what holds an entry per class in each of its lists."""

    @model_validator(mode="after")
    def _as_many(self) -> Self:
        lists = {name: value for name, value in dict(self).items() if isinstance(value, list)}
        within = {len(value) for values in lists.values() for value in values if isinstance(value, list)}
        if len({len(value) for value in lists.values()}) > 1 or len(within) > 1:
            raise ValueError(f"{', '.join(lists)} are not of as many classes")
        return self


class SelectionRecord(PerClass):
    """`postprocess.selection.Selection`, an entry per class."""

    thresholds: list[Annotated[int, Field(ge=0, le=255)]]
    min_areas: list[Count]
    gate_thresholds: list[float] | None = None
    top_thresholds: list[int] | None = None
    rule: Text | None = None


class StackRecord(PerClass):
    """`blending.stack.LogisticStack`, an entry per class."""

    coef_: list[list[float]]
    intercept_: list[float]


class SelectionsRecord(Record):
    """What a blend chose, by stage; None where its task chooses nothing."""

    final: SelectionRecord | None
    before_gate: SelectionRecord | None = None


class BlendScores(Record):
    """Scores of a blend by stage, of what it is compared with, and of its members."""

    final: Scores
    before_gate: Scores | None = None
    baselines: Scores
    gains: dict[str, Limits] | None = None
    runs: dict[str, Scores]


class StoredMerge(Part):
    """`merge` of a stored config."""

    rule: Text


class StoredBlendConfig(StoredConfig):
    """The keys of a stored config of a blend that are read again."""

    combine: Text
    merge: StoredMerge | None = None


class BlendRecord(Record):
    """blend.json, see `tasks.task.Task.blend`."""

    name: Text
    config: StoredBlendConfig
    runs: list[MadeOf]
    gate: MadeOf | None
    weights: list[float]
    combination: JsonDict
    fingerprint: FingerprintParts
    rows: dict[str, str] | None = None
    unknown_data: list[str] | None = None
    metric: Text
    selection: SelectionsRecord
    presence_stack: StackRecord | None = None
    scores: BlendScores
    maps: Count | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        chosen, gated = self.selection.final, self.gate is not None
        ungated = None in (self.selection.before_gate, self.scores.before_gate)
        refuse(
            (chosen and "presence_stack" not in self.model_fields_set, "presence_stack is missing"),
            (len(self.weights) != len(self.runs), f"{len(self.weights)} weights of {len(self.runs)} runs"),
            (chosen and (chosen.gate_thresholds is None) is gated, "a gate without thresholds, or the reverse"),
            (gated and ungated, "there is nothing of the blend before its gate"),
        )
        return self


class ScoresOnTest(Record):
    """<blend>.test_scores.json, see `tasks._mask_blend.MaskBlending.score_on_test`."""

    truth: str
    images: Count
    scores: dict[str, float]
    differences: dict[str, Limits]
    sha256: dict[str, Sha256] = Field(default_factory=dict)


class StoredForecast(Part):
    """The forecast that a submission was made of."""

    name: Text


class SidecarRecord(Part):
    """<submission>.json, see `submission.write.write_submission`."""

    file: Text
    rows: Count
    sha256: Sha256
    forecast: StoredForecast | None = None


class FoldsRecord(Record):
    """folds.json: the settings that folds.csv was made with, `config.data.FoldsConfig`, and a digest of the groups."""

    k: int
    seed: int
    phash_max_distance: int | None = None
    years: list[int] | None = None
    years_per_fold: int | None = None
    groups: str | None = None
