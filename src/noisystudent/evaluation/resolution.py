"""Accuracy over resolution: one model on one labeled source at several sizes of its input."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from noisystudent.data.source import Source
from noisystudent.errors import SettingsError
from noisystudent.evaluation.metrics.results import ScoresAtSize
from noisystudent.evaluation.scoring import score_source
from noisystudent.models.checkpoint_config import LARGEST_SIZE
from noisystudent.models.predictor import Predictor
from noisystudent.models.resolution import predictor_at
from noisystudent.runtime.process_group import ProcessGroup

SMALLEST_SIZE = 8  # pixels


def at_sizes(predictor: Predictor, sizes: Sequence[int]) -> tuple[Predictor, ...]:
    """A model at several sizes of its input, from the smallest; its views show the same share of an image at each.

    Args:
        predictor: the model.
        sizes: edges of the square input in pixels.

    Raises:
        SettingsError: A size is out of range, or given twice.
        ModelError: The model does not take images of a size.
    """
    for size in sizes:
        if not SMALLEST_SIZE <= size <= LARGEST_SIZE:
            raise SettingsError(f"--size has {size}; give edges in pixels from {SMALLEST_SIZE} to {LARGEST_SIZE}.")
        if sizes.count(size) > 1:
            raise SettingsError(f"--size has {size} more than once; give each size once.")
    return tuple(predictor_at(predictor, size) for size in sorted(sizes))


def score_at_sizes(
    predictors: Sequence[Predictor],
    source: str | Path | Source,
    *,
    max_corrupt_fraction: float,
    group: ProcessGroup,
) -> tuple[ScoresAtSize, ...]:
    """Scores what ``at_sizes`` gives on a labeled source; images are decoded anew for each size.

    Args:
        predictors: the model at each size.
        source: the labeled source.
        max_corrupt_fraction: largest tolerated fraction of unreadable images, 0 to 1.
        group: the processes that share the shards.
    """
    return tuple(
        ScoresAtSize.of(
            predictor.size,
            score_source(predictor, source, calibration=None, max_corrupt_fraction=max_corrupt_fraction, group=group),
        )
        for predictor in predictors
    )
