"""Checks the keys and labels of tables of images, and derives the classes."""

from __future__ import annotations

import bisect
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from noisystudent.data.source import NO_LABEL, PassedOver
from noisystudent.data.sources.labels import UNLABELED, class_indices, is_missing, label_text
from noisystudent.data.tally import Tally, described
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


def label_texts(name: str, values: Iterable[object]) -> list[str | None]:
    """The labels in a column of the source ``name`` as text, None for a row without a label.

    Raises ``DataError`` for a value that can be no class: a fraction, or anything but a number, a truth value or text.
    """
    texts: list[str | None] = []
    for value in values:
        text = label_text(value)
        is_fraction = isinstance(value, float | Decimal) and text is not None and not text.lstrip("-").isdigit()
        is_odd = text is None and value is not None and not isinstance(value, float | Decimal | str)
        if is_fraction or is_odd:
            raise DataError(
                f"A label of {name!r} is {str(value)[:50]} ({type(value).__name__}), and labels are "
                "whole numbers, truth values or names. Correct it, or name another column 'label'."
            )
        texts.append(text)
    return texts


@dataclass(frozen=True)
class RowLabels:
    """The classes of a labeled source, the class index of each row, and what is passed over.

    ``by_row`` is -1 for a row that is left out because it has no label. ``passed_over`` also names classes without a
    row: training does without them.
    """

    classes: tuple[str, ...]
    by_row: npt.NDArray[np.int64]
    passed_over: tuple[PassedOver, ...]

    @property
    def kept(self) -> npt.NDArray[np.int64]:
        """The rows with a label."""
        return np.flatnonzero(self.by_row >= 0)


def resolve_labels(
    name: str,
    keys: Sequence[str],
    texts: Sequence[str | None],
    known: tuple[str, ...] | None,
    *,
    numbers_first: bool = False,
) -> RowLabels:
    """The class names and the class index of each row.

    Args:
        name: the source, for messages.
        keys: the key of each row, for messages.
        texts: the label of each row as text, None for none.
        known: the class names; None: the labels that are there.
        numbers_first: as in ``class_indices``.

    Raises:
        DataError: no row has a label, or a label is none of the classes.
    """
    distinct = {text for text in texts if text is not None}
    classes, index_of = class_indices(name, distinct, known, numbers_first=numbers_first)
    tally = Tally()
    by_row = np.full(len(texts), NO_LABEL, np.int64)
    for row, (key, text) in enumerate(zip(keys, texts, strict=True)):
        index = None if text is None else index_of.get(text)
        if index is not None:
            by_row[row] = index
        elif is_missing(text):
            tally.add(MARKED_UNLABELED if text == UNLABELED else WITHOUT_LABEL, key)
        else:
            raise DataError(
                f"The label {text!r} of {key!r} in {name!r} is neither the name nor the number of one of its "
                f"{len(classes)} classes. Correct it, or give the source as unlabeled."
            )
    used = np.unique(by_row[by_row >= 0])
    check_any_labels(name, len(texts), [classes[index] for index in used], tally)
    tell_unused(classes, used, tally)
    return RowLabels(classes, by_row, tally.passed_over)


MARKED_UNLABELED = f"images with the label {UNLABELED}, which means unlabeled"
WITHOUT_LABEL = "images without a label"


def check_any_labels(name: str, rows: int, used: Sequence[str], passed_over: Tally) -> None:
    """Raises ``DataError`` for a labeled source without labels, or with one class besides -1."""
    if not used:
        raise DataError(
            f"{name!r} is given as labeled, but none of its {rows:,} images has a label"
            f"{described(passed_over.passed_over)}. Label them, or give the source as unlabeled."
        )
    if len(used) == 1 and MARKED_UNLABELED in passed_over:
        raise DataError(
            f"The labels of {name!r} are {UNLABELED} and {used[0]}, and {UNLABELED} means unlabeled, so there is one "
            "class only. Number the classes from 0."
        )


def tell_unused(classes: Sequence[str], used: npt.NDArray[np.int64], tally: Tally) -> None:
    """Adds the names of the classes without an image, whose index is not among ``used``, to the tally."""
    indices = set(used.tolist())
    unused = [text for index, text in enumerate(classes) if index not in indices]
    tally.add_all("class names without an image", len(unused), unused)


def known_truth(
    keys: Sequence[str],
    texts: Sequence[str | None],
    known: tuple[str, ...] | None,
    classes: Sequence[str],
    *,
    numbers_first: bool = False,
) -> dict[str, str] | None:
    """The class name of each key if every label is known and one of ``classes``, else None.

    ``known`` are the source's own class names; None: derive them from the labels.
    """
    try:
        labels = resolve_labels("", keys, texts, known, numbers_first=numbers_first)
    except DataError:
        return None
    if len(labels.kept) < len(texts):
        return None
    names = [labels.classes[label] for label in labels.by_row]
    return dict(zip(keys, names, strict=True)) if set(names) <= set(classes) else None
