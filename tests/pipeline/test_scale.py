"""The SQL of docs/scale.md gives what the package itself reads from the same files."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import noisystudent
from labeling_set import SETTINGS, save_teacher, save_unlabeled
from noisystudent.pseudo_labels import predictions
from noisystudent.pseudo_labels.predictions import list_parts, read_all, read_copies

duckdb = pytest.importorskip("duckdb")
SHARDS, CLASSES = 3, 4


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    """Runs the query of the docs whose text has ``words``, in the folder that has the files which it speaks of."""
    root = tmp_path_factory.mktemp("asked")
    text = (Path(__file__).parents[2] / "docs" / "scale.md").read_text()
    queries = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    assert len(queries) == 3
    source = save_unlabeled(root / "pile.npz", SHARDS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predictions, "MAX_PARTS", 2)
        patch.chdir(root)
        for seed, out in enumerate(("predictions", "photos/round-1/predictions", "photos/round-2/predictions")):
            teacher = save_teacher(root / f"teacher-{seed}", seed=seed, classes=CLASSES)
            noisystudent.label(teacher=teacher, source=source, out=f"runs/{out}", settings=SETTINGS, quiet=True)
        noisystudent.select(predictions="runs/predictions", out="runs/selection", settings={"selection.fraction": 0.3})

    def query(words: str) -> list[tuple]:
        (found,) = [each for each in queries if words in each]
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(root)
            return duckdb.sql(found).fetchall()

    query.root = root
    return query


def labels(ask, folder: str):
    keys, values = read_all(ask.root / "runs" / folder, CLASSES)
    return keys, values.argmax(axis=1), np.exp(values.max(axis=1))


def test_images_and_mean_confidence_of_each_class(ask):
    _, predicted, confidence = labels(ask, "predictions")
    found = ask("mean_confidence")
    assert {name: count for name, count, _ in found} == {str(k): n for k, n in Counter(predicted.tolist()).items()}
    assert [count for _, count, _ in found] == sorted((count for _, count, _ in found), reverse=True)
    for name, _, mean in found:
        assert mean == pytest.approx(confidence[predicted == int(name)].mean(), rel=1e-5)


def test_images_on_which_two_rounds_disagree_each_being_sure(ask):
    keys, before, sure = labels(ask, "photos/round-1/predictions")
    _, after, surer = labels(ask, "photos/round-2/predictions")
    differ = np.flatnonzero(before != after)
    both = np.minimum(sure, surer)
    order = differ[np.argsort(-both[differ], kind="stable")][:20]
    found = ask("round-2")
    assert [row[3] for row in found] == pytest.approx(both[order].tolist(), rel=1e-6)
    place = {key: row for row, key in enumerate(keys)}
    assert all((before[place[row[0]]], after[place[row[0]]]) == row[1:3] for row in found)
    assert len(found) == 20


def test_what_was_taken_of_each_class_and_why_the_rest_was_left(ask):
    keys, predicted, confidence = labels(ask, "predictions")
    copies = np.concatenate([read_copies(path) for path in list_parts(ask.root / "runs" / "selection")])
    found = ask("reason")
    assert sum(row[2] for row in found) == len(keys)
    assert {row[1] for row in found} == {"selected", "not-yet"}
    for label, reason, count, taken, least, key in found:
        rows = np.flatnonzero((predicted == label) & ((copies > 0) == (reason == "selected")))
        assert (count, taken) == (len(rows), copies[rows].sum())
        assert least == pytest.approx(confidence[rows].min(), rel=1e-6)
        assert confidence[keys.index(key)] == pytest.approx(least, rel=1e-6)
