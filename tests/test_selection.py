from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noisystudent.predictions import part_path, read_log_probabilities, write_part
from noisystudent.selection import SelectionSettings, reuse, select


def write_predictions(folder: Path, prediction, confidence, classes: int, part_rows: int = 50) -> list[Path]:
    """Parts whose rows have these predictions and confidences (of two classes' mass, the rest is even)."""
    prediction, confidence = np.asarray(prediction), np.asarray(confidence, np.float64)
    rest = (1 - confidence) / (classes - 1)
    probabilities = np.repeat(rest[:, None], classes, axis=1)
    probabilities[np.arange(len(prediction)), prediction] = confidence
    paths = []
    for first in range(0, len(prediction), part_rows):
        path = part_path(folder, first // part_rows)
        rows = slice(first, first + part_rows)
        keys = [f"key-{i}" for i in range(len(prediction))[rows]]
        write_part(path, keys, np.log(probabilities[rows]).astype(np.float32))
        paths.append(path)
    return paths


def read_selection(folder: Path):
    table = pq.ParquetDataset(sorted(folder.glob("part-*.parquet"))).read()
    return {name: np.array(table[name].to_pylist()) for name in table.column_names}


def run(tmp_path, prediction, confidence, classes=3, round_number=1, seed=0, **chosen):
    parts = write_predictions(tmp_path / "predictions", prediction, confidence, classes)
    names = [f"class-{i}" for i in range(classes)]
    summary = select(
        tmp_path / "selection",
        parts,
        SelectionSettings(**chosen).settled(0),
        classes=names,
        round_number=round_number,
        seed=seed,
    )
    return summary, read_selection(tmp_path / "selection")


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 200), st.integers(1, 4))
def test_the_curriculum_is_the_exact_top_of_every_class(tmp_path_factory, seed, rows, round_number):
    random = np.random.default_rng(seed)
    prediction = random.integers(0, 3, rows)
    # Few distinct values, so that ties fall into the last place often.
    confidence = random.choice([0.4, 0.5, 0.5001, 0.7, 0.999, 1.0 - 1e-7], rows)
    _, found = run(tmp_path_factory.mktemp("s"), prediction, confidence, round_number=round_number, fraction=0.2)
    stored = found["confidence"]
    for label in range(3):
        mine = np.flatnonzero(prediction == label)
        want = int(np.ceil(min(1, 0.2 * round_number) * len(mine) - 1e-9))
        order = mine[np.lexsort((mine, -stored[mine]))]
        assert set(np.flatnonzero((found["copies"] > 0) & (prediction == label))) == set(order[:want])
    assert set(found["copies"]) <= {0, 1}


def test_the_curriculum_grows_to_the_whole_pile(tmp_path):
    random = np.random.default_rng(0)
    prediction, confidence = random.integers(0, 3, 100), random.uniform(0.34, 1, 100)
    kept = []
    for number in (1, 2, 5, 9):
        _, found = run(tmp_path / str(number), prediction, confidence, round_number=number, fraction=0.2)
        kept.append(set(np.flatnonzero(found["copies"])))
    assert kept[0] < kept[1] < kept[2] == kept[3] == set(range(100))


def test_the_threshold_rule_balances_by_copies_up_to_the_cap(tmp_path):
    prediction = [0] * 10 + [1] * 4 + [2] * 1
    confidence = [0.9] * 10 + [0.8] * 4 + [0.7]
    summary, found = run(tmp_path, prediction, confidence, rule="threshold", threshold=0.3, per_class=8, max_copies=5)
    copies = [int(found["copies"][np.asarray(prediction) == label].sum()) for label in range(3)]
    assert copies == [8, 8, 5]
    assert [row["copies"] for row in summary["per_class"]] == copies
    assert set(found["copies"][np.asarray(prediction) == 1]) == {2}
    assert summary["reasons"] == {"selected": 13, "over-target": 2}


def test_uneven_copies_differ_by_one_and_are_drawn_by_the_seed(tmp_path):
    drawn = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        _, found = run(tmp_path / name, [0] * 7 + [1] * 20, [0.9] * 27, seed=seed, rule="threshold", per_class=17)
        copies = found["copies"][:7]
        assert copies.sum() == 17
        assert set(copies) == {2, 3}
        drawn.append(tuple(copies))
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]


def test_rejected_rows_keep_their_reason(tmp_path):
    _, found = run(tmp_path, [0, 0, 0, 1], [0.9, 0.8, 0.4, 0.35], rule="threshold", threshold=0.5, per_class=1)
    assert found["reason"].tolist() == ["selected", "over-target", "below-threshold", "below-threshold"]


def test_the_threshold_itself_is_enough(tmp_path):
    _, found = run(tmp_path, [0, 0], [0.5, 0.4999], classes=3, rule="threshold", threshold=0.5, per_class="none")
    assert found["copies"].tolist() == [1, 0]


def test_an_empty_class_is_named_not_fatal(tmp_path):
    summary, _ = run(tmp_path, [0] * 5 + [1] * 5, [0.9] * 10, rule="threshold")
    assert any("class-2" in warning and "no pseudo label" in warning for warning in summary["warnings"])


def test_auto_target_is_the_mean_over_classes(tmp_path):
    summary, _ = run(tmp_path, [0] * 9 + [1] * 3 + [2] * 3, [0.9] * 15, rule="threshold", per_class="auto")
    assert [row["copies"] for row in summary["per_class"]] == [5, 5, 5]


def test_how_parts_are_cut_changes_nothing(tmp_path):
    random = np.random.default_rng(3)
    prediction, confidence = random.integers(0, 3, 120), random.choice([0.5, 0.6, 0.9], 120)
    results = []
    for part_rows in (7, 120):
        folder = tmp_path / str(part_rows)
        parts = write_predictions(folder / "p", prediction, confidence, 3, part_rows)
        select(
            folder / "s",
            parts,
            SelectionSettings(rule="threshold", per_class=30),
            classes="abc",
            round_number=1,
            seed=5,
        )
        results.append(read_selection(folder / "s")["copies"].tolist())
    assert results[0] == results[1]


def test_reuse_keeps_the_pictures_and_takes_the_new_labels(tmp_path):
    _, first = run(tmp_path, [0, 0, 1, 1], [0.9, 0.4, 0.9, 0.8], rule="threshold", threshold=0.5, per_class="none")
    later = write_predictions(tmp_path / "later", [1, 1, 1, 0], [0.6, 0.99, 0.9, 0.5], 3)
    summary = reuse(tmp_path / "reused", later, tmp_path / "selection", ["a", "b", "c"])
    found = read_selection(tmp_path / "reused")
    assert found["copies"].tolist() == first["copies"].tolist() == [1, 0, 1, 1]
    assert found["prediction"].tolist() == [1, 1, 1, 0]
    assert [row["selected"] for row in summary["per_class"]] == [1, 2, 0]


def test_histogram_and_counts_add_up(tmp_path):
    random = np.random.default_rng(0)
    summary, found = run(tmp_path, random.integers(0, 3, 77), random.uniform(0.34, 1, 77), fraction=0.3)
    assert sum(summary["confidence_histogram"]["counts"]) == summary["rows"] == 77
    assert sum(summary["reasons"].values()) == 77
    assert summary["selected"] == (found["copies"] > 0).sum()


def test_many_classes_are_stored_as_top_k_with_the_rest_spread(tmp_path):
    random = np.random.default_rng(0)
    logits = random.normal(size=(40, 300)) * 4
    log_probabilities = (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32)
    path = part_path(tmp_path, 0)
    write_part(path, [str(i) for i in range(40)], log_probabilities)
    keys, restored = read_log_probabilities(path, 300)
    assert keys == [str(i) for i in range(40)]
    np.testing.assert_allclose(np.exp(restored.astype(np.float64)).sum(axis=1), 1, atol=1e-5)
    top = np.argsort(-log_probabilities, axis=1)[:, :5]
    np.testing.assert_array_equal(
        np.take_along_axis(restored, top, axis=1), np.take_along_axis(log_probabilities, top, axis=1)
    )
    assert path.stat().st_size < 40 * 300 * 4


def test_few_classes_are_stored_exactly(tmp_path):
    values = np.log(np.random.default_rng(0).dirichlet(np.ones(7), 10)).astype(np.float32)
    write_part(part_path(tmp_path, 0), list("abcdefghij"), values)
    np.testing.assert_array_equal(read_log_probabilities(part_path(tmp_path, 0), 7)[1], values)


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="less than or equal to 1"):
        SelectionSettings(threshold=1.5)
