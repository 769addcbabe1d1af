"""Images that were corrupted already: ImageNet-C, Tiny-ImageNet-C, CIFAR-10-C and CIFAR-100-C as they are published.

Hendrycks and Dietterich 2019. Folders are ``CORRUPTION/SEVERITY/CLASS/image.JPEG``, also one folder deeper as the
archives unpack (``noise/gaussian_noise/1/...``). Arrays are ``CORRUPTION.npy``, uint8 [N, H, W, 3] with the images
of severity 1 first, N / 5 of each, beside ``labels.npy``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from noisystudent.data.source import Source
from noisystudent.data.sources.arrays import ArraySource, checked_images, checked_labels
from noisystudent.data.sources.folder import FolderSource
from noisystudent.errors import DataError
from noisystudent.evaluation.published_sets import LABELS, Parts, find_parts, map_array

SETTING = "evaluation.corruptions_dir"
_SEVERITIES = 5


class CorruptedSet:
    """The conditions of a published set, each a labeled source that is opened when it is asked for.

    ``known`` are the names of corruptions, ``model_classes`` the classes that the numbers of ``labels.npy`` count: by
    their places, or by their names where these are the numbers from 0 themselves, whatever their order. ``severities``
    has those that are there, by corruption. Raises ``DataError`` for a folder that holds no such set.
    """

    def __init__(self, root: str | Path, *, known: Sequence[str], model_classes: Sequence[str]) -> None:
        parts = find_parts(root, known, SETTING)
        self.name = parts.name
        self.arrays = parts.arrays
        self.ignored = parts.ignored
        self.severities: Mapping[str, tuple[int, ...]] = {name: _severities(parts, name) for name in parts.places}
        self._places = parts.places
        self._classes = _by_number(model_classes)

    def source(self, corruption: str, severity: int) -> Source:
        """The images of one condition with their classes; an array stays mapped, none of it is read.

        The classes of an array are those of its labels that occur. Raises ``DataError`` for a file that is none of the
        layout, such as labels of another length or beyond the model's classes.
        """
        place = self._places[corruption]
        return self._slice(place, severity) if self.arrays else FolderSource(place / str(severity), labeled=True)

    def _slice(self, path: Path, severity: int) -> ArraySource:
        root = str(path.parent)
        images = checked_images(root, path.name, map_array(path))
        count, rest = divmod(len(images), _SEVERITIES)
        if rest:
            raise DataError(
                f"{str(path)!r} has {len(images)} images, which are not as many for each of the {_SEVERITIES} "
                "severities. Give the whole published file."
            )
        rows = slice((severity - 1) * count, severity * count)
        numbers, labels = np.unique(self._labels(path, len(images))[rows], return_inverse=True)
        return ArraySource(
            f"{path}, severity {severity}",
            images[rows],
            keys=[f"{row:06d}" for row in range(count)],
            labels=labels.astype(np.int64),
            classes=tuple(self._classes[number] for number in numbers),
            labeled=True,
        )

    def _labels(self, images: Path, rows: int) -> npt.NDArray[np.int64]:
        path = images.with_name(f"{LABELS}.npy")
        if not path.is_file():
            raise DataError(f"There is no {path.name} beside {str(images)!r}. Take it from the same archive.")
        return checked_labels(str(path.parent), path.name, map_array(path), rows=rows, classes=self._classes)


def _severities(parts: Parts, name: str) -> tuple[int, ...]:
    numbers = range(1, _SEVERITIES + 1)
    return tuple(each for each in numbers if parts.arrays or (parts.places[name] / str(each)).is_dir())


def _by_number(classes: Sequence[str]) -> tuple[str, ...]:
    """The class of each number: classes that are named by the numbers from 0 are often sorted as text, 10 before 2."""
    numbers = tuple(map(str, range(len(classes))))
    return numbers if set(classes) == set(numbers) else tuple(classes)
