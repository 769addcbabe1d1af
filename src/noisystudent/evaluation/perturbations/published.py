"""Prediction stability on published sequences: ImageNet-P, Tiny-ImageNet-P and CIFAR-10-P."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from noisystudent.data.images import ImageFormat, stored_pixels
from noisystudent.data.sample import evenly_spread
from noisystudent.errors import DataError, nearest_name
from noisystudent.evaluation.corruptions.tables import PERTURBATIONS, TEST_PERTURBATIONS
from noisystudent.evaluation.perturbations.metrics import SequenceStability, StabilityMeter, compares_with_first
from noisystudent.evaluation.perturbations.read import Frames, PerturbedSet, Sequences
from noisystudent.evaluation.perturbations.results import PerturbationResult
from noisystudent.evaluation.results_cache import ResultCache
from noisystudent.evaluation.settings import EvaluationSettings
from noisystudent.models.predictor import Predictor
from noisystudent.noise.crop import PlainView
from noisystudent.runtime.progress import Reporter

PUBLISHED = (*PERTURBATIONS, "spatter")  # spatter can be read but not generated, and is excluded from all means
_BATCH_FRAMES = 512  # smallest number of frames per batch, of one or more sequences


def published_stability(
    predictor: Predictor, settings: EvaluationSettings, cache: ResultCache, reporter: Reporter
) -> PerturbationResult:
    """Measures the stability on the published set that ``settings.perturbations_dir`` names.

    Noise of difficulty 2 and 3 is read from the folder or file with that suffix.

    Args:
        predictor: the model to evaluate.
        settings: the evaluation settings.
        cache: where finished perturbations are stored.
        reporter: shows progress.

    Returns:
        The stability by perturbation, without means.

    Raises:
        DataError: the folder holds no such set, or lacks a perturbation to measure.
    """
    perturbed, names = perturbations_to_measure(settings)
    stability: dict[str, SequenceStability] = {}
    sub = cache.sub("perturbations", {"source": "published", "difficulty": settings.difficulty})
    with reporter.bar("perturbations", len(names), "perturbations") as bar:
        for name in names:
            sequences = perturbed.sequences(_part_name(name, settings.difficulty))
            count = min(settings.max_images, sequences.count) or sequences.count
            entry = sub.sub(name, {"sequences": sequences.fingerprint, "count": count})
            measure = partial(_stability, predictor, settings, name, sequences, count)
            stability[name] = SequenceStability(**entry.numbers("stability", measure))
            bar.advance(1)
    counts = {result.sequences for result in stability.values()}
    return PerturbationResult(
        source="published",
        perturbations=stability,
        difficulty=settings.difficulty,
        count=counts.pop() if len(counts) == 1 else None,
        folder=settings.perturbations_dir,
        ignored=perturbed.ignored,
    )


def _part_name(name: str, difficulty: int) -> str:
    """The name of a perturbation's folder or file: only noise has separate ones per difficulty."""
    return f"{name}_{difficulty}" if compares_with_first(name) and difficulty > 1 else name


def perturbations_to_measure(settings: EvaluationSettings) -> tuple[PerturbedSet, tuple[str, ...]]:
    """Opens the published set and chooses the perturbations to measure: the named ones, or those of the ten on disk.

    Args:
        settings: the evaluation settings.

    Returns:
        The set, and the names of the perturbations.

    Raises:
        DataError: the folder holds no such set, or has no perturbation, or not a named one, at ``settings.difficulty``.
    """
    suffixes = [f"{name}_{difficulty}" for name in PUBLISHED if compares_with_first(name) for difficulty in (2, 3)]
    perturbed = PerturbedSet(settings.perturbations_dir, known=(*PUBLISHED, *suffixes))
    for name in settings.perturbations:
        if _part_name(name, settings.difficulty) not in perturbed.names:
            raise DataError(
                f"evaluation.perturbations names {name!r} at difficulty {settings.difficulty}, and {perturbed.name!r} "
                f"has no {_part_name(name, settings.difficulty)!r}.{nearest_name(name, perturbed.names)} It has "
                f"{', '.join(perturbed.names)}."
            )
    available = tuple(name for name in TEST_PERTURBATIONS if _part_name(name, settings.difficulty) in perturbed.names)
    if not (settings.perturbations or available):
        raise DataError(
            f"{perturbed.name!r} has none of ImageNet-P's ten perturbations at difficulty {settings.difficulty}, only "
            f"{', '.join(perturbed.names)}. Name those to measure in evaluation.perturbations."
        )
    return perturbed, settings.perturbations or available


def _stability(
    predictor: Predictor, settings: EvaluationSettings, name: str, sequences: Sequences, count: int
) -> dict[str, Any]:
    meter = StabilityMeter(noise=compares_with_first(name), lag=settings.difficulty)
    for log_probabilities in _log_probabilities(predictor, sequences, count):
        try:
            meter.add(log_probabilities)
        except DataError as error:
            raise DataError(f"evaluation.perturbations_dir, {name}: {error}") from error
    return asdict(meter.result())


def _log_probabilities(predictor: Predictor, sequences: Sequences, count: int) -> Iterator[npt.NDArray[np.float32]]:
    """The log-probabilities [frames, K] of ``count`` evenly spread sequences, one after another."""
    batch: list[Tensor] = []
    for number in evenly_spread(sequences.count, count).tolist():
        batch.append(_views(sequences.frames(number), predictor))
        if sum(map(len, batch)) >= _BATCH_FRAMES:
            yield from _predict(predictor, batch)
            batch = []
    if batch:
        yield from _predict(predictor, batch)


def _predict(predictor: Predictor, batch: list[Tensor]) -> list[npt.NDArray[np.float32]]:
    ends = np.cumsum([len(views) for views in batch])[:-1]
    return np.split(predictor.log_probabilities_of_views(torch.cat(batch)), ends)


def _views(frames: Frames, predictor: Predictor) -> Tensor:
    """The frames of a sequence at the predictor's size, without a crop margin: uint8 [frames, C, size, size]."""
    format: ImageFormat = replace(predictor.format, whole=True)
    pixels = torch.from_numpy(np.stack([stored_pixels(frame, format) for frame in frames]))
    sizes = torch.tensor(pixels.shape[-2:], dtype=torch.int64).expand(len(pixels), 2)
    views: Tensor = PlainView(predictor.size)(pixels, sizes)
    return views
