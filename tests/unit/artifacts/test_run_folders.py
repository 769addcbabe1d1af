"""The folder of a run whose user named none."""

import pytest

from noisystudent.artifacts.run_folders import choose_folder, keep_command, name_of_source


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("photos/labeled", "photos"),
        ("/data/My Photos/train/", "My-Photos"),
        ("birds", "birds"),
        ("labeled", "labeled"),
        ("digits:labeled", "digits"),
        ("arrays/cells.npz", "cells"),
        ("../..", "run"),
        ("名前", "run"),
        ("a" * 100, "a" * 40),
        ("../<b>&", "b"),
    ],
)
def test_a_run_is_named_after_what_its_images_are(source, name):
    assert name_of_source(source) == name


def test_the_same_command_gets_its_folder_again_and_another_one_the_next(tmp_path):
    given = {"labeled": "photos/labeled", "train.steps": 5}
    first = choose_folder("run", given, tmp_path)
    assert first == tmp_path / "photos-1"
    assert not first.exists()
    keep_command(first, "run", given)
    assert choose_folder("run", dict(reversed(given.items())), tmp_path) == first
    other = choose_folder("run", {**given, "train.steps": 6}, tmp_path)
    assert other == tmp_path / "photos-2"
    keep_command(other, "run", {**given, "train.steps": 6})
    assert choose_folder("run", given, tmp_path) == first
    assert choose_folder("distill", given, tmp_path) == tmp_path / "photos-3"


def test_folders_of_others_are_passed_over(tmp_path):
    for name in ("photos-1", "photos-7", "photos-x", "photos-extra-3"):
        (tmp_path / name).mkdir()
    (tmp_path / "photos-1" / ".command").write_bytes(b"\xff\xfe")
    assert choose_folder("run", {"labeled": "photos/labeled"}, tmp_path) == tmp_path / "photos-8"
