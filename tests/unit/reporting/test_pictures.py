"""The images to paste: results and confusion, whatever classes are called."""

import json

import numpy as np
import pytest
from PIL import Image

from noisystudent.reporting.pictures import CLASSES_IN_PICTURE, confusion_picture, results_picture, write_pictures
from noisystudent.reporting.read import read_run
from run_folders import full_run, minimal_run, write_json


def test_both_are_written_and_have_ink_on_them(tmp_path):
    folder = full_run(tmp_path / "run")
    write_pictures(read_run(folder))
    for name in ("results.png", "confusion.png"):
        with Image.open(folder / name) as picture:
            assert np.asarray(picture.convert("L")).min() < 100


def test_without_held_out_labels_there_is_no_confusion(tmp_path):
    folder = minimal_run(tmp_path / "run")
    write_pictures(read_run(folder))
    assert (folder / "results.png").exists()
    assert not (folder / "confusion.png").exists()


@pytest.mark.parametrize(("classes", "drawn"), [(CLASSES_IN_PICTURE, True), (CLASSES_IN_PICTURE + 1, False)])
def test_a_matrix_that_is_too_large_to_read_is_not_drawn(tmp_path, classes, drawn):
    record = read_run(full_run(tmp_path / "run", [f"kind {index}" for index in range(classes)], rounds=1))
    assert (confusion_picture(record) is not None) == drawn


def test_a_right_answer_has_the_color_of_the_student(tmp_path):
    folder = full_run(tmp_path / "run", ["a", "b"])
    summary = json.loads((folder / "summary.json").read_text())
    summary["student"]["test"]["confusion"] = [[1, 0], [0, 1]]
    write_json(folder / "summary.json", summary)
    picture = confusion_picture(read_run(folder))
    red, _, blue = picture.getpixel((154, 154))
    assert blue > red + 60


@pytest.mark.parametrize("name", ["\x1b[31m\n\t", "שלום", "\u202eabc", "", "x" * 500])
def test_any_class_name_can_be_drawn(tmp_path, name):
    record = read_run(full_run(tmp_path / "run", [name, "two"], rounds=1))
    assert confusion_picture(record)
    assert results_picture(record).size == (1200, 630)
