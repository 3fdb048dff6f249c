"""The leaderboard of a data set as a folder of pages, which open without a server and load nothing from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np

from skyfold.data.dataset import Dataset
from skyfold.errors import ConfigError, SkyfoldError
from skyfold.files import write_csv, write_text
from skyfold.pipeline.public_scores import compared, now
from skyfold.pipeline.shakeup import most_alike, read_scores, stored_test_rows
from skyfold.pipeline.site import compare, forecasts, next_blend, public
from skyfold.pipeline.site.confusion import with_one_class
from skyfold.pipeline.site.entry import entry_page
from skyfold.pipeline.site.images import FOLDER as IMAGES
from skyfold.pipeline.site.images import Thumbnails, data_of_masks
from skyfold.pipeline.site.points import point_sections
from skyfold.pipeline.site.stored import StoredEntry, read_entry
from skyfold.postprocess.evaluate import SampleScores
from skyfold.reports.leaderboard import BASELINE, UNREADABLE, Entry
from skyfold.reports.site.pages import Board, Page, Row, Section, Site, render, static_files
from skyfold.store.folds import read_folds
from skyfold.types import JsonDict
from skyfold.workspace import Workspace

INDEX = "index.html"
CORRELATION = "correlation.html"


def write_site(
    name: str,
    workspace: Workspace,
    entries: Sequence[Entry],
    folder: Path,
    *,
    images: bool = True,
    public_fraction: float = 0.3,
    data: JsonDict | None = None,
    at_hand: dict[str, Dataset | None] | None = None,
) -> Path:
    """Write the pages of data set `name` into `folder`; returns the first page.

    entries, at_hand: as `leaderboard` returns and fills them; images: whether pages show images of the contest;
    public_fraction: of the test part, which the public leaderboard scores; data: block of a config, from which truth is
    read where no entry tells of it. ConfigError where the folder holds something else.
    """
    _require_site_or_nothing(folder)
    at_hand = {} if at_hand is None else at_hand
    scores, _ = read_scores(name, workspace)
    stored, cache = _stored(entries), workspace.cache(name) / "site"
    alike = most_alike({one: scores[one] for one in scores if one in stored})
    found = compare.compared(alike, stored, scores, cache) if len(alike) > 1 else None
    shown: set[str] = set()  # addresses of pictures
    scored = [stored[one] for one in scores if one in stored]
    dataset = data_of_masks(scored, workspace, at_hand)
    thumbnails, filled = Thumbnails(dataset, folder, shown) if images and dataset else None, with_one_class(dataset)
    sums = forecasts.forecast_sums(stored)
    board = _board(entries, stored, scores, alike if found else [])
    pages: dict[str, Page] = {INDEX: board}
    for row in {row.page: row for row in reversed(board.rows) if row.page}.values():
        own = stored[Path(row.page).stem]
        further = forecasts.forecast_sections({own.info.name: sums[own.folder.name]}) if own.folder.name in sums else []
        if images:
            further.append(forecasts.pictures_section(own, folder, shown))
        pages[row.page] = entry_page(
            row,
            own,
            scores.get(own.folder.name),
            others=stored,
            further=further,
            thumbnails=thumbnails,
            filled=filled,
            cache=cache,
            submissions=workspace.submissions(name),
        )
    links, written = [], static_files()
    if found:
        links = [("Compare", compare.INDEX), ("Correlation", CORRELATION)]
        matrix, samples = compare.correlations(found)
        added, text = _next_blend(found, matrix, dataset, cache)
        pages[compare.INDEX] = compare.comparison_page(found)
        pages[CORRELATION] = compare.correlation_page(found, matrix, samples, added)
        written |= {next_blend.FILE: text} if text else {}
        for a, b in combinations(alike[: compare.BEST], 2):
            pages[compare.pair_address(a, b)] = compare.pair_page(found, a, b, thumbnails)
        written |= compare.scripts(found)
        write_csv(folder / compare.FOLDER / "pairs.csv", compare.pairs_csv(found))
    if side_by_side := {one: sums[one] for one in alike if one in sums}:
        links.append(("Forecasts", forecasts.ADDRESS))
        series = []
        if images:
            series = point_sections(side_by_side, stored, data, workspace, at_hand)
        pages[forecasts.ADDRESS] = forecasts.forecasts_page(side_by_side, stored, series)
    with suppress(SkyfoldError):  # a table of scores that cannot be read is named on the board
        entry_of = _entry_of_submissions(entries, stored)
        told = public.public_page(
            compared(name, workspace),
            entry_of,
            {key: own.page for key, own in stored.items()},
            {key: scores[key] for key in alike},
            public_fraction=public_fraction,
            test_rows=stored_test_rows(entry_of.values(), name, workspace),
            cache=cache,
        )
        if told is not None:
            links.append(("Public scores", public.ADDRESS))
            pages[public.ADDRESS] = told
    site = replace(_site(name, workspace, entries, scores), images=bool(shown), links=links)
    for address, page in pages.items():
        heading = "leaderboard" if isinstance(page, Board) else page.heading
        written[address] = render(page, site, title=f"{heading}: {name}", root="../" * address.count("/"))
    for address, text in written.items():
        write_text(folder / address, text)
    _remove_others(folder, {*written, *shown})
    return folder / INDEX


def _remove_others(folder: Path, kept: set[str]) -> None:
    """Remove what an earlier build wrote of entries that are gone. kept: addresses."""
    made = ("*.html", "*/*.html", next_blend.FILE)
    for pattern in (*made, f"{compare.SCRIPTS}/*.js", f"{IMAGES}/*.webp", f"{forecasts.PICTURES}/*/*"):
        for path in folder.glob(pattern):
            if path.relative_to(folder).as_posix() not in kept:
                path.unlink()


def _require_site_or_nothing(folder: Path) -> None:
    """ConfigError unless `folder` is a site that was written before, an empty folder, or not there."""
    if folder.is_file():
        raise ConfigError(f"--html {folder}: a file. Name a folder: the leaderboard has several pages.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "site.js").is_file():
        raise ConfigError(f"--html {folder}: holds other files. Name a new folder.")


def _stored(entries: Sequence[Entry]) -> dict[str, StoredEntry]:
    """What is stored of each entry, by the name of its folder; those that are damaged are left out."""
    found = {}
    for entry in entries:
        if entry.folder is not None and entry.folder.name not in found:
            with suppress(SkyfoldError):  # named where it is used
                found[entry.folder.name] = read_entry(entry.folder)
    return found


def _next_blend(
    found: compare.Compared, matrix: np.ndarray, dataset: Dataset | None, cache: Path
) -> tuple[list[Section], str]:
    """Sections on what a next blend may hold, and its config; of files that are damaged, a section that says so."""
    with_best = matrix[list(found.entries).index(next_blend.best_blend(found))].tolist()
    try:
        correlation = dict(zip(found.entries, with_best, strict=True))
        return next_blend.next_blend_sections(found, dataset, correlation, cache)
    except SkyfoldError as error:
        return [Section("A next blend", problem=str(error))], ""


def _entry_of_submissions(entries: Sequence[Entry], stored: Mapping[str, StoredEntry]) -> dict[str, str]:
    """Folder of the entry that each submission was made of."""
    return {
        Path(str(entry.figures["submission"])).stem: entry.folder.name
        for entry in entries
        if entry.folder is not None
        and entry.figures.get("submission")
        and entry.folder.name in stored
        and entry.name == stored[entry.folder.name].info.name
    }


def _site(name: str, workspace: Workspace, entries: Sequence[Entry], scores: Mapping[str, SampleScores]) -> Site:
    metric = next((one.metric for one in scores.values()), None)
    figures = next((one.figures for one in entries if "metric" in one.figures), {})
    samples = folds = None
    with suppress(SkyfoldError, OSError):
        stored = read_folds(workspace.folds(name))
        samples, folds = len(stored.scored), stored.k
    return Site(
        name=name,
        metric=metric.name if metric else str(figures.get("metric", "mean_dice")),
        greater_is_better=metric.greater_is_better if metric else bool(figures.get("greater_is_better", True)),
        samples=samples,
        folds=folds,
        built=now(),
    )


def _board(
    entries: Sequence[Entry],
    stored: Mapping[str, StoredEntry],
    scores: Mapping[str, SampleScores],
    alike: Sequence[str],
) -> Board:
    rows: list[Row] = []
    baselines: list[Row] = []
    unreadable = []
    for entry in entries:
        if entry.kind.startswith(UNREADABLE):
            unreadable.append((entry.name, entry.kind.removeprefix(UNREADABLE)))
            continue
        own = stored.get(entry.folder.name) if entry.folder else None
        row = _row(entry, own, scores.get(entry.folder.name) if entry.folder else None)
        if own is not None and not entry.kind.startswith(BASELINE):
            main = entry.name == own.info.name
            row = replace(row, page=own.page, key=own.folder.name if main and own.folder.name in alike else "")
        (baselines if entry.kind.startswith(BASELINE) else rows).append(row)
    remarks = [*dict.fromkeys(entry.note for entry in entries), *(entry.remark for entry in entries if entry.remark)]
    return Board(rows, baselines, unreadable, remarks)


def _row(entry: Entry, own: StoredEntry | None, scores: SampleScores | None) -> Row:
    figures = entry.figures
    kind, _, state = entry.kind.partition(", ")
    values = {
        "score": figures.get("cv_cross_fitted", figures.get("score")),
        "in_sample": figures.get("cv_in_sample"),
        "at_half": figures.get("cv_at_0.5"),
        "predict_seconds": figures.get("seconds_a_date"),
        **{key: figures.get(key) for key in ("low", "high", "mean_absolute_error", "skill", "public", "test")},
        "submission": str(figures.get("submission") or "").partition("/")[2],  # below the folder of the data set
    }
    if own is not None and not entry.kind.startswith(BASELINE):
        by_fold = own.fold_scores(scores) if entry.name == own.info.name else ()
        values |= {"folds": by_fold, "train_seconds": own.train_seconds, "size": own.size}
        values |= {"versions": own.versions, "when": own.made}
    return Row(entry.name, kind, state, "", values)
