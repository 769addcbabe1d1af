"""The first screen: which model to use, what a run without held-out labels shows, and the cards of each state."""

import pytest

from noisystudent.reporting.first_screen import cards, chart_caption, first_chart, signs_without_labels, use_of_model
from noisystudent.reporting.read import read_run
from page_states import changed, distilled_run, unchecked_run, with_verdict
from run_folders import full_run, minimal_run


@pytest.mark.parametrize(("decision", "model"), [("keep", ""), ("no clear gain", ""), ("worse", "/control")])
def test_the_control_is_the_model_to_use_where_the_student_is_worse(tmp_path, decision, model):
    record = read_run(with_verdict(full_run(tmp_path / "run"), decision=decision))
    words, command = use_of_model(record)
    assert command == f"noisystudent predict {tmp_path}/run{model} FOLDER"
    assert ("labels only" in words) == bool(model)


@pytest.mark.parametrize("delivered", ["control", "teacher"])
def test_a_labels_only_model_that_was_delivered_is_the_one_to_use(tmp_path, delivered):
    folder = changed(with_verdict(full_run(tmp_path / "run"), decision="worse"), delivered=delivered)
    assert use_of_model(read_run(folder))[1] == f"noisystudent predict {folder} FOLDER"


def test_without_held_out_labels_each_round_has_signs(tmp_path):
    record = read_run(unchecked_run(tmp_path / "run"))
    assert [(sign.name, sign.used, sign.agreement, sign.confidence) for sign in signs_without_labels(record)] == [
        ("round 1", 200, None, 0.8),
        ("round 2", 200, 0.96, 0.8),
        ("round 3", 200, 0.96, 0.8),
    ]
    assert [card.anchor for card in cards(record)] == ["label-issues", "out-of-class", "label-for-test", "label-next"]


def test_signs_give_way_to_accuracies(tmp_path):
    assert signs_without_labels(read_run(full_run(tmp_path / "run"))) == ()
    assert signs_without_labels(read_run(minimal_run(tmp_path / "bare"))) == ()


def test_a_distillation_has_cards_and_a_chart_of_teacher_and_student(tmp_path):
    record = read_run(distilled_run(tmp_path / "run"))
    assert [card.number for card in cards(record)][:2] == ["4.0 times smaller", "2.6 times faster"]
    assert "95.2%" in str(first_chart(record))
    assert chart_caption(record) == "Accuracy on the test images: the teacher, the student, and labels-only training."
