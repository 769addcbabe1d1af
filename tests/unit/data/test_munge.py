"""MUNGE against rows computed by hand, closed forms for two rows, and the paper's argument for it."""

import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestNeighbors

from noisystudent import munge
from noisystudent.data.sources.open import open_source
from noisystudent.errors import DataError, SettingsError

ROOT = Path(__file__).parents[3]
MANY = 40_000  # identically distributed attributes, each a separate experiment


def table(rows: int = 30, columns: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, columns))


def two_rows(low: float, high: float) -> np.ndarray:
    return np.tile([[low], [high]], (1, MANY))


def test_probability_zero_gives_the_data_once_for_each_pass():
    rows = table()
    np.testing.assert_array_equal(munge(rows, multiplier=3, probability=0, variance=1), np.tile(rows, (3, 1)))


def test_neighbors_are_found_in_the_copy_that_is_being_changed_with_scaled_attributes():
    # With an infinite variance values are swapped. First (0, 0) with (300, 0), which is nearest only where the range
    # of 1,000 counts as 1; then (100, 1) with (0, 0), which now lies in the third row; then back; then (1000, 0.5) with
    # (300, 0), which now lies in the first.
    rows = [[0, 0], [100, 1], [300, 0], [1000, 0.5]]
    munged = munge(rows, multiplier=1, probability=1, variance=np.inf)
    assert munged.tolist() == [[1000, 0.5], [100, 1], [0, 0], [300, 0]]


def test_nominal_values_are_as_far_apart_whatever_their_numbers():
    # The second row is nearest to the first if 0 and 9 are as far apart as 0 and 1; they swap, swap back, and then the
    # second and the third row swap.
    rows = [[0, 0], [0.1, 9], [0.2, 1]]
    munged = munge(rows, multiplier=1, probability=1, variance=np.inf, nominal=[1])
    assert munged.tolist() == [[0, 0], [0.2, 1], [0.1, 9]]
    assert munged.tolist() != munge(rows, multiplier=1, probability=1, variance=np.inf).tolist()


@pytest.mark.parametrize("variance", [0.5, 1.0, 3.0])
def test_two_rows_that_are_always_drawn_have_a_closed_form(variance):
    # Let the rows be x and x + d, sd = d / s. After two visits, a value is x + a + b, a from Normal(0, sd) and b from
    # Normal(0, |d'| / s), where d', the difference after the first, is d + c - a, c as a. So the mean is x, the
    # variance sd^2 + E[d'^2] / s^2, and the fourth moment E[a^4] + 6 E[a^2 d'^2] / s^2 + 3 E[d'^4] / s^4.
    low, d = 2.0, 3.0
    s, square = variance, (d / variance) ** 2
    second = square + (d**2 + 2 * square) / s**2
    fourth = (
        3 * square**2
        + 6 * (square * d**2 + 4 * square**2) / s**2
        + 3 * (d**4 + 6 * d**2 * 2 * square + 3 * (2 * square) ** 2) / s**4
    )
    munged = munge(two_rows(low, low + d), multiplier=1, probability=1, variance=variance, seed=5)
    for row, mean in zip(munged, (low, low + d), strict=True):
        assert abs(row.mean() - mean) < 4 * np.sqrt(second / MANY)
        assert abs(((row - mean) ** 2).mean() - second) < 4 * np.sqrt((fourth - second**2) / MANY)


def test_the_probability_counts_at_each_of_the_two_visits_and_over_seeds():
    # Two rows of one attribute: a value stays or returns with p^2 + (1 - p)^2, else it is near the other value.
    p, low, high, seeds = 0.3, -1.0, 4.0, 2000
    expected = (p**2 + (1 - p) ** 2) * low + 2 * p * (1 - p) * high
    drawn = np.array(
        [munge([[low], [high]], multiplier=1, probability=p, variance=4, seed=seed)[0, 0] for seed in range(seeds)]
    )
    assert abs(drawn.mean() - expected) < 4 * drawn.std() / np.sqrt(seeds)
    assert (drawn == low).mean() == pytest.approx((1 - p) ** 2, abs=4 * np.sqrt(0.25 / seeds))


def test_nominal_values_are_swapped_with_the_probability():
    p = 0.3
    munged = munge(two_rows(0, 7), multiplier=1, probability=p, variance=1, nominal=range(MANY))
    assert set(np.unique(munged)) == {0, 7}
    np.testing.assert_array_equal(munged.sum(axis=0), np.full(MANY, 7))
    swapped, expected = (munged[0] == 7).mean(), 2 * p * (1 - p)
    assert abs(swapped - expected) < 4 * np.sqrt(expected * (1 - expected) / MANY)


def test_each_pass_keeps_the_values_of_every_nominal_column():
    rows = table(40, 4)
    rows[:, 1] = np.arange(40)  # different in every row, so that a swap is visible
    rows[:, 3] = np.arange(40) % 5
    munged = munge(rows, multiplier=3, probability=0.6, variance=2, nominal=(1, 3)).reshape(3, 40, 4)
    for one_pass in munged:
        np.testing.assert_array_equal(np.sort(one_pass[:, [1, 3]], axis=0), np.sort(rows[:, [1, 3]], axis=0))
        assert (one_pass[:, 1] != rows[:, 1]).any()
        assert not np.isin(one_pass[:, 0], rows[:, 0]).all()


def test_rows_that_are_all_alike_stay_as_they_are():
    pairs = np.repeat(table(1), 4, axis=0)
    np.testing.assert_array_equal(munge(pairs, multiplier=2, probability=1, variance=0.1), np.tile(pairs, (2, 1)))


def test_duplicates_stay_as_they_are_and_so_does_what_two_rows_share():
    rows = np.repeat([[0.0, 5.0], [1.0, 5.0]], 2, axis=0)
    np.testing.assert_array_equal(munge(rows, multiplier=1, probability=1, variance=1), rows)
    munged = munge(rows[1:3], multiplier=5, probability=1, variance=1)
    assert (munged[:, 1] == 5).all()
    assert (munged[:, 0] != 0).all()


def test_draws_depend_on_the_seed_only_and_more_passes_keep_the_first():
    rows = table()
    given = {"probability": 0.5, "variance": 1.0}
    two, repeated, four = (munge(rows, multiplier=count, **given) for count in (2, 2, 4))
    assert two.tobytes() == repeated.tobytes() == four[:60].tobytes()
    assert not np.array_equal(two, munge(rows, multiplier=2, **given, seed=1))
    assert not np.array_equal(two[:30], two[30:])
    assert np.array_equal(rows, table())


def test_units_do_not_matter():
    rows, units = table(), np.array([1.0, 8.0, 0.25, 1024.0, 2.0])  # powers of two: nothing is rounded
    given = {"multiplier": 1, "probability": 0.5, "variance": 1.0}
    np.testing.assert_array_equal(munge(rows * units, **given), munge(rows, **given) * units)


def test_munged_digits_lie_nearer_to_the_data_than_independently_drawn_attributes():
    digits = load_digits().data[:600]
    munged = munge(digits, multiplier=1, probability=0.5, variance=1)
    independent = np.random.default_rng(0).permuted(digits, axis=0)
    neighbors = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(digits)
    near, far = (neighbors.kneighbors(rows)[0].mean() for rows in (munged, independent))
    assert 0 < near < far


def test_the_example_of_the_docs_makes_images_that_open(tmp_path, monkeypatch):
    text = (ROOT / "docs" / "sources.md").read_text().split("## Too few unlabeled images")[1]
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/sources.md", "exec"), {})
    source = open_source("munged.npz", labeled=False)
    assert sum(source.shard_sizes) == 3 * 1797
    record = next(source.read(0))
    assert (record.image.shape, record.image.dtype, record.label) == ((8, 8), np.uint8, -1)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.zeros(4), r"float64 of shape \(4,\)"),
        (np.zeros((2, 8, 8)), r"shape \(2, 8, 8\)"),
        ([["a", "b"], ["c", "d"]], "Number the values of nominal attributes"),
        (np.zeros((1, 4)), r"shape \(1, 4\), and at least 2 rows"),
        (np.zeros((4, 0)), r"shape \(4, 0\), and at least 2 rows and 1 column"),
        ([[0.0, 1.0], [np.nan, 1.0]], "nan in row 1, column 0"),
        ([[0.0, np.inf], [1.0, 1.0]], "inf in row 0, column 1"),
    ],
)
def test_features_that_cannot_be_munged_are_refused(features, message):
    with pytest.raises(DataError, match=message):
        munge(features, multiplier=1, probability=0.5, variance=1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"multiplier": 0}, "multiplier is 0"),
        ({"probability": 1.5}, "probability is 1.5"),
        ({"probability": float("nan")}, "probability is nan"),
        ({"variance": 0}, "variance is 0"),
        ({"variance": -1}, "variance is -1"),
        ({"nominal": [5]}, "nominal names column 5; the features have columns 0 to 4"),
        ({"nominal": [-1]}, "nominal names column -1"),
    ],
)
def test_settings_out_of_range_are_refused(given, message):
    with pytest.raises(SettingsError, match=message):
        munge(table(), **{"multiplier": 1, "probability": 0.5, "variance": 1, **given})
