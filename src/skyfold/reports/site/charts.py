"""Charts of the site as inline SVG, written when it is built: readable without JavaScript, in light and dark.

Colours are classes of `site.css`, so that they follow the reader's colour scheme.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

COLOURS = 8  # classes c0 to c7 of site.css
WIDTH, HEIGHT = 460, 250
LONGEST = 22  # letters of a name in a heat map
LEFT, RIGHT, TOP, BOTTOM = 54, 18, 10, 38


@dataclass(frozen=True)
class Line:
    """A line of a chart. label: in the legend, '': not there; xs, ys: of the same length, NaN where nothing is known;
    mark: a point (x, y) set apart; joined: False draws its points, which must be known, without a line, with what to
    write beside each in `names`."""

    label: str
    xs: Sequence[float]
    ys: Sequence[float]
    colour: int = 0
    dashed: bool = False
    mark: tuple[float, float] | None = None
    joined: bool = True
    names: Sequence[str] = ()


def line_chart(
    lines: Sequence[Line], *, x: str, y: str, diagonal: bool = False, unit: bool = False, from_zero: bool = False
) -> Markup:
    """Lines over a common x axis, with a legend below.

    x, y: labels of the axes; diagonal: draw the identity, both axes alike; unit: both axes show 0 to 1; from_zero: the
    y axis begins at 0. An empty text where no line has a point.
    """
    known = [
        [(a, b) for a, b in zip(line.xs, line.ys, strict=True) if math.isfinite(a) and math.isfinite(b)]
        for line in lines
    ]
    points = [point for own in known for point in own]
    if not points:
        return Markup()
    least = [0.0 if unit else min(point[axis] for point in points) for axis in (0, 1)]
    most = [1.0 if unit else max(point[axis] for point in points) for axis in (0, 1)]
    if from_zero:
        least[1] = min(0.0, least[1])
    if diagonal:
        least, most = [min(least)] * 2, [max(most)] * 2
    ticks = [_ticks(low, high) for low, high in zip(least, most, strict=True)]
    (x0, x1), (y0, y1) = (
        (min(low, marks[0]), max(high, marks[-1])) for low, high, marks in zip(least, most, ticks, strict=True)
    )
    inner = [mark for mark in ticks[0] if least[0] <= mark <= most[0]]
    if len(inner) > 1 and not diagonal:  # lines fill the width; ticks beyond them would leave a part of it empty
        ticks[0], x0, x1 = inner, least[0], most[0]

    def place(point: tuple[float, float]) -> tuple[float, float]:
        return (
            LEFT + (point[0] - x0) / ((x1 - x0) or 1) * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - (point[1] - y0) / ((y1 - y0) or 1) * (HEIGHT - TOP - BOTTOM),
        )

    parts = []
    for value in ticks[1]:
        height = place((x0, value))[1]
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{height:.1f}" y2="{height:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{height + 4:.1f}" text-anchor="end">{_label(value, ticks[1])}</text>')
    for value in ticks[0]:
        across = place((value, y0))[0]
        parts.append(
            f'<text x="{across:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{_label(value, ticks[0])}</text>'
        )
    if diagonal:
        (ax, ay), (bx, by) = place((x0, x0)), place((x1, x1))
        parts.append(f'<line class="diagonal" x1="{ax:.1f}" y1="{ay:.1f}" x2="{bx:.1f}" y2="{by:.1f}"/>')
    for line, own in zip(lines, known, strict=True):
        colour = f"c{line.colour % COLOURS}"
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in map(place, own))
        if line.joined and len(own) > 1:
            parts.append(f'<polyline class="{colour}{" dashed" * line.dashed}" points="{path}"/>')
        for point in [*([line.mark] if line.mark else []), *(own if len(own) == 1 or not line.joined else [])]:
            parts.append('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="3.5"/>'.format(colour, *place(point)))
        for name, point in zip(line.names, own, strict=False):
            across, height = place(point)
            parts.append(f'<text x="{across + 6:.1f}" y="{height + 4:.1f}">{escape(name)}</text>')
    parts.append(f'<text class="axis" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">')
    parts.append(f"{escape(x)}</text>")
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(f'<text class="axis" transform="translate(12 {middle}) rotate(-90)" text-anchor="middle">')
    parts.append(f"{escape(y)}</text>")
    legend = "".join(
        f'<li class="c{line.colour % COLOURS}{" dashed" * line.dashed}">{escape(line.label)}</li>'
        for line in lines
        if line.label
    )
    return Markup(
        f'<figure class="chart"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(y)} by {escape(x)}">{"".join(parts)}</svg><ul class="legend">{legend}</ul></figure>'
    )


def interval_bar(value: float, low: float | None, high: float | None, scale: tuple[float, float]) -> Markup:
    """A score as a dot on its interval, on the scale that all bars of a table share; beyond it, a ring at its end.

    low, high: None, not known.
    """

    def place(number: float) -> float:
        return round(4 + 112 * min(max((number - scale[0]) / ((scale[1] - scale[0]) or 1), 0), 1), 1)

    whisker = ""
    if low is not None and high is not None and math.isfinite(low) and math.isfinite(high):
        whisker = f'<path d="M{place(low)} 8H{place(high)}"/>'
    beyond = ' class="beyond"'
    zero = f'<path class="zero" d="M{place(0)} 0V16"/>' if scale[0] < 0 < scale[1] else ""
    dot = f'<circle{"" if scale[0] <= value <= scale[1] else beyond} cx="{place(value)}" cy="8" r="4"/>'
    return Markup(f'<svg class="bar" viewBox="0 0 120 16" aria-hidden="true">{zero}{whisker}{dot}</svg>')


def heat_map(names: Sequence[str], values: Sequence[Sequence[float]], *, about: str) -> Markup:
    """A square table of numbers (n, n) as colours, -1 to 1; the figures stand in its cells where these are large
    enough, else they are told under the pointer. NaN is left empty. about: what it shows, for who cannot see it."""
    labels = [name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}\u2026" for name in names]
    side, room, parts = 34 if len(names) <= 20 else 14, 20 + 6 * max(map(len, labels)), []
    for i, (name, row) in enumerate(zip(names, values, strict=True)):
        label = escape(labels[i])
        middle = room + i * side + side / 2 + 4
        parts.append(f'<text x="{room - 6}" y="{middle:.0f}" text-anchor="end">{label}</text>')
        parts.append(f'<text transform="translate({middle:.0f} {room - 6}) rotate(-60)">{label}</text>')
        for j, value in enumerate(row):
            if not math.isfinite(value):
                continue
            x, y = room + j * side, room + i * side
            tone = "c1" if value < 0 else "c0"
            told = f"{escape(name)}, {escape(names[j])}: {value:.2f}"
            parts.append(
                f'<rect class="{tone}" x="{x}" y="{y}" width="{side - 1}" height="{side - 1}" fill="currentColor" '
                f'fill-opacity="{abs(value):.2f}"><title>{told}</title></rect>'
            )
            if side > 20:
                over = "over" if abs(value) > 0.6 else "figure"
                parts.append(f'<text class="{over}" x="{x + side / 2 - 0.5}" y="{y + side / 2 + 4}" ')
                parts.append(f'text-anchor="middle">{value:.2f}</text>')
    extent = room + side * len(names)
    return Markup(
        f'<svg class="heat" viewBox="0 0 {extent + 60} {extent}" style="max-width:{extent + 60}px" role="img" '
        f'aria-label="{escape(about)}">{"".join(parts)}</svg>'
    )


def scale_of(values: Sequence[float | None]) -> tuple[float, float]:
    """The least and the greatest of the known, finite `values`; 0 and 1 without any."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    return (min(known), max(known)) if known else (0.0, 1.0)


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers from below `low` to above `high`."""
    span = (high - low) or abs(high) or 1.0
    step = 10.0 ** math.floor(math.log10(span / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= 5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, max(last, first + 1) + 1)]


def _label(value: float, ticks: Sequence[float]) -> str:
    digits = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
    return f"{value:,.{digits}f}"
