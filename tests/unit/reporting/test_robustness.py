"""Robustness on the page and in the terminal: the right numbers, charts of what was measured, everything escaped."""

import copy
import io
import xml.etree.ElementTree as ElementTree

import pytest
from rich.console import Console

from noisystudent.errors import ArtifactError
from noisystudent.reporting.comparison import comparison_headline, write_comparison
from noisystudent.reporting.robustness import (
    explanations,
    extra_tables,
    measured_sentence,
    notes,
    robustness_charts,
    robustness_table,
    robustness_view,
    warnings,
)
from noisystudent.reporting.terminal import plain_robustness, plain_summary, print_summary
from reading_pages import INJECTION, Page, section_text
from robustness_examples import comparison_of, named_as_in_a_run, parsed
from summaries import parsed_summary, summary

MEASURES = ("corruptions", "perturbations", "attacks", "calibration", "natural")


def column(content: dict, name: str, *, nth: int = 0) -> list[str]:
    table = robustness_table(parsed(content))
    position = [position for position, column in enumerate(table.columns) if column == name][nth]
    return [row[position] for row in table.rows]


def without(content: dict, name: str, *measures: str) -> dict:
    """The same, where the model of this name lacks some measures."""
    changed = copy.deepcopy(content)
    for measure in measures:
        del changed["measured"][name][measure]
    return changed


def charts_of(content: dict) -> dict[str, ElementTree.Element]:
    charts = robustness_charts(parsed(content)).values()
    parsed_charts = [ElementTree.fromstring(str(chart)) for group in charts for chart in group]
    by_title = {chart.find("title").text: chart for chart in parsed_charts}
    assert len(by_title) == len(parsed_charts), "two charts have one title"
    return by_title


def said_in(chart: ElementTree.Element) -> dict[str, float]:
    """The values of a chart's points by what they are said to be."""
    titles = [one.find("title").text for one in chart.iter("circle") if one.find("title") is not None]
    return {name: float(value) for name, _, value in (title.rpartition(": ") for title in titles)}


def colors_in(chart: ElementTree.Element) -> dict[str, str]:
    """The color class of each model that has points."""
    return {
        circle.find("title").text.rpartition(", ")[0]: group.attrib["class"]
        for group in chart.iter("g")
        for circle in group.iter("circle")
        if circle.find("title") is not None
    }


# ---- the table ----


def test_numbers_stand_under_their_names():
    content = comparison_of("one", "two", "three")
    assert robustness_table(parsed(content)).columns == (
        "", "Clean", "Difference, clean", "Corrupted", "Difference, corrupted", "mCE", "Relative mCE", "ECE",
        "ECE, severity 5", "Flips", "mFR", "mT5D", "FGSM 4/255", "PGD 4/255", "AutoAttack 1/255",
    )  # fmt: skip
    assert column(content, "") == ["One", "Two", "Three"]
    assert column(content, "Clean") == ["90.0%", "91.0%", "92.0%"]
    assert column(content, "Difference, clean") == ["", "+1.0 (-1.0 to +3.0)", "+2.0 (0.0 to +4.0)"]
    assert column(content, "Corrupted") == ["65.0%", "66.0%", "67.0%"]  # errors 10 to 60% in six conditions: mean 35%
    assert column(content, "Difference, corrupted") == ["", "+1.0 (-1.0 to +3.0)", "+2.0 (0.0 to +4.0)"]
    assert column(content, "mCE") == ["76.4", "75.4", "74.4"]
    assert column(content, "Relative mCE") == ["105.0", "104.0", "103.0"]
    assert column(content, "ECE") == ["5.0%", "4.0%", "3.0%"]
    assert column(content, "ECE, severity 5") == ["30.0%", "29.0%", "28.0%"]
    assert column(content, "Flips") == ["3.0%", "2.9%", "2.8%"]
    assert column(content, "mFR") == ["58.0", "57.0", "56.0"]
    assert column(content, "mT5D") == ["78.2", "77.2", "76.2"]
    assert column(content, "FGSM 4/255") == ["40.0%", "41.0%", "42.0%"]
    assert column(content, "PGD 4/255") == ["20.0%", "21.0%", "22.0%"]
    assert column(content, "AutoAttack 1/255") == ["60.0%", "61.0%", "62.0%"]


@pytest.mark.parametrize("measure", MEASURES)
def test_what_one_model_lacks_is_a_dash_and_what_all_lack_is_no_column(measure):
    whole = comparison_of("one", "two")
    full = robustness_table(parsed(whole))
    one_lacks = robustness_table(parsed(without(whole, "two", measure)))
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
        for difference in lacking["differences"].values():
            difference["corruptions"], difference["by_severity"] = None, {}
        expected.insert(1, "Difference, corrupted")
    gone = [name for name in full.columns if name not in robustness_table(parsed(lacking)).columns]
    assert gone == expected


def test_only_clean_images():
    content = comparison_of("one", "two")
    for name in ("one", "two"):
        content = without(content, name, *MEASURES)
    content["differences"]["two"] |= {"corruptions": None, "by_severity": {}}
    assert robustness_table(parsed(content)).columns == ("", "Clean", "Difference, clean")
    assert charts_of(content) == {}
    assert measured_sentence(parsed(content)) == "Measured on 200 images of digits: accuracy."
    assert extra_tables(parsed(content)) == {}


def test_one_model_has_no_differences():
    assert "Difference, clean" not in robustness_table(parsed(comparison_of("one"))).columns
    assert "Reliability of One, clean" in charts_of(comparison_of("one"))


def test_folders_that_all_lie_in_are_left_out_of_names():
    content = comparison_of("1 runs/a/control", "2 runs/a/round-1/student", "3 runs/also/x")
    assert column(content, "") == ["1 a/control", "2 a/round-1/student", "3 also/x"]
    assert "The checkpoints lie in runs/." in notes(parsed(content))
    assert column(comparison_of("1 control", "2 b/teacher"), "") == ["1 control", "2 b/teacher"]
    assert column(comparison_of("1 a/x", "2 a/x"), "") == ["1 x", "2 x"]
    assert column(comparison_of("1 /a/x", "2 /b/x"), "") == ["1 /a/x", "2 /b/x"]


def test_scores_of_natural_sets_by_model():
    content = comparison_of("one", "two")
    content["measured"]["two"]["natural"] = {
        "ImageNet-O": {
            "source": "o",
            "classes": "200 of 1000",
            "count": 9,
            "scores": {"aupr_200way": 0.25, "gap": None},
        }
    }
    (table,) = (extra.table for extra in extra_tables(parsed(content)).values())
    assert table.columns == ("Set", "Score", "One", "Two")
    assert table.rows == (("ImageNet-A", "top1_200way", "10.0%", "-"), ("ImageNet-O", "aupr_200way", "-", "25.0%"))


# ---- what is said beside it ----


def test_it_is_said_what_was_made_and_what_is_missing():
    comparison = parsed(comparison_of("one", "two"))
    assert measured_sentence(comparison) == (
        "Measured on 200 images of digits: accuracy, errors under 2 generated corruptions, changes of the answer "
        "along 2 generated perturbations, accuracy under attack and calibration."
    )
    assert notes(comparison)[0].startswith(
        "Corruptions and perturbations were generated from the images at hand, with the strengths published for 32 px"
    )
    text = " ".join(explanations(comparison))
    assert "There is no frost; no snow at severity 3." in text
    assert "over the 6 conditions" in text
    assert "PGD takes 10 steps from 1 start" in text
    assert "(linf), in steps of 255, on 200 images of 1 x 8 x 8 values" in text
    assert "in percent of those of resnet50" in text


def test_published_files_are_not_called_generated():
    content = comparison_of("one", "two")
    for result in content["measured"].values():
        result["corruptions"]["source"] = "published"
        del result["perturbations"]
    assert "2 published corruptions" in measured_sentence(parsed(content))
    view = robustness_view(parsed(content))
    assert not [note for note in view.notes if "generated" in note]
    assert not [chart for group in view.charts.values() for chart in group if "generated" in chart]


def test_warnings_name_the_models_they_are_about():
    content = comparison_of("one", "two", "three")
    for name in ("one", "three"):
        content["measured"][name]["attacks"]["warnings"] = ["no gradient"]
    for result in content["measured"].values():
        result["attacks"]["warnings"].append("chance")
    assert warnings(parsed(content)) == ["One, Three: no gradient", "All: chance"]


# ---- the charts ----


def test_every_measure_has_its_charts():
    assert list(charts_of(comparison_of("one", "two"))) == [
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
    charts = charts_of(comparison_of("one", "two"))
    assert said_in(charts["Error by severity, mean over 2 corruptions"]) == {
        "One, 1": 15.0, "One, 3": 35.0, "One, 5": 55.0, "Two, 1": 14.0, "Two, 3": 34.0, "Two, 5": 54.0,
    }  # fmt: skip
    assert said_in(charts["Error by corruption, mean over severities"]) == {
        "One, fog": 30.0, "One, gaussian noise": 40.0, "Two, fog": 29.0, "Two, gaussian noise": 39.0,
    }  # fmt: skip
    assert said_in(charts["Flips by perturbation"]) == {
        "One, motion blur": 4.0, "One, tilt": 2.0, "Two, motion blur": 3.9, "Two, tilt": 1.9,
    }  # fmt: skip
    assert said_in(charts["Accuracy under FGSM"]) == {
        "One, 0": 90.0, "One, 1": 80.0, "One, 4": 40.0, "Two, 0": 91.0, "Two, 1": 81.0, "Two, 4": 41.0,
    }  # fmt: skip
    assert said_in(charts["Accuracy under PGD"])["One, 4"] == 20.0
    assert said_in(charts["Accuracy under AutoAttack"]) == {
        "One, 0": 90.0,
        "One, 1": 60.0,
        "Two, 0": 91.0,
        "Two, 1": 61.0,
    }
    before, after = charts["Calibration error"], charts["Calibration error after temperature scaling"]
    assert said_in(before)["One, clean"] == 5.0
    assert said_in(before)["Two, 5"] == 29.0
    assert said_in(after) == pytest.approx({name: value / 2 for name, value in said_in(before).items()})


def test_charts_that_are_compared_share_an_axis():
    charts = charts_of(comparison_of("one", "two"))

    def heights(title: str) -> list[str]:
        return [text.text for text in charts[title].iter("text") if text.get("text-anchor") == "end"]

    assert heights("Calibration error") == heights("Calibration error after temperature scaling")
    assert heights("Accuracy under FGSM") == heights("Accuracy under PGD") == heights("Accuracy under AutoAttack")


def test_a_mean_by_severity_is_over_what_all_met():
    content = comparison_of("one", "two")
    content["measured"]["one"]["corruptions"]["errors"]["frost"] = {"1": 0.9, "3": 0.9, "5": 0.9}
    del content["measured"]["two"]["corruptions"]["errors"]["fog"]["5"]
    charts = charts_of(content)
    chart = charts["Error by severity, mean over 1 corruption"]
    assert said_in(chart)["One, 5"] == 60.0  # Gaussian noise alone
    assert said_in(chart)["Two, 5"] == 59.0
    assert said_in(charts["Error by corruption, mean over severities"])["One, frost"] == 90.0


def test_a_model_keeps_its_color_where_another_is_missing():
    content = without(comparison_of("one", "two", "three"), "two", "corruptions", "perturbations", "attacks")
    for title, chart in charts_of(content).items():
        if not title.startswith("Reliability"):
            colors = colors_in(chart)
            assert colors["One"] == "series series-2"  # the control
            assert colors["Three"] == "series series-1"  # the student
            assert ("Two" in colors) == title.startswith("Calibration")


@pytest.mark.parametrize("measure", MEASURES)
def test_charts_without_results_are_left_out(measure):
    content = comparison_of("one", "two")
    whole = charts_of(content)
    for name in ("one", "two"):
        content = without(content, name, measure)
    gone = set(whole) - set(charts_of(content))
    begins = {
        "corruptions": ("Error by",),
        "perturbations": ("Flips",),
        "attacks": ("Accuracy under",),
        "calibration": ("Calibration error", "Reliability"),
        "natural": (),
    }[measure]
    assert gone == {title for title in whole if title.startswith(begins)}


def test_many_models_are_cut_in_charts_and_not_in_the_table(tmp_path):
    content = comparison_of(*(f"classifier {number}" for number in range(11)))
    assert len(robustness_table(parsed(content)).rows) == 11
    for title, chart in charts_of(content).items():
        if not title.startswith("Reliability"):
            assert list(colors_in(chart)) == ["Classifier 0", *(f"Classifier {number}" for number in range(4, 11))]
    page = Page(write_comparison(parsed(content), tmp_path / "page.html").read_text())
    assert "the first model and the last seven; the other 3 are only in the table" in section_text(page, "robustness")


# ---- the page ----


def test_the_page_holds_table_notes_and_charts(tmp_path):
    text = write_comparison(parsed(comparison_of("one", "two")), tmp_path / "page.html").read_text()
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
    content = comparison_of(INJECTION, "</style><script>", "1 <b>x")
    for result in content["measured"].values():
        result["source"] = INJECTION
        result["corruptions"]["errors"][INJECTION] = {"1": 0.5, "3": 0.5, "5": 0.5}
        result["corruptions"]["missing"] = [INJECTION]
        result["perturbations"]["perturbations"][INJECTION] = {
            "flip_probability": 0.5, "top5_distance": 0.5, "zipf_distance": None, "sequences": 1,
        }  # fmt: skip
        result["perturbations"]["relative"]["baseline"] = INJECTION
        result["attacks"]["warnings"] = [INJECTION]
        result["natural"] = {
            INJECTION: {"source": INJECTION, "classes": INJECTION, "count": 1, "scores": {INJECTION: 0.5}}
        }
    text = write_comparison(parsed(content), tmp_path / "page.html").read_text()
    page = Page(text)
    assert "<script" not in text
    assert text.count("</style>") == 1
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "b"})
    assert section_text(page, "robustness").count("<script>alert(1)</script>") > 20


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("measured", "two", "clean"), 0.9, r"measured\.two\.clean"),
        (("measured", "two", "clean", "top1"), float("nan"), r"measured\.two\.clean\.top1"),
        (("measured", "two", "corruptions", "source"), "found", r"measured\.two\.corruptions\.source"),
        (("first",), "nobody", "'nobody' is named as the first"),
    ],
)
def test_what_is_no_comparison_is_refused(path, value, message):
    content = comparison_of("one", "two")
    inside = content
    for name in path[:-1]:
        inside = inside[name]
    inside[path[-1]] = value
    with pytest.raises(ArtifactError, match=f"The comparison is not what this program writes: .*{message}"):
        parsed(content)


# ---- the terminal ----


def test_a_run_ends_with_its_scores_its_robustness_and_the_verdict():
    lines = plain_summary(
        parsed_summary(summary() | {"robustness": named_as_in_a_run(comparison_of("one", "two", "three"))})
    ).splitlines()
    (start,) = [row for row, line in enumerate(lines) if line.startswith("Measured on 200 images of the test")]
    table = lines[start + 1 : -1]
    assert lines[start - 1].startswith("Delivered: round-1")
    assert [line.split()[0] for line in table] == ["Clean", "Control", "Round", "Teacher"]
    assert "+1.0 (-1.0 to +3.0)      66.0%" in table[2]
    assert "FGSM 4/255" in table[0]
    assert "ECE" not in table[0]
    assert len({len(line) for line in table}) == 1
    assert lines[-1].startswith("The unlabeled images did harm:")
    assert plain_summary(parsed_summary(summary() | {"robustness": None})) == plain_summary(parsed_summary(summary()))


def test_a_narrow_terminal_cuts_no_number_off():
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=60, legacy_windows=False)
    content = named_as_in_a_run(comparison_of("one", "two"))
    print_summary(parsed_summary(summary() | {"robustness": content}), console)
    text = stream.getvalue()
    for line in plain_robustness(parsed(content), 60)[1:]:
        assert line in text
    table = text.partition("Measured on")[2].partition("did harm:")[0]
    assert max(map(len, table.splitlines()[2:])) <= 60
    assert text.index("Measured on") < text.index("did harm:")


def test_names_cannot_command_the_terminal():
    content = comparison_of("1 a\x1b]0;owned\x07", "2 b")
    content["measured"][content["first"]]["source"] = "\x1b[2J"
    assert "\x1b" not in "".join(plain_robustness(parsed(content)))
    assert "\x07" not in "".join(plain_robustness(parsed(content)))


def with_differences(clean: tuple[float, float, float], corruptions: tuple[float, float, float]):
    content = comparison_of("one", "two")
    for measure, (difference, low, high) in (("clean", clean), ("corruptions", corruptions)):
        content["differences"]["two"][measure] |= {"difference": difference, "interval": [low, high]}
    return parsed(content)


@pytest.mark.parametrize(
    ("clean", "corruptions", "words"),
    [
        (
            (0.03, 0.01, 0.05),
            (-0.02, -0.03, -0.01),
            "On clean images, Two is better than One by 3.0 points; "
            "under corruptions, One is better than Two by 2.0 points",
        ),
        (
            (0.01, -0.01, 0.03),
            (0.05, 0.04, 0.06),
            "On clean images, no model is clearly better than One; "
            "under corruptions, Two is better than One by 5.0 points",
        ),
    ],
)
def test_the_headline_says_who_is_better_at_what(clean, corruptions, words, tmp_path):
    comparison = with_differences(clean, corruptions)
    assert comparison_headline(comparison) == words
    assert words in section_text(Page(write_comparison(comparison, tmp_path / "page.html").read_text()), "robustness")


def test_one_finding_on_both_measures_is_said_once():
    comparison = with_differences((0.01, -0.01, 0.03), (0.01, -0.01, 0.03))
    assert comparison_headline(comparison) == (
        "On clean images and under corruptions, no model is clearly better than One"
    )


@pytest.mark.parametrize(("names", "first"), [(("1 runs/a/best", "2 runs/b/best"), "a/best"), (("1 a", "2 a"), "1 a")])
def test_the_headline_names_models_without_their_numbers_where_these_are_not_needed(names, first):
    assert comparison_headline(parsed(comparison_of(*names))).endswith(f"than {first}")


def test_one_model_has_no_rival_to_be_better_than():
    assert comparison_headline(parsed(comparison_of("one"))) == "Robustness of One"
