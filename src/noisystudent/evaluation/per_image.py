"""How pictures fare when a subject looks at them: one by one, so that any measure can be taken later."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from noisystudent.evaluation.eval_dataset import Audience, Sitting
from noisystudent.evaluation.metrics.accuracy import ranks
from noisystudent.evaluation.metrics.calibration import losses, squared_distances
from noisystudent.evaluation.metrics.temperature import fit_temperature, retempered
from noisystudent.evaluation.subject import Subject

FITTED = 2500  # pictures of each half that a temperature is fitted on at most: T is then known to a percent or two

Floats = npt.NDArray[np.floating]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Confidence:
    """How sure the answers are and how far that fits, [N] each.

    ``top`` is the largest probability, ``loss`` -log p(true class), ``distance`` the squared one of Brier's score.
    """

    top: Floats
    loss: Floats
    distance: Floats


@dataclass(frozen=True)
class Outcomes:
    """How each of N pictures fared under one condition: whether the first answer is right, and one of the first five.

    ``plain`` is the subject's confidence, ``scaled`` that at the ``Temperatures`` of its audience.
    """

    right: Bools
    among_five: Bools
    plain: Confidence
    scaled: Confidence


@dataclass(frozen=True)
class Temperatures:
    """The temperatures of the two halves of an audience, each fitted on clean pictures of the other half.

    A picture's half is that of its address, so it has the same temperature under every condition, and none has one that
    was fitted on it.
    """

    even: float
    odd: float

    def of(self, index: npt.NDArray[np.int64]) -> Floats:
        """The temperature of each picture [N] by its address."""
        return np.where(index % 2 == 0, self.even, self.odd)

    @classmethod
    def fitted(cls, subject: Subject, audience: Audience) -> Temperatures:
        """Fits both on at most ``FITTED`` clean pictures each, drawn by their addresses; 1 where a half has none."""
        every = max(1, audience.count // (2 * FITTED))
        values, labels, index = [], [], []
        for sitting in audience.sittings(subject.size, subject.device):
            addresses = sitting.index.cpu().numpy()
            taken = (addresses // 2) % every == 0
            values.append(subject.log_probabilities(sitting.views)[taken])
            labels.append(sitting.labels[taken])
            index.append(addresses[taken])
        rows, true, odd = np.concatenate(values), np.concatenate(labels), np.concatenate(index) % 2 == 1

        def fit(half: Bools) -> float:
            return fit_temperature(rows[half], true[half]) if half.any() else 1.0

        return cls(even=fit(odd), odd=fit(~odd))


def look(
    subject: Subject, audience: Audience, temperatures: Temperatures, change: Callable[[Sitting], Tensor]
) -> Outcomes:
    """How each picture fares after ``change``, which gives the views [N, C, S, S] to be shown."""
    return joined(_looks(subject, audience, temperatures, change))


def _looks(
    subject: Subject, audience: Audience, temperatures: Temperatures, change: Callable[[Sitting], Tensor]
) -> Iterator[Outcomes]:
    for sitting in audience.sittings(subject.size, subject.device):
        rows = subject.log_probabilities(change(sitting))
        places = ranks(rows, sitting.labels)
        scaled = retempered(rows, temperatures.of(sitting.index.cpu().numpy())[:, None])
        yield Outcomes(places == 0, places < 5, _confidence(rows, sitting), _confidence(scaled, sitting))


def _confidence(rows: Floats, sitting: Sitting) -> Confidence:
    found = np.exp(rows.max(axis=1)), losses(rows, sitting.labels), squared_distances(rows, sitting.labels)
    return Confidence(*(each.astype(np.float32) for each in found))


def joined(parts: Iterable[Outcomes]) -> Outcomes:
    """The outcomes of several lots of pictures, or conditions, as one."""
    parts = list(parts)

    def confidence(some: list[Confidence]) -> Confidence:
        return Confidence(
            np.concatenate([each.top for each in some]),
            np.concatenate([each.loss for each in some]),
            np.concatenate([each.distance for each in some]),
        )

    return Outcomes(
        np.concatenate([each.right for each in parts]),
        np.concatenate([each.among_five for each in parts]),
        confidence([each.plain for each in parts]),
        confidence([each.scaled for each in parts]),
    )
