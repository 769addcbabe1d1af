"""The interface of every image source: an ordered list of shards, each an ordered list of records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from noisystudent.errors import DataError, SettingsError

SHARD_ROWS = 1024  # most rows in a shard: the unit of decoding and labeling
NO_LABEL = -1
LARGEST_IMAGE_BYTES = 2**30  # no image within the pixel limit of decode.py is larger, not even as BMP


@dataclass(frozen=True, slots=True)
class Record:
    """One image as its source stores it, not yet decoded.

    ``image`` is the bytes of an image file, or uint8 [H, W] (gray) or [H, W, 3] (RGB). ``label`` is the index of the
    class in the source's ``classes``, or -1 for none. ``problem`` is the reason why the bytes could not be read; it is
    empty if they could.
    """

    key: str
    image: bytes | npt.NDArray[np.uint8]
    label: int
    problem: str = ""


@dataclass(frozen=True, slots=True)
class PassedOver:
    """Things in a source that are not read as images, for one reason.

    ``what`` names them in the plural with the reason, such as ``files that end in .txt`` or ``symbolic links``;
    ``count`` is their number, ``names`` the first ``NAMES_KEPT`` of them.
    """

    what: str
    count: int
    names: tuple[str, ...]


NAMES_KEPT = 100_000  # of the things of one kind that a source passes over; a table of predictions has a row for each


def passed_over(source: Source) -> tuple[PassedOver, ...]:
    """What a source passes over; empty for an own source that does not say.

    Every source of this package has the attribute ``passed_over``. It is not a member of ``Source``, because an own
    source that reads whatever it is given has nothing to say.
    """
    return tuple(getattr(source, "passed_over", ()))


def source_notes(source: Source) -> tuple[str, ...]:
    """Sentences about a source that its user should read before work starts; empty for an own source without any.

    Each names something that was understood in one way and may have been meant in another, such as a class folder
    named ``test``. Every source of this package has the attribute ``notes``.
    """
    return tuple(getattr(source, "notes", ()))


def class_counts(source: Source) -> dict[str, int] | None:
    """The number of images per class, unreadable ones included; None without labels.

    Every source of this package counts its labels without reading images, by the method ``count_labels``; None also
    stands for an own source that lacks it.
    """
    count = getattr(source, "count_labels", None)
    if source.classes is None or count is None:
        return None
    return dict(zip(source.classes, count(), strict=True))


def shard_keys(source: Source, shard: int) -> Sequence[str]:
    """The keys of one shard, in order.

    Every source of this package knows them without reading images, by the method ``keys``; an own source that lacks it
    is read.
    """
    keys = getattr(source, "keys", None)
    return keys(shard) if keys else [record.key for record in source.read(shard)]


def require_label(source: Source, key: str, label: int) -> None:
    """Raises ``DataError`` where an image of a labeled source is of none of its classes, as one of an own source may.

    Args:
        source: The source.
        key: The key of the image.
        label: Its label.
    """
    if source.classes is not None and not 0 <= label < len(source.classes):
        raise DataError(
            f"The image {key} of {source.name} has the label {label}, and the labels of this source go from 0 to "
            f"{len(source.classes) - 1}, one for each of its classes. Leave images without a label out of it, or give "
            "them as unlabeled ones."
        )


def count_labels(labels: Sequence[int] | npt.NDArray[np.int64] | None, classes: int) -> list[int]:
    """How often each of ``classes`` class indices is among the labels; -1 is none of them."""
    known = np.asarray(() if labels is None else labels, np.int64)
    counts: list[int] = np.bincount(known[known >= 0], minlength=classes).tolist()
    return counts


class Source(Protocol):
    """Where images come from: keys are unique and stable, shards and rows keep their order."""

    @property
    def name(self) -> str:
        """The text that the user typed."""

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Class names in the order of the labels, or None for an unlabeled source."""

    @property
    def fingerprint(self) -> str:
        """Hexadecimal text that changes when the images, their names or their labels change."""

    @property
    def shard_sizes(self) -> tuple[int, ...]:
        """Rows of each shard (1 to 1024), known without decoding."""

    @property
    def files(self) -> Mapping[str, str]:
        """A digest per file that holds many images, by file name, so that a message can name a file that changed."""

    def read(self, shard: int) -> Iterator[Record]:
        """Yields the records of one shard, in order, each as soon as it is read."""

    def truth(self, classes: Sequence[str]) -> dict[str, str] | None:
        """The true class name of each key, for reports only, or None.

        The records of an unlabeled source never carry labels. If the source knows the class of every image, and each
        is one of ``classes``, this method returns them, so that a report can measure the accuracy of pseudo labels.
        """


_MEMBERS = ("name", "classes", "fingerprint", "shard_sizes", "files", "read", "truth")


def require_source(source: object, *, labeled: bool) -> None:
    """Raises ``SettingsError`` unless ``source`` has all members of ``Source``, with classes if and only if labeled."""
    missing = [name for name in _MEMBERS if not hasattr(source, name)]
    if missing:
        raise SettingsError(
            f"a {type(source).__name__} is no source: it lacks {', '.join(missing)}. Give a text such as a folder, a "
            "Path, or an object with the members of noisystudent.parts.Source (docs/extending.md)."
        )
    name, classes = getattr(source, "name", ""), getattr(source, "classes", None)
    if labeled and not classes:
        raise SettingsError(
            f"the source {name!r} is given as labeled but has no classes. Set classes to the class names in the order "
            "of the labels, or give it as unlabeled."
        )
    if not labeled and classes is not None:
        raise SettingsError(
            f"the source {name!r} is given as unlabeled but has classes. Set classes to None and the labels of its "
            "records to -1; truth() may return the true classes."
        )


def cut_shards(rows: int) -> tuple[int, ...]:
    """The sizes of the shards that ``rows`` rows are cut into: 1024 each, except for the last."""
    return tuple(min(SHARD_ROWS, rows - start) for start in range(0, rows, SHARD_ROWS))


def shard_slice(shard: int) -> slice:
    """The rows of shard ``shard`` if ``cut_shards`` cut the rows."""
    return slice(shard * SHARD_ROWS, (shard + 1) * SHARD_ROWS)


def printable(text: str) -> str:
    """``text`` as valid UTF-8: whatever in the name of a file or in a label is not becomes an escape sequence."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode("utf-8")


def size_problem(size: int) -> str:
    """Why a file of ``size`` bytes is too large to be an image; empty if it is not."""
    if size <= LARGEST_IMAGE_BYTES:
        return ""
    return f"it has {size / 2**30:.1f} GiB, more than any image may have here"
