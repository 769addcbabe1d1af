"""What every source of images gives: an ordered list of shards, each an ordered list of records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

SHARD_ROWS = 1024  # most rows in a shard: the unit of decoding and labeling
NO_LABEL = -1
LARGEST_IMAGE_BYTES = 2**30  # no image within the pixel limit of decode.py is larger, not even as BMP


@dataclass(frozen=True, slots=True)
class Record:
    """One image as its source holds it, not yet decoded.

    ``image`` is the bytes of an image file, or uint8 [H, W] (gray) or [H, W, 3] (RGB). ``label`` is the
    row of the source's ``classes``, or -1 for none. ``problem`` says why the bytes could not be read; it is
    empty when all is well.
    """

    key: str
    image: bytes | npt.NDArray[np.uint8]
    label: int
    problem: str = ""


class Source(Protocol):
    """Where images come from: keys are unique and stable, shards and rows keep their order."""

    @property
    def name(self) -> str:
        """What the user typed."""

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Class names in the order of the labels, or None for an unlabeled source."""

    @property
    def fingerprint(self) -> str:
        """Hexadecimal text that changes when the images, their names or their labels change."""

    @property
    def shard_sizes(self) -> tuple[int, ...]:
        """Rows of each shard (1 to 1024), known without decoding anything."""

    @property
    def files(self) -> Mapping[str, str]:
        """What identifies each file that holds many images, by name, so that one that changed is named."""

    def read(self, shard: int) -> Iterator[Record]:
        """The records of one shard, in order, each as soon as it is read."""

    def truth(self, classes: Sequence[str]) -> dict[str, str] | None:
        """The class name that each key is known to have, for reports only, or None.

        An unlabeled source never shows what it knows in its records. It tells it here, if it knows the class
        of every image and each is one of ``classes``, so that a report can say how right the pseudo labels
        were.
        """


def cut_shards(rows: int) -> tuple[int, ...]:
    """The sizes of the shards that ``rows`` rows are cut into: all of 1024 but the last."""
    return tuple(min(SHARD_ROWS, rows - start) for start in range(0, rows, SHARD_ROWS))


def shard_slice(shard: int) -> slice:
    """The rows of shard ``shard`` when rows are cut by ``cut_shards``."""
    return slice(shard * SHARD_ROWS, (shard + 1) * SHARD_ROWS)


def says_too_large(size: int) -> str:
    """Why a file of ``size`` bytes is not read, or nothing when it may be an image."""
    if size <= LARGEST_IMAGE_BYTES:
        return ""
    return f"it has {size / 2**30:.1f} GiB, more than any image allowed here"
