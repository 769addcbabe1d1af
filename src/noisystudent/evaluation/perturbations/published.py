"""How steady predictions are along sequences that were made already: ImageNet-P, Tiny-ImageNet-P and CIFAR-10-P."""

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
from noisystudent.evaluation.perturbations.metrics import StabilityMeter, compares_with_first
from noisystudent.evaluation.perturbations.read import Frames, PerturbedSet, Sequences
from noisystudent.evaluation.results_cache import ResultCache
from noisystudent.evaluation.settings import EvaluationSettings
from noisystudent.models.predictor import Predictor
from noisystudent.noise.crop import PlainView
from noisystudent.runtime.progress import Reporter

PUBLISHED = (*PERTURBATIONS, "spatter")  # the last is made nowhere here, and enters no mean
_FRAMES_AT_ONCE = 512  # shown together, of as many sequences as that takes


def published_stability(
    predictor: Predictor, settings: EvaluationSettings, cache: ResultCache, reporter: Reporter
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Stability by perturbation along the sequences that ``settings.perturbations_dir`` names, and what describes them.

    Measured are the named perturbations, or those of ImageNet-P's ten that are there; noise of difficulty 2 and 3 is
    read from the folder or file of that suffix. Raises ``DataError`` for a folder that holds no such set.
    """
    perturbed, names = perturbations_to_measure(settings)
    found: dict[str, dict[str, Any]] = {}
    sub = cache.sub("perturbations", {"source": "published", "difficulty": settings.difficulty})
    with reporter.bar("perturbations", len(names), "perturbations") as bar:
        for name in names:
            sequences = perturbed.sequences(_place(name, settings.difficulty))
            count = min(settings.max_images, sequences.count) or sequences.count
            inner = sub.sub(name, {"sequences": sequences.fingerprint, "count": count})
            found[name] = inner.numbers("stability", partial(_stability, predictor, settings, name, sequences, count))
            bar.advance(1)
    counts = {each["sequences"] for each in found.values()}
    return found, {
        "source": "published",
        "folder": settings.perturbations_dir,
        "ignored": list(perturbed.ignored),
        "table": None,
        "count": counts.pop() if len(counts) == 1 else None,
    }


def _place(name: str, difficulty: int) -> str:
    """The name of a perturbation's folder or file: only noise was made anew for each difficulty."""
    return f"{name}_{difficulty}" if compares_with_first(name) and difficulty > 1 else name


def perturbations_to_measure(settings: EvaluationSettings) -> tuple[PerturbedSet, tuple[str, ...]]:
    """The published set and what is measured of it: the named perturbations, or those of the ten that are there.

    Raises ``DataError`` for a folder that holds no such set, and where none, or not one that is named, is there at
    ``settings.difficulty``.
    """
    suffixes = [f"{name}_{difficulty}" for name in PUBLISHED if compares_with_first(name) for difficulty in (2, 3)]
    perturbed = PerturbedSet(settings.perturbations_dir, known=(*PUBLISHED, *suffixes))
    for name in settings.perturbations:
        if _place(name, settings.difficulty) not in perturbed.names:
            raise DataError(
                f"evaluation.perturbations names {name!r} at difficulty {settings.difficulty}, and {perturbed.name!r} "
                f"has no {_place(name, settings.difficulty)!r}.{nearest_name(name, perturbed.names)} There are "
                f"{', '.join(perturbed.names)}."
            )
    there = tuple(name for name in TEST_PERTURBATIONS if _place(name, settings.difficulty) in perturbed.names)
    if not (settings.perturbations or there):
        raise DataError(
            f"{perturbed.name!r} has none of ImageNet-P's ten at difficulty {settings.difficulty}, only "
            f"{', '.join(perturbed.names)}. Name those to measure in evaluation.perturbations."
        )
    return perturbed, settings.perturbations or there


def _stability(
    predictor: Predictor, settings: EvaluationSettings, name: str, sequences: Sequences, count: int
) -> dict[str, Any]:
    meter = StabilityMeter(noise=compares_with_first(name), lag=settings.difficulty)
    for answers in _answers(predictor, sequences, count):
        try:
            meter.add(answers)
        except DataError as error:
            raise DataError(f"evaluation.perturbations_dir, {name}: {error}") from error
    return asdict(meter.result())


def _answers(predictor: Predictor, sequences: Sequences, count: int) -> Iterator[npt.NDArray[np.float32]]:
    """The log-probabilities [frames, K] of ``count`` sequences, evenly spread, one after another."""
    waiting: list[Tensor] = []
    for number in evenly_spread(sequences.count, count).tolist():
        waiting.append(_views(sequences.frames(number), predictor))
        if sum(map(len, waiting)) >= _FRAMES_AT_ONCE:
            yield from _answered(predictor, waiting)
            waiting = []
    if waiting:
        yield from _answered(predictor, waiting)


def _answered(predictor: Predictor, waiting: list[Tensor]) -> list[npt.NDArray[np.float32]]:
    ends = np.cumsum([len(each) for each in waiting])[:-1]
    return np.split(predictor.log_probabilities(torch.cat(waiting)), ends)


def _views(frames: Frames, predictor: Predictor) -> Tensor:
    """A sequence as the subject sees it, whole: uint8 [frames, C, size, size]."""
    format: ImageFormat = replace(predictor.format, whole=True)
    pixels = torch.from_numpy(np.stack([stored_pixels(frame, format) for frame in frames]))
    sizes = torch.tensor(pixels.shape[-2:], dtype=torch.int64).expand(len(pixels), 2)
    views: Tensor = PlainView(predictor.size)(pixels, sizes)
    return views
