"""Charts: heights of bars, positions of points, round ticks, and notes at axes that do not start at zero."""

import math
import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noisystudent.display import charts
from noisystudent.display.charts import Frame, Series


def parse(chart: str) -> ElementTree.Element:
    return ElementTree.fromstring(chart)


def texts(chart: str) -> list[str]:
    return [element.text or "" for element in parse(chart).iter("text")]


def numbers(element: ElementTree.Element, *names: str) -> tuple[float, ...]:
    return tuple(float(element.attrib[name]) for name in names)


@given(st.floats(-1e6, 1e6), st.floats(1e-2, 1e6))
def test_ticks_are_even_few_and_cover_the_range(low, span):
    ticks = charts.nice_ticks(low, low + span)
    slack = 1e-6 * span + 1e-9 * abs(low)
    assert ticks[0] <= low + slack
    assert ticks[-1] >= low + span - slack
    assert 2 <= len(ticks) <= 7
    steps = [after - before for before, after in pairwise(ticks)]
    assert max(steps) == pytest.approx(min(steps), rel=1e-5)
    digits = max(steps) / 10 ** math.floor(math.log10(max(steps)) + 1e-6)
    assert any(digits == pytest.approx(factor, rel=1e-4) for factor in (1, 2, 5, 10))


def test_histogram_bars_are_proportional():
    chart = charts.histogram([0, 0.5, 0.75, 1], [10, 40, 20], title="t", x_label="x", y_label="y")
    bars = [numbers(element, "x", "width", "height") for element in parse(chart).iter("rect")]
    heights = [height for _, _, height in bars]
    assert heights == pytest.approx([heights[1] / 4, heights[1], heights[1] / 2])
    assert heights[1] == pytest.approx(charts.PLOT_HEIGHT)
    width = charts.WIDTH - charts.LEFT - charts.RIGHT
    assert [x for x, _, _ in bars] == pytest.approx([charts.LEFT + share * width for share in (0, 0.5, 0.75)])
    assert [element.text for element in parse(chart).iter("title")][1] == "0 to 0.5: 10"


def test_empty_histogram_is_still_a_chart():
    chart = charts.histogram([0, 1], [0], title="t", x_label="x", y_label="y")
    assert not list(parse(chart).iter("rect"))


def test_line_points_lie_at_their_values():
    series = [
        Series("Test", ((0, 80.0), (1, 90.0), (2, 85.0)), hollow=frozenset({2.0})),
        Series("Control", ((0, 82.0),), level=True),
    ]
    chart = charts.line_chart(series, title="t", x_label="x", y_label="y (%)", x_names=["a", "b", "c"])
    circles = list(parse(chart).iter("circle"))
    points = [numbers(element, "cx", "cy") for element in circles]
    assert points[1][0] - points[0][0] == pytest.approx(points[2][0] - points[1][0], abs=0.02)
    top, bottom = points[1][1], points[0][1]
    assert bottom - top == pytest.approx(charts.PLOT_HEIGHT)  # the axis runs from 80 to 90
    assert points[2][1] == pytest.approx((top + bottom) / 2)
    assert [element.get("class") for element in circles] == [None, None, "hollow"]
    level = next(element for element in parse(chart).iter("line") if element.find("title") is not None)
    y1, y2 = numbers(level, "y1", "y2")
    assert y1 == y2 == pytest.approx(bottom - 0.2 * charts.PLOT_HEIGHT)
    assert circles[1].find("title").text == "Test, b: 90.0"


def test_a_line_chart_has_a_note_if_its_axis_does_not_start_at_zero():
    def chart(low: float) -> str:
        series = [Series("Test", ((0, low), (1, 90.0)))]
        return charts.line_chart(series, title="t", x_label="x", y_label="y", x_names=["a", "b"])

    assert "axis starts at 80" in texts(chart(80.0))
    assert not [text for text in texts(chart(0.0)) if text.startswith("axis starts")]


def test_line_chart_of_one_value():
    chart = charts.line_chart([Series("Test", ((0, 50.0),))], title="t", x_label="x", y_label="y", x_names=["teacher"])
    assert len(list(parse(chart).iter("circle"))) == 1


def test_crowded_names_are_shown_in_part():
    names = [f"round {index}" for index in range(30)]
    series = [Series("Test", tuple((index, float(index)) for index in range(30)))]
    labels = texts(charts.line_chart(series, title="t", x_label="x", y_label="y", x_names=names))
    assert 3 <= sum(label.startswith("round ") for label in labels) <= 8


def test_long_legend_wraps():
    names = ["Test", "Validation", "Pseudo labels", "Selected pseudo labels", "Control (validation)"]
    series = [Series(name, ((0, 1.0), (1, 2.0))) for name in names]
    chart = charts.line_chart(series, title="t", x_label="x", y_label="y", x_names=["a", "b"])
    entries = [element for element in parse(chart).iter("text") if element.text in names]
    assert len({entry.attrib["y"] for entry in entries}) == 2
    assert all(float(entry.attrib["x"]) + 6.6 * len(entry.text) <= charts.WIDTH for entry in entries)


def test_lines_can_share_an_axis():
    series = [Series("Test", ((0, 80.0), (1, 90.0)))]
    chart = charts.line_chart(series, title="t", x_label="x", y_label="y", x_names=["a", "b"], covered=[0.0, 100.0])
    heights = [numbers(element, "cy")[0] for element in parse(chart).iter("circle")]
    assert heights[0] - heights[1] == pytest.approx(charts.PLOT_HEIGHT / 10)
    assert not [text for text in texts(chart) if text.startswith("axis starts")]


def test_curve_points_are_spaced_as_their_numbers():
    chart = charts.curve_chart([Series("FGSM", ((0, 90.0), (8, 10.0), (2, 50.0)))], title="t", x_label="x", y_label="y")
    points = [numbers(element, "cx", "cy") for element in parse(chart).iter("circle")]
    (first, _), (second, middle), (third, _) = points  # in the order of the axis
    assert third - first == pytest.approx(4 * (second - first), abs=0.05)
    assert middle == pytest.approx((points[0][1] + points[2][1]) / 2, abs=0.02)
    ticks = [
        element
        for element in parse(chart).iter("text")
        if element.attrib["class"] == "tick" and element.attrib["text-anchor"] == "middle"
    ]
    x_of = {tick.text: float(tick.attrib["x"]) for tick in ticks}
    assert x_of["0"] == pytest.approx(first, abs=0.05)
    assert x_of["8"] == pytest.approx(third, abs=0.05)


def test_curve_of_one_point():
    chart = charts.curve_chart([Series("FGSM", ((0.0, 90.0),))], title="t", x_label="x", y_label="y")
    assert len(list(parse(chart).iter("circle"))) == 1


def test_dots_lie_in_their_rows_at_their_values():
    series = [Series("one", ((0, 20.0), (1, 40.0), (2, 30.0))), Series("two", ((0, 30.0), (2, 30.0)))]
    chart = charts.dot_chart(["fog", "snow", "frost"], series, title="t", x_label="error (%)")
    y_of = {element.text: float(element.attrib["y"]) - 4 for element in parse(chart).iter("text")}
    x_of = {element.text: float(element.attrib["x"]) for element in parse(chart).iter("text")}
    assert y_of["fog"] < y_of["snow"] < y_of["frost"]
    dots = {
        circle.find("title").text: numbers(circle, "cx", "cy")
        for circle in parse(chart).iter("circle")
        if circle.find("title") is not None
    }
    assert set(dots) == {
        "one, fog: 20.0", "one, snow: 40.0", "one, frost: 30.0", "two, fog: 30.0", "two, frost: 30.0",
    }  # fmt: skip
    for title, (x, y) in dots.items():
        name, value = title.split(", ")[1].split(": ")
        assert x == pytest.approx(x_of[f"{float(value):g}"], abs=0.05)
        assert min(("fog", "snow", "frost"), key=lambda row: abs(y_of[row] - y)) == name
    # Equal values of two series do not hide each other.
    assert dots["one, frost: 30.0"] != dots["two, frost: 30.0"]


def test_dots_of_a_row_stay_nearer_to_it_than_to_the_next():
    series = [Series(f"classifier {number}", ((0, 5.0), (1, 5.0))) for number in range(8)]
    chart = charts.dot_chart(["fog", "snow"], series, title="t", x_label="x")
    heights = sorted(
        numbers(element, "cy")[0] for element in parse(chart).iter("circle") if element.find("title") is not None
    )
    assert heights[8] - heights[7] > 2 * 3.5  # two radii


def test_a_dot_chart_has_a_note_if_its_axis_does_not_start_at_zero():
    def chart(low: float) -> str:
        return charts.dot_chart(["a", "b"], [Series("one", ((0, low), (1, 90.0)))], title="t", x_label="x")

    assert "axis starts at 80" in texts(chart(80.0))
    assert not [text for text in texts(chart(0.0)) if text.startswith("axis starts")]


def test_long_names_stay_inside_the_chart():
    name = "1 " + "/very/long/folder" * 9 + "/student"
    series = [Series(name, ((0, 1.0), (1, 2.0)))]
    for chart in (
        charts.dot_chart([name, "fog"], series, title="t", x_label="x"),
        charts.line_chart(series, title="t", x_label="x", y_label="y", x_names=["a", "b"]),
    ):
        shortened = [label for label in parse(chart).iter("text") if "\N{HORIZONTAL ELLIPSIS}" in (label.text or "")]
        assert shortened
        for label in shortened:
            width = 6.6 * len(label.text)
            left = float(label.attrib["x"]) - (width if label.attrib["text-anchor"] == "end" else 0)
            assert left >= 0
            assert left + width <= charts.WIDTH
            assert label.text.startswith("1 ")
            assert label.text.endswith("/student")
        assert name in [
            element.text.rpartition(", ")[0] for element in parse(chart).iter("title") if ", " in (element.text or "")
        ]


def test_a_series_can_have_the_color_of_another_position():
    series = [Series("one", ((0, 1.0),), color=3), Series("two", ((0, 2.0),))]
    for chart in (
        charts.line_chart(series, title="t", x_label="x", y_label="y", x_names=["a"]),
        charts.dot_chart(["a"], series, title="t", x_label="x"),
        charts.curve_chart(series, title="t", x_label="x", y_label="y"),
    ):
        colors = [element.attrib["class"] for element in parse(chart).iter("g")]
        assert colors == ["series series-3", "series series-2"] * 2  # legend and plot


def test_reliability_bars_and_dots():
    bins = [(0.0, 0.5, 0.4, 0.25, 10), (0.5, 1.0, 0.9, 0.75, 30)]
    chart = charts.reliability_diagram(bins, title="t", x_label="x", y_label="y")
    frame = Frame((0, 1), (0, 1))
    heights = [numbers(element, "height")[0] for element in parse(chart).iter("rect")]
    assert heights == pytest.approx([0.25 * charts.PLOT_HEIGHT, 0.75 * charts.PLOT_HEIGHT])
    dots = [numbers(element, "cx", "cy") for element in parse(chart).iter("circle")]
    assert dots == [(frame.x(0.4), frame.y(0.25)), (frame.x(0.9), frame.y(0.75))]


@pytest.mark.parametrize(("difference", "low", "high"), [(3.0, 1.0, 5.0), (-3.0, -5.0, -1.0), (0.1, -1.0, 1.2)])
def test_interval_always_shows_zero(difference, low, high):
    chart = charts.interval_chart(difference, low, high, title="t", x_label="points")
    lines = {element.get("class"): element for element in parse(chart).iter("line")}
    assert "zero" in lines
    assert "0" in texts(chart)
    left, right = numbers(lines["interval"], "x1", "x2")
    zero = numbers(lines["zero"], "x1")[0]
    estimate = numbers(next(parse(chart).iter("circle")), "cx")[0]
    assert left < estimate < right
    scale = (right - left) / (high - low)
    assert left - zero == pytest.approx(scale * low, abs=0.1)
    assert estimate - zero == pytest.approx(scale * difference, abs=0.1)


def test_charts_are_named_labeled_and_escaped():
    evil = "<script>'\"&"
    series = [Series(evil, ((0, 1.0), (1, 2.0)))]
    for chart in (
        charts.line_chart(series, title=evil, x_label=evil, y_label=evil, x_names=[evil, evil]),
        charts.histogram([0, 1], [3], title=evil, x_label=evil, y_label=evil),
        charts.reliability_diagram([(0, 1, 0.5, 0.5, 3)], title=evil, x_label=evil, y_label=evil),
        charts.interval_chart(1, 0, 2, title=evil, x_label=evil),
        charts.curve_chart(series, title=evil, x_label=evil, y_label=evil),
        charts.dot_chart([evil, evil], series, title=evil, x_label=evil),
    ):
        assert "<script" not in chart
        root = parse(chart)
        assert root.attrib["role"] == "img"
        assert root[0].tag == "title"
        assert root[0].text == evil
        assert texts(chart).count(evil) >= 2
