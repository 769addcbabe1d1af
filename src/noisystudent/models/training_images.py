"""Which labeled images a checkpoint was trained on: a digest of each, in a small file beside the weights.

Scores on these images are too high, and confidences on them too, so commands that predict say how many they meet. The
digests are of decoded pixels in the model's own format, so another name or file format does not hide an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

TRAINING_IMAGES = "training-images.npy"
MOST_IMAGES = 1_000_000  # the file then has 8 MB

Digests = npt.NDArray[np.uint64]


def write_training_images(folder: Path, digests: Sequence[str]) -> None:
    """Writes the digests of the labeled images, 8 bytes each; nothing where there are none or too many."""
    if 0 < len(digests) <= MOST_IMAGES:
        np.save(folder / TRAINING_IMAGES, np.unique(_shortened(digests)))


def read_training_images(folder: Path) -> Digests | None:
    """The digests of a checkpoint's labeled images; None where they are not recorded, or not readably."""
    try:
        digests = np.load(folder / TRAINING_IMAGES, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return digests if digests.dtype == np.uint64 and digests.ndim == 1 else None


def count_training_images(digests: Sequence[str], known: Digests | None) -> int | None:
    """How many of some images are among the ``known`` ones of a checkpoint; None where it has no record."""
    return None if known is None else int(np.isin(_shortened(digests), known).sum())


def _shortened(digests: Sequence[str]) -> Digests:
    return np.array([int(digest[:16], 16) for digest in digests], np.uint64)
