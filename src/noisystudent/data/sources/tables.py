"""Labels and keys of tables of images, checked, and their classes."""

from __future__ import annotations

import bisect
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence

import pyarrow as pa

from noisystudent.data.sources.labels import classes_of, label_text, numbering
from noisystudent.errors import DataError


class RowKeys(Sequence[str]):
    """The keys ``<file>:<row>`` of all rows of files, made when they are asked for."""

    def __init__(self, files: Sequence[str], rows: Sequence[int]) -> None:
        self._files = files
        self._starts = [0, *itertools.accumulate(rows)]

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, row: int) -> str:  # type: ignore[override]  # nobody takes a slice
        if not 0 <= row < len(self):
            raise IndexError(row)
        number = bisect.bisect_right(self._starts, row) - 1
        return f"{self._files[number]}:{row - self._starts[number]}"

    def __iter__(self) -> Iterator[str]:
        for file, start, end in zip(self._files, self._starts, self._starts[1:], strict=False):
            yield from (f"{file}:{row}" for row in range(end - start))


def check_keys(name: str, keys: Sequence[object]) -> tuple[str, ...]:
    """The keys as text; a ``DataError`` that names one when it is missing, or is there twice."""
    if None in keys:
        raise DataError(f"Row {keys.index(None)} of {name!r} has no key. Give every row its own.")
    texts = tuple(str(key) for key in keys)
    if len(set(texts)) < len(texts):
        twice, times = Counter(texts).most_common(1)[0]
        raise DataError(f"The key {twice!r} is in {times} rows of {name!r}. Give every row its own.")
    return texts


def label_texts(column: pa.ChunkedArray | None) -> list[str | None]:
    """The labels of a column as text, None for none."""
    return [] if column is None else [label_text(value) for value in column.to_pylist()]


def settle_labels(
    name: str, keys: Sequence[str], texts: Sequence[str | None], classes: tuple[str, ...] | None
) -> tuple[tuple[str, ...], list[int]]:
    """The classes (those given, or what the labels say) and the row of each label among them.

    Raises ``DataError``, naming the key, for a row without a label and for a label that is none of the classes.
    """
    for key, text in zip(keys, texts, strict=True):
        if text is None:
            raise DataError(
                f"{name!r} is given as labeled, but {key!r} has no label, as {sum(each is None for each in texts)} "
                "rows in all. Label them, or give the source as unlabeled."
            )
    told = [text for text in texts if text is not None]
    classes = classes or classes_of(name, told)
    rows = numbering(classes)
    for key, text in zip(keys, told, strict=True):
        if text not in rows:
            raise DataError(
                f"The label {text!r} of {key!r} in {name!r} is none of its {len(classes)} classes, and no number of "
                "one. Correct it, or give the source as unlabeled."
            )
    return classes, [rows[text] for text in told]


def known_truth(
    keys: Sequence[str], texts: Sequence[str | None], known: tuple[str, ...] | None, classes: Sequence[str]
) -> dict[str, str] | None:
    """The class name of each key when every label is known and one of ``classes``, else None."""
    try:
        own, rows = settle_labels("", keys, texts, known)
    except DataError:
        return None
    names = [own[row] for row in rows]
    return dict(zip(keys, names, strict=True)) if names and set(names) <= set(classes) else None
