"""The table and the verdict of page and terminal, and the formats of numbers."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from noisystudent.artifacts.typed_json import from_json
from noisystudent.display import wording
from noisystudent.errors import ArtifactError
from noisystudent.evaluation.verdict import Verdict
from noisystudent.reporting.table import (
    COLUMNS,
    advice_sentence,
    comparison_sentence,
    cost_sentence,
    summary_rows,
    table_caption,
    table_columns,
    verdict_sentence,
)
from noisystudent.reporting.terminal import closing_lines, plain_summary, print_summary
from noisystudent.results.run import Cost, StageCost
from summaries import evaluated, parsed_summary, summary


def test_rows_in_reading_order():
    rows = summary_rows(parsed_summary(summary()))
    assert [(row.name, row.kind, row.top1) for row in rows] == [
        ("Baseline: nearest neighbor", "baseline", 0.6),
        ("Teacher", "teacher", 0.8),
        ("Control (labels only)", "control", 0.87),
        ("Round 1", "round", 0.85),
        ("Round 2 (worse, not kept)", "worse", 0.81),
        ("Delivered: round-1", "delivered", 0.85),
    ]
    assert rows[0].cells() == ("Baseline: nearest neighbor", "60.0%", "-", "-", "-", "-", "-", "-")
    assert rows[1].cells() == ("Teacher", "80.0%", "100.0%", "5.0%", "0.250", "50 k", "9,000", "59.0 s")
    assert len(rows[0].cells()) == len(COLUMNS)


def test_two_classes_have_no_top_5_accuracy():
    content = summary()
    assert "Top-5" not in plain_summary(parsed_summary(content))
    assert table_columns(parsed_summary(content | {"classes": list("abcdef")})) == COLUMNS


ABOVE = " On the test labels, a labels-only model scores higher than round-1 (85.0%): runs/a/control (87.0%)."


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"decision": "keep"}, "Use runs/a/best: it is round-1, which is better than labels-only training."),
        ({"decision": "worse"}, "Do not use runs/a/best as it is: it holds round-1, because only the test labels "
         "could choose another model, and these choose nothing (--validation gives labels that may)." + ABOVE +
         " Evaluate the models on new labels first."),
        ({"decision": "no clear gain"}, "Use runs/a/best: it is round-1, and nothing shows it to be better or worse "
         "than the labels-only model in runs/a/control. More held-out labels and more controls (rounds.controls) would."
         + ABOVE),
    ],
)  # fmt: skip
def test_the_last_line_says_what_to_use_and_why(changes, advice):
    content = summary()
    above = {} if changes["decision"] == "keep" else {"control": 0.87}
    parsed = parsed_summary(
        content | {"verdict": content["verdict"] | changes | {"luck": 0.01}, "delivery": {"labels_only_above": above}}
    )
    assert advice_sentence(parsed, "runs/a/") == advice
    assert closing_lines(parsed, Path("runs/a"))[-1] == advice


def test_a_worse_student_says_why_validation_or_a_distillation_did_not_choose():
    content = summary() | {"delivery": {"chosen_by": "validation", "labels_only_above": {"teacher": 0.9}}}
    advice = advice_sentence(parsed_summary(content))
    assert "it holds round-1, because validation did not show it to be worse." in advice
    assert "higher than round-1 (85.0%): teacher (90.0%)." in advice
    distilled = advice_sentence(parsed_summary(content | {"delivered": "student-1"}))
    assert "because a distillation delivers its last student." in distilled


@pytest.mark.parametrize("delivered", ["control", "control-2", "teacher"])
def test_a_delivered_labels_only_model_is_said(delivered):
    content = summary() | {"delivered": delivered}
    assert advice_sentence(parsed_summary(content)).startswith(f"Use best: it is the labels-only {delivered};")


FIXED = {
    "model": "round 1", "checkpoint": "fixed/round-1", "trained_size": 32, "size": 48,
    "scores": [
        {"size": size, "fixed": fixed, "test": {"size": size, "top1": top1, "count": 300}}
        for size, fixed, top1 in ((32, False, 0.85), (48, False, 0.8), (48, True, 0.88))
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("decision", "advice"),
    [
        ("keep", "Use a/best: it is round-1 fixed for 48 px, which was better than labels-only training before its "
         "fix."),
        ("worse", "Do not use a/best as it is: it holds round-1 fixed for 48 px, because only the test labels"),
        ("no clear gain", "Use a/best: it is round-1 fixed for 48 px, and nothing shows it to be better or worse than "
         "the labels-only model in a/control before its fix. More held-out labels"),
    ],
)  # fmt: skip
def test_a_fixed_model_is_said_and_what_the_verdict_is_on(decision, advice):
    content = summary()
    verdict = content["verdict"] | {"decision": decision}
    fixed = parsed_summary(content | {"delivered": "fixed/round-1", "fixed": [FIXED], "verdict": verdict})
    assert advice_sentence(fixed, "a/").startswith(advice)
    line = "resolution of round 1: 85.0% at 32 px, 80.0% at 48 px, 88.0% at 48 px fixed"
    assert line in closing_lines(fixed, Path("a"))


def test_a_missing_control_is_said():
    alone = summary() | {"control": None, "verdict": {"decision": "no clear gain"}}
    assert advice_sentence(parsed_summary(alone)).startswith("Use best: it is round-1. Without a control,")
    unscored = alone["student"] | {"test": None, "validation": None}
    advice = advice_sentence(parsed_summary(alone | {"student": unscored, "rounds": alone["rounds"]}))
    assert advice.startswith("Use best: it is round-1. Without held-out labels, nothing shows")


@pytest.mark.parametrize(
    ("controls", "further", "sentence"),
    [
        (0, 0, ""),
        (1, 0, "The student is compared with the control, which learned from the labels alone and saw as many samples. "
         "The interval holds the sampling of images and the luck of training: accuracies of trainings that differ only "
         "in their seed have a standard deviation of 1.2 points."),
        (2, 0, "The student is compared with the mean of 2 labels-only models, whose weights saw as many samples as "
         "its own: control and the teacher. "),
        (3, 2, "The student is compared with the mean of 3 labels-only models, whose weights saw as many samples as "
         "its own: control, control 2 and control 3. The teacher is not one of them, because its training differs from "
         "theirs. "),
    ],
)  # fmt: skip
def test_what_the_student_is_compared_with_and_what_the_interval_holds(controls, further, sentence):
    content = summary()
    verdict = content["verdict"] | {"controls": controls, "luck": 0.012}
    more = [evaluated(f"control {number}", 0.86) for number in range(2, 2 + further)]
    parsed = parsed_summary(content | {"verdict": verdict, "further_controls": more})
    compared = comparison_sentence(parsed)
    assert compared.startswith(sentence)
    assert bool(compared) == ("1.2 points" in compared) == (controls > 0)
    assert [row.name for row in summary_rows(parsed) if row.kind == "control"] == [
        "Control (labels only)",
        *(f"Control {number} (labels only)" for number in range(2, 2 + further)),
    ]


def test_a_training_without_luck_has_an_interval_over_images_alone():
    content = summary()
    parsed = parsed_summary(content | {"verdict": content["verdict"] | {"controls": 1, "luck": 0.0}})
    assert "without luck: another seed would give the same model" in comparison_sentence(parsed)


def test_the_cost_names_everything_that_it_counts():
    cost = Cost(seconds=95.0, samples_seen=98_304, images_predicted=9_285, stages=(StageCost(name="teacher"),))
    assert cost_sentence(cost) == (
        "The whole run took 1 min 35 s and 98.3 k samples seen, with 9,285 predictions to label and to score. This "
        "counts everything, from reading the images to the page."
    )
    assert cost_sentence(Cost()) == ""


def test_rows_fall_back_to_validation_and_the_caption_says_so():
    content = parsed_summary(summary("validation"))
    assert summary_rows(content)[1].top1 == 0.8
    assert table_caption(content) == "Scores on 300 labels of the validation source."


def test_rows_never_mix_sources():
    mixed = summary() | {"control": evaluated("control", 0.99, "validation")}
    assert summary_rows(parsed_summary(mixed))[2].top1 is None


def test_rows_without_control_and_rounds():
    minimal = summary() | {"control": None, "rounds": [], "baselines": []}
    assert [row.kind for row in summary_rows(parsed_summary(minimal))] == ["teacher", "delivered"]


def test_other_content_than_a_summary_is_refused():
    with pytest.raises(ArtifactError, match="The summary is not what this program writes: classes"):
        parsed_summary({"recipe": "curriculum"})
    with pytest.raises(ArtifactError, match="The verdict is not what this program writes: decision"):
        from_json(Verdict, {"decision": "perhaps"}, "The verdict")


@pytest.mark.parametrize(
    ("verdict", "sentence"),
    [
        (
            {"decision": "keep", "difference": 0.0324, "interval": [0.011, 0.053], "p_value": 0.0021}
            | {"labels": 1797, "source": "test"},
            "The unlabeled images helped: the student is 3.2 points better than the labels-only control "
            "(95% interval +1.1 to +5.3, p = 0.002) on 1,797 held-out labels of the test source.",
        ),
        (
            {"decision": "worse", "difference": -0.01, "interval": [-0.02, -0.001], "p_value": 0.0004}
            | {"labels": 1, "source": "validation"},
            "The unlabeled images did harm: the student is 1.0 point worse than the labels-only control "
            "(95% interval -2.0 to -0.1, p < 0.001) on 1 held-out label of the validation source.",
        ),
        (
            {"decision": "keep", "difference": 0.03, "interval": [0.01, 0.05], "p_value": 0.01}
            | {"labels": 300, "source": "test", "controls": 2},
            "The unlabeled images helped: the student is 3.0 points better than the mean of 2 labels-only models "
            "(95% interval +1.0 to +5.0, p = 0.010) on 300 held-out labels of the test source.",
        ),
        (
            {"decision": "no clear gain", "difference": 0.0002, "interval": [-0.01, 0.01], "p_value": 1.0}
            | {"labels": 120, "source": "test"},
            "No clear gain from the unlabeled images: the student is as accurate as "
            "the labels-only control (95% interval -1.0 to +1.0, p = 1.000) "
            "on 120 held-out labels of the test source.",
        ),
        (
            {"decision": "keep", "difference": 0.0024, "interval": None, "p_value": None, "labels": 50_000},
            "The unlabeled images helped: the student is 0.24 points better than the labels-only control "
            "on 50,000 held-out labels.",
        ),
        (
            {"decision": "no clear gain", "reason": "no held-out labels: give --test."},
            "Nothing shows whether the unlabeled images helped: no held-out labels: give --test.",
        ),
        (
            {"decision": "no clear gain"},
            "Nothing shows whether the unlabeled images helped: nothing was measured on held-out labels.",
        ),
    ],
)
def test_the_verdict_is_one_sentence(verdict, sentence):
    assert verdict_sentence(from_json(Verdict, verdict, "The verdict")) == sentence


def print_to_text(content: dict, *, terminal: bool, width: int = 120) -> str:
    stream = io.StringIO()
    print_summary(
        parsed_summary(content), Console(file=stream, force_terminal=terminal, width=width, legacy_windows=False)
    )
    return stream.getvalue()


def test_a_terminal_shows_the_table_then_the_verdict_in_color():
    text = print_to_text(summary(), terminal=True)
    assert "\x1b[" in text
    assert text.index("Round 2 (worse, not kept)") < text.index("Delivered: round-1") < text.index("did harm:")


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_narrow_terminal_gets_fewer_columns_and_no_broken_word(width):
    content = summary() | {"controls_of_steps": [evaluated("control-steps", 0.84)]}
    colors = re.compile(r"\x1b\[[0-9;]*m")
    words = set(colors.sub(" ", print_to_text(content, terminal=True, width=400)).split())
    text = colors.sub(" ", print_to_text(content, terminal=True, width=width))
    assert {word for word in text.split() if word.strip("─")} <= words
    assert "85.0%" in text
    assert ("Samples seen" in text) == (width == 120)


def test_a_pipe_gets_plain_aligned_text():
    text = print_to_text(summary(), terminal=False, width=20)
    assert text == plain_summary(parsed_summary(summary())) + "\n"
    assert "\x1b" not in text
    lines = text.splitlines()
    assert lines[0] == "Scores on 300 labels of the test source."
    assert len({len(line) for line in lines[1:-1]}) == 1
    assert lines[-1].startswith("The unlabeled images did harm: the student is 2.0 points worse")


@pytest.mark.parametrize("terminal", [True, False])
def test_names_cannot_send_escape_sequences_to_the_terminal(terminal):
    text = print_to_text(summary(baseline="[red]x[/red]\x1b]0;owned\x07"), terminal=terminal)
    assert "\x1b]0" not in text
    assert "\x07" not in text
    assert "[red]x[/red]" in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (float("nan"), "-"),
        (0.04, "0.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 0 s"),
        (200, "3 min 20 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 0 min"),
        (7990, "2 h 13 min"),
        (86369, "23 h 59 min"),
        (86371, "1 d 0 h"),
        (273_600, "3 d 4 h"),
    ],
)
def test_durations(seconds, text):
    assert wording.duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0, "0"),
        (9999, "9,999"),
        (9999.6, "10 k"),
        (50_000, "50 k"),
        (999_499, "999 k"),
        (999_600, "1 M"),
        (5_288_548, "5.29 M"),
        (1.2e10, "12 G"),
        (4.2305e15, "4.23 P"),
    ],
)
def test_compact_numbers(value, text):
    assert wording.compact(value) == text


@pytest.mark.parametrize(
    ("share", "digits", "text"),
    [(0.012, 1, "+1.2"), (-0.0301, 2, "-3.01"), (-0.0001, 1, "0.0"), (0.0, 1, "0.0")],
)
def test_points(share, digits, text):
    assert wording.points(share, digits) == text


def test_plurals_and_percent():
    assert wording.plural(1, "copy", "copies") == "1 copy"
    assert wording.plural(1204, "copy", "copies") == "1,204 copies"
    assert wording.percent(0.95244) == "95.2%"
    assert wording.percent(float("nan")) == "-"
    assert wording.setting([1, "a"]) == '[1, "a"]'
    assert wording.setting("plain") == "plain"


def test_long_texts_are_shortened_in_the_middle():
    assert wording.shortened("short", 5) == "short"
    shortened = wording.shortened("1 runs/first/round-1/student", 20)
    assert len(shortened) == 20
    assert shortened == "1 runs\N{HORIZONTAL ELLIPSIS}und-1/student"


def test_something_simpler_that_scores_higher_is_named_with_its_place():
    simple = [{"name": "label spreading", "top1": 0.9}, {"name": "regression", "top1": 0.86, "checkpoint": "b/r"}]
    better = advice_sentence(parsed_summary(summary() | {"baselines": simple}), "runs/a/")
    assert better.endswith(
        " Something simpler scores higher on the same labels than 85.0%: label spreading (90.0%) and regression "
        "(86.0%, in runs/a/b/r)."
    )
    assert "simpler" not in advice_sentence(parsed_summary(summary()), "runs/a/")
