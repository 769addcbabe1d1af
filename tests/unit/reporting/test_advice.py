"""Advice: each rule speaks where its number asks for it, and not elsewhere."""

import json

import pytest

from noisystudent.reporting.advice import MOST_ADVICE, advice_of, weakest_class
from noisystudent.reporting.read import read_run
from run_folders import full_run, minimal_run, with_findings, write_json


def commands(folder) -> list[str]:
    return [advice.command for advice in advice_of(read_run(folder))]


def changed(folder, **changes):
    summary = json.loads((folder / "summary.json").read_text())
    write_json(folder / "summary.json", summary | changes)
    return folder


def test_what_a_run_found_is_what_to_do(tmp_path):
    found = commands(with_findings(full_run(tmp_path / "run")))
    assert "label_issues.csv" in found
    assert "--selection.foreign drop" in found
    assert len(found) <= MOST_ADVICE


def test_a_clean_run_has_no_advice_on_its_images(tmp_path):
    found = commands(with_findings(full_run(tmp_path / "run"), count=0, threshold=None))
    assert not {"label_issues.csv", "out_of_class.csv"} & {*found}


@pytest.mark.parametrize(
    ("tune", "validates", "expected"), [("head", False, True), ("all", True, True), ("all", False, False)]
)
def test_foreign_images_can_be_dropped_on_a_frozen_backbone_or_beside_validation_images(
    tmp_path, tune, validates, expected
):
    folder = with_findings(full_run(tmp_path / "run"))
    facts, summary = (json.loads((folder / name).read_text()) for name in ("run.json", "summary.json"))
    write_json(folder / "run.json", facts | {"settings": {"model": {"tune": tune}}})
    student = summary["student"] | ({} if validates else {"validation": None})
    found = commands(changed(folder, student=student))
    assert ("--selection.foreign drop" in found, "out_of_class.csv" in found) == (expected, not expected)


@pytest.mark.parametrize(("worse", "expected"), [(False, True), (True, False)])
def test_unused_pseudo_labels_ask_for_rounds_unless_the_last_was_worse(tmp_path, worse, expected):
    folder = full_run(tmp_path / "run")
    summary = json.loads((folder / "summary.json").read_text())
    summary["rounds"][-1]["worse"] = worse
    write_json(folder / "summary.json", summary)
    assert ("--rounds.count 5" in commands(folder)) == expected


def test_few_test_labels_ask_for_more(tmp_path):
    verdict = {"decision": "no clear gain", "difference": 0.01, "interval": [-0.02, 0.04], "p_value": 0.4}
    folder = changed(full_run(tmp_path / "run"), verdict=verdict | {"labels": 400, "source": "test", "controls": 1})
    assert "--test FOLDER" in commands(folder)


def test_more_labels_than_anyone_has_are_no_advice(tmp_path):
    verdict = {"decision": "no clear gain", "difference": 0.002, "interval": [-0.03, 0.034], "p_value": 0.9}
    folder = changed(full_run(tmp_path / "run"), verdict=verdict | {"labels": 400, "source": "test", "controls": 1})
    assert "--test FOLDER" not in commands(folder)


def test_without_held_out_labels_a_test_folder_is_the_advice(tmp_path):
    assert commands(with_findings(minimal_run(tmp_path / "run")))[1] == "--test FOLDER"


def test_miscalibrated_confidences_are_named_with_their_direction(tmp_path):
    folder = full_run(tmp_path / "run")
    summary = json.loads((folder / "summary.json").read_text())
    summary["student"]["test"]["ece"] = 0.2
    write_json(folder / "summary.json", summary)
    (found,) = [advice for advice in advice_of(read_run(folder)) if "--calibrate" in advice.command]
    assert found.text.startswith("Confidences are too high: 20.0%")


def test_the_weakest_class_has_the_lowest_accuracy(tmp_path):
    record = read_run(full_run(tmp_path / "run"))
    shares = record.summary.student.test.per_class
    assert weakest_class(record) == min(shares.items(), key=lambda item: item[1])
