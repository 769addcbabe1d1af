"""Images in arrays: a source for arrays in memory, and ``.npz`` files."""

from __future__ import annotations

import hashlib
import math
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from noisystudent.data.source import NO_LABEL, PassedOver, Record, count_labels, cut_shards, printable, shard_slice
from noisystudent.data.sources.labels import in_one_form
from noisystudent.data.sources.tables import RowLabels, label_texts, resolve_labels
from noisystudent.errors import DataError, nearest_name

# Names of the arrays of images and labels, by the requested part of the file.
_PARTS = {
    "train": (("x_train", "y_train"),),
    "test": (("x_test", "y_test"),),
    "": (("x_train", "y_train"), ("x", "y"), ("images", "labels")),
}

_UNREADABLE = (OSError, ValueError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error)


class ArraySource:
    """Images in memory: uint8 [N, H, W] (gray) or [N, H, W, 3] (RGB).

    ``labels`` are indices into ``classes``. An unlabeled source may have both, too: only ``truth`` then returns them,
    and the records have no labels.
    """

    def __init__(
        self,
        name: str,
        images: npt.NDArray[np.uint8],
        *,
        keys: Sequence[str],
        labels: npt.NDArray[np.int64] | None,
        classes: tuple[str, ...] | None,
        labeled: bool,
        passed_over: tuple[PassedOver, ...] = (),
    ) -> None:
        assert len(keys) == len(images) > 0
        self.name = name
        self.classes: tuple[str, ...] | None = classes if labeled else None
        self.shard_sizes: tuple[int, ...] = cut_shards(len(images))
        self.passed_over = passed_over
        self.notes: tuple[str, ...] = ()
        self.files: Mapping[str, str] = {}
        self._images, self._keys = images, tuple(keys)
        self._record_labels = labels if labeled else None
        self._labels, self._known_classes = labels, classes

    @cached_property
    def fingerprint(self) -> str:
        """Changes if a pixel, a key or, in a labeled source, a label or a class name changes."""
        total = hashlib.sha256(f"arrays\0{self._images.shape}\0{self._keys}\0{self.classes}\0".encode())
        total.update(np.ascontiguousarray(self._images).ravel().data)
        if self._record_labels is not None:
            total.update(self._record_labels.tobytes())
        return total.hexdigest()

    def read(self, shard: int) -> Iterator[Record]:
        """The records of one shard; their images are views of the array."""
        rows = shard_slice(shard)
        for row, key in enumerate(self._keys[rows], start=rows.start):
            label = NO_LABEL if self._record_labels is None else int(self._record_labels[row])
            yield Record(key, self._images[row], label)

    def keys(self, shard: int) -> Sequence[str]:
        """The keys of one shard, in order."""
        return self._keys[shard_slice(shard)]

    def count_labels(self) -> list[int]:
        """The number of images per class, in the order of ``classes``."""
        return count_labels(self._record_labels, len(self.classes or ()))

    def truth(self, classes: Sequence[str]) -> dict[str, str] | None:
        """The class name of each key, for reports only, or None unless each is one of ``classes``."""
        if self._labels is None or self._known_classes is None:
            return None
        names = [self._known_classes[label] for label in self._labels]
        return dict(zip(self._keys, names, strict=True)) if set(names) <= set(classes) else None


def open_npz(path: str | Path, part: str = "", *, labeled: bool) -> ArraySource:
    """Opens one part of a ``.npz`` file as a source; its keys are row numbers, such as ``000123``.

    The file has images, uint8 [N, H, W], [N, H, W, 1] or [N, H, W, 3], and labels, whole numbers or names [N], under
    the names ``x_train`` and ``y_train``, ``x_test`` and ``y_test``, or, if no part is requested, also ``x`` and ``y``
    or ``images`` and ``labels``. The array ``classes`` has the class names; without it, the labels that are there are
    the classes. Images without a label (-1, NaN) are left out of a labeled source. Arrays of Python objects are never
    loaded.

    Args:
        path: the file.
        part: ``train``, ``test`` or empty.
        labeled: whether the records have labels.

    Raises:
        DataError: the file is unreadable, or an array is missing or has another shape or type.
    """
    name = printable(f"{path}:{part}" if part else str(path))
    if part not in _PARTS:
        raise DataError(
            f"There is no part {part!r} of {str(path)!r}; parts are 'train' and 'test'.{nearest_name(part, _PARTS)}"
        )
    arrays = _load_arrays(name, Path(path).expanduser())
    images_name, labels_name = _array_names(name, part, arrays)
    images = checked_images(name, images_name, arrays[images_name])
    classes = _class_names(name, arrays)
    width = max(6, len(str(len(images) - 1)))
    keys = [f"{row:0{width}d}" for row in range(len(images))]
    if labels_name not in arrays:
        if labeled:
            raise DataError(
                f"{name!r} is given as labeled but holds no array {labels_name!r}. Add it: one label per image."
            )
        return ArraySource(name, images, keys=keys, labels=None, classes=None, labeled=False)
    try:
        labels = _resolved_labels(name, labels_name, arrays[labels_name], keys, classes)
    except DataError:
        if labeled:
            raise
        return ArraySource(name, images, keys=keys, labels=None, classes=None, labeled=False)
    kept = labels.kept
    if len(kept) == len(images):
        return ArraySource(
            name, images, keys=keys, labels=labels.by_row, classes=labels.classes, labeled=labeled,
            passed_over=labels.passed_over if labeled else (),
        )  # fmt: skip
    if not labeled:  # some images have no label, so the labels are of no use
        return ArraySource(name, images, keys=keys, labels=None, classes=None, labeled=False)
    return ArraySource(
        name, images[kept], keys=[keys[row] for row in kept], labels=labels.by_row[kept], classes=labels.classes,
        labeled=True, passed_over=labels.passed_over,
    )  # fmt: skip


def _load_arrays(name: str, path: Path) -> dict[str, npt.NDArray[np.generic]]:
    """All arrays in a ``.npz`` file; ``DataError`` for arrays of Python objects, because loading them runs code."""
    try:
        with zipfile.ZipFile(path) as file:  # a bare array under this name would load too, but not as a dictionary
            _check_declared_sizes(name, file)
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except _UNREADABLE as error:
        raise DataError(
            f"{name!r} cannot be read as a .npz file of plain arrays ({error}). Save uint8 images and "
            "integer labels with numpy.savez_compressed."
        ) from error


def _check_declared_sizes(name: str, file: zipfile.ZipFile) -> None:
    """Raises ``DataError`` if the arrays are larger than memory, or ``ValueError`` if larger than what the file holds.

    NumPy would allocate whatever a header of a few bytes declares.
    """
    total = 0
    for member in file.infolist():
        if member.filename.endswith(".npy"):
            with file.open(member) as content:
                size = _declared_size(content)
            if size > member.file_size:
                raise ValueError(f"{member.filename} declares {size:,} bytes and holds {member.file_size:,}")
            total += size
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if total > memory:
        raise DataError(
            f"The arrays of {name!r} need {total / 1e9:,.1f} GB, and this machine has {memory / 1e9:,.1f} GB of "
            "memory. Save the images in several files, or as image files."
        )


def _declared_size(content: IO[bytes]) -> int:
    """The bytes of the array that the header of an ``.npy`` file declares."""
    version = np.lib.format.read_magic(content)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(content)
    return math.prod(map(int, shape)) * int(dtype.itemsize)


def _array_names(name: str, part: str, present: Iterable[str]) -> tuple[str, str]:
    """The names of the arrays of images and labels to read."""
    for images_name, labels_name in _PARTS[part]:
        if images_name in present:
            return images_name, labels_name
    allowed = " or ".join(repr(images_name) for images_name, _ in _PARTS[part])
    raise DataError(
        f"{name!r} has no array {allowed}; it has {', '.join(map(repr, present)) or 'none'}. "
        "Name the images x_train (and x_test), or x, and the labels y_train (and y_test), or y."
    )


def checked_images(name: str, array_name: str, images: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    """The images as uint8 [N, H, W] or [N, H, W, 3]; ``DataError`` for another type or shape."""
    if images.dtype != np.uint8:
        raise DataError(
            f"{array_name!r} in {name!r} is of type {images.dtype}, and images are uint8 with values "
            "0 to 255. Scale and convert them before saving."
        )
    gray_shape = images.ndim == 3 or (images.ndim == 4 and images.shape[-1] == 1)
    if not gray_shape and not (images.ndim == 4 and images.shape[-1] == 3):
        raise DataError(
            f"{array_name!r} in {name!r} has the shape {images.shape}, and images are [N, H, W], "
            "[N, H, W, 1] or [N, H, W, 3]. Move the channels to the end before saving."
        )
    if not images.size:
        raise DataError(f"{array_name!r} in {name!r} is empty: its shape is {images.shape}. Save some images.")
    checked = images.astype(np.uint8, copy=False)
    return checked[..., 0] if checked.ndim == 4 and gray_shape else checked


def _class_names(name: str, arrays: Mapping[str, npt.NDArray[np.generic]]) -> tuple[str, ...] | None:
    """The class names in the file, or None."""
    if "classes" not in arrays:
        return None
    classes = tuple(in_one_form(printable(str(text))) for text in np.atleast_1d(arrays["classes"]).tolist())
    if len(set(classes)) < len(classes):
        raise DataError(f"'classes' in {name!r} has a name twice: {list(classes)}. Give each class its own name.")
    return classes


def _resolved_labels(
    name: str,
    array_name: str,
    labels: npt.NDArray[np.generic],
    keys: Sequence[str],
    classes: tuple[str, ...] | None,
) -> RowLabels:
    """The class of each image; ``DataError`` for labels of another type or shape, and for unknown classes."""
    rows = len(keys)
    if labels.dtype.kind not in "biufUS" or labels.shape not in ((rows,), (rows, 1)):
        raise DataError(
            f"{array_name!r} in {name!r} is {labels.dtype} of shape {labels.shape}, and labels are "
            f"integers or names of shape ({rows},), one per image. Convert them before saving."
        )
    distinct, inverse = np.unique(labels.reshape(rows), return_inverse=True)
    values = [
        value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value for value in distinct.tolist()
    ]
    texts = label_texts(name, values)
    in_order = [texts[index] for index in inverse]
    return resolve_labels(name, keys, in_order, classes, numbers_first=labels.dtype.kind not in "US")


def checked_labels(
    name: str, array_name: str, labels: npt.NDArray[np.generic], *, rows: int, classes: tuple[str, ...]
) -> npt.NDArray[np.int64]:
    """The labels as int64 [N], each an index into ``classes``; ``DataError`` for another type, shape or range."""
    if labels.dtype.kind not in "iu" or labels.shape not in ((rows,), (rows, 1)):
        raise DataError(
            f"{array_name!r} in {name!r} is {labels.dtype} of shape {labels.shape}, and labels are "
            f"integers of shape ({rows},), one per image. Convert them before saving."
        )
    checked = labels.astype(np.int64).reshape(rows)
    low, high = int(checked.min()), int(checked.max())
    if low < 0 or high >= len(classes):
        raise DataError(
            f"{array_name!r} in {name!r} has labels from {low} to {high}, and {len(classes)} classes allow 0 "
            f"to {len(classes) - 1}. Number the classes from 0, and save unlabeled images in a separate file."
        )
    return checked
