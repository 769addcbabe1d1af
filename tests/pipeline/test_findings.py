"""What a run finds in its own images: typed, stored, as CSV files, the same after a kill, and planned."""

import csv
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import noisystudent
from small_runs import DIGITS, SMALL

SETTINGS = {**SMALL, "rounds.count": 1, "budget": "none"}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return noisystudent.run(**DIGITS, out=tmp_path_factory.mktemp("run"), settings=SETTINGS, quiet=True)


def rows_of(run, name):
    with (run.path / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def contents(folder):
    """The files of the stage without those that hold its time."""
    timed = ("cost.json", "manifest.json")
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in timed}


def test_the_lists_are_on_the_run_and_in_its_folder(done):
    found = done.findings
    assert (found.labels, found.labels_by, found.checked) == (40, "own answers", found.unlabeled)
    assert [row["file"] for row in rows_of(done, "label_issues.csv")] == [one.key for one in done.label_issues]
    assert [row["file"] for row in rows_of(done, "out_of_class.csv")] == [one.key for one in done.out_of_class]
    assert [row["file"] for row in rows_of(done, "label_next.csv")] == [one.key for one in done.label_next]
    assert [row["file"] for row in rows_of(done, "label_for_test.csv")] == list(found.label_for_test)
    assert len(found.label_next) == len({one.key for one in found.label_next}) == 200
    assert len(found.label_for_test) == 50


def test_counts_by_confidence_fall_from_all_to_none(done):
    counts = done.findings.confidence_counts
    assert len(counts) == 101
    assert counts[0] == done.findings.checked
    assert np.all(np.diff(counts) <= 0)


def test_the_map_has_every_image_and_a_copy_of_each(done):
    table = pq.read_table(done.path / "findings" / "map.parquet")
    assert table.num_rows == 40 + done.findings.checked
    assert table["labeled"].to_pylist() == [True] * 40 + [False] * done.findings.checked
    with Image.open(done.path / "findings" / "map.jpg") as sprite:
        sprite.load()
    edge = sprite.width // int(np.ceil(np.sqrt(table.num_rows)))
    assert (sprite.width // edge) * (sprite.height // edge) >= table.num_rows


def test_a_run_that_is_called_again_finds_nothing_new_and_a_kill_changes_no_bit(done):
    folder = done.path / "findings"
    before = contents(folder)
    (folder / "manifest.json").unlink()  # as if it was killed just before the end
    again = noisystudent.run(**DIGITS, out=done.path, settings=SETTINGS, quiet=True)
    assert contents(folder) == before
    assert again.findings == done.findings


def test_labels_are_checked_by_cross_fitting_where_the_strength_was_searched(tmp_path):
    settings = {**SETTINGS, "noise.strength": "auto", "noise.strengths": [0.1], "rounds.controls": 0}
    found = noisystudent.run(**DIGITS, out=tmp_path, settings=settings, quiet=True).findings
    assert found.labels_by == "cross-fitting"
    inputs = json.loads((tmp_path / "findings" / "inputs.json").read_text())
    assert len(inputs["cross_fit"]["folds"]) == 2
