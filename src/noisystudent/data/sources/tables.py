"""Checks the keys and labels of tables of images, and derives the classes."""

from __future__ import annotations

import bisect
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence

import pyarrow as pa

from noisystudent.data.sources.labels import classes_of, label_text, numbering
from noisystudent.errors import DataError


class RowKeys(Sequence[str]):
    """The keys ``<file>:<row>`` of all rows of several files, generated on demand."""

    def __init__(self, files: Sequence[str], rows: Sequence[int]) -> None:
        self._files = files
        self._starts = [0, *itertools.accumulate(rows)]

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, row: int) -> str:  # type: ignore[override]  # no caller takes a slice
        if not 0 <= row < len(self):
            raise IndexError(row)
        file = bisect.bisect_right(self._starts, row) - 1
        return f"{self._files[file]}:{row - self._starts[file]}"

    def __iter__(self) -> Iterator[str]:
        for file, start, end in zip(self._files, self._starts, self._starts[1:], strict=False):
            yield from (f"{file}:{row}" for row in range(end - start))


def check_keys(name: str, keys: Sequence[object]) -> tuple[str, ...]:
    """The keys as text; ``DataError``, naming the key or row, if one is missing or occurs twice."""
    if None in keys:
        raise DataError(f"Row {keys.index(None)} of {name!r} has no key. Give every row its own key.")
    texts = tuple(str(key) for key in keys)
    if len(set(texts)) < len(texts):
        key, count = Counter(texts).most_common(1)[0]
        raise DataError(f"The key {key!r} is in {count} rows of {name!r}. Give every row its own key.")
    return texts


def label_texts(column: pa.ChunkedArray | None) -> list[str | None]:
    """The labels in a column as text, None for a row without a label; empty without a column."""
    return [] if column is None else [label_text(value) for value in column.to_pylist()]


def resolve_labels(
    name: str, keys: Sequence[str], texts: Sequence[str | None], classes: tuple[str, ...] | None
) -> tuple[tuple[str, ...], list[int]]:
    """The class names and the class index of each row.

    Args:
        name: the source, for messages.
        keys: the key of each row, for messages.
        texts: the label of each row as text, None for none.
        classes: the class names; None: derive them from the labels.

    Raises:
        DataError: a row has no label, or a label is none of the classes.
    """
    for key, text in zip(keys, texts, strict=True):
        if text is None:
            raise DataError(
                f"{name!r} is given as labeled, but {key!r} has no label ({sum(text is None for text in texts)} rows "
                "in all). Label them, or give the source as unlabeled."
            )
    labels = [text for text in texts if text is not None]
    classes = classes or classes_of(name, labels)
    index_of = numbering(classes)
    for key, label in zip(keys, labels, strict=True):
        if label not in index_of:
            raise DataError(
                f"The label {label!r} of {key!r} in {name!r} is neither the name nor the number of one of its "
                f"{len(classes)} classes. Correct it, or give the source as unlabeled."
            )
    return classes, [index_of[label] for label in labels]


def known_truth(
    keys: Sequence[str], texts: Sequence[str | None], known: tuple[str, ...] | None, classes: Sequence[str]
) -> dict[str, str] | None:
    """The class name of each key if every label is known and one of ``classes``, else None.

    ``known`` are the source's own class names; None: derive them from the labels.
    """
    try:
        source_classes, labels = resolve_labels("", keys, texts, known)
    except DataError:
        return None
    names = [source_classes[label] for label in labels]
    return dict(zip(keys, names, strict=True)) if names and set(names) <= set(classes) else None
