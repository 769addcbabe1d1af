"""Signs that a teacher's pseudo labels drift from round to round, from the numbers of images per class alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

GROWTH = 2.0  # a class that grows by this factor in two rounds, or falls to its inverse
MOVED = 0.10  # of all images: in a set of few classes no class can double
FEWEST = 20  # images; a smaller change is chance
SHARE = 3.0  # times the share that a class has of the labels


def signs_of_drift(counts: Sequence[Sequence[int]], labels: Sequence[int], classes: Sequence[str]) -> tuple[str, ...]:
    """Sentences about classes that swell, shrink or take far more than their share; empty without such a sign.

    A class swells or shrinks if its number rises or falls in each of the last two rounds, by at least 20 images in all,
    and has then doubled, or halved, or moved by 10% of all images. It takes too much if it is predicted more than 3
    times as often as its share of the labels would give, unless it was already so in the round before. A sign is no
    proof: an uneven unlabeled set or a teacher that recovers can look the same.

    Args:
        counts: images predicted as each class, [K] for each round until the present one; the present one is last.
        labels: labeled images of each class, [K].
        classes: the names of the K classes.
    """
    rounds = [np.asarray(round_counts, np.int64) for round_counts in counts]
    given = np.asarray(labels, np.float64)
    return (*_moving(rounds[-3:], classes), *_beyond_share(rounds[-2:], given / max(1.0, given.sum()), classes))


def _moving(rounds: Sequence[Ints], classes: Sequence[str]) -> list[str]:
    if len(rounds) < 3:
        return []
    first, middle, last = rounds
    total = max(1, int(last.sum()))
    signs = []
    for index, name in enumerate(classes):
        numbers = int(first[index]), int(middle[index]), int(last[index])
        low, _, high = sorted(numbers)
        if high - low < FEWEST or (high < GROWTH * low and high - low < MOVED * total):
            continue
        shown = ", ".join(f"{number:,}" for number in numbers)
        if numbers[0] < numbers[1] < numbers[2]:
            signs.append(f"class {name!r} swells round after round: {shown} of {total:,} images")
        elif numbers[0] > numbers[1] > numbers[2]:
            signs.append(f"class {name!r} shrinks round after round: {shown} of {total:,} images")
    return signs


def _beyond_share(rounds: Sequence[Ints], shares: npt.NDArray[np.float64], classes: Sequence[str]) -> list[str]:
    """The classes that newly exceed ``SHARE`` times their share of the labels."""
    totals = [max(1, int(round_counts.sum())) for round_counts in rounds]
    beyond = [
        (round_counts > SHARE * shares * total) & (round_counts >= FEWEST)
        for round_counts, total in zip(rounds, totals, strict=True)
    ]
    new = beyond[-1] & ~beyond[0] if len(rounds) > 1 else beyond[-1]
    return [
        f"class {classes[index]!r} is predicted for {rounds[-1][index]:,} of {totals[-1]:,} images, "
        f"{rounds[-1][index] / totals[-1] / shares[index]:.1f} times its share of the labels"
        for index in np.flatnonzero(new).tolist()
    ]
