"""Signs of drift from class counts: what fires, what does not, and what the sentences name."""

import numpy as np
import pytest

from noisystudent.evaluation.metrics.drift import signs_of_drift

EVEN = [10] * 10
NAMES = list("abcdefghij")


def rounds_of(numbers: list[int], total: int = 2868) -> list[list[int]]:
    """Counts of 10 classes by round: the first class as given, the other images spread evenly over the rest."""
    spread = [np.array_split(np.arange(total - number), 9) for number in numbers]
    return [[number, *map(len, parts)] for number, parts in zip(numbers, spread, strict=True)]


def test_a_class_that_swells_round_after_round_is_named_with_its_numbers():
    assert signs_of_drift(rounds_of([56, 130, 226]), EVEN, NAMES) == (
        "class 'a' swells round after round: 56, 130, 226 of 2,868 images",
    )


def test_a_class_of_two_that_swells_cannot_double_and_is_found_by_its_share():
    counts = [[3223, 2975], [3724, 2474], [3951, 2247]]
    assert signs_of_drift(counts, [25, 25], ["parasite", "healthy"]) == (
        "class 'parasite' swells round after round: 3,223, 3,724, 3,951 of 6,198 images",
        "class 'healthy' shrinks round after round: 2,975, 2,474, 2,247 of 6,198 images",
    )


def test_a_class_that_takes_far_more_than_its_share_of_the_labels_is_named_once():
    counts = rounds_of([3223, 3724, 3951], 6198)
    assert signs_of_drift(counts[:1], EVEN, NAMES) == (
        "class 'a' is predicted for 3,223 of 6,198 images, 5.2 times its share of the labels",
    )
    assert signs_of_drift(counts[:2], EVEN, NAMES) == ()
    assert "class 'a' swells" in signs_of_drift(counts, EVEN, NAMES)[0]


@pytest.mark.parametrize(
    "numbers",
    [[300, 310, 325], [100, 180, 190], [200, 350, 340], [4, 9, 20], [250, 290, 420]],
    ids=["a little", "not doubled", "and back", "by few images", "half more"],
)
def test_healthy_rounds_have_no_signs(numbers):
    assert signs_of_drift(rounds_of(numbers), EVEN, NAMES) == ()


def test_only_the_last_three_rounds_count():
    assert signs_of_drift(rounds_of([56, 130, 226, 230]), EVEN, NAMES) == ()
    assert signs_of_drift(rounds_of([56, 130]), EVEN, NAMES) == ()


def test_uneven_labels_give_uneven_shares():
    uneven = [64, *[4] * 9]
    assert signs_of_drift(rounds_of([1900]), uneven, NAMES) == ()
