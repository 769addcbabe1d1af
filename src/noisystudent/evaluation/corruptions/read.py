"""Reads published sets of corrupted images: ImageNet-C, Tiny-ImageNet-C, CIFAR-10-C and CIFAR-100-C.

Hendrycks and Dietterich 2019. Folders are ``CORRUPTION/SEVERITY/CLASS/image.JPEG``, or one level deeper as in the
archives (``noise/gaussian_noise/1/...``). Arrays are ``CORRUPTION.npy``, uint8 [N, H, W, 3], with N / 5 images per
severity in ascending order, beside ``labels.npy``.
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
    """A published set of corrupted images, with a labeled source per corruption and severity.

    Attributes:
        name: the folder of the set, as given.
        arrays: whether the set consists of ``.npy`` files.
        ignored: the names of other files and folders beside the corruptions.
        severities: the severities on disk, by corruption.
    """

    def __init__(self, root: str | Path, *, known: Sequence[str], model_classes: Sequence[str]) -> None:
        """Finds the corruptions and severities of a set; sources are opened by ``source``.

        Args:
            root: the folder of the set.
            known: the names of corruptions.
            model_classes: the class of each model output. The numbers in ``labels.npy`` are indices into these, or
                their names if the names are the numbers from 0, in whatever order.

        Raises:
            DataError: the folder holds no such set.
        """
        parts = find_parts(root, known, SETTING)
        self.name = parts.name
        self.arrays = parts.arrays
        self.ignored = parts.ignored
        self.severities: Mapping[str, tuple[int, ...]] = {name: _severities(parts, name) for name in parts.paths}
        self._paths = parts.paths
        self._classes = _classes_by_number(model_classes)

    def source(self, corruption: str, severity: int) -> Source:
        """Opens the labeled images of one condition; an array is mapped into memory, not read.

        Args:
            corruption: a key of ``severities``.
            severity: a severity of that corruption.

        Returns:
            The source. For an array, its classes are those that occur in the labels.

        Raises:
            DataError: a file has another layout, such as labels of another length or beyond the model's classes.
        """
        path = self._paths[corruption]
        if self.arrays:
            return self._array_source(path, severity)
        return FolderSource(path / str(severity), labeled=True)

    def _array_source(self, path: Path, severity: int) -> ArraySource:
        root = str(path.parent)
        images = checked_images(root, path.name, map_array(path))
        count, rest = divmod(len(images), _SEVERITIES)
        if rest:
            raise DataError(
                f"{str(path)!r} has {len(images)} images, which is not a multiple of the {_SEVERITIES} severities. "
                "Give the whole published file."
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

    def _labels(self, array: Path, rows: int) -> npt.NDArray[np.int64]:
        path = array.with_name(f"{LABELS}.npy")
        if not path.is_file():
            raise DataError(f"There is no {path.name} beside {str(array)!r}. Copy it from the same archive.")
        return checked_labels(str(path.parent), path.name, map_array(path), rows=rows, classes=self._classes)


def _severities(parts: Parts, name: str) -> tuple[int, ...]:
    severities = range(1, _SEVERITIES + 1)
    return tuple(severity for severity in severities if parts.arrays or (parts.paths[name] / str(severity)).is_dir())


def _classes_by_number(classes: Sequence[str]) -> tuple[str, ...]:
    """The class of each number; classes named by the numbers from 0 are often sorted as text, 10 before 2."""
    numbers = tuple(map(str, range(len(classes))))
    return numbers if set(classes) == set(numbers) else tuple(classes)
