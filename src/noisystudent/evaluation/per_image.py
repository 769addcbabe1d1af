"""Per-image results of a model under one condition, from which every measure can be computed later."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from noisystudent.evaluation.eval_dataset import EvalBatch, EvalDataset
from noisystudent.evaluation.metrics.accuracy import ranks
from noisystudent.evaluation.metrics.calibration import losses, squared_distances
from noisystudent.evaluation.metrics.temperature import apply_temperature, fit_temperature
from noisystudent.models.predictor import Predictor

FIT_IMAGES = 2500  # the most images of a half that a temperature is fitted on; T is then known to 1 or 2 percent

Floats = npt.NDArray[np.floating]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Confidence:
    """The confidence of N predictions and how well it fits.

    Attributes:
        top: the largest probability [N].
        loss: -log p(true class) [N], in nats.
        distance: the squared distance of the Brier score [N], from 0 to 2.
    """

    top: Floats
    loss: Floats
    distance: Floats


@dataclass(frozen=True)
class PerImageResults:
    """The results of N images under one condition.

    Attributes:
        correct: whether the most probable class is the true one, bool [N].
        top5_correct: whether the true class is among the five most probable ones, bool [N].
        plain: the confidence of the model's predictions.
        scaled: the confidence at the ``Temperatures`` of the dataset.
    """

    correct: Bools
    top5_correct: Bools
    plain: Confidence
    scaled: Confidence


@dataclass(frozen=True)
class Temperatures:
    """The temperatures of the two halves of a dataset, each fitted on the clean images of the other half.

    An image's half depends on its address alone. So an image has the same temperature under every condition, and no
    temperature is applied to the images that it was fitted on.
    """

    even: float
    odd: float

    def of(self, index: npt.NDArray[np.int64]) -> Floats:
        """The temperature of each image by its address [N]."""
        return np.where(index % 2 == 0, self.even, self.odd)

    @classmethod
    def fit(cls, predictor: Predictor, dataset: EvalDataset) -> Temperatures:
        """Fits both temperatures, each on at most ``FIT_IMAGES`` clean images that are sampled by their addresses.

        Args:
            predictor: the model.
            dataset: the clean images.

        Returns:
            The temperatures; 1 where the other half has no images.
        """
        every = max(1, -(-dataset.count // (2 * FIT_IMAGES)))
        values, labels, index = [], [], []
        for batch in dataset.batches(predictor.view, predictor.device):
            addresses = batch.index.cpu().numpy()
            sampled = (addresses // 2) % every == 0
            if not sampled.any():
                continue
            views = batch.views[torch.from_numpy(sampled).to(batch.views.device)]
            values.append(predictor.log_probabilities_of_views(views))
            labels.append(batch.labels[sampled])
            index.append(addresses[sampled])
        rows, true, odd = np.concatenate(values), np.concatenate(labels), np.concatenate(index) % 2 == 1

        def fit_half(half: Bools) -> float:
            return fit_temperature(rows[half], true[half]) if half.any() else 1.0

        return cls(even=fit_half(odd), odd=fit_half(~odd))


def evaluate_images(
    predictor: Predictor, dataset: EvalDataset, temperatures: Temperatures, change: Callable[[EvalBatch], Tensor]
) -> PerImageResults:
    """Evaluates each image after a change, such as a corruption.

    Args:
        predictor: the model.
        dataset: the images.
        temperatures: the temperatures of the dataset's halves.
        change: gives the views that the model sees, uint8 [N, C, S, S], of a batch.

    Returns:
        The results, one row per readable image, in order.
    """
    return concatenate_results(_evaluate_batches(predictor, dataset, temperatures, change))


def _evaluate_batches(
    predictor: Predictor, dataset: EvalDataset, temperatures: Temperatures, change: Callable[[EvalBatch], Tensor]
) -> Iterator[PerImageResults]:
    for batch in dataset.batches(predictor.view, predictor.device):
        rows = predictor.log_probabilities_of_views(change(batch))
        rank = ranks(rows, batch.labels)
        scaled = apply_temperature(rows, temperatures.of(batch.index.cpu().numpy())[:, None])
        yield PerImageResults(rank == 0, rank < 5, _confidence(rows, batch), _confidence(scaled, batch))


def _confidence(rows: Floats, batch: EvalBatch) -> Confidence:
    columns = np.exp(rows.max(axis=1)), losses(rows, batch.labels), squared_distances(rows, batch.labels)
    return Confidence(*(column.astype(np.float32) for column in columns))


def concatenate_results(parts: Iterable[PerImageResults]) -> PerImageResults:
    """Concatenates the results of several batches of images, or of several conditions."""
    parts = list(parts)

    def concatenate(confidences: list[Confidence]) -> Confidence:
        return Confidence(
            np.concatenate([confidence.top for confidence in confidences]),
            np.concatenate([confidence.loss for confidence in confidences]),
            np.concatenate([confidence.distance for confidence in confidences]),
        )

    return PerImageResults(
        np.concatenate([part.correct for part in parts]),
        np.concatenate([part.top5_correct for part in parts]),
        concatenate([part.plain for part in parts]),
        concatenate([part.scaled for part in parts]),
    )
