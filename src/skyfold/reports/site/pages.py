"""Pages of the site: what each shows, and its HTML.

A page is a dataclass and a template of the same name in `templates`. Templates escape every text; figures arrive as
numbers and are formatted there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, cached_property
from importlib.resources import files
from typing import Any, ClassVar

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from skyfold.reports.site.charts import interval_bar, scale_of

STATIC = ("site.css", "site.js")  # files beside the pages


@dataclass(frozen=True)
class Site:
    """What every page names: the data set, its metric and size, and when the site was built.

    samples, folds: None where folds.csv cannot be read; images: whether pages show images of the contest; links: (text,
    address) of the other pages.
    """

    name: str
    metric: str
    greater_is_better: bool
    samples: int | None
    folds: int | None
    built: datetime
    images: bool = False
    links: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Column:
    """A column of the board: key in `Row.values`, heading, what it means, and how its values are written: "score",
    "scores", "seconds", "bytes", "date", "text"."""

    key: str
    label: str
    title: str
    form: str = "score"


COLUMNS = (
    Column("score", "score", "cross-fitted: every choice was made without the fold that it is scored on"),
    Column("in_sample", "in-sample", "thresholds chosen and scored on the same rows: too optimistic"),
    Column("at_half", "at 0.5", "masks of probability above 0.5, nothing tuned"),
    Column("mean_absolute_error", "MAE", "mean absolute error of the forecasts"),
    Column("skill", "skill", "F1 or CSI of the forecasts"),
    Column("public", "public", "latest public score of its submission"),
    Column("test", "test", "score of its submission on the test truth"),
    Column("folds", "by fold", "cross-fitted score of each fold; of an unfinished run its validation score", "scores"),
    Column("train_seconds", "training", "time of all its fits together, as recorded with them", "seconds"),
    Column("predict_seconds", "prediction", "time of a sample, where it was recorded", "seconds"),
    Column("size", "weights", "size of the files of weights", "bytes"),
    Column("when", "made", "when its last fit began, or its record was written; UTC", "date"),
    Column("submission", "submission", "the file to hand in", "text"),
    Column("versions", "versions", "of Keras and of its backend, as recorded with the fits", "text"),
)


@dataclass(frozen=True)
class Row:
    """An entry on the board.

    state   what is missing or has changed, or ''
    page    address of its own page, or ''
    values  by the key of a column, beside `low` and `high` of the interval; unknown ones are missing or None
    key     what it is called where two are compared, '' where it cannot be
    """

    name: str
    kind: str
    state: str
    page: str
    values: Mapping[str, Any]
    key: str = ""


@dataclass(frozen=True)
class Board:
    """All entries, best first; baselines and oracles apart, each once; what cannot be read, with the reason; and lines
    on what the figures mean and on single entries."""

    TEMPLATE: ClassVar = "board.html"
    rows: Sequence[Row]
    baselines: Sequence[Row] = ()
    unreadable: Sequence[tuple[str, str]] = ()
    remarks: Sequence[str] = ()

    @property
    def compared(self) -> bool:
        """Whether two entries can be picked to compare."""
        return sum(bool(row.key) for row in self.rows) > 1

    @property
    def columns(self) -> list[Column]:
        """Those of which any row has a value."""
        return [one for one in COLUMNS if any(row.values.get(one.key) not in (None, "", ()) for row in self.rows)]

    @cached_property
    def scale(self) -> tuple[float, float]:
        """Of the bars: of the best three quarters of the scored rows, so that one bad score does not shrink others."""
        scored = [row for row in self.rows if row.values.get("score") is not None]
        best = scored[: max(4, math.ceil(0.75 * len(scored)))]
        return scale_of([row.values.get(key) for row in best for key in ("score", "low", "high")])

    def bar(self, row: Row) -> Markup:
        """The score of `row` on its interval, on the scale of all rows."""
        if row.values.get("score") is None or math.isnan(row.values["score"]):
            return Markup()
        return interval_bar(row.values["score"], row.values.get("low"), row.values.get("high"), self.scale)


@dataclass(frozen=True)
class Link:
    """A text that leads to `address`, from the site's folder; '' leads nowhere."""

    text: str
    address: str


@dataclass(frozen=True)
class Table:
    """heads: (heading, form) of each column, forms as of `Column`, beside "difference", "number" and "drawn"; rows:
    values or `Link`s."""

    heads: Sequence[tuple[str, str]]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Prediction:
    """Thumbnails of a sample, addresses from the site's folder; layers: (label, address) of what lies above the image,
    each on an image of its own."""

    id: str
    caption: str
    image: str
    layers: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Picture:
    """A picture as it is, its address from the site's folder."""

    label: str
    address: str


@dataclass(frozen=True)
class Section:
    """A part of a page.

    predictions  by heading
    colours      CSS colours of what the layers of predictions show, by name
    text         shown as it is, line by line, a config for instance
    folded       its contents are shown when they are asked for
    problem      why there is nothing to show, or ''
    note_alone   the note is shown where there is nothing else, too
    """

    title: str
    note: str = ""
    table: Table | None = None
    charts: Sequence[Markup] = ()
    predictions: Mapping[str, Sequence[Prediction]] = field(default_factory=dict)
    colours: Mapping[str, str] = field(default_factory=dict)
    pictures: Sequence[Picture] = ()
    text: str = ""
    folded: bool = False
    problem: str = ""
    note_alone: bool = False

    @property
    def empty(self) -> bool:
        """Whether there is nothing to show."""
        shown = (self.charts, self.pictures, self.text, self.problem, self.note_alone, *self.predictions.values())
        return not (any(shown) or (self.table and self.table.rows))


@dataclass(frozen=True)
class Sections:
    """A page of sections, those that are empty left out. facts: lines below the heading."""

    TEMPLATE: ClassVar = "sections.html"
    heading: str
    facts: Sequence[str]
    sections: Sequence[Section]


@dataclass(frozen=True)
class Comparison(Sections):
    """The page on which any two entries can be chosen, which needs JavaScript; its sections do not.

    scripts: addresses of the arrays that all comparisons need, from the page's folder; entries: (key, name) of those
    that can be compared, the best first, each with a script `scripts/<key>.js`.
    """

    TEMPLATE: ClassVar = "compare.html"
    scripts: Sequence[str] = ()
    entries: Sequence[tuple[str, str]] = ()


Page = Board | Sections


def render(page: Page, site: Site, *, title: str, root: str = "") -> str:
    """The HTML of a page. root: path from its folder to that of index.html, "" or "../"."""
    return _templates().get_template(page.TEMPLATE).render(page=page, site=site, title=title, root=root)


def static_files() -> dict[str, str]:
    """Text of the style and of the script, by file name."""
    folder = files("skyfold.reports.site") / "static"
    return {name: (folder / name).read_text(encoding="utf-8") for name in STATIC}


def formatted(value: Any, form: str) -> Markup | str:
    """The text of a value, see `Column`; '' where it is not known.

    >>> [formatted(*each) for each in [(0.61249, "score"), (5400, "seconds"), (2.5e6, "bytes"), (None, "date")]]
    ['0.6125', '1.5 h', '2.5 MB', '']
    """
    if value in (None, "", ()):
        return ""
    if form in ("text", "number") or isinstance(value, str):
        return Markup.escape(value)
    if form == "date":
        return f"{value:%Y-%m-%d %H:%M}"
    if form == "scores":
        return " ".join(f"{one:.3f}" for one in value)
    if math.isnan(value):
        return "-"
    if form == "bytes":
        return _scaled(value, (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)))
    if form == "seconds":
        return _scaled(value, (("h", 3600), ("min", 60), ("s", 1), ("ms", 1e-3)))
    return f"{value:+.4f}" if form == "difference" else f"{value:.4f}"


def _scaled(value: float, units: Sequence[tuple[str, float]]) -> str:
    unit, size = next((each for each in units if value >= each[1]), units[-1])
    number = value / size
    return f"{number:.0f} {unit}" if number >= 9.95 else f"{number:.1f} {unit}"


def sort_value(value: Any) -> str:
    """What the script sorts a cell by: a number with all digits, or a text."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return repr(sum(value) / len(value)) if value else ""
    return "" if value is None else str(value)


@cache
def _templates() -> Environment:
    made = Environment(
        loader=PackageLoader("skyfold.reports.site"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"formatted": formatted, "sort_value": sort_value}
    return made
