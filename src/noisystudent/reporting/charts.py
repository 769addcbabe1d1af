"""Charts as small inline SVG: pure functions of numbers, colored by the page's style sheet.

Every chart names itself in ``<title>`` (what a screen reader says), labels its axes with units, and says so
when an axis does not start at zero. Texts are escaped. Colors come from the page's style sheet,
so the same chart serves light, dark and print.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from noisystudent.reporting import wording

WIDTH = 440
PLOT_HEIGHT = 190
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 32, 46
_LETTER = 6.6  # mean width of a letter at the charts' font size of 12, for placing the legend
_LEGEND_ROW = 18


@dataclass(frozen=True, slots=True)
class Series:
    """A named line of (x, y) points; ``level``: one y across the chart; ``hollow``: x drawn hollow."""

    name: str
    points: tuple[tuple[float, float], ...]
    level: bool = False
    hollow: frozenset[float] = frozenset()


@dataclass(frozen=True, slots=True)
class Frame:
    """The plot area of a chart: maps numbers to the coordinates of the drawing."""

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    top: float = TOP

    @property
    def bottom(self) -> float:
        """The y coordinate of the lower edge of the plot."""
        return self.top + PLOT_HEIGHT

    def x(self, value: float) -> float:
        """The x coordinate of a value."""
        low, high = self.x_range
        return round(LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT), 2)

    def y(self, value: float) -> float:
        """The y coordinate of a value."""
        low, high = self.y_range
        return round(self.bottom - (value - low) / (high - low) * PLOT_HEIGHT, 2)


def nice_ticks(low: float, high: float, at_most: int = 6) -> list[float]:
    """Round numbers, evenly spaced, from at or below ``low`` to at or above ``high``."""
    span = max(high - low, 1e-9)
    power = 10.0 ** math.floor(math.log10(span / at_most))
    for factor in (1, 2, 5, 10, 20):
        step = factor * power
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        if last - first < at_most:
            break
    return [round(index * step, 12) for index in range(first, max(last, first + 1) + 1)]


def line_chart(series: Sequence[Series], *, title: str, x_label: str, y_label: str, x_names: Sequence[str]) -> Markup:
    """Lines over named places 0, 1, 2, ... on the x axis; the y axis zooms to the data and says so.

    ``series`` must hold at least one point.
    """
    values = [y for one in series for _, y in one.points]
    ticks = nice_ticks(min(values), max(values))
    legend, legend_height = _legend([one.name for one in series], [one.level for one in series])
    last = max(len(x_names) - 1, 1)
    frame = Frame((-0.3, last + 0.3), (ticks[0], ticks[-1]), TOP + legend_height)
    every = math.ceil(len(x_names) * (max(map(len, x_names)) + 1) * _LETTER / (WIDTH - LEFT - RIGHT))
    body = [legend, _y_axis(frame, ticks, y_label), _x_label(frame, x_label)]
    body += [
        _text(frame.x(place), frame.bottom + 17, name, "middle")
        for place, name in enumerate(x_names)
        if place % every == 0
    ]
    if ticks[0] > 0:
        body.append(_text(LEFT, frame.bottom + 38, f"axis starts at {ticks[0]:g}", "start", "note"))
    for position, one in enumerate(series, start=1):
        body.append(_level(frame, one, position) if one.level else _line(frame, one, position, x_names))
    return _svg(title, frame.bottom + BOTTOM, body)


def histogram(edges: Sequence[float], counts: Sequence[int], *, title: str, x_label: str, y_label: str) -> Markup:
    """Bars between consecutive ``edges`` with heights proportional to ``counts``, from zero."""
    ticks = nice_ticks(0, max([*counts, 1]))
    frame = Frame((edges[0], edges[-1]), (0, ticks[-1]))
    body = [_y_axis(frame, ticks, y_label), _x_axis(frame, x_label)]
    for (low, high), amount in zip(pairwise(edges), counts, strict=True):
        if amount:
            label = f"{low:.3g} to {high:.3g}: {amount:,}"
            body.append(_bar(frame, low, high, amount, label))
    return _svg(title, frame.bottom + BOTTOM, body)


def reliability_diagram(
    bins: Sequence[tuple[float, float, float, float, int]], *, title: str, x_label: str, y_label: str
) -> Markup:
    """Accuracy against confidence: ``bins`` are (low, high, mean confidence, accuracy, count).

    A bar reaches to the accuracy, a dot sits at the mean confidence, the diagonal is perfect calibration
    (Guo et al. 2017, figure 1).
    """
    frame = Frame((0, 1), (0, 1))
    body = [
        _y_axis(frame, [0, 0.2, 0.4, 0.6, 0.8, 1], y_label),
        _x_axis(frame, x_label),
        *(
            _bar(frame, low, high, accuracy, f"{low:.2f} to {high:.2f}: accuracy {accuracy:.3f}, {amount:,}")
            for low, high, _, accuracy, amount in bins
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
    """One number with its interval on an axis that always shows zero."""
    ticks = nice_ticks(min(low, difference, 0), max(high, difference, 0))
    frame = Frame((ticks[0], ticks[-1]), (0, 1), TOP + 30 - PLOT_HEIGHT)
    middle = frame.bottom - 15
    body = [
        _x_label(frame, x_label),
        *(
            Markup('<line class="{}" x1="{x}" y1="{}" x2="{x}" y2="{}"/>').format(
                "zero" if tick == 0 else "grid", TOP, frame.bottom, x=frame.x(tick)
            )
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


def _y_axis(frame: Frame, ticks: Sequence[float], label: str) -> Markup:
    parts = [
        Markup('<line class="{}" x1="{}" y1="{y}" x2="{}" y2="{y}"/>').format(
            "axis" if position == 0 else "grid", LEFT, WIDTH - RIGHT, y=frame.y(tick)
        )
        + _text(LEFT - 7, frame.y(tick) + 4, _tick_name(tick), "end")
        for position, tick in enumerate(ticks)
    ]
    turned = Markup('<text class="label" text-anchor="middle" transform="translate(12 {:g}) rotate(-90)">{}</text>')
    parts.append(turned.format(frame.top + PLOT_HEIGHT / 2, label))
    return Markup("").join(parts)


def _x_axis(frame: Frame, label: str) -> Markup:
    ticks = [tick for tick in nice_ticks(*frame.x_range) if frame.x_range[0] <= tick <= frame.x_range[1]]
    texts = [_text(frame.x(tick), frame.bottom + 17, _tick_name(tick), "middle") for tick in ticks]
    return Markup("").join([*texts, _x_label(frame, label)])


def _x_label(frame: Frame, label: str) -> Markup:
    return _text((LEFT + WIDTH - RIGHT) / 2, frame.bottom + 38, label, "middle", "label")


def _tick_name(tick: float) -> str:
    return wording.compact(tick) if tick >= 1000 else f"{tick:g}"


def _bar(frame: Frame, low: float, high: float, value: float, label: str) -> Markup:
    left, right, top = frame.x(low), frame.x(high), frame.y(value)
    return Markup('<rect class="bar" x="{}" y="{}" width="{:.2f}" height="{:.2f}"><title>{}</title></rect>').format(
        left, top, max(right - left - 1, 0.5), frame.bottom - top, label
    )


def _line(frame: Frame, series: Series, position: int, x_names: Sequence[str]) -> Markup:
    points = sorted(series.points)
    path = " ".join(f"{frame.x(x)},{frame.y(y)}" for x, y in points)
    parts = [Markup('<polyline points="{}"/>').format(path)]
    for x, y in points:
        where = x_names[int(x)]
        parts.append(
            Markup('<circle{} cx="{}" cy="{}" r="3.5"><title>{}</title></circle>').format(
                Markup(' class="hollow"') if x in series.hollow else "",
                frame.x(x),
                frame.y(y),
                f"{series.name}, {where}: {y:.1f}",
            )
        )
    return Markup('<g class="series series-{}">{}</g>').format(position, Markup("").join(parts))


def _level(frame: Frame, series: Series, position: int) -> Markup:
    y = series.points[0][1]
    return Markup(
        '<g class="series level series-{}"><line x1="{}" y1="{y}" x2="{}" y2="{y}"><title>{}</title></line></g>'
    ).format(position, LEFT, WIDTH - RIGHT, f"{series.name}: {y:.1f}", y=frame.y(y))


def _legend(names: Sequence[str], levels: Sequence[bool]) -> tuple[Markup, float]:
    """The legend in as many rows as it needs, and its height."""
    parts: list[Markup] = []
    x, y = 0.0, TOP
    for position, (name, level) in enumerate(zip(names, levels, strict=True), start=1):
        width = 26 + _LETTER * len(name) + 14
        if x and x + width > WIDTH:
            x, y = 0.0, y + _LEGEND_ROW
        mark = Markup('<line x1="{:g}" y1="{y:g}" x2="{:g}" y2="{y:g}"/>').format(x, x + 20, y=y)
        parts.append(
            Markup('<g class="series{} series-{}">{}</g>').format(" level" if level else "", position, mark)
            + _text(x + 26, y + 4, name, "start")
        )
        x += width
    return Markup("").join(parts), y - TOP + _LEGEND_ROW
