"""Charts as small inline SVG: pure functions of numbers, colored by the page's style sheet.

Every chart has a ``<title>`` for screen readers, labels its axes with units, and has a note if an axis does not start
at zero. Texts are escaped. Colors come from the page's style sheet, so the same chart serves light mode, dark mode and
print.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from noisystudent.display import wording

WIDTH = 440
PLOT_HEIGHT = 190
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 32, 46
STUDENT, CONTROL = 1, 2  # their colors on every chart
_LETTER = 6.6  # mean width of a letter at the charts' font size of 12, for the layout of the legend
_LEGEND_ROW = 18
_LEGEND_LETTERS = 58  # letters that fit into a row of the legend
_ROW, _ROW_LETTERS = 24, 26  # dot chart: the height of a row, and the letters of its name


@dataclass(frozen=True, slots=True)
class Series:
    """A named series of (x, y) points.

    Args:
        name: name in the legend.
        points: the points.
        level: draw the y of the first point as a line across the chart.
        hollow: x values whose points are drawn hollow.
        color: number of the color, from 1; by default the position of the series in the chart.
        intervals: (x, low, high) of points, drawn as vertical lines; ``covered`` of the chart must hold the bounds.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    level: bool = False
    hollow: frozenset[float] = frozenset()
    color: int | None = None
    intervals: tuple[tuple[float, float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Frame:
    """The plot area of a chart: maps numbers to the coordinates of the drawing."""

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    top: float = TOP
    left: float = LEFT
    height: float = PLOT_HEIGHT

    @property
    def bottom(self) -> float:
        """The y coordinate of the lower edge of the plot."""
        return self.top + self.height

    def x(self, value: float) -> float:
        """The x coordinate of a value."""
        low, high = self.x_range
        return round(self.left + (value - low) / (high - low) * (WIDTH - self.left - RIGHT), 2)

    def y(self, value: float) -> float:
        """The y coordinate of a value."""
        low, high = self.y_range
        return round(self.bottom - (value - low) / (high - low) * self.height, 2)


def nice_ticks(low: float, high: float, at_most: int = 6) -> list[float]:
    """Returns round numbers, evenly spaced, from at or below ``low`` to at or above ``high``."""
    span = max(high - low, 1e-9)
    power = 10.0 ** math.floor(math.log10(span / at_most))
    for factor in (1, 2, 5, 10, 20):
        step = factor * power
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        if last - first < at_most:
            break
    return [round(index * step, 12) for index in range(first, max(last, first + 1) + 1)]


def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    y_label: str,
    x_names: Sequence[str],
    covered: Sequence[float] = (),
) -> Markup:
    """Draws lines over named positions 0, 1, 2, ... on the x axis; the y axis zooms to the data, with a note.

    Args:
        series: the lines; they must hold at least one point.
        title: title of the chart.
        x_label: label of the x axis.
        y_label: label of the y axis, with the unit.
        x_names: names of the positions.
        covered: further values that the y axis must cover, so that charts can share an axis.
    """
    frame, ticks, legend = _plot(series, (-0.3, max(len(x_names) - 1, 1) + 0.3), covered)
    step = math.ceil(len(x_names) * (max(map(len, x_names)) + 1) * _LETTER / (WIDTH - LEFT - RIGHT))
    body = [legend, _y_axis(frame, ticks, y_label), _x_label(frame, x_label)]
    body += [
        _text(frame.x(position), frame.bottom + 17, name, "middle")
        for position, name in enumerate(x_names)
        if position % step == 0
    ]
    body.append(_axis_note(frame, ticks))
    for color, line in _with_colors(series):
        body.append(_level(frame, line, color) if line.level else _line(frame, line, color, lambda x: x_names[int(x)]))
    return _svg(title, frame.bottom + BOTTOM, body)


def curve_chart(
    series: Sequence[Series], *, title: str, x_label: str, y_label: str, covered: Sequence[float] = ()
) -> Markup:
    """Draws lines over a numeric x axis; the arguments and the y axis are those of ``line_chart``."""
    x_values = [x for line in series for x, _ in line.points]
    low, high = min(x_values), max(x_values)
    margin = 0.02 * max(high - low, 1e-9)
    frame, ticks, legend = _plot(series, (low - margin, high + margin), covered)
    body = [legend, _y_axis(frame, ticks, y_label), _x_axis(frame, x_label, (low, high)), _axis_note(frame, ticks)]
    body += [_line(frame, line, color, lambda x: f"{x:g}") for color, line in _with_colors(series)]
    return _svg(title, frame.bottom + BOTTOM, body)


def dot_chart(names: Sequence[str], series: Sequence[Series], *, title: str, x_label: str) -> Markup:
    """Draws one row per name with one dot per series; the x axis zooms to the data, with a note.

    People compare positions on a common scale best (Cleveland and McGill 1984, "Graphical Perception").

    Args:
        names: names of the rows, from the top.
        series: points (row number, value); a series may lack rows, but there must be at least one point.
        title: title of the chart.
        x_label: label of the x axis, with the unit.
    """
    values = [value for dots in series for _, value in dots.points]
    ticks = nice_ticks(min(values), max(values))
    legend, legend_height = _legend(series, dots=True)
    row_names = [wording.shortened(name, _ROW_LETTERS) for name in names]
    frame = Frame(
        (ticks[0], ticks[-1]),
        (len(names) - 0.5, -0.5),
        TOP + legend_height,
        12 + _LETTER * max(map(len, row_names)),
        _ROW * len(names),
    )
    body = [legend, *(_row(frame, row, name) for row, name in enumerate(row_names))]
    body += [_vertical_line(frame, tick, "axis" if position == 0 else "grid") for position, tick in enumerate(ticks)]
    body += [_text(frame.x(tick), frame.bottom + 17, _tick_name(tick), "middle") for tick in ticks]
    body += [_x_label(frame, x_label), _axis_note(frame, ticks)]
    step = min(3.0, 10 / max(len(series) - 1, 1))
    for position, (color, dots) in enumerate(_with_colors(series)):
        # Small offsets keep dots of equal values in a row from hiding each other.
        body.append(_dots(frame, dots, color, names, step * (position - (len(series) - 1) / 2)))
    return _svg(title, frame.bottom + BOTTOM, body)


def histogram(edges: Sequence[float], counts: Sequence[int], *, title: str, x_label: str, y_label: str) -> Markup:
    """Draws bars between consecutive ``edges``, with heights proportional to ``counts``, from zero."""
    ticks = nice_ticks(0, max([*counts, 1]))
    frame = Frame((edges[0], edges[-1]), (0, ticks[-1]))
    body = [_y_axis(frame, ticks, y_label), _x_axis(frame, x_label, frame.x_range)]
    for (low, high), count in zip(pairwise(edges), counts, strict=True):
        if count:
            label = f"{low:.3g} to {high:.3g}: {count:,}"
            body.append(_bar(frame, low, high, count, label))
    return _svg(title, frame.bottom + BOTTOM, body)


def reliability_diagram(
    bins: Sequence[tuple[float, float, float, float, int]], *, title: str, x_label: str, y_label: str
) -> Markup:
    """Draws accuracy against confidence (Guo et al. 2017, figure 1).

    A bar is as high as the accuracy, a dot marks the mean confidence, and the diagonal is perfect calibration.

    Args:
        bins: (low, high, mean confidence, accuracy, count) of every bin.
        title: title of the chart.
        x_label: label of the x axis.
        y_label: label of the y axis.
    """
    frame = Frame((0, 1), (0, 1))
    body = [
        _y_axis(frame, [0, 0.2, 0.4, 0.6, 0.8, 1], y_label),
        _x_axis(frame, x_label, frame.x_range),
        *(
            _bar(frame, low, high, accuracy, f"{low:.2f} to {high:.2f}: accuracy {accuracy:.3f}, {count:,}")
            for low, high, _, accuracy, count in bins
        ),
        Markup('<line class="diagonal" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(
            frame.x(0), frame.y(0), frame.x(1), frame.y(1)
        ),
        *(
            Markup('<circle class="dot" cx="{}" cy="{}" r="3"><title>{}</title></circle>').format(
                frame.x(confidence),
                frame.y(accuracy),
                f"confidence {confidence:.3f}, accuracy {accuracy:.3f}",
            )
            for _, _, confidence, accuracy, _ in bins
        ),
    ]
    return _svg(title, frame.bottom + BOTTOM, body)


def interval_chart(difference: float, low: float, high: float, *, title: str, x_label: str) -> Markup:
    """Draws a difference with its interval on an axis that includes zero."""
    ticks = nice_ticks(min(low, difference, 0), max(high, difference, 0))
    frame = Frame((ticks[0], ticks[-1]), (0, 1), height=30)
    middle = frame.bottom - 15
    body = [
        _x_label(frame, x_label),
        *(
            _vertical_line(frame, tick, "zero" if tick == 0 else "grid")
            + _text(frame.x(tick), frame.bottom + 17, f"{tick:+g}" if tick else "0", "middle")
            for tick in ticks
        ),
        Markup('<line class="interval" x1="{}" y1="{y}" x2="{}" y2="{y}"/>').format(
            frame.x(low), frame.x(high), y=middle
        ),
        Markup('<circle class="estimate" cx="{}" cy="{}" r="6"/>').format(frame.x(difference), middle),
    ]
    return _svg(title, frame.bottom + BOTTOM, body)


def _svg(title: str, height: float, body: Sequence[Markup]) -> Markup:
    opening = Markup('<svg class="chart" viewBox="0 0 {} {:g}" role="img"><title>{}</title>').format(
        WIDTH, height, title
    )
    heading = _text(0, 15, title, "start", "heading")
    return opening + heading + Markup("").join(body) + Markup("</svg>")


def _text(x: float, y: float, text: str, anchor: str, kind: str = "tick") -> Markup:
    return Markup('<text class="{}" x="{:g}" y="{:g}" text-anchor="{}">{}</text>').format(kind, x, y, anchor, text)


def _with_colors(series: Sequence[Series]) -> list[tuple[int, Series]]:
    """The numbers of the colors, and the series."""
    return [(line.color or position, line) for position, line in enumerate(series, start=1)]


def _plot(
    series: Sequence[Series], x_range: tuple[float, float], covered: Sequence[float]
) -> tuple[Frame, list[float], Markup]:
    """The plot area below the legend, the ticks of its y axis, and the legend."""
    values = [*covered, *(y for line in series for _, y in line.points)]
    ticks = nice_ticks(min(values), max(values))
    legend, height = _legend(series)
    return Frame(x_range, (ticks[0], ticks[-1]), TOP + height), ticks, legend


def _axis_note(frame: Frame, ticks: Sequence[float]) -> Markup:
    """A note with the start of an axis that does not start at zero."""
    return _text(0, frame.bottom + 38, f"axis starts at {ticks[0]:g}", "start", "note") if ticks[0] > 0 else Markup("")


def _vertical_line(frame: Frame, value: float, kind: str) -> Markup:
    return Markup('<line class="{}" x1="{x}" y1="{:g}" x2="{x}" y2="{:g}"/>').format(
        kind, frame.top, frame.bottom, x=frame.x(value)
    )


def _row(frame: Frame, row: int, name: str) -> Markup:
    y = frame.y(row)
    line = Markup('<line class="grid" x1="{:g}" y1="{y}" x2="{}" y2="{y}"/>').format(frame.left, WIDTH - RIGHT, y=y)
    return line + _text(frame.left - 8, y + 4, name, "end")


def _y_axis(frame: Frame, ticks: Sequence[float], label: str) -> Markup:
    parts = [
        Markup('<line class="{}" x1="{}" y1="{y}" x2="{}" y2="{y}"/>').format(
            "axis" if position == 0 else "grid", LEFT, WIDTH - RIGHT, y=frame.y(tick)
        )
        + _text(LEFT - 7, frame.y(tick) + 4, _tick_name(tick), "end")
        for position, tick in enumerate(ticks)
    ]
    rotated = Markup('<text class="label" text-anchor="middle" transform="translate(12 {:g}) rotate(-90)">{}</text>')
    parts.append(rotated.format(frame.top + PLOT_HEIGHT / 2, label))
    return Markup("").join(parts)


def _x_axis(frame: Frame, label: str, covered: tuple[float, float]) -> Markup:
    ticks = [tick for tick in nice_ticks(*covered) if frame.x_range[0] <= tick <= frame.x_range[1]]
    texts = [_text(frame.x(tick), frame.bottom + 17, _tick_name(tick), "middle") for tick in ticks]
    return Markup("").join([*texts, _x_label(frame, label)])


def _x_label(frame: Frame, label: str) -> Markup:
    return _text((frame.left + WIDTH - RIGHT) / 2, frame.bottom + 38, label, "middle", "label")


def _tick_name(tick: float) -> str:
    return wording.compact(tick) if tick >= 1000 else f"{tick:g}"


def _bar(frame: Frame, low: float, high: float, value: float, label: str) -> Markup:
    left, right, top = frame.x(low), frame.x(high), frame.y(value)
    return Markup('<rect class="bar" x="{}" y="{}" width="{:.2f}" height="{:.2f}"><title>{}</title></rect>').format(
        left, top, max(right - left - 1, 0.5), frame.bottom - top, label
    )


def _line(frame: Frame, series: Series, color: int, name_of: Callable[[float], str]) -> Markup:
    points = sorted(series.points)
    path = " ".join(f"{frame.x(x)},{frame.y(y)}" for x, y in points)
    parts = [Markup('<polyline points="{}"/>').format(path)]
    for x, low, high in series.intervals:
        vertical = Markup('<line x1="{x}" y1="{}" x2="{x}" y2="{}"><title>{}</title></line>')
        text = f"{series.name}, {name_of(x)}: 95% interval {low:.1f} to {high:.1f}"
        parts.append(vertical.format(frame.y(low), frame.y(high), text, x=frame.x(x)))
    for x, y in points:
        parts.append(
            Markup('<circle{} cx="{}" cy="{}" r="3.5"><title>{}</title></circle>').format(
                Markup(' class="hollow"') if x in series.hollow else "",
                frame.x(x),
                frame.y(y),
                f"{series.name}, {name_of(x)}: {y:.1f}",
            )
        )
    return Markup('<g class="series series-{}">{}</g>').format(color, Markup("").join(parts))


def _dots(frame: Frame, series: Series, color: int, names: Sequence[str], offset: float) -> Markup:
    dots = [
        Markup('<circle cx="{}" cy="{:g}" r="3.5"><title>{}</title></circle>').format(
            frame.x(value), frame.y(row) + offset, f"{series.name}, {names[int(row)]}: {value:.1f}"
        )
        for row, value in series.points
    ]
    return Markup('<g class="series series-{}">{}</g>').format(color, Markup("").join(dots))


def _level(frame: Frame, series: Series, color: int) -> Markup:
    y = series.points[0][1]
    return Markup(
        '<g class="series level series-{}"><line x1="{}" y1="{y}" x2="{}" y2="{y}"><title>{}</title></line></g>'
    ).format(color, LEFT, WIDTH - RIGHT, f"{series.name}: {y:.1f}", y=frame.y(y))


def _legend(series: Sequence[Series], *, dots: bool = False) -> tuple[Markup, float]:
    """The legend, in as many rows as needed, and its height."""
    parts: list[Markup] = []
    x, y, mark_width = 0.0, TOP, 8 if dots else 20
    for color, line in _with_colors(series):
        name = wording.shortened(line.name, _LEGEND_LETTERS)
        width = mark_width + 6 + _LETTER * len(name) + 14
        if x and x + width > WIDTH:
            x, y = 0.0, y + _LEGEND_ROW
        if dots:
            mark = Markup('<circle cx="{:g}" cy="{:g}" r="3.5"/>').format(x + 4, y)
        else:
            mark = Markup('<line x1="{:g}" y1="{y:g}" x2="{:g}" y2="{y:g}"/>').format(x, x + mark_width, y=y)
        parts.append(
            Markup('<g class="series{} series-{}">{}</g>').format(" level" if line.level else "", color, mark)
            + _text(x + mark_width + 6, y + 4, name, "start")
        )
        x += width
    return Markup("").join(parts), y - TOP + _LEGEND_ROW
