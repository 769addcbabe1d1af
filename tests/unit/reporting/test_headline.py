"""The first words of a page: each outcome has its own, and the numbers are those of the verdict."""

from dataclasses import replace

import pytest

from noisystudent.evaluation.verdict import Verdict
from noisystudent.reporting.distilled import distilled_headline
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


def unchecked():
    content = summary(role="nothing") | {"verdict": {"decision": "no clear gain"}, "control": None}
    for model in (content["teacher"], content["student"], *content["rounds"]):
        del model["nothing"]
    return parsed_summary(content)


def test_without_held_out_labels_cross_fitting_speaks():
    evidence = HeadEvidence(student=0.7, labels_only=0.6, p_value=0.1, labels=40)
    first = headline(unchecked(), 10, evidence, 50)
    assert first.title == "Not checked yet: your labels suggest 70.0% right, 60.0% without the unlabeled images"
    assert "from 40 labels of yours" in first.lead
    assert "The 50 images of label_for_test.csv, labeled and given as a test folder, would tell." in first.lead
    assert [number.text for number in first.numbers] == ["60.0%", "70.0%"]


def test_without_any_label_to_spare_a_test_is_asked_for():
    first = headline(unchecked(), 10)
    assert first.title == "Trained, but not checked: a few labeled images aside would tell"
    assert first.lead.endswith("A test folder (--test) would tell.")
    assert first.numbers == ()


def test_without_a_control_there_is_nothing_to_compare_with():
    found = {"decision": "no clear gain", "reason": "no control was trained", "difference": None, "interval": None}
    first = headline(run(verdict=found, control=None), 10, None)
    assert first.title == "Trained: 85.0% right, with nothing to compare it with"
    assert "No control was trained." in first.lead


def distilled(own: float, of_teacher: float, **changes: object):
    small = evaluated("student", own) | {"parameters": 12_500, "milliseconds": 0.5}
    large = evaluated("teacher", of_teacher) | {"milliseconds": 1.3}
    values = {"delivered": "student-1", "student": small, "teacher": large}
    return run(**values | {"verdict": verdict("keep", 0.05, (0.02, 0.08))} | changes)


def test_a_distillation_says_how_small_and_fast_and_how_much_is_kept():
    first = distilled_headline(distilled(0.8, 0.9))
    assert first.title == "4.0 times smaller and 2.6 times faster, keeps 80.0 of the teacher's 90.0%"
    assert "It has 12.5 k parameters instead of 50 k and takes 0.5 ms per image instead of 1.3." in first.lead
    assert [number.text for number in first.numbers] == ["75.0%", "80.0%", "88.9%"]
    assert (first.pill, first.tone) == ("better than labels only", "good")


def test_a_student_that_is_better_than_its_teacher_keeps_nothing():
    title = distilled_headline(distilled(0.92, 0.9)).title
    assert title == "4.0 times smaller and 2.6 times faster: 92.0% right, its teacher 90.0%"


def test_a_distillation_whose_times_are_unknown_speaks_of_its_size():
    older = distilled(0.8, 0.9, student=evaluated("student", 0.8) | {"parameters": 49_000})
    assert distilled_headline(older).title == "As large as its teacher, keeps 80.0 of the teacher's 90.0%"


def test_a_student_like_its_teacher_is_called_so_once():
    alike = evaluated("student", 0.8) | {"milliseconds": 1.31}
    title = distilled_headline(distilled(0.8, 0.9, student=alike)).title
    assert title == "As large and as fast as its teacher, keeps 80.0 of the teacher's 90.0%"


def test_long_times_have_two_digits_too():
    slow = evaluated("student", 0.8) | {"milliseconds": 123.4, "parameters": 12_500}
    found = distilled(0.8, 0.9, student=slow, teacher=evaluated("teacher", 0.9) | {"milliseconds": 1240.0})
    assert "takes 120 ms per image instead of 1200." in distilled_headline(found).lead


def test_a_distillation_without_held_out_labels_is_not_checked():
    small = evaluated("student", None) | {"parameters": 25_000}
    first = distilled_headline(distilled(0.8, 0.9, student=small, verdict={"decision": "no clear gain"}))
    assert first.title == "2.0 times smaller, but not checked"
    assert first.tone == "unsure"


def test_the_verdict_is_about_the_last_student_that_was_kept():
    found = run()
    assert judged_model(found).name == "round 1"
    assert judged_model(replace(found, rounds=())).name == "student"


def test_counts_are_rounded_to_two_digits():
    assert [two_digits(count) for count in (7, 123, 5149, 99_900)] == ["7", "120", "5,100", "100,000"]
