"""The first chart of a page: accuracy by round beside the control, and below it how many pseudo labels were used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from markupsafe import Markup

from noisystudent.display.wording import percent, shortened, whole

WIDTH, LEFT, RIGHT, TOP, HEIGHT = 440, 44, 44, 34, 150
BAR, BAR_HEIGHT = 74, 12
_LABEL = 120  # width of the label of the control
_MOST_STEPS = 9  # whose values are written without touching each other
_DIGIT = 6.7  # width of a character at the chart's font size, in a font with wide ones


@dataclass(frozen=True, slots=True)
class Step:
    """One model: its name, its accuracy, and how many of the pseudo labels it learned from; None where unknown."""

    name: str
    top1: float | None
    used: int | None = None
    rows: int | None = None
    worse: bool = False


def round_chart(steps: Sequence[Step], control: float | None, *, title: str) -> Markup | None:
    """Draws the accuracies as a line with their values, the control as a dashed line, and bars of what was used.

    Args:
        steps: The teacher and the students, in order.
        control: The accuracy of labels-only training, 0 to 1; None without it.
        title: For screen readers.

    Returns:
        The chart; None without an accuracy.
    """
    values = [step.top1 for step in steps if step.top1 is not None]
    if not values:
        return None
    known = [*values, *([control] if control is not None else [])]
    low, high = min(known), max(known)
    margin = max(0.15 * (high - low), 0.005)
    scale = HEIGHT / (high - low + 2 * margin)

    def y(value: float) -> float:
        return round(TOP + (high + margin - value) * scale, 1)

    gap = (WIDTH - LEFT - RIGHT) / max(len(steps) - 1, 1)
    places = [LEFT + gap * number if len(steps) > 1 else WIDTH / 2 for number in range(len(steps))]
    body = [_line(steps, places, y)]
    every = -(-len(steps) // _MOST_STEPS)
    for number, (step, x) in enumerate(zip(steps, places, strict=True)):
        last = number == len(steps) - 1
        written = last or (number % every == 0 and len(steps) - 1 - number >= every)
        bar = min(BAR, 0.8 * gap if len(steps) > 1 else BAR)
        body.append(_step(step, x, y, written=written, bar=bar, room=WIDTH if last else every * gap))
    if control is not None:
        points = [(x, y(step.top1)) for step, x in zip(steps, places, strict=True) if step.top1 is not None]
        body = [_control(y(control)), *body, _control_label(y(control), control, points)]
    return (
        Markup('<svg class="chart first" viewBox="0 0 {} {}" role="img"><title>{}</title>').format(
            WIDTH, TOP + HEIGHT + 66, title
        )
        + Markup("").join(body)
        + Markup("</svg>")
    )


def _control(y: float) -> Markup:
    return Markup('<g class="series level series-2"><line x1="0" y1="{y}" x2="{}" y2="{y}"/></g>').format(WIDTH, y=y)


def _control_label(y: float, value: float, points: Sequence[tuple[float, float]]) -> Markup:
    """The label above or below the level, at the end where it is farthest from the line of the students."""
    across, heights = zip(*points, strict=True)

    def clearance(place: tuple[str, float]) -> float:
        anchor, base = place
        first, last = (0, _LABEL) if anchor == "start" else (WIDTH - _LABEL, WIDTH)
        line = np.interp(np.linspace(first, last, 9), across, heights)
        values = [height - 14 for x, height in points if first - 20 <= x <= last + 20]  # written above their points
        names = TOP + HEIGHT + 16
        return float(min(np.abs(np.array([*line, *values, names]) - (base - 4))))

    anchor, base = max(product(("end", "start"), (y + 15, y - 7)), key=clearance)
    x = WIDTH if anchor == "end" else 0
    return Markup('<text class="value" x="{}" y="{:g}" text-anchor="{}">labels only {}</text>').format(
        x, base, anchor, percent(value)
    )


def _line(steps: Sequence[Step], places: Sequence[float], y: Callable[[float], float]) -> Markup:
    points = " ".join(f"{x:g},{y(step.top1)}" for step, x in zip(steps, places, strict=True) if step.top1 is not None)
    return Markup('<g class="series series-1"><polyline points="{}"/></g>').format(points)


def _step(step: Step, x: float, y: Callable[[float], float], *, written: bool, bar: float, room: float) -> Markup:
    parts = []
    if step.top1 is not None:
        hollow, sentence = Markup(' class="hollow"') if step.worse else "", f"{step.name}: {percent(step.top1)}"
        circle = Markup('<circle{} cx="{:g}" cy="{}" r="4.5"><title>{}</title></circle>')
        point = circle.format(hollow, x, y(step.top1), sentence)
        parts.append(Markup('<g class="series series-1">{}</g>').format(point))
        if written:
            parts.append(_text(x, y(step.top1) - 10, percent(step.top1), "value"))
    if written:
        parts.append(_text(x, TOP + HEIGHT + 20, shortened(step.name, 14)))
    if step.used is not None and step.rows:
        left, top = x - bar / 2, TOP + HEIGHT + 28
        parts.append(
            Markup(
                '<g class="used"><rect class="all" x="{:g}" y="{}" width="{:g}" height="{}"/>'
                '<rect class="part" x="{:g}" y="{}" width="{:g}" height="{}"/></g>'
            ).format(left, top, bar, BAR_HEIGHT, left, top, bar * step.used / step.rows, BAR_HEIGHT)
        )
        if written:
            used = f"{whole(step.used)} of {whole(step.rows)}"
            short = whole(step.used) if _DIGIT * len(used) > room else used
            parts.append(_text(x, top + BAR_HEIGHT + 15, short))
    return Markup("").join(parts)


def _text(x: float, y: float, text: str, kind: str = "tick") -> Markup:
    # A text in the middle of a point at the edge would be cut off.
    anchor = "middle" if 40 <= x <= WIDTH - 40 else "start" if x < 40 else "end"
    at = x if anchor == "middle" else 0 if anchor == "start" else WIDTH
    return Markup('<text class="{}" x="{:g}" y="{:g}" text-anchor="{}">{}</text>').format(kind, at, y, anchor, text)
