"""Images that a labeled source holds more than once: under several labels, or under one."""

from __future__ import annotations

from dataclasses import dataclass

from noisystudent.data.images import Images


@dataclass(frozen=True, slots=True)
class Conflict:
    """Images with the same pixels and different labels: their keys and, in the same order, their classes."""

    keys: tuple[str, ...]
    classes: tuple[str, ...]


def find_conflicts(images: Images) -> tuple[Conflict, ...]:
    """The images that are in several classes, in the order of the first of each."""
    rows_of = _rows_by_digest(images)
    labels, classes = images.labels.tolist(), images.classes or ()
    return tuple(
        Conflict(tuple(images.keys[row] for row in rows), tuple(classes[labels[row]] for row in rows))
        for rows in rows_of
        if len({labels[row] for row in rows}) > 1
    )


def count_repeats(images: Images) -> int:
    """The number of images whose class already has an image with the same pixels."""
    return len(images) - len(set(zip(images.digests, images.labels.tolist(), strict=True)))


def _rows_by_digest(images: Images) -> list[list[int]]:
    """The rows of every image that occurs more than once."""
    rows_of: dict[str, list[int]] = {}
    for row, digest in enumerate(images.digests):
        rows_of.setdefault(digest, []).append(row)
    return [rows for rows in rows_of.values() if len(rows) > 1]
