"""The first words of a page: each outcome has its own, and the numbers are those of the verdict."""

from dataclasses import replace

import pytest

from noisystudent.evaluation.verdict import Verdict
from noisystudent.reporting.headline import headline, judged_model, labels_to_settle, two_digits
from noisystudent.results.facts import HeadEvidence
from summaries import evaluated, parsed_summary, summary


def verdict(decision: str, difference: float, interval: tuple[float, float], **more: object) -> dict:
    found = {"decision": decision, "reason": "", "difference": difference, "interval": interval, "p_value": 0.01}
    return found | {"labels": 300, "source": "test", "controls": 1} | more


def run(**changes: object):
    return parsed_summary(summary() | changes)


def test_a_gain_has_two_numbers_and_an_interval():
    first = headline(run(verdict=verdict("keep", 0.05, (0.02, 0.08))), 1584, None)
    assert first.title == "The unlabeled images helped: 85.0% instead of 80.0% right"
    assert first.lead.startswith("On 300 test images the student gets 15 more right than labels-only training.")
    assert "2.0 to 8.0 points better" in first.lead
    assert [(number.kind, number.text) for number in first.numbers] == [
        ("control", "80.0%"),
        ("student", "85.0%"),
        ("gain", "+5.0"),
    ]
    assert first.numbers[1].what == "with 1,584 unlabeled images"
    assert first.tone == "good"


def test_a_loss_says_so():
    first = headline(run(), None, None)
    assert first.title == "The unlabeled images did harm: 85.0% instead of 87.0% right"
    assert "6 fewer right" in first.lead
    assert "1.0 to 3.0 points worse" in first.lead
    assert first.tone == "bad"


def test_no_clear_gain_says_how_many_labels_would_settle_it():
    found = verdict("no clear gain", 0.01, (-0.02, 0.04), p_value=0.4)
    first = headline(run(verdict=found), 100, None)
    assert first.title == "No clear gain: 85.0% against 84.0% right"
    assert "between 2.0 points worse and 4.0 better" in first.lead
    # 9 times the labels make an interval a third as wide (closed form).
    assert "about 2,700 held-out labels would settle it" in first.lead


def test_luck_of_training_is_not_settled_by_labels():
    found = Verdict("no clear gain", "", 0.01, (-0.03, 0.05), 0.5, 300, "test", controls=1, luck=0.02)
    assert labels_to_settle(found) is None
    assert (
        "more controls may"
        in headline(run(verdict=verdict("no clear gain", 0.01, (-0.03, 0.05), luck=0.02)), 1, None).lead
    )


@pytest.mark.parametrize("difference", [None, 0.0])
def test_without_a_difference_no_number_of_labels_settles_anything(difference):
    assert labels_to_settle(Verdict("no clear gain", "", difference, (-0.1, 0.1), 1.0, 50, "test", controls=1)) is None


def test_without_held_out_labels_cross_fitting_and_agreement_speak():
    content = summary(role="nothing") | {"verdict": {"decision": "no clear gain", "difference": None, "interval": None}}
    content["rounds"][0]["diagnostics"] = {"agreement": 0.9}
    evidence = HeadEvidence(student=0.7, labels_only=0.6, p_value=0.1, labels=40)
    content = {
        name: ({key: value for key, value in model.items() if key != "nothing"} if isinstance(model, dict) else model)
        for name, model in content.items()
    }
    content["rounds"] = [{key: value for key, value in one.items() if key != "nothing"} for one in content["rounds"]]
    first = headline(parsed_summary(content), 10, evidence)
    assert first.title == "Trained, but not checked: 50 labeled images aside would tell"
    assert "40 labels" in first.lead
    assert "90.0% of the pseudo labels stayed" in first.lead
    assert [number.text for number in first.numbers] == ["60.0%", "70.0%"]


def test_without_a_control_there_is_nothing_to_compare_with():
    found = {"decision": "no clear gain", "reason": "no control was trained", "difference": None, "interval": None}
    first = headline(run(verdict=found, control=None), 10, None)
    assert first.title == "Trained: 85.0% right, with nothing to compare it with"
    assert "No control was trained." in first.lead


def test_a_distillation_says_how_small_and_how_much_is_kept():
    small = evaluated("student", 0.8) | {"parameters": 12_500}
    content = run(
        delivered="student-1",
        student=small,
        teacher=evaluated("teacher", 0.9),
        verdict=verdict("keep", 0.05, (0.02, 0.08)),
    )
    first = headline(content, None, None)
    assert first.title == "4.0 times smaller, keeps 80.0 of 90.0%"
    assert [number.text for number in first.numbers] == ["75.0%", "80.0%", "88.9%"]


def test_the_verdict_is_about_the_last_student_that_was_kept():
    found = run()
    assert judged_model(found).name == "round 1"
    assert judged_model(replace(found, rounds=())).name == "student"


def test_counts_are_rounded_to_two_digits():
    assert [two_digits(count) for count in (7, 123, 5149, 99_900)] == ["7", "120", "5,100", "100,000"]
