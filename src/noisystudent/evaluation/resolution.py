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


def check_sizes(predictor: Predictor, sizes: Sequence[int]) -> None:
    """Raises ``SettingsError`` for sizes that are none, ``ModelError`` for those that a model does not take."""
    for size in sizes:
        if not SMALLEST_SIZE <= size <= LARGEST_SIZE:
            raise SettingsError(f"--size has {size}; give edges in pixels from {SMALLEST_SIZE} to {LARGEST_SIZE}.")
        if sizes.count(size) > 1:
            raise SettingsError(f"--size has {size} more than once; give each size once.")
        predictor_at(predictor, size)


def score_at_sizes(
    predictor: Predictor,
    source: str | Path | Source,
    sizes: Sequence[int],
    *,
    max_corrupt_fraction: float,
    group: ProcessGroup,
) -> tuple[ScoresAtSize, ...]:
    """Scores a model at several sizes of its input, from the smallest; images are decoded anew for each.

    Args:
        predictor: the model; its views show the same share of an image at every size.
        source: the labeled source.
        sizes: edges of the square input in pixels.
        max_corrupt_fraction: largest tolerated fraction of unreadable images, 0 to 1.
        group: the processes that share the shards.

    Raises:
        SettingsError: A size is none.
        ModelError: The model does not take images of a size.
    """
    check_sizes(predictor, sizes)
    scores = []
    for size in sorted(sizes):
        at_size = predictor_at(predictor, size)
        result = score_source(at_size, source, calibration=None, max_corrupt_fraction=max_corrupt_fraction, group=group)
        scores.append(ScoresAtSize.of(size, result))
    return tuple(scores)
