"""Charts as separate SVG files, for documents without the style sheet of the page."""

from __future__ import annotations

import re
from importlib.resources import files

from markupsafe import Markup

_MARGIN = 14


def standalone(chart: Markup) -> str:
    """Converts a chart to the text of an SVG file that needs no style sheet.

    The chart has the light colors of the page and an opaque background, so it is readable on white and on dark pages.
    Its style has no CSS variables, because some programs do not know them.

    Args:
        chart: a chart of ``noisystudent.display.charts``.

    Returns:
        The text of the file.
    """
    opening, title, rest = re.split(r"(?<=>)(?=<title>)|(?<=</title>)", str(chart), maxsplit=2)
    width, height = (float(number) + 2 * _MARGIN for number in re.findall(r'viewBox="0 0 (\S+) (\S+)"', opening)[0])
    ground = f'<rect class="ground" x="{-_MARGIN}" y="{-_MARGIN}" width="{width:g}" height="{height:g}"/>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" role="img" width="{width:g}" height="{height:g}" '
        f'viewBox="{-_MARGIN} {-_MARGIN} {width:g} {height:g}">{title}<style>\n{_style()}</style>{ground}{rest}\n'
    )


def _style() -> str:
    """The style sheet of the charts, with the colors of the light palette in place of its variables."""
    folder = files("noisystudent.reporting")
    light = (folder / "palette.css").read_text(encoding="utf-8").partition("}")[0]
    palette = dict(re.findall(r"--([\w-]+): ([^;]+);", light))
    style = (folder / "charts.css").read_text(encoding="utf-8") + ".ground { fill: var(--ground); }\n"
    return re.sub(r"var\(--([\w-]+)\)", lambda match: palette[match[1]], style)
