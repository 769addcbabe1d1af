"""Stability along sequences: against values of the benchmark's published code, and its rules as loops."""

import itertools

import numpy as np
import pytest
from scipy.stats import rankdata

from noisystudent.errors import DataError
from noisystudent.evaluation.corruptions.tables import TEST_PERTURBATIONS
from noisystudent.evaluation.perturbations.metrics import (
    StabilityMeter,
    compares_with_first,
    mean_over,
    mean_rate,
    ranking,
)

# The results of the functions of hendrycks/robustness (ImageNet-P/test.py, commit 8190fe3) for the sequences below.
PUBLISHED_CODE = {
    (False, 1): (0.558333, 8.575000, 0.806428),
    (False, 2): (0.456897, 8.129310, 0.725062),
    (False, 3): (0.508929, 8.526786, 0.776875),
    (True, 1): (0.400000, 8.325000, 0.668189),
    (True, 3): (0.400000, 8.325000, 0.668189),
}


@pytest.fixture
def sequences():
    random = np.random.RandomState(0)
    logits = 2 * random.randn(4, 1, 1000) + 0.5 * random.randn(4, 31, 1000)
    assert logits[0, 0, 0] == pytest.approx(3.83477927, abs=1e-8)
    return logits


def measure(sequences, *, noise, lag=1):
    meter = StabilityMeter(noise=noise, lag=lag)
    for sequence in sequences:
        meter.add(sequence)
    return meter.result()


def of_pair(earlier, later):
    """The three measures of two frames with these rankings (lag 1)."""
    meter = StabilityMeter(noise=False)
    meter.add_rankings(np.array([earlier, later]), classes=len(earlier))
    return meter.result()


@pytest.mark.parametrize(("rule", "expected"), PUBLISHED_CODE.items())
def test_it_matches_the_published_code(sequences, rule, expected):
    stability = measure(sequences, noise=rule[0], lag=rule[1])
    measures = (stability.flip_probability, stability.top5_distance, stability.zipf_distance)
    assert measures == pytest.approx(expected, abs=5e-7)
    assert stability.sequences == 4


@pytest.mark.parametrize("lag", [1, 2, 3])
def test_pairs_are_those_of_interleaved_subsequences(sequences, lag):
    """The benchmark's rule as loops: the paper's double sum, ranks by SciPy, sequences of different lengths."""
    uneven = [sequence[: 20 + 3 * i, :40] for i, sequence in enumerate(sequences)]
    flips, distances = [], []
    for sequence in uneven:
        ranks = [rankdata(-frame, method="ordinal") for frame in sequence]
        pairs = [pair for start in range(lag) for pair in itertools.pairwise(ranks[start::lag])]
        flips.append(np.mean([a.argmin() != b.argmin() for a, b in pairs]))
        moved = [[b[np.flatnonzero(a == i)[0]] for i in range(1, 6)] for a, b in pairs]
        distances.append(
            np.mean(
                [
                    sum(1 <= j - 1 <= 5 for i, s in enumerate(row, 1) for j in range(min(i, s) + 1, max(i, s) + 1))
                    for row in moved
                ]
            )
        )
    stability = measure(uneven, noise=False, lag=lag)
    assert stability.flip_probability == pytest.approx(np.mean(flips), abs=1e-12)
    assert stability.top5_distance == pytest.approx(np.mean(distances), abs=1e-12)


def test_edges_of_the_top5_distance():
    order = list(range(12))
    assert of_pair(order, order).top5_distance == 0
    assert of_pair(order, [*range(5, 12), *range(5)]).top5_distance == 15
    assert of_pair(order, [1, 0, *order[2:]]).top5_distance == 2
    assert of_pair(order, [0, 1, 2, 3, 5, 4, *order[6:]]).top5_distance == 1
    assert of_pair(order, [0, 1, 2, 3, 4, *reversed(order[5:])]).top5_distance == 0


def test_the_zipf_distance_by_hand():
    # Ranks 1 and 2 exchanged: |1 - 1/2| * 1 + |1/2 - 1| * 1/2.
    assert of_pair([0, 1, 2, 3, 4, 5], [1, 0, 2, 3, 4, 5]).zipf_distance == pytest.approx(0.75)


def test_the_first_five_ranks_are_enough_except_for_zipf(sequences):
    meter = StabilityMeter(noise=False)
    for sequence in sequences:
        meter.add_rankings(ranking(sequence)[:, :5], classes=1000)
    few, all_of_them = meter.result(), measure(sequences, noise=False)
    assert few.flip_probability == all_of_them.flip_probability
    assert few.top5_distance == all_of_them.top5_distance
    assert few.zipf_distance is None


def test_with_three_classes_the_top_five_are_all_three():
    assert of_pair([0, 1, 2], [2, 1, 0]).top5_distance == 4


def test_ties_go_to_the_lower_class():
    assert ranking(np.array([[1.0, 2.0, 2.0, 1.0]])).tolist() == [[1, 2, 0, 3]]


def test_noise_is_recognized_by_its_name():
    assert [name for name in TEST_PERTURBATIONS if compares_with_first(name)] == ["gaussian_noise", "shot_noise"]


def test_means_over_perturbations():
    ours = {name: 0.01 * (i + 1) for i, name in enumerate(TEST_PERTURBATIONS)}
    assert mean_over(ours) == pytest.approx(0.055)
    assert mean_rate(ours, ours) == pytest.approx(100)
    assert mean_rate(ours, {name: 2 * value for name, value in ours.items()}) == pytest.approx(50)
    # It is the mean of the ratios, not the ratio of the means.
    assert mean_rate({"snow": 0.1, "tilt": 0.1}, {"snow": 0.1, "tilt": 0.4}, ("snow", "tilt")) == pytest.approx(62.5)
    assert mean_over(ours | {"spatter": 9.0}) == mean_over(ours)


def test_a_mean_names_missing_perturbations():
    ours = dict.fromkeys(TEST_PERTURBATIONS, 0.1)
    partial = {name: 0.1 for name in TEST_PERTURBATIONS if name != "tilt"}
    with pytest.raises(DataError, match="tilt is not measured"):
        mean_over(partial)
    with pytest.raises(DataError, match="tilt is not in the baseline"):
        mean_rate(ours, partial)
    with pytest.raises(DataError, match="baseline of tilt is 0"):
        mean_rate(ours, ours | {"tilt": 0.0})


def test_invalid_sequences_are_refused():
    with pytest.raises(DataError, match="The lag between frames must be 1, 2 or 3, not 4"):
        StabilityMeter(noise=False, lag=4)
    meter = StabilityMeter(noise=False, lag=2)
    with pytest.raises(DataError, match="2 frames; comparing them at lag 2 needs at least 3"):
        meter.add(np.zeros((2, 10)))
    with pytest.raises(DataError, match="first 3 of 10 classes; at least 5 are needed"):
        meter.add_rankings(np.zeros((4, 3), np.int64), classes=10)
    with pytest.raises(DataError, match=r"shape \(4,\)"):
        meter.add(np.zeros(4))
    with pytest.raises(DataError, match="finite"):
        meter.add(np.full((4, 10), np.nan))
    with pytest.raises(DataError, match="no sequences"):
        meter.result()
