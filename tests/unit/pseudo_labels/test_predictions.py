"""Parts of predictions: their shards, names and order, and the stored log-probabilities of many classes."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

import noisystudent
from labeling_set import SETTINGS, save_teacher, save_unlabeled
from noisystudent.errors import ArtifactError
from noisystudent.pseudo_labels.predictions import (
    KEPT_MASS,
    MANTISSA_BITS,
    ShardLabels,
    cut_parts,
    list_parts,
    part_path,
    read_all,
    read_copies,
    read_log_probabilities,
    read_part_stats,
    write_part,
)
from noisystudent.pseudo_labels.selection.select import select
from noisystudent.pseudo_labels.selection.settings import SelectionSettings

SHARDS = (0, 1, 9_999, 10_000, 99_999, 100_000, 100_001, 1_000_000, 2_999_999)


@pytest.mark.parametrize(
    ("shards", "parts", "shards_per_part"),
    [(0, 0, 0), (1, 1, 1), (10_000, 10_000, 1), (10_001, 5_001, 2), (97_657, 9_766, 10), (292_969, 9_766, 30)],
)
def test_shards_are_grouped_into_at_most_ten_thousand_parts_of_consecutive_shards(shards, parts, shards_per_part):
    shards_of_parts = cut_parts(shards)
    assert len(shards_of_parts) == parts
    assert {len(shards_of_part) for shards_of_part in shards_of_parts[:-1]} <= {shards_per_part}
    assert [shard for shards_of_part in shards_of_parts for shard in shards_of_part] == list(range(shards))


def test_parts_beyond_five_digits_stay_in_the_order_of_their_shards(tmp_path):
    for shard in reversed(SHARDS):
        part_path(tmp_path, shard).touch()
    listed = list_parts(tmp_path)
    assert listed == [part_path(tmp_path, shard) for shard in SHARDS]
    assert listed != sorted(listed)  # as text, shard 100,000 would come before shard 99,999


def test_rows_beyond_five_digits_are_read_and_selected_in_order(tmp_path):
    predictions, selection = tmp_path / "predictions", tmp_path / "selection"
    for shard in SHARDS:
        log_probabilities = np.log(np.array([[0.6, 0.4]] * 2, np.float32))
        write_part(part_path(predictions, shard), [ShardLabels.of([f"{shard}-a", f"{shard}-b"], log_probabilities)])
    keys, _ = read_all(predictions, 2)
    assert keys == [f"{shard}-{row}" for shard in SHARDS for row in "ab"]
    # All are equally confident, so the first 11 of 18 rows are selected.
    settings = SelectionSettings(rule="threshold", per_class=11)
    select(selection, list_parts(predictions), settings, classes=("x", "y"), round_number=1, seed=0)
    assert [path.name for path in list_parts(selection)] == [path.name for path in list_parts(predictions)]
    copies = np.concatenate([read_copies(path) for path in list_parts(selection)])
    assert copies.tolist() == [1] * 11 + [0] * 7


@pytest.mark.parametrize(
    "name", ["part-00001 (copy).parquet", "part-1.parquet", "part-x.parquet", "part-\u0661.parquet"]
)
def test_a_file_with_almost_the_name_of_a_part_is_refused(tmp_path, name):
    part_path(tmp_path, 0).touch()
    (tmp_path / name).touch()
    with pytest.raises(
        ArtifactError, match=r"is not the name of a part, such as part-00000\.parquet; move the file away"
    ):
        list_parts(tmp_path)


def log_softmax(random, rows: int, classes: int, scale: float):
    logits = scale * random.normal(size=(rows, classes))
    return (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32)


def test_the_kept_classes_reach_the_required_share_of_the_mean_row(tmp_path):
    random = np.random.default_rng(0)
    shards = [log_softmax(random, rows, 400, scale) for rows, scale in ((30, 4.0), (10, 3.0), (25, 5.0))]
    path = part_path(tmp_path, 0)
    write_part(path, [ShardLabels.of([str(row) for row in range(len(shard))], shard) for shard in shards])
    mean = np.sort(np.exp(np.concatenate(shards).astype(np.float64)), axis=1)[:, ::-1].mean(axis=0)
    kept_classes = next(count for count in range(1, 400) if mean[:count].sum() >= KEPT_MASS)
    stats = read_part_stats(path)
    assert stats.kept_classes == kept_classes
    assert stats.kept_mass == pytest.approx(mean[:kept_classes].sum(), abs=1e-6)
    table = pq.read_table(path)
    assert {len(row) for row in table["top_classes"].to_pylist()} == {kept_classes}
    stored = np.array(table["top_log_probabilities"].to_pylist())
    values = -np.sort(-np.concatenate(shards), axis=1)[:, :kept_classes]
    assert np.abs(stored / values - 1).max() <= 2.0**-MANTISSA_BITS
    assert np.abs(np.exp(stored) - np.exp(values)).max() < 0.0004
    np.testing.assert_array_equal(table["confidence"], np.exp(values[:, 0]))


def test_rounding_keeps_the_prediction_and_keeps_the_sum_of_probabilities_at_one(tmp_path):
    random = np.random.default_rng(1)
    rows, classes = 500, 150
    near = np.full((rows, classes), 1e-9)
    first = random.integers(1, classes, rows)
    near[np.arange(rows), first - 1] = 0.5 - random.uniform(1e-6, 1e-3, rows)  # the class before has almost as much
    near[np.arange(rows), first] = 1 - near.sum(axis=1) + 1e-9
    write_part(part_path(tmp_path, 0), [ShardLabels.of(["x"] * rows, np.log(near).astype(np.float32))])
    _, restored = read_log_probabilities(part_path(tmp_path, 0), classes)
    stored = np.array(pq.read_table(part_path(tmp_path, 0))["top_log_probabilities"].to_pylist())
    assert (stored[:, 0] == stored[:, 1]).any()
    assert (np.exp(stored).sum(axis=1) > 1).any()
    assert np.array_equal(restored.argmax(axis=1), first)
    assert np.abs(np.exp(restored.astype(np.float64)).sum(axis=1) - 1).max() < 1e-5
    assert np.abs(np.exp(restored) - near).max() < 0.001


def test_label_reports_the_share_of_the_probability_that_it_kept(tmp_path, capsys):
    teacher, source = save_teacher(tmp_path / "teacher", classes=300), save_unlabeled(tmp_path / "pile.npz", 2)
    folder = noisystudent.label(teacher=teacher, source=source, out=tmp_path / "out", settings=SETTINGS)
    summary = json.loads((folder / "summary.json").read_text())
    assert {name: summary[name] for name in ("images", "failed", "parts", "classes")} == {
        "images": 1048, "failed": 0, "parts": 2, "classes": 300,
    }  # fmt: skip
    # The probabilities of an untrained teacher are almost even, so it keeps the largest number of classes, 128.
    assert summary["kept"]["fewest"] == summary["kept"]["most"] == 128
    rows = [row for path in list_parts(folder) for row in pq.read_table(path)["top_log_probabilities"].to_pylist()]
    assert summary["kept"]["mass"] == pytest.approx(np.exp(rows).sum(axis=1).mean(), abs=1e-4)
    mass = f"{summary['kept']['mass']:.2%}"
    line = f"1,048 images labeled in 2 parts; stored of 300 classes: the 128 likeliest, {mass} of"
    assert line in capsys.readouterr().err
