"""How images fare when a subject looks at them: one by one, so that any measure can be taken later."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from noisystudent.evaluation.eval_dataset import EvalBatch, EvalDataset
from noisystudent.evaluation.metrics.accuracy import ranks
from noisystudent.evaluation.metrics.calibration import losses, squared_distances
from noisystudent.evaluation.metrics.temperature import apply_temperature, fit_temperature
from noisystudent.models.predictor import Predictor

FITTED = 2500  # images of each half that a temperature is fitted on at most: T is then known to a percent or two

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
class PerImageResults:
    """How each of N images fared under one condition: whether the first answer is right, and one of the first five.

    ``plain`` is the subject's confidence, ``scaled`` that at the ``Temperatures`` of its audience.
    """

    correct: Bools
    top5_correct: Bools
    plain: Confidence
    scaled: Confidence


@dataclass(frozen=True)
class Temperatures:
    """The temperatures of the two halves of an audience, each fitted on clean images of the other half.

    An image's half is that of its address, so it has the same temperature under every condition, and none has one that
    was fitted on it.
    """

    even: float
    odd: float

    def of(self, index: npt.NDArray[np.int64]) -> Floats:
        """The temperature of each image [N] by its address."""
        return np.where(index % 2 == 0, self.even, self.odd)

    @classmethod
    def fitted(cls, predictor: Predictor, dataset: EvalDataset) -> Temperatures:
        """Fits both on at most ``FITTED`` clean images each, drawn by their addresses; 1 where a half has none."""
        every = max(1, dataset.count // (2 * FITTED))
        values, labels, index = [], [], []
        for batch in dataset.batches(predictor.size, predictor.device):
            addresses = batch.index.cpu().numpy()
            taken = (addresses // 2) % every == 0
            values.append(predictor.log_probabilities(batch.views)[taken])
            labels.append(batch.labels[taken])
            index.append(addresses[taken])
        rows, true, odd = np.concatenate(values), np.concatenate(labels), np.concatenate(index) % 2 == 1

        def fit(half: Bools) -> float:
            return fit_temperature(rows[half], true[half]) if half.any() else 1.0

        return cls(even=fit(odd), odd=fit(~odd))


def evaluate_images(
    predictor: Predictor, dataset: EvalDataset, temperatures: Temperatures, change: Callable[[EvalBatch], Tensor]
) -> PerImageResults:
    """How each image fares after ``change``, which gives the views [N, C, S, S] to be shown."""
    return concatenated(_evaluate_batches(predictor, dataset, temperatures, change))


def _evaluate_batches(
    predictor: Predictor, dataset: EvalDataset, temperatures: Temperatures, change: Callable[[EvalBatch], Tensor]
) -> Iterator[PerImageResults]:
    for batch in dataset.batches(predictor.size, predictor.device):
        rows = predictor.log_probabilities(change(batch))
        places = ranks(rows, batch.labels)
        scaled = apply_temperature(rows, temperatures.of(batch.index.cpu().numpy())[:, None])
        yield PerImageResults(places == 0, places < 5, _confidence(rows, batch), _confidence(scaled, batch))


def _confidence(rows: Floats, batch: EvalBatch) -> Confidence:
    found = np.exp(rows.max(axis=1)), losses(rows, batch.labels), squared_distances(rows, batch.labels)
    return Confidence(*(each.astype(np.float32) for each in found))


def concatenated(parts: Iterable[PerImageResults]) -> PerImageResults:
    """The outcomes of several lots of images, or conditions, as one."""
    parts = list(parts)

    def confidence(some: list[Confidence]) -> Confidence:
        return Confidence(
            np.concatenate([each.top for each in some]),
            np.concatenate([each.loss for each in some]),
            np.concatenate([each.distance for each in some]),
        )

    return PerImageResults(
        np.concatenate([each.correct for each in parts]),
        np.concatenate([each.top5_correct for each in parts]),
        confidence([each.plain for each in parts]),
        confidence([each.scaled for each in parts]),
    )
