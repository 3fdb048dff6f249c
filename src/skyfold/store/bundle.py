"""A bundle: one folder, or a zip file of it, with all that predicting with a blend or a forecast needs, nothing else.

    manifest.json   a `BundleRecord`: what was trained, on what, how it is combined, and the SHA-256 of each file
    runs/<name>/    the weights of the fits of each member, as `fits.FitFiles` stores them
    wheels/         skyfold and what its networks are built with, for pip on a machine without a network
    README.md       the same for people
    kernel*         a Kaggle kernel, where it was asked for (`pipeline.kernel`)

Nothing that opens a bundle runs code of it, and no path in it is absolute.
"""

from __future__ import annotations

import errno
import shutil
import zipfile
import zlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from skyfold.config.fields import Text, refuse
from skyfold.errors import ConfigError, DamagedFile, NewerFile
from skyfold.files import file_digest, read_json, write_atomic
from skyfold.memory import too_large_for_disk
from skyfold.store.fits import FitResult
from skyfold.store.records import (
    FingerprintParts,
    FitRecord,
    Record,
    SelectionsRecord,
    Sha256,
    StackRecord,
    StoredConfig,
    read_record,
    write_record,
)
from skyfold.types import JsonDict

MANIFEST = "manifest.json"
BUNDLE_FORMAT = 1
KNOWN: frozenset[str] = frozenset()  # what `requires` of a manifest may name, beyond format 1
MAKE_ONE = "Make one: skyfold pack CONFIG --out DIR."
REMEDY = "Copy the bundle again, or make it again with skyfold pack."


def _relative(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or not path.parts or ".." in path.parts or "\\" in name or ":" in name or str(path) != name:
        raise ValueError(f"'{name}' is no path inside the bundle")
    return name


Inside = Annotated[str, AfterValidator(_relative)]


class BundledFit(FitRecord):
    """A fit, and the file of its weights."""

    weights: Inside


class BundledRun(Record):
    """A member or the gate; fits: none where nothing is trained."""

    name: Text
    config: StoredConfig
    fingerprint: FingerprintParts
    fits: list[BundledFit]


class BundledCompetition(Record):
    """How samples are read and submissions written; options: with the grid that was settled on training."""

    name: Text
    options: JsonDict


class BundledForecast(Record):
    """A forecast of a baseline family.

    members: names of the runs and of the forecasts above it that it blends; fitted: what was fitted on past dates, None
    where nothing is.
    """

    name: Text
    family: Text
    options: JsonDict
    members: list[str]
    fitted: JsonDict | None


class BundledChoice(Record):
    """What of a blend was packed, where it was not all of it.

    left_out: members that are not packed; scores_of_all: those of the blend with them; folds: by run, those whose fits
    are packed, where it is not all; full: whether the fits are those on all samples; seconds: that predicting `images`
    images took, as measured where it was packed, of a limit of `time_limit`.
    """

    left_out: list[str]
    scores_of_all: JsonDict
    folds: dict[str, list[int]]
    full: bool
    seconds: float | None
    images: int | None
    time_limit: float | None


class BundledLimits(Record):
    """Band statistics of the training images, as `data.unlike_training` makes them: run: at the size of which, and the
    least and greatest mean and standard deviation of each band, lists (2, C), that are not far outside."""

    run: Text
    low: list[list[float]]
    high: list[list[float]]

    @model_validator(mode="after")
    def _of_bands(self) -> Self:
        shapes = {tuple(map(len, rows)) for rows in (self.low, self.high)}
        refuse((len(shapes) != 1 or len(self.low) != 2 or len(set(*shapes)) != 1, "low and high are not (2, bands)"))
        return self


class BundledInputs(Record):
    """What every image must be: bands and number type. Of forecasts, the frames that were known at the newest date."""

    bands: Annotated[int, Field(ge=1)]
    dtype: Text


class BundleRecord(Record):
    """Contents of `manifest.json`.

    bundle     number of this format
    requires   what a reader must know beyond it
    needs      what the machine must bring beside `wheels/`: the range of Python, and the versions of distributions that
               predicted here
    plugins    digests of the code outside skyfold that predicting needs, by kind and name ("models/mine")
    files      SHA-256 of every file of the bundle but the manifest and the kernel, which may be edited
    forecasts  of baseline families; the last one is what is predicted; none: the combination of the runs
    choice     what of the blend was packed; None: all
    limits     beyond which an image is unlike those of training; None: not known, of forecasts and of scenes
    """

    bundle: Literal[1]
    requires: list[str]
    name: Text
    task: Text
    classes: list[str]
    competition: BundledCompetition
    inputs: BundledInputs
    runs: list[BundledRun]
    gate: BundledRun | None
    combination: JsonDict
    selection: SelectionsRecord
    presence_stack: StackRecord | None
    scores: JsonDict
    metric: Text
    folds: str
    needs: dict[str, str]
    versions: dict[str, str]
    created: str
    licence: str | None
    plugins: dict[str, str]
    files: dict[Inside, Sha256]
    forecasts: list[BundledForecast] = Field(default_factory=list)
    choice: BundledChoice | None = None
    limits: BundledLimits | None = None

    @model_validator(mode="after")
    def _predicts(self) -> Self:
        names = [run.name for run in self.runs]
        refuse(
            (not self.runs and not self.forecasts, "neither runs nor forecasts"),
            (self.limits and self.limits.run not in names, "limits of a run that is not there"),
        )
        return self


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files are as they were packed, in `folder`."""

    folder: Path
    manifest: JsonDict

    def fits(self, run: Mapping[str, Any]) -> list[FitResult]:
        """The fits of a member, in the order in which they are averaged."""
        found = []
        for fit in run["fits"]:
            result = {name: value for name, value in fit.items() if name not in ("weights", "fingerprint")}
            found.append(FitResult(self.folder / fit["weights"], **result))
        return found

    def members(self) -> list[JsonDict]:
        """What the manifest says of the runs and of the gate."""
        return [*self.manifest["runs"], *([self.manifest["gate"]] if self.manifest["gate"] else [])]


def write_bundle(
    out: Path, files: Mapping[str, Path | str | bytes], manifest: Mapping[str, Any], *, editable: Collection[str] = ()
) -> Path:
    """Write a bundle to the folder `out`, or to a zip file where its name ends in .zip: completely, or not at all.

    files     by path inside, the file to copy, or what it holds
    editable  those of them that the manifest does not list, since people may change them

    ConfigError where something is at `out` already.
    """
    if out.exists():
        raise ConfigError(f"{out}: is there already. Name another --out, or delete it first.")
    beside = out.with_name(f".writing-{out.name}")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        for name, content in files.items():
            target = beside / _relative(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                shutil.copyfile(content, target)
            else:
                target.write_bytes(content if isinstance(content, bytes) else content.encode())
        digests = {name: file_digest(beside / name) for name in sorted(files) if name not in editable}
        write_record(beside / MANIFEST, {**manifest, "bundle": BUNDLE_FORMAT, "files": digests})
        if out.suffix.lower() == ".zip":
            write_atomic(out, lambda path: _zip(beside, path, [MANIFEST, *sorted(files)]))
        else:
            beside.rename(out)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return out


def _zip(folder: Path, path: Path, names: Iterable[str]) -> None:
    with zipfile.ZipFile(path, "w") as file:  # weights hardly compress
        for name in names:
            file.write(folder / name, name)


def open_bundle(path: Path, unpacked: Path) -> Bundle:
    """The bundle in the folder or zip file `path`; a zip file is unpacked into `unpacked`.

    ConfigError where there is none; NewerFile where it needs a newer skyfold; DamagedFile names a file that is missing
    or not as it was packed.
    """
    if path.is_file():
        path = _unpacked(path, unpacked)
    if not (path / MANIFEST).is_file():
        raise ConfigError(f"{path}: no bundle here ({MANIFEST} is missing). {MAKE_ONE}")
    manifest = _manifest(path / MANIFEST)
    for name, sha256 in manifest["files"].items():
        if not (path / name).is_file():
            raise DamagedFile(f"{path / name}: missing from the bundle. {REMEDY}")
        if file_digest(path / name) != sha256:
            raise DamagedFile(f"{path / name}: not the file that was packed, by its checksum. {REMEDY}")
    listed = {fit["weights"] for run in (*manifest["runs"], manifest["gate"]) if run for fit in run["fits"]}
    if missing := sorted(listed - set(manifest["files"])):
        raise DamagedFile(f"{path / MANIFEST}: lists no checksum of {missing[0]}. {REMEDY}")
    return Bundle(path, manifest)


def _manifest(path: Path) -> JsonDict:
    stored = read_json(path, remedy=REMEDY)
    number = stored.get("bundle") if isinstance(stored, dict) else None
    if type(number) is int and number > BUNDLE_FORMAT:
        raise NewerFile(
            f"{path}: a bundle of format {number}; this skyfold reads format {BUNDLE_FORMAT}. Update skyfold."
        )
    needed = stored.get("requires") if isinstance(stored, dict) else None
    if isinstance(needed, list) and (
        unknown := [what for what in needed if isinstance(what, str) and what not in KNOWN]
    ):
        raise NewerFile(
            f"{path}: the bundle requires '{unknown[0]}', which this skyfold does not know. Update skyfold."
        )
    return read_record(path, BundleRecord, remedy=REMEDY)


def _unpacked(path: Path, folder: Path) -> Path:
    """Unpack the files that the manifest lists into `folder`, and nothing else."""
    if not zipfile.is_zipfile(path):
        raise ConfigError(f"{path}: neither a folder nor a zip file. Name a bundle that skyfold pack wrote.")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with zipfile.ZipFile(path) as file:
            if MANIFEST not in file.namelist():
                inside = next((name for name in file.namelist() if name.endswith(f"/{MANIFEST}")), None)
                remedy = f"It lies deeper, at {inside}: unzip the file and name that folder." if inside else MAKE_ONE
                raise ConfigError(f"{path}: no bundle ({MANIFEST} is missing). {remedy}")
            for name in file.namelist():
                try:
                    _relative(name.rstrip("/"))
                except ValueError as error:
                    raise DamagedFile(f"{path}: {error}; nothing was unpacked. {REMEDY}") from None
            if shortage := too_large_for_disk(folder.parent, sum(info.file_size for info in file.infolist())):
                raise ConfigError(f"{path}: unpacked: {shortage}. Name --out on another disk.")
            folder.mkdir(parents=True)
            file.extract(MANIFEST, folder)
            for name in _manifest(folder / MANIFEST)["files"]:
                if name in file.namelist():
                    file.extract(name, folder)
    except OSError as error:
        if error.errno != errno.EINVAL:  # that of a place before the file's beginning
            raise
        raise DamagedFile(f"{path}: a damaged zip file ({error.strerror}). {REMEDY}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise DamagedFile(f"{path}: a damaged zip file ({error}). {REMEDY}") from None
    return folder
