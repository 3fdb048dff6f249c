"""Submit to a contest, keep their public and private scores, and compare these with cross-validation."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from skyfold.errors import ConfigError, DamagedFile, DataLayoutError, shortened
from skyfold.files import file_digest, read_json
from skyfold.reports.text_table import aligned
from skyfold.store.public_scores import FOLDER, Submitted, add_submitted, number, parse_date, read_submitted
from skyfold.tables import read_rows
from skyfold.types import JsonDict
from skyfold.workspace import Workspace

KAGGLE_COLUMNS = (
    "fileName",
    "date",
    "description",
    "publicScore",
    "privateScore",
)  # of `kaggle competitions submissions`
FEWEST = 4  # entries, below which a rank correlation says nothing
DRAWS = 2000


@dataclass(frozen=True)
class Compared:
    """A submission with its scores. cv: cross-fitted, None where the submission's record is not there; state: what
    became of the file since it was submitted, or ''."""

    submitted: Submitted
    cv: float | None
    state: str


def find_submission(text: str, workspace: Workspace) -> tuple[str, str]:
    """Data set and name of a submission, given as NAME, DATA/NAME, or the path of its file.

    ConfigError where there is no such submission, or several data sets have one.
    """
    parts = Path(text.removesuffix(".csv")).parts[-2:]
    files = sorted(workspace.submissions(".").glob("*/*.csv"))
    known = [(file.parent.name, file.stem) for file in files]
    named = [one for one in known if one[-len(parts) :] == parts]
    if len(named) == 1:
        return named[0]
    names = ["/".join(one) for one in named or known]
    if named:
        raise ConfigError(f"'{text}' is a submission of several data sets. Name one of them: {', '.join(names)}.")
    there = f"There are: {shortened(names, 10)}." if names else "Write one with skyfold submit."
    raise ConfigError(f"'{text}': no such submission. {there}")


def add_score(
    text: str,
    workspace: Workspace,
    *,
    public: float | None,
    private: float | None = None,
    date: str | None = None,
    message: str = "",
) -> tuple[str, list[Submitted]]:
    """Note what a submission scored; returns the data set and all that was submitted of it."""
    data, name = find_submission(text, workspace)
    folder = workspace.submissions(data)
    when = parse_date(date, "--date") if date else now()
    one = Submitted(when, name, public, private, message, file_digest(folder / f"{name}.csv"))
    return data, add_submitted(folder, [one])


def import_kaggle(data: str, table: Path, workspace: Workspace) -> list[Submitted]:
    """Add the rows of the CSV that `kaggle competitions submissions -c CONTEST --csv` prints; those without a score, of
    submissions that failed, are kept without one. Importing it again adds nothing twice.

    DataLayoutError names a line that cannot be read.
    """
    header, lines = read_rows(table, KAGGLE_COLUMNS, refuse=DataLayoutError)
    rows = []
    for line, cells in lines:
        row, where = dict(zip(header, cells, strict=True)), f"{table}: line {line}"
        name = Path(row["fileName"]).name.removesuffix(".csv")
        if not name:
            raise DataLayoutError(f"{where}: no fileName. Export the table again.")
        public, private = (number(row[f"{part}Score"], where, f"{part}Score") for part in ("public", "private"))
        rows.append(Submitted(parse_date(row["date"], where), name, public, private, row["description"]))
    return add_submitted(workspace.submissions(data), rows)


def record_submitted(path: Path, message: str, workspace: Workspace, *, contest: str | None = None) -> list[Submitted]:
    """Note that the file at `path` is submitted, and keep a copy of it in `submitted/`.

    contest: on Kaggle, where the Kaggle CLI submits it first; ConfigError where it is not installed or refuses.
    """
    if contest is not None:
        _submit_to_kaggle(path, message, contest)
    digest = file_digest(path)
    kept = path.parent / FOLDER / f"{path.stem}-{digest[:8]}{path.suffix}"
    kept.parent.mkdir(exist_ok=True)
    shutil.copyfile(path, kept)
    return add_submitted(path.parent, [Submitted(now(), path.stem, message=message, sha256=digest)])


def _submit_to_kaggle(path: Path, message: str, contest: str) -> None:
    program = shutil.which("kaggle")
    if program is None:
        raise ConfigError("--kaggle: the Kaggle CLI is not installed. pip install kaggle, or leave --kaggle out.")
    command = [program, "competitions", "submit", "-c", contest, "-f", str(path), "-m", message]
    ended = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if ended.returncode:
        said = (ended.stderr or ended.stdout).strip().splitlines()
        raise ConfigError(f"kaggle competitions submit -c {contest}: {said[-1] if said else 'failed without a word'}")


def entries_left(rows: Sequence[Submitted], per_day: int) -> int:
    """How many files may be submitted today, a day of UTC."""
    today = now().date()
    return max(0, per_day - sum(row.date.date() == today for row in rows))


def require_entry_left(data: str, workspace: Workspace, per_day: int | None) -> None:
    """ConfigError where as many were submitted today as `data.submissions_per_day` allows."""
    if per_day and not entries_left(read_submitted(workspace.submissions(data)), per_day):
        raise ConfigError(
            f"data.submissions_per_day: {per_day} were submitted today (UTC); the day ends at midnight UTC. Wait, or "
            "leave --message and --kaggle out to write the file only."
        )


def compared(data: str, workspace: Workspace) -> list[Compared]:
    """What was submitted of a data set, the oldest first, with cross-validation."""
    folder = workspace.submissions(data)
    return [_compared(one, folder) for one in read_submitted(folder)]


def _compared(one: Submitted, folder: Path) -> Compared:
    path, record = folder / f"{one.submission}.csv", JsonDict()
    with suppress(DamagedFile, FileNotFoundError):
        record = read_json(path.with_suffix(".json"))
    if not path.is_file():
        return Compared(one, None, "no file of this name here")
    if one.sha256 and one.sha256 != file_digest(path):
        return Compared(one, None, "another file than is there now")
    return Compared(one, record.get("scores", {}).get("cv_cross_fitted"), "")


def public_scores(data: str, workspace: Workspace) -> dict[str, float]:
    """The latest public score of each submission whose file is still the one that was submitted."""
    return {
        one.submitted.submission: one.submitted.public
        for one in compared(data, workspace)
        if one.submitted.public is not None and not one.state
    }


def listed(data: str, workspace: Workspace, per_day: int | None) -> list[str]:
    """Lines: what was submitted, how cross-validation and public scores agree, and what may be submitted today."""
    rows = compared(data, workspace)
    if not rows:
        return [f"{data}: nothing was submitted yet. Note a score with skyfold lb add NAME --public SCORE."]
    table = [["date (UTC)", "submission", "CV", "public", "private", "message"]]
    for one in rows:
        own = one.submitted
        scores = ("" if value is None else f"{value:.4f}" for value in (one.cv, own.public, own.private))
        table.append([f"{own.date:%Y-%m-%d %H:%M}", own.submission, *scores, own.message or one.state])
    lines = aligned(table).splitlines()
    pairs = [(one.cv, one.submitted.public) for one in rows if one.cv is not None and one.submitted.public is not None]
    lines += agreement([cv for cv, _ in pairs], [public for _, public in pairs])
    if per_day:
        lines.append(f"left today: {entries_left([one.submitted for one in rows], per_day)} of {per_day} (UTC)")
    return lines


def agreement(cv: Sequence[float], public: Sequence[float], seed: int = 0) -> list[str]:
    """How well cross-validation orders public scores: a line with Spearman's rank correlation and its 95 % bootstrap
    interval over submissions; a line on why there is none where there are too few."""
    if len(cv) < FEWEST:
        return [f"CV and public score of {len(cv)} submissions; a rank correlation needs {FEWEST}."]
    from scipy.stats import spearmanr  # takes longer to import than the leaderboard to print

    values, rng = np.array([cv, public]), np.random.default_rng(seed)
    if min(len(set(one)) for one in values.tolist()) < 2:
        return ["CV and public scores do not differ between submissions; there is no rank correlation."]
    draws = []
    for rows in rng.integers(0, len(cv), size=(DRAWS, len(cv))):
        chosen = values[:, rows]
        if all(len(set(one)) > 1 for one in chosen.tolist()):  # else it is not defined
            draws.append(spearmanr(*chosen).statistic)
    low, high = np.quantile(draws, [0.025, 0.975])
    offset = float(np.median(values[1] - values[0]))
    return [
        f"CV and public score of {len(cv)} submissions: rank correlation {spearmanr(*values).statistic:.2f} "
        f"({low:.2f} to {high:.2f}), public - CV {offset:+.4f} (median)"
    ]


def told(rows: Sequence[Compared]) -> list[Mapping[str, object]]:
    """For --json."""
    return [
        {
            "date": one.submitted.date.isoformat(),
            "submission": one.submitted.submission,
            "cv": one.cv,
            "public": one.submitted.public,
            "private": one.submitted.private,
            "message": one.submitted.message,
            "state": one.state,
        }
        for one in rows
    ]


def now() -> datetime:
    """The time in UTC, in whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)
