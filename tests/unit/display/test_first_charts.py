"""The charts of the first screen: places, values and colors, and texts that stay texts."""

import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from noisystudent.display.gain_chart import ClassGain, gain_chart
from noisystudent.display.round_chart import Step, round_chart
from reading_pages import INJECTION

STEPS = [Step("teacher", 0.8), Step("round 1", 0.85, 30, 100), Step("round 2", 0.9, 60, 100, worse=True)]


def drawn(chart):
    return ElementTree.fromstring(str(chart))


def test_a_step_is_higher_the_more_accurate_it_is_and_the_control_is_a_level():
    chart = drawn(round_chart(STEPS, 0.8, title="Accuracy"))
    heights = [float(circle.get("cy")) for circle in chart.iter("circle")]
    assert heights[0] - heights[1] == pytest.approx(heights[1] - heights[2], abs=0.2)
    (level,) = [line for group in chart.iter("g") if group.get("class") == "series level series-2" for line in group]
    assert float(level.get("y1")) == heights[0]
    assert [circle.get("class") for circle in chart.iter("circle")] == [None, None, "hollow"]


@pytest.mark.parametrize("control", [0.78, 0.801, 0.82, 0.85, 0.88, 0.899, 0.93])
def test_the_label_of_the_control_keeps_off_the_values_of_the_students(control):
    chart = drawn(round_chart(STEPS, control, title="Accuracy"))
    *values, label = [text for text in chart.iter("text") if text.get("class") == "value"]
    assert label.text == f"labels only {100 * control:.1f}%"
    left = 0 if label.get("text-anchor") == "start" else 440 - 120
    for value in values:
        beside = abs(float(value.get("x")) - (left + 60)) >= 60 + 20
        assert beside or abs(float(value.get("y")) - float(label.get("y"))) >= 12


def test_bars_are_as_long_as_the_share_that_was_used():
    chart = drawn(round_chart(STEPS, None, title="Accuracy"))
    parts = {
        kind: [float(bar.get("width")) for bar in chart.iter("rect") if bar.get("class") == kind]
        for kind in ("all", "part")
    }
    assert [part / whole for part, whole in zip(parts["part"], parts["all"], strict=True)] == pytest.approx([0.3, 0.6])
    assert "30 of 100" in [text.text for text in chart.iter("text")]


def test_counts_do_not_touch():
    steps = [Step("teacher", 0.9), *(Step(f"round {n}", 0.9, 250 * n, 1257) for n in range(1, 6))]
    texts = [text for text in drawn(round_chart(steps, None, title="Accuracy")).iter("text") if text.get("y") == "239"]
    assert [text.text for text in texts] == ["250", "500", "750", "1,000", "1,250 of 1,257"]
    bounds = []
    for text in texts:
        width, x = 6.7 * len(text.text), float(text.get("x"))
        start = x - {"middle": width / 2, "end": width, "start": 0}[text.get("text-anchor")]
        bounds.append((start, start + width))
    assert all(left[1] < right[0] for left, right in pairwise(bounds))


def test_without_an_accuracy_there_is_no_chart():
    assert round_chart([Step("teacher", None)], 0.5, title="Accuracy") is None


@pytest.mark.parametrize("count", [1, 2, 9, 40])
def test_the_last_value_is_written_however_many_there_are(count):
    steps = [Step(f"round {number}", 0.5 + number / 100, number, 100) for number in range(count)]
    texts = [text.text for text in drawn(round_chart(steps, 0.5, title="Accuracy")).iter("text")]
    assert f"{50 + count - 1}.0%" in texts
    assert sum(bool(re.fullmatch(r"[\d.]+%", text)) for text in texts) <= 10


def test_everything_stays_in_the_picture():
    chart = drawn(round_chart(STEPS, 0.2, title="Accuracy"))
    _, _, width, height = map(float, chart.get("viewBox").split())
    for bar in chart.iter("rect"):
        assert 0 <= float(bar.get("x")) <= float(bar.get("x")) + float(bar.get("width")) <= width
    assert all(0 <= float(text.get("y")) <= height for text in chart.iter("text"))


def test_a_row_has_a_square_a_circle_and_the_points_between_them():
    chart = drawn(
        gain_chart([ClassGain("up", 0.5, 0.8), ClassGain("down", 0.9, 0.7), ClassGain("same", 0.6, 0.6)], title="Gain")
    )
    rows = [group for group in chart.iter("g") if group.get("class", "").startswith("gain")]
    assert [row.get("class") for row in rows] == ["gain up", "gain down", "gain level"]
    assert [row.findall("text")[-1].text for row in rows] == ["+30", "-20", "0"]
    for row, is_right in zip(rows, (True, False, None), strict=True):
        square, circle = float(row.find("rect").get("x")) + 4.5, float(row.find("circle").get("cx"))
        assert (circle > square) == is_right if is_right is not None else circle == pytest.approx(square)


def test_names_are_only_text():
    steps = [Step(INJECTION, 0.5)]
    for chart in (round_chart(steps, None, title=INJECTION), gain_chart([ClassGain(INJECTION, 0, 1)], title=INJECTION)):
        assert "<script>" not in str(chart)
        drawn(chart)
