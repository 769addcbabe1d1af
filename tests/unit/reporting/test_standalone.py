"""Charts as files: self-contained, with the colors of the palette, readable on their background."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from noisystudent.display import charts
from noisystudent.display.charts import Series
from noisystudent.reporting.standalone import standalone

SVG = "{http://www.w3.org/2000/svg}"
CHARTS = {
    "lines": charts.line_chart(
        [Series("<b>&", ((0, 80.0), (1, 90.0)))], title="<b>&", x_label="x", y_label="y", x_names=["a", "b"]
    ),
    "dots": charts.dot_chart(["fog"], [Series("one", ((0, 20.0),))], title="t", x_label="x"),
    "interval": charts.interval_chart(1, 0, 2, title="t", x_label="x"),
    "reliability": charts.reliability_diagram([(0, 1, 0.5, 0.5, 3)], title="t", x_label="x", y_label="y"),
    "histogram": charts.histogram([0, 1], [3], title="t", x_label="x", y_label="y"),
}


def luminance(color: str) -> float:
    """The relative luminance of WCAG 2.1 of a color such as ``#fff`` or ``#1a1d23``."""
    digits = color.lstrip("#")
    pairs = [digit * 2 for digit in digits] if len(digits) == 3 else [digits[start : start + 2] for start in (0, 2, 4)]
    linear = [c / 12.92 if (c := int(pair, 16) / 255) <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for pair in pairs]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    """The contrast ratio of WCAG 2.1 of two colors."""
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", CHARTS)
def test_a_file_is_self_contained(name):
    text = standalone(CHARTS[name])
    root = ElementTree.fromstring(text)
    assert root.tag == f"{SVG}svg"
    assert root[0].tag == f"{SVG}title"
    assert "var(" not in text
    assert "{%" not in text
    assert not re.search(r"url\(|@import|href|<script", text)
    # All elements of the chart are still there.
    before = [element.tag for element in ElementTree.fromstring(CHARTS[name]).iter()]
    after = [element.tag.removeprefix(SVG) for element in root.iter()]
    assert [tag for tag in after if tag != "style"][:2] == ["svg", "title"]
    assert sorted([*before, "style", "rect"]) == sorted(after)


def test_the_background_covers_the_chart_with_a_margin():
    root = ElementTree.fromstring(standalone(CHARTS["lines"]))
    x, y, width, height = map(float, root.attrib["viewBox"].split())
    ground = next(element for element in root if element.attrib.get("class") == "ground")
    assert [float(ground.attrib[name]) for name in ("x", "y", "width", "height")] == [x, y, width, height]
    assert (float(root.attrib["width"]), float(root.attrib["height"])) == (width, height)
    inner = ElementTree.fromstring(CHARTS["lines"]).attrib["viewBox"].split()
    assert x < 0
    assert y < 0
    assert x + width > float(inner[2])
    assert y + height > float(inner[3])


def test_texts_and_series_contrast_with_the_background():
    style = ElementTree.fromstring(standalone(CHARTS["lines"])).find(f"{SVG}style").text
    ground = re.search(r"\.ground \{ fill: (#\w+)", style)[1]
    texts = re.findall(r"svg\.chart text[.\w]* \{ fill: (#\w+)", style)
    series = re.findall(r"\.series-\d \{ color: (#\w+)", style)
    assert len(texts) == 2
    assert len(series) == len(set(series)) == 8
    assert all(contrast(color, ground) >= 4.5 for color in texts)  # WCAG 2.1, 1.4.3: text
    assert all(contrast(color, ground) >= 3 for color in series)  # WCAG 2.1, 1.4.11: graphics
