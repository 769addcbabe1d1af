"""Gain by class: one row per class, from the control's accuracy to the student's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from noisystudent.display.charts import nice_ticks
from noisystudent.display.wording import percent, points, shortened

WIDTH, LEFT, RIGHT, TOP, ROW = 440, 112, 52, 6, 24
_LETTERS = 14


@dataclass(frozen=True, slots=True)
class ClassGain:
    """A class with the accuracies of control and student, 0 to 1."""

    name: str
    control: float
    student: float

    @property
    def gain(self) -> float:
        """Student minus control."""
        return self.student - self.control


def gain_chart(gains: Sequence[ClassGain], *, title: str) -> Markup:
    """Draws a square for the control, a circle for the student, and the points between them.

    Args:
        gains: The rows, from the top; at least one.
        title: For screen readers.
    """
    values = [100 * value for gain in gains for value in (gain.control, gain.student)]
    ticks = nice_ticks(min(values), max(values))
    bottom = TOP + ROW * len(gains)

    def x(value: float) -> float:
        return round(LEFT + (value - ticks[0]) / (ticks[-1] - ticks[0]) * (WIDTH - LEFT - RIGHT), 1)

    tick = Markup(
        '<line class="grid" x1="{x}" y1="{}" x2="{x}" y2="{}"/><text x="{x}" y="{}" text-anchor="middle">{}</text>'
    )
    body = [tick.format(TOP, bottom, bottom + 16, f"{value:g}%", x=x(value)) for value in ticks]
    body += [_row(gain, TOP + ROW * (number + 0.5), x) for number, gain in enumerate(gains)]
    return (
        Markup('<svg class="chart" viewBox="0 0 {} {}" role="img"><title>{}</title>').format(WIDTH, bottom + 22, title)
        + Markup("").join(body)
        + Markup("</svg>")
    )


def _row(gain: ClassGain, y: float, x: Callable[[float], float]) -> Markup:
    start, end = x(100 * gain.control), x(100 * gain.student)
    kind = "up" if gain.gain > 0 else "down" if gain.gain < 0 else "level"
    sentence = f"{gain.name}: labels only {percent(gain.control)}, student {percent(gain.student)}"
    name = Markup('<text class="name" x="{}" y="{}" text-anchor="end">{}</text>').format(
        LEFT - 10, y + 4, shortened(gain.name, _LETTERS)
    )
    line = Markup('<line x1="{}" y1="{y}" x2="{}" y2="{y}"/>').format(start, end, y=y)
    square = Markup('<rect class="control" x="{}" y="{}" width="9" height="9"/>').format(start - 4.5, y - 4.5)
    circle = Markup('<circle class="student" cx="{}" cy="{}" r="4.5"/>').format(end, y)
    amount = Markup('<text class="points" x="{}" y="{}" text-anchor="end">{}</text>').format(
        WIDTH - 2, y + 4, points(gain.gain, 0)
    )
    parts = Markup("").join([name, line, square, circle, amount])
    return Markup('<g class="gain {}"><title>{}</title>{}</g>').format(kind, sentence, parts)
