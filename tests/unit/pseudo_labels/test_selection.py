from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from noisystudent.errors import ArtifactError, MismatchError, SettingsError
from noisystudent.pseudo_labels.predictions import (
    ShardLabels,
    list_parts,
    part_path,
    read_log_probabilities,
    write_part,
)
from noisystudent.pseudo_labels.selection.copies import permute
from noisystudent.pseudo_labels.selection.counts import BINS, count_rows
from noisystudent.pseudo_labels.selection.foreign import foreign_level
from noisystudent.pseudo_labels.selection.select import reuse, select
from noisystudent.pseudo_labels.selection.settings import SelectionSettings


def write_predictions(folder: Path, prediction, confidence, classes: int, part_rows: int = 50) -> list[Path]:
    """Writes parts with these predictions and confidences; the rest of each row's probability is spread evenly."""
    prediction, confidence = np.asarray(prediction), np.asarray(confidence, np.float64)
    rest = (1 - confidence) / (classes - 1)
    probabilities = np.repeat(rest[:, None], classes, axis=1)
    probabilities[np.arange(len(prediction)), prediction] = confidence
    paths = []
    for first in range(0, len(prediction), part_rows):
        path = part_path(folder, first // part_rows)
        rows = slice(first, first + part_rows)
        keys = [f"key-{i}" for i in range(len(prediction))[rows]]
        write_part(path, [ShardLabels.of(keys, np.log(probabilities[rows]).astype(np.float32))])
        paths.append(path)
    return paths


def write_rows(folder: Path, prediction, confidence, part_rows: int, typicality=None) -> list[Path]:
    """Writes parts with exactly these predictions and confidences, without soft labels."""
    folder.mkdir(parents=True)
    paths = []
    for first in range(0, len(prediction), part_rows):
        rows = slice(first, first + part_rows)
        columns = {
            "key": [f"key-{i}" for i in range(len(prediction))[rows]],
            "prediction": np.asarray(prediction, np.uint16)[rows],
            "confidence": np.asarray(confidence, np.float32)[rows],
        }
        if typicality is not None:
            columns["typicality"] = np.asarray(typicality, np.float32)[rows]
        paths.append(part_path(folder, first // part_rows))
        pq.write_table(pa.table(columns), paths[-1])
    return paths


def read_selection(folder: Path, predictions: list[Path]):
    """All columns of the predictions and of the selection made from them, by name."""
    columns = {}
    for paths in (predictions, list_parts(folder)):
        table = pa.concat_tables([pq.read_table(path) for path in paths])
        columns |= {name: np.array(table[name].to_pylist()) for name in table.column_names}
    return columns


def run(tmp_path, prediction, confidence, classes=3, round_number=1, seed=0, **selection):
    parts = write_predictions(tmp_path / "predictions", prediction, confidence, classes)
    names = [f"class-{i}" for i in range(classes)]
    summary = select(
        tmp_path / "selection",
        parts,
        SelectionSettings(**selection).resolve_auto(0),
        classes=names,
        round_number=round_number,
        seed=seed,
    )
    return summary, read_selection(tmp_path / "selection", parts)


def confidences(random, rows: int, kind: str):
    """Confidences that are hard to order: ties, neighboring float32 numbers, tiny numbers, or even ones."""
    if kind == "ties":
        return random.choice([0.4, 0.5, 0.5001, 0.7, 0.999, 1.0 - 1e-7, 1.0], rows).astype(np.float32)
    if kind == "neighbors":  # consecutive float32 numbers, in wide and in narrow bins
        start = np.float32(random.choice([1e-30, 2e-4, 0.01, 0.2, 0.3, 0.6, 0.9999])).view(np.uint32)
        return np.minimum((start + random.integers(0, rows, rows).astype(np.uint32)).view(np.float32), 1)
    if kind == "tiny":
        return (10.0 ** random.uniform(-44, 0, rows)).astype(np.float32)
    return random.uniform(0, 1, rows).astype(np.float32)


def select_by_sorting(
    prediction, confidence, classes: int, selection: SelectionSettings, round_number: int, shares=None
):
    """The rows that a full sort selects and the target count of each class, directly from the rules."""
    selected, target_counts = np.zeros(len(prediction), bool), np.zeros(classes, int)
    passed = confidence >= np.float32(selection.lowest)
    if selection.below < 1:
        passed &= confidence < np.float32(selection.below)
    mean = -(-int(passed.sum()) // classes)
    for label in range(classes):
        in_class = (prediction == label) & passed
        if selection.rule == "curriculum":
            aim = in_class.sum() if shares is None else shares[label] * len(prediction)
            wanted = min(int(np.ceil(min(1.0, selection.fraction * round_number) * aim - 1e-9)), int(in_class.sum()))
            target_counts[label] = wanted
        else:
            eligible = int((in_class & passed).sum())
            target = {"auto": mean, "none": eligible}.get(selection.per_class, selection.per_class)
            if shares is not None:
                of_class = passed.sum() / classes if selection.per_class == "auto" else selection.per_class
                target = int(np.ceil(of_class * classes * shares[label] - 1e-9))
            wanted = min(eligible, target)
            target_counts[label] = min(target, wanted * selection.max_copies)
        order = sorted(np.flatnonzero(in_class), key=lambda row: (-confidence[row], row))
        selected[order[:wanted]] = True
    return selected, target_counts


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 300),
    st.sampled_from(["ties", "neighbors", "tiny", "even"]),
    st.sampled_from(
        [
            ({"rule": "curriculum", "fraction": 0.2}, 1),
            ({"rule": "curriculum", "fraction": 0.13}, 4),
            ({"rule": "threshold", "threshold": 0.3, "per_class": "auto"}, 1),
            ({"rule": "threshold", "threshold": 0.5, "per_class": 7, "max_copies": 3}, 2),
            ({"rule": "threshold", "threshold": 0.0, "per_class": 40}, 1),
            ({"rule": "threshold", "threshold": 0.7, "per_class": "none"}, 1),
            ({"rule": "threshold", "threshold": 0.3, "below": 0.5, "per_class": "none"}, 1),
            ({"rule": "threshold", "threshold": 0.0, "below": 0.9995, "per_class": 7}, 1),
            ({"rule": "curriculum", "fraction": 0.2, "below": 0.7}, 2),
            ({"rule": "curriculum", "fraction": 0.5, "threshold": 0.4, "below": 0.9999}, 1),
            ({"rule": "curriculum", "fraction": 1.0, "threshold": 0.4}, 1),
        ]
    ),
)
def test_a_selection_equals_that_of_a_full_sort(tmp_path_factory, seed, rows, kind, rule):
    random, classes = np.random.default_rng(seed), 6
    selection, round_number = SelectionSettings(**rule[0]).resolve_auto(0), rule[1]
    prediction = random.choice([0, 0, 0, 1, 1, 3, 5], rows)  # classes 2 and 4 get no row
    confidence = confidences(random, rows, kind)
    folder = tmp_path_factory.mktemp("s")
    parts = write_rows(folder / "p", prediction, confidence, part_rows=int(random.integers(1, rows + 1)))
    names = [str(label) for label in range(classes)]
    summary = select(folder / "s", parts, selection, classes=names, round_number=round_number, seed=seed)
    columns = read_selection(folder / "s", parts)
    selected, target_counts = select_by_sorting(prediction, confidence, classes, selection, round_number)
    assert np.array_equal(columns["copies"] > 0, selected)
    for label in range(classes):
        copies = columns["copies"][(prediction == label) & selected]
        assert copies.sum() == target_counts[label] == summary.per_class[label].copies
        assert not len(copies) or copies.max() - copies.min() <= 1
    excess = "not-yet" if selection.rule == "curriculum" else "over-target"
    low = confidence < np.float32(selection.lowest)
    high = (confidence >= np.float32(selection.below)) & (selection.below < 1)
    rejected = np.where(low, "below-threshold", np.where(high, "not-below", excess))
    assert np.array_equal(columns["reason"], np.where(selected, "selected", rejected))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 300),
    st.sampled_from(["ties", "tiny", "even"]),
    st.sampled_from(
        [
            ({"rule": "curriculum", "fraction": 0.2}, 2),
            ({"rule": "curriculum", "fraction": 1.0}, 1),
            ({"rule": "threshold", "threshold": 0.3, "per_class": "auto"}, 1),
            ({"rule": "threshold", "threshold": 0.5, "per_class": 9, "max_copies": 3}, 1),
        ]
    ),
)
def test_a_selection_for_given_shares_equals_that_of_a_full_sort_of_the_images_that_are_not_foreign(
    tmp_path_factory, seed, rows, kind, rule
):
    random, classes = np.random.default_rng(seed), 4
    shares = random.dirichlet(np.ones(classes))
    prediction, confidence = random.choice([0, 0, 0, 1, 3], rows), confidences(random, rows, kind)
    typicality = random.choice(np.array([0.01, 0.5, 1.0], np.float32), rows, p=[0.3, 0.3, 0.4])
    folder = tmp_path_factory.mktemp("s")
    parts = write_rows(folder / "p", prediction, confidence, int(random.integers(1, rows + 1)), typicality)
    selection = SelectionSettings(**rule[0], foreign="drop", prior="uniform")
    names = [str(label) for label in range(classes)]
    summary = select(folder / "s", parts, selection, classes=names, round_number=rule[1], seed=seed, shares=shares)
    columns = read_selection(folder / "s", parts)
    # Benjamini and Hochberg: 0.01 is small enough from one row in 20 on.
    foreign = (typicality == np.float32(0.01)) & ((typicality == np.float32(0.01)).sum() * 0.2 >= 0.01 * rows)
    own = np.flatnonzero(~foreign)
    selected, targets = select_by_sorting(prediction[own], confidence[own], classes, selection, rule[1], shares)
    assert np.array_equal(np.flatnonzero(columns["copies"]), own[selected])
    assert [row.copies for row in summary.per_class] == [
        int(target) if (prediction[own][selected] == label).any() else 0 for label, target in enumerate(targets)
    ]
    assert np.array_equal(columns["reason"] == "foreign", foreign)
    assert [row.share for row in summary.per_class] == pytest.approx(shares)
    assert summary.rows == rows


def test_foreign_images_cannot_be_dropped_from_predictions_that_do_not_say_how_typical_they_are(tmp_path):
    parts = write_rows(tmp_path / "p", [0], [0.5], 9)
    chosen = SelectionSettings(foreign="drop", fraction=1.0)
    with pytest.raises(SettingsError, match=r"selection\.foreign drop needs .*part-00000\.parquet does not say so"):
        select(tmp_path / "s", parts, chosen, classes="ab", round_number=1, seed=0)


def test_the_share_of_false_alarms_among_dropped_images_is_bounded(tmp_path):
    random = np.random.default_rng(0)
    own = random.integers(1, 102, 1000) / 101  # evenly spread, as typicalities of own images are
    for number, foreign in enumerate([0, 1000]):
        typicality = np.concatenate([own, np.full(foreign, 1 / 101)]).astype(np.float32)
        rows = len(typicality)
        parts = write_rows(tmp_path / str(number), np.zeros(rows), np.full(rows, 0.9), 300, typicality)
        level = foreign_level(parts)
        dropped = typicality < level
        assert dropped[1000:].all()
        assert dropped[:1000].sum() <= 0.25 * max(dropped.sum(), 1)
        assert (level > 0) == bool(foreign)


def test_the_counts_of_workers_add_up_to_those_of_all_parts(tmp_path):
    random = np.random.default_rng(5)
    prediction, confidence = random.integers(0, 3, 400), confidences(random, 400, "even")
    parts = write_rows(tmp_path / "p", prediction, confidence, part_rows=30)
    selection = SelectionSettings(rule="threshold", threshold=0.4)
    shares = [count_rows(parts[worker::3], classes=3, threshold=0.4) for worker in range(3)]
    counts = shares[0] + shares[1] + shares[2]
    whole = count_rows(parts, classes=3, threshold=0.4)
    assert np.array_equal(counts.histogram, whole.histogram)
    assert counts.histogram.shape == (3, BINS + 1)
    assert counts.rows.tolist() == np.bincount(prediction).tolist()
    assert counts.eligible.tolist() == [int((confidence[prediction == i] >= np.float32(0.4)).sum()) for i in range(3)]
    summaries = [
        select(tmp_path / name, parts, selection, classes="abc", round_number=1, seed=0, counts=worker_counts)
        for name, worker_counts in (("with", counts), ("without", None))
    ]
    assert summaries[0] == summaries[1]
    for name in ("with", "without"):
        assert list_parts(tmp_path / name)[3].read_bytes() == list_parts(tmp_path / "with")[3].read_bytes()
    with pytest.raises(MismatchError, match="differ from those that were counted"):
        select(tmp_path / "o", parts, selection, classes="abc", round_number=1, seed=0, counts=shares[0] + shares[0])
    other = count_rows(parts, classes=3, threshold=0.5)
    with pytest.raises(MismatchError, match=r"selection\.threshold is 0\.4 and .* 1\.0; count the rows again"):
        select(tmp_path / "o", parts, selection, classes="abc", round_number=1, seed=0, counts=other)
    with pytest.raises(ValueError, match="do not add up"):
        shares[0] + other


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 10, 97, 256, 1000, 100_003])
def test_permute_is_a_permutation(count):
    keys = np.random.default_rng(count).integers(0, 2**64, (6, 1), dtype=np.uint64)
    permuted = permute(np.arange(count), np.full(count, count), np.repeat(keys, count, axis=1))
    assert np.array_equal(np.sort(permuted), np.arange(count))


@pytest.mark.parametrize(("count", "drawn_count"), [(3, 1), (7, 3), (12, 5), (50, 20)])
def test_every_row_and_every_pair_of_rows_is_drawn_equally_often(count, drawn_count):
    draws = 6000
    keys = np.random.default_rng(1).integers(0, 2**64, (6, draws), dtype=np.uint64)
    numbers = np.tile(np.arange(count), draws)
    permuted = permute(numbers, np.full(len(numbers), count), np.repeat(keys, count, axis=1)).reshape(draws, count)
    drawn = (permuted < drawn_count).astype(np.float64)
    single, both = drawn_count / count, drawn_count * (drawn_count - 1) / count / (count - 1)
    # Five standard errors of a fraction over all draws.
    assert np.abs(drawn.mean(axis=0) - single).max() < 5 * np.sqrt(single * (1 - single) / draws)
    pairs = (drawn.T @ drawn / draws)[np.triu_indices(count, 1)]
    assert np.abs(pairs - both).max() < 5 * np.sqrt(both * (1 - both) / draws) + 1e-12


def test_an_invalid_part_is_named(tmp_path):
    arguments = {"settings": SelectionSettings().resolve_auto(0), "classes": "abc", "round_number": 1, "seed": 0}
    for name, prediction, confidence, message in (
        ("class", [0, 3], [0.5, 0.5], "predicts class number 3, but there are 3 classes"),
        ("negative", [0, 1], [0.5, -0.5], "not a number from 0 to 1"),
        ("nan", [0, 1], [0.5, np.nan], "not a number from 0 to 1"),
    ):
        parts = write_rows(tmp_path / name, prediction, confidence, part_rows=9)
        with pytest.raises(ArtifactError, match=rf"part-00000\.parquet.*{message}"):
            select(tmp_path / "s", parts, **arguments)
    parts[0].write_bytes(b"PAR1 no table")
    with pytest.raises(ArtifactError, match=r"part-00000\.parquet is damaged"):
        select(tmp_path / "s", parts, **arguments)
    pq.write_table(pa.table({"key": ["a"], "prediction": [0]}), parts[0])
    with pytest.raises(ArtifactError, match="has no column 'confidence'"):
        select(tmp_path / "s", parts, **arguments)


def test_an_earlier_selection_of_other_images_is_refused(tmp_path):
    run(tmp_path, [0, 0, 1, 1], [0.9, 0.4, 0.9, 0.8])
    for name, rows in (("fewer", 3), ("more", 60)):
        later = write_predictions(tmp_path / name, [0] * rows, [0.9] * rows, 3)
        with pytest.raises(MismatchError, match="earlier selection"):
            reuse(tmp_path / "reused", later, tmp_path / "selection", ["a", "b", "c"])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 200), st.integers(1, 4))
def test_the_curriculum_is_the_exact_top_of_every_class(tmp_path_factory, seed, rows, round_number):
    random = np.random.default_rng(seed)
    prediction = random.integers(0, 3, rows)
    # Few distinct values, so that the cutoff often lies within ties.
    confidence = random.choice([0.4, 0.5, 0.5001, 0.7, 0.999, 1.0 - 1e-7], rows)
    _, columns = run(tmp_path_factory.mktemp("s"), prediction, confidence, round_number=round_number, fraction=0.2)
    stored = columns["confidence"]
    for label in range(3):
        rows_of_class = np.flatnonzero(prediction == label)
        wanted = int(np.ceil(min(1, 0.2 * round_number) * len(rows_of_class) - 1e-9))
        order = rows_of_class[np.lexsort((rows_of_class, -stored[rows_of_class]))]
        assert set(np.flatnonzero((columns["copies"] > 0) & (prediction == label))) == set(order[:wanted])
    assert set(columns["copies"]) <= {0, 1}


def test_the_curriculum_grows_to_all_unlabeled_images(tmp_path):
    random = np.random.default_rng(0)
    prediction, confidence = random.integers(0, 3, 100), random.uniform(0.34, 1, 100)
    selected = []
    for number in (1, 2, 5, 9):
        _, columns = run(tmp_path / str(number), prediction, confidence, round_number=number, fraction=0.2)
        selected.append(set(np.flatnonzero(columns["copies"])))
    assert selected[0] < selected[1] < selected[2] == selected[3] == set(range(100))


def test_the_threshold_rule_balances_by_copies_up_to_the_cap(tmp_path):
    prediction = [0] * 10 + [1] * 4 + [2] * 1
    confidence = [0.9] * 10 + [0.8] * 4 + [0.7]
    summary, columns = run(tmp_path, prediction, confidence, rule="threshold", threshold=0.3, per_class=8, max_copies=5)
    copies = [int(columns["copies"][np.asarray(prediction) == label].sum()) for label in range(3)]
    assert copies == [8, 8, 5]
    assert [row.copies for row in summary.per_class] == copies
    assert set(columns["copies"][np.asarray(prediction) == 1]) == {2}
    assert summary.reasons == {"selected": 13, "over-target": 2}


def test_uneven_copies_differ_by_one_and_are_drawn_by_the_seed(tmp_path):
    copies_by_run = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        _, columns = run(tmp_path / name, [0] * 7 + [1] * 20, [0.9] * 27, seed=seed, rule="threshold", per_class=17)
        copies = columns["copies"][:7]
        assert copies.sum() == 17
        assert set(copies) == {2, 3}
        copies_by_run.append(tuple(copies))
    assert copies_by_run[0] == copies_by_run[1]
    assert copies_by_run[0] != copies_by_run[2]


def test_rejected_rows_keep_their_reason(tmp_path):
    _, columns = run(tmp_path, [0, 0, 0, 1], [0.9, 0.8, 0.4, 0.35], rule="threshold", threshold=0.5, per_class=1)
    assert columns["reason"].tolist() == ["selected", "over-target", "below-threshold", "below-threshold"]


def test_the_threshold_itself_is_enough(tmp_path):
    _, columns = run(tmp_path, [0, 0], [0.5, 0.4999], classes=3, rule="threshold", threshold=0.5, per_class="none")
    assert columns["copies"].tolist() == [1, 0]


def test_an_empty_class_is_a_warning(tmp_path):
    summary, _ = run(tmp_path, [0] * 5 + [1] * 5, [0.9] * 10, rule="threshold")
    assert any("class-2" in warning and "no pseudo label" in warning for warning in summary.warnings)


def test_auto_target_is_the_mean_over_classes(tmp_path):
    summary, _ = run(tmp_path, [0] * 9 + [1] * 3 + [2] * 3, [0.9] * 15, rule="threshold", per_class="auto")
    assert [row.copies for row in summary.per_class] == [5, 5, 5]


def test_the_split_into_parts_changes_nothing(tmp_path):
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
        results.append(read_selection(folder / "s", parts)["copies"].tolist())
    assert results[0] == results[1]


def test_reuse_keeps_the_images_and_takes_the_new_labels(tmp_path):
    _, first = run(tmp_path, [0, 0, 1, 1], [0.9, 0.4, 0.9, 0.8], rule="threshold", threshold=0.5, per_class="none")
    later = write_predictions(tmp_path / "later", [1, 1, 1, 0], [0.6, 0.99, 0.9, 0.5], 3)
    summary = reuse(tmp_path / "reused", later, tmp_path / "selection", ["a", "b", "c"])
    columns = read_selection(tmp_path / "reused", later)
    assert columns["copies"].tolist() == first["copies"].tolist() == [1, 0, 1, 1]
    assert columns["prediction"].tolist() == [1, 1, 1, 0]
    assert [row.selected for row in summary.per_class] == [1, 2, 0]


def test_histogram_and_counts_add_up(tmp_path):
    random = np.random.default_rng(0)
    summary, columns = run(tmp_path, random.integers(0, 3, 77), random.uniform(0.34, 1, 77), fraction=0.3)
    assert sum(summary.confidence_histogram.counts) == summary.rows == 77
    assert sum(summary.reasons.values()) == 77
    assert summary.selected == (columns["copies"] > 0).sum()


def test_many_classes_are_stored_as_top_k_with_the_rest_spread(tmp_path):
    random = np.random.default_rng(0)
    logits = random.normal(size=(40, 300)) * 4
    log_probabilities = (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32)
    path = part_path(tmp_path, 0)
    write_part(path, [ShardLabels.of([str(i) for i in range(40)], log_probabilities)])
    keys, restored = read_log_probabilities(path, 300)
    assert keys == [str(i) for i in range(40)]
    np.testing.assert_allclose(np.exp(restored.astype(np.float64)).sum(axis=1), 1, atol=1e-5)
    top = np.argsort(-log_probabilities, axis=1)[:, :5]
    np.testing.assert_allclose(
        np.take_along_axis(restored, top, axis=1), np.take_along_axis(log_probabilities, top, axis=1), rtol=2**-10
    )
    assert path.stat().st_size < 40 * 300 * 4


def test_few_classes_are_stored_exactly(tmp_path):
    values = np.log(np.random.default_rng(0).dirichlet(np.ones(7), 10)).astype(np.float32)
    write_part(part_path(tmp_path, 0), [ShardLabels.of(list("abcdefghij"), values)])
    np.testing.assert_array_equal(read_log_probabilities(part_path(tmp_path, 0), 7)[1], values)


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="less than or equal to 1"):
        SelectionSettings(threshold=1.5)


@pytest.mark.parametrize("wrong", [{"threshold": 1.5}, {"threshold": -0.1}, {"below": 0.0}, {"below": 1.01}])
def test_bounds_outside_of_zero_and_one_are_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        SelectionSettings(**wrong)


@pytest.mark.parametrize(
    "wrong", [{"rule": "threshold", "below": 0.3}, {"threshold": 0.5, "below": 0.5}, {"threshold": 1.0}]
)
def test_bounds_that_leave_no_confidence_are_refused(wrong):
    with pytest.raises(ValidationError, match="no confidence is allowed; give a larger below"):
        SelectionSettings(**wrong, **({} if "below" in wrong else {"below": 0.9}))


def test_a_selection_without_bounds_is_known_by_the_settings_of_before():
    before = {"rule": "curriculum", "fraction": "auto", "threshold": 0.3, "per_class": "auto", "max_copies": 10,
              "once": False}  # fmt: skip
    assert SelectionSettings().deciding() == before
    assert SelectionSettings(rule="threshold").deciding() == {**before, "rule": "threshold"}
    bounded = [SelectionSettings(threshold=0.3), SelectionSettings(below=0.9), SelectionSettings(threshold=0.2)]
    assert len({str(settings.deciding()) for settings in (SelectionSettings(), *bounded)}) == 4
