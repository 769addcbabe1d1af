"""Robustness told: numbers under the right names, charts of what was measured alone, nothing that a name can do."""

import copy
import io
import xml.etree.ElementTree as ElementTree

import pytest
from rich.console import Console

from noisystudent.errors import ArtifactError
from noisystudent.reporting.comparison import write_comparison
from noisystudent.reporting.read import parse_robustness
from noisystudent.reporting.robustness.figures import figures
from noisystudent.reporting.robustness.notes import explanations, measured_sentence, notes, warnings
from noisystudent.reporting.robustness.table import natural_table, robustness_table
from noisystudent.reporting.robustness.view import robustness_view
from noisystudent.reporting.terminal import plain_robustness, plain_summary, print_summary
from reading_pages import INJECTION, Page, section_text
from robustness_examples import named_as_in_a_run, told_of
from summaries import summary

MEASURES = ("corruptions", "perturbations", "attacks", "calibration", "natural")


def column(told: dict, name: str, *, nth: int = 0) -> list[str]:
    table = robustness_table(parse_robustness(told))
    place = [place for place, each in enumerate(table.columns) if each == name][nth]
    return [row[place] for row in table.rows]


def without(told: dict, name: str, *measures: str) -> dict:
    """The same, where the classifier of this name lacks some measures."""
    changed = copy.deepcopy(told)
    for measure in measures:
        del changed["measured"][name][measure]
    return changed


def charts_of(told: dict) -> dict[str, ElementTree.Element]:
    drawn = [ElementTree.fromstring(str(one)) for group in figures(parse_robustness(told)).values() for one in group]
    found = {one.find("title").text: one for one in drawn}
    assert len(found) == len(drawn), "two charts have one title"
    return found


def said_in(chart: ElementTree.Element) -> dict[str, float]:
    """The values of a chart's points by what they are said to be."""
    titles = [one.find("title").text for one in chart.iter("circle") if one.find("title") is not None]
    return {name: float(value) for name, _, value in (title.rpartition(": ") for title in titles)}


def colors_in(chart: ElementTree.Element) -> dict[str, str]:
    """The color class of each classifier that has points."""
    return {
        circle.find("title").text.rpartition(", ")[0]: group.attrib["class"]
        for group in chart.iter("g")
        for circle in group.iter("circle")
        if circle.find("title") is not None
    }


# ---- the table ----


def test_numbers_stand_under_their_names():
    told = told_of("one", "two", "three")
    assert robustness_table(parse_robustness(told)).columns == (
        "", "Clean", "Difference", "Corrupted", "Difference", "mCE", "Relative mCE", "ECE", "ECE, severity 5",
        "Flips", "mFR", "mT5D", "FGSM 4/255", "PGD 4/255", "AutoAttack 1/255",
    )  # fmt: skip
    assert column(told, "") == ["One", "Two", "Three"]
    assert column(told, "Clean") == ["90.0%", "91.0%", "92.0%"]
    assert column(told, "Difference") == ["", "+1.0 (-1.0 to +3.0)", "+2.0 (0.0 to +4.0)"]
    assert column(told, "Corrupted") == ["65.0%", "66.0%", "67.0%"]  # errors 10 to 60% in six conditions: mean 35%
    assert column(told, "Difference", nth=1) == ["", "+1.0 (-1.0 to +3.0)", "+2.0 (0.0 to +4.0)"]
    assert column(told, "mCE") == ["76.4", "75.4", "74.4"]
    assert column(told, "Relative mCE") == ["105.0", "104.0", "103.0"]
    assert column(told, "ECE") == ["5.0%", "4.0%", "3.0%"]
    assert column(told, "ECE, severity 5") == ["30.0%", "29.0%", "28.0%"]
    assert column(told, "Flips") == ["3.0%", "2.9%", "2.8%"]
    assert column(told, "mFR") == ["58.0", "57.0", "56.0"]
    assert column(told, "mT5D") == ["78.2", "77.2", "76.2"]
    assert column(told, "FGSM 4/255") == ["40.0%", "41.0%", "42.0%"]
    assert column(told, "PGD 4/255") == ["20.0%", "21.0%", "22.0%"]
    assert column(told, "AutoAttack 1/255") == ["60.0%", "61.0%", "62.0%"]


@pytest.mark.parametrize("measure", MEASURES)
def test_what_one_classifier_lacks_is_a_dash_and_what_all_lack_is_no_column(measure):
    whole = told_of("one", "two")
    full = robustness_table(parse_robustness(whole))
    one_lacks = robustness_table(parse_robustness(without(whole, "two", measure)))
    assert one_lacks.columns == full.columns
    assert one_lacks.rows[0] == full.rows[0]
    changed = [
        name for name, cell, before in zip(full.columns, one_lacks.rows[1], full.rows[1], strict=True) if cell != before
    ]
    expected = {
        "corruptions": ["Corrupted", "mCE", "Relative mCE"],
        "perturbations": ["Flips", "mFR", "mT5D"],
        "attacks": ["FGSM 4/255", "PGD 4/255", "AutoAttack 1/255"],
        "calibration": ["ECE", "ECE, severity 5"],
        "natural": [],
    }[measure]
    assert changed == expected
    lacking = without(without(whole, "two", measure), "one", measure)
    if measure == "corruptions":
        for each in lacking["differences"].values():
            each["corruptions"], each["by_severity"] = None, {}
        expected = [*expected, "Difference"]
    gone = [name for name in full.columns if name not in robustness_table(parse_robustness(lacking)).columns]
    assert gone == [name for name in expected if name != "Difference"]


def test_only_clean_images():
    told = told_of("one", "two")
    for name in ("one", "two"):
        told = without(told, name, *MEASURES)
    told["differences"]["two"] |= {"corruptions": None, "by_severity": {}}
    assert robustness_table(parse_robustness(told)).columns == ("", "Clean", "Difference")
    assert charts_of(told) == {}
    assert measured_sentence(parse_robustness(told)) == "Measured on 200 images of digits: accuracy."
    assert natural_table(parse_robustness(told)) is None


def test_one_classifier_has_no_differences():
    assert "Difference" not in robustness_table(parse_robustness(told_of("one"))).columns
    assert "Reliability of One, clean" in charts_of(told_of("one"))


def test_folders_that_all_lie_in_are_left_out_of_names():
    told = told_of("1 runs/a/control", "2 runs/a/round-1/student", "3 runs/also/x")
    assert column(told, "") == ["1 a/control", "2 a/round-1/student", "3 also/x"]
    assert "The checkpoints lie in runs/." in notes(parse_robustness(told))
    assert column(told_of("1 control", "2 b/teacher"), "") == ["1 control", "2 b/teacher"]
    assert column(told_of("1 a/x", "2 a/x"), "") == ["1 x", "2 x"]
    assert column(told_of("1 /a/x", "2 /b/x"), "") == ["1 /a/x", "2 /b/x"]


def test_scores_of_natural_sets_by_classifier():
    told = told_of("one", "two")
    told["measured"]["two"]["natural"] = {"ImageNet-O": {"count": 9, "classes": "200 of 1000", "aupr_200way": 0.25}}
    table = natural_table(parse_robustness(told))
    assert table.columns == ("Set", "Score", "One", "Two")
    assert table.rows == (("ImageNet-A", "top1_200way", "10.0%", "-"), ("ImageNet-O", "aupr_200way", "-", "25.0%"))


# ---- what is said beside it ----


def test_it_is_said_what_was_made_and_what_is_missing():
    told = parse_robustness(told_of("one", "two"))
    assert measured_sentence(told) == (
        "Measured on 200 images of digits: accuracy, errors under 2 generated corruptions, changes of the answer "
        "along 2 generated perturbations, accuracy under attack and calibration."
    )
    assert notes(told)[0].startswith(
        "Corruptions and perturbations were generated from the images at hand, with the strengths published for 32 px"
    )
    text = " ".join(explanations(told))
    assert "There is no frost; no snow at severity 3." in text
    assert "over the 6 conditions" in text
    assert "PGD takes 10 steps from 1 start" in text
    assert "(linf), in steps of 255, on 200 images of 1 x 8 x 8 values" in text
    assert "in percent of those of resnet50" in text


def test_published_files_are_not_called_generated():
    told = told_of("one", "two")
    for one in told["measured"].values():
        one["corruptions"]["source"] = "published"
        del one["perturbations"]
    assert "2 published corruptions" in measured_sentence(parse_robustness(told))
    view = robustness_view(parse_robustness(told))
    assert not [note for note in view.notes if "generated" in note]
    assert not [chart for group in view.charts.values() for chart in group if "generated" in chart]


def test_warnings_name_whom_they_are_about():
    told = told_of("one", "two", "three")
    for name in ("one", "three"):
        told["measured"][name]["attacks"]["warnings"] = ["no gradient"]
    for one in told["measured"].values():
        one["attacks"]["warnings"].append("chance")
    assert warnings(parse_robustness(told)) == ["One, Three: no gradient", "All: chance"]


# ---- the charts ----


def test_every_measure_has_its_charts():
    assert list(charts_of(told_of("one", "two"))) == [
        "Error by severity, mean over 2 corruptions",
        "Error by corruption, mean over severities",
        "Flips by perturbation",
        "Accuracy under FGSM",
        "Accuracy under PGD",
        "Accuracy under AutoAttack",
        "Calibration error",
        "Calibration error after temperature scaling",
        "Reliability of One, clean",
        "Reliability of One, severity 5",
        "Reliability of Two, clean",
        "Reliability of Two, severity 5",
    ]


def test_charts_show_the_numbers():
    found = charts_of(told_of("one", "two"))
    assert said_in(found["Error by severity, mean over 2 corruptions"]) == {
        "One, 1": 15.0, "One, 3": 35.0, "One, 5": 55.0, "Two, 1": 14.0, "Two, 3": 34.0, "Two, 5": 54.0,
    }  # fmt: skip
    assert said_in(found["Error by corruption, mean over severities"]) == {
        "One, fog": 30.0, "One, gaussian noise": 40.0, "Two, fog": 29.0, "Two, gaussian noise": 39.0,
    }  # fmt: skip
    assert said_in(found["Flips by perturbation"]) == {
        "One, motion blur": 4.0, "One, tilt": 2.0, "Two, motion blur": 3.9, "Two, tilt": 1.9,
    }  # fmt: skip
    assert said_in(found["Accuracy under FGSM"]) == {
        "One, 0": 90.0, "One, 1": 80.0, "One, 4": 40.0, "Two, 0": 91.0, "Two, 1": 81.0, "Two, 4": 41.0,
    }  # fmt: skip
    assert said_in(found["Accuracy under PGD"])["One, 4"] == 20.0
    assert said_in(found["Accuracy under AutoAttack"]) == {
        "One, 0": 90.0,
        "One, 1": 60.0,
        "Two, 0": 91.0,
        "Two, 1": 61.0,
    }
    before, after = found["Calibration error"], found["Calibration error after temperature scaling"]
    assert said_in(before)["One, clean"] == 5.0
    assert said_in(before)["Two, 5"] == 29.0
    assert said_in(after) == pytest.approx({name: value / 2 for name, value in said_in(before).items()})


def test_charts_that_are_compared_share_an_axis():
    found = charts_of(told_of("one", "two"))

    def heights(title: str) -> list[str]:
        return [one.text for one in found[title].iter("text") if one.get("text-anchor") == "end"]

    assert heights("Calibration error") == heights("Calibration error after temperature scaling")
    assert heights("Accuracy under FGSM") == heights("Accuracy under PGD") == heights("Accuracy under AutoAttack")


def test_a_mean_by_severity_is_over_what_all_met():
    told = told_of("one", "two")
    told["measured"]["one"]["corruptions"]["errors"]["frost"] = {"1": 0.9, "3": 0.9, "5": 0.9}
    del told["measured"]["two"]["corruptions"]["errors"]["fog"]["5"]
    found = charts_of(told)
    chart = found["Error by severity, mean over 1 corruption"]
    assert said_in(chart)["One, 5"] == 60.0  # Gaussian noise alone
    assert said_in(chart)["Two, 5"] == 59.0
    assert said_in(found["Error by corruption, mean over severities"])["One, frost"] == 90.0


def test_a_classifier_keeps_its_color_where_another_is_missing():
    told = without(told_of("one", "two", "three"), "two", "corruptions", "perturbations", "attacks")
    for title, chart in charts_of(told).items():
        if not title.startswith("Reliability"):
            colors = colors_in(chart)
            assert colors["One"] == "series series-1"
            assert colors["Three"] == "series series-3"
            assert ("Two" in colors) == title.startswith("Calibration")


@pytest.mark.parametrize("measure", MEASURES)
def test_charts_of_what_nobody_has_are_left_out(measure):
    told = told_of("one", "two")
    whole = charts_of(told)
    for name in ("one", "two"):
        told = without(told, name, measure)
    gone = set(whole) - set(charts_of(told))
    begins = {
        "corruptions": ("Error by",),
        "perturbations": ("Flips",),
        "attacks": ("Accuracy under",),
        "calibration": ("Calibration error", "Reliability"),
        "natural": (),
    }[measure]
    assert gone == {title for title in whole if title.startswith(begins)}


def test_many_classifiers_are_cut_in_charts_and_not_in_the_table(tmp_path):
    told = told_of(*(f"classifier {number}" for number in range(11)))
    assert len(robustness_table(parse_robustness(told)).rows) == 11
    for title, chart in charts_of(told).items():
        if not title.startswith("Reliability"):
            assert list(colors_in(chart)) == ["Classifier 0", *(f"Classifier {number}" for number in range(4, 11))]
    page = Page(write_comparison(told, tmp_path / "page.html").read_text())
    assert "the first classifier and the last seven; 3 more are in the table alone" in section_text(page, "robustness")


# ---- the page ----


def test_the_page_holds_table_notes_and_charts(tmp_path):
    text = write_comparison(told_of("one", "two"), tmp_path / "page.html").read_text()
    page = Page(text)
    said = section_text(page, "robustness")
    assert "Two 91.0% +1.0 (-1.0 to +3.0) 66.0%" in said
    assert "generated from the images at hand" in said
    assert "ImageNet-A top1_200way 10.0% 11.0%" in said
    assert "ImageNet-A: 200 of the model's 1000 classes, found by their names." in said
    assert text.count("<svg") == 12
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "embed", "img"}
    for number in range(1, 9):
        assert f".series-{number} {{" in text


def test_everything_from_outside_is_escaped(tmp_path):
    told = told_of(INJECTION, "</style><script>", "1 <b>x")
    for one in told["measured"].values():
        one["source"] = INJECTION
        one["corruptions"]["errors"][INJECTION] = {"1": 0.5, "3": 0.5, "5": 0.5}
        one["corruptions"]["missing"] = [INJECTION]
        one["perturbations"]["perturbations"][INJECTION] = {"flip_probability": 0.5}
        one["perturbations"]["relative"]["baseline"] = INJECTION
        one["attacks"]["warnings"] = [INJECTION]
        one["natural"] = {INJECTION: {"classes": INJECTION, INJECTION: 0.5}}
    text = write_comparison(told, tmp_path / "page.html").read_text()
    page = Page(text)
    assert "<script" not in text
    assert text.count("</style>") == 1
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "b"})
    assert section_text(page, "robustness").count("<script>alert(1)</script>") > 20


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("measured", "two", "clean"), 0.9, r"measured\.two\.clean"),
        (("measured", "two", "clean", "top1"), float("nan"), r"measured\.two\.clean\.top1"),
        (("measured", "two", "corruptions", "source"), "found", r"measured\.two\.corruptions\.source"),
        (("first",), "nobody", "'nobody' is named as the first"),
    ],
)
def test_what_is_no_comparison_is_refused(tmp_path, place, value, message):
    told = told_of("one", "two")
    inside = told
    for name in place[:-1]:
        inside = inside[name]
    inside[place[-1]] = value
    with pytest.raises(ArtifactError, match=f"The comparison is not what this program writes: .*{message}"):
        write_comparison(told, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


# ---- the terminal ----


def test_a_run_ends_with_its_scores_its_robustness_and_the_verdict():
    lines = plain_summary(summary() | {"robustness": named_as_in_a_run(told_of("one", "two", "three"))}).splitlines()
    (start,) = [place for place, line in enumerate(lines) if line.startswith("Measured on 200 images of the test")]
    table = lines[start + 1 : -1]
    assert lines[start - 1].startswith("Delivered: round-1")
    assert [line.split()[0] for line in table] == ["Clean", "Control", "Round", "Teacher"]
    assert "+1.0 (-1.0 to +3.0)      66.0%" in table[2]
    assert "FGSM 4/255" in table[0]
    assert "ECE" not in table[0]
    assert len({len(line) for line in table}) == 1
    assert lines[-1].startswith("Roll back:")
    assert plain_summary(summary() | {"robustness": None}) == plain_summary(summary())


def test_a_narrow_terminal_cuts_no_number_off():
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=60, legacy_windows=False)
    told = named_as_in_a_run(told_of("one", "two"))
    print_summary(summary() | {"robustness": told}, console)
    text = stream.getvalue()
    for line in plain_robustness(told)[1:]:
        assert line in text
    assert text.index("Measured on") < text.index("Roll back:")


def test_names_cannot_command_the_terminal():
    told = told_of("1 a\x1b]0;owned\x07", "2 b")
    told["measured"][told["first"]]["source"] = "\x1b[2J"
    assert "\x1b" not in "".join(plain_robustness(told))
    assert "\x07" not in "".join(plain_robustness(told))
