"""Maps the labels in a source, numbers or names, to indices of its classes."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from decimal import Decimal

import numpy as np

from noisystudent.data.files import File, sibling_file
from noisystudent.data.source import printable
from noisystudent.errors import DataError

MOST_CLASSES = 2**16  # predictions are stored as 16-bit numbers
LARGEST_NUMBER = 10**9 - 1  # of a class; longer numbers are most likely no labels
UNLABELED = "-1"  # scikit-learn's mark for an image without a label, also in STL-10

_NUMBER = re.compile(r"-?[0-9]{1,18}")
_WHOLE_FLOAT = re.compile(r"(-?[0-9]{1,18})\.0*")
# What pandas, R, SQL and spreadsheets write for a missing value.
_MISSING = frozenset(("", "nan", "NaN", "None", "NA", "<NA>", "null"))


def in_one_form(name: str) -> str:
    """A name in Unicode's form NFC: macOS writes some letters as two characters that other systems write as one."""
    return unicodedata.normalize("NFC", name)


def ordered(names: Iterable[str]) -> tuple[str, ...]:
    """Distinct class names in order: by value if all are whole numbers, else as text."""
    distinct = sorted(set(names))
    are_numbers = all(_NUMBER.fullmatch(name) for name in distinct)
    return tuple(sorted(distinct, key=int) if are_numbers else distinct)


def label_text(value: object) -> str | None:
    """A label as text: numbers in canonical form (``007`` becomes ``7``), truth values as ``False`` and ``True``.

    None for a missing value and for what cannot be a label, such as a list.
    """
    if isinstance(value, float | Decimal):
        if not math.isfinite(value):
            return None
        value = int(value) if value == int(value) else str(value)
    if not isinstance(value, int | str | np.integer | np.bool_):
        return None
    text = in_one_form(printable(str(value)).strip())
    return (str(int(text)) if _NUMBER.fullmatch(text) else text) or None


def is_missing(text: str | None) -> bool:
    """Whether a label's text stands for no label, unless a class has this name."""
    return text is None or text in _MISSING or text == UNLABELED


def class_indices(
    name: str, labels: Collection[str], known: tuple[str, ...] | None, *, numbers_first: bool = False
) -> tuple[tuple[str, ...], dict[str, int]]:
    """The class names of a source, and the class index of each of its labels that names a class.

    Args:
        name: the source, for messages.
        labels: its different labels, as text.
        known: the class names, from a file or from metadata; None: the labels that are there are the classes.
        numbers_first: a label that is both a name and the index of another known class is the index.

    Raises:
        DataError: for unknown classes, the labels are partly numbers and partly names, negative or too large, or too
            many.
    """
    if known is not None:
        return known, _numbering(known, labels, numbers_first=numbers_first)
    present = [label for label in labels if not is_missing(label)]
    names = _whole_numbers(present)
    classes = _classes_of(name, names.values())
    index_of = {text: index for index, text in enumerate(classes)}
    return classes, {label: index_of[names[label]] for label in present}


def _whole_numbers(labels: Iterable[str]) -> dict[str, str]:
    """Each label as a class name: ``1.0`` becomes ``1`` if all labels are whole numbers, as pandas writes them."""
    names = {label: match[1] if (match := _WHOLE_FLOAT.fullmatch(label)) else label for label in labels}
    are_numbers = all(_NUMBER.fullmatch(name) for name in names.values())
    return (
        {label: str(int(name)) for label, name in names.items()} if are_numbers else {label: label for label in names}
    )


def _classes_of(name: str, texts: Iterable[str]) -> tuple[str, ...]:
    """The distinct labels in order, checked."""
    classes = ordered(texts)
    numbers = [int(text) for text in classes if _NUMBER.fullmatch(text)]
    if numbers and len(numbers) < len(classes):
        names = [text for text in classes if not _NUMBER.fullmatch(text)]
        raise DataError(
            f"The labels of {name!r} are partly numbers ({numbers[0]}) and partly names ({names[0]!r}). Use one kind, "
            "or list all class names, the numbers too, in a file classes.json beside it: "
            f'["{numbers[0]}", "{names[0]}", ...].'
        )
    if numbers and not 0 <= min(numbers) <= max(numbers) <= LARGEST_NUMBER:
        raise DataError(
            f"The labels of {name!r} go from {min(numbers)} to {max(numbers)}, and 0 to {LARGEST_NUMBER:,} are "
            f"allowed, besides {UNLABELED} for an image without a label. Write other numbers as text, such as "
            f"'class {max(numbers)}'."
        )
    if len(classes) > MOST_CLASSES:
        raise DataError(f"{name!r} has {len(classes):,} different labels, and at most {MOST_CLASSES:,} are allowed.")
    return classes


def _numbering(classes: Sequence[str], labels: Collection[str], *, numbers_first: bool) -> dict[str, int]:
    """The index of each label that is the name or the index of a known class.

    If all labels are names, or all are indices, they are that. If they can be both, ``numbers_first`` decides.
    """
    by_name = {label_text(name) or name: index for index, name in enumerate(classes)}
    by_number = {str(index): index for index in range(len(classes))}
    first, second = (by_number, by_name) if numbers_first else (by_name, by_number)
    present = [label for label in labels if label in by_name or not is_missing(label)]
    for numbering in (first, second):
        if all(label in numbering for label in present):
            return {label: numbering[label] for label in present}
    return {label: (second | first)[label] for label in present if label in first or label in second}


def classes_beside(file: File) -> tuple[str, ...] | None:
    """The class names in ``classes.json`` (a list) or ``classes.txt`` (a name per line) beside a file, or None."""
    for base in ("classes.json", "classes.txt"):
        class_file = sibling_file(file, base)
        if class_file is not None:
            return _checked(class_file, _parse(class_file, class_file.read()))
    return None


def classes_for(file: File, labels: Iterable[str | None]) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """The class names beside a table with these labels, if they name any of them, and a note if they do not.

    A table may lie beside a file of this name that has nothing to do with it, so that is no error.
    """
    try:
        names = classes_beside(file)
    except DataError as error:
        return None, (f"{error} It is not used.",)
    present = {label for label in labels if label is not None and not is_missing(label)}
    if names is None or not present or _numbering(names, present, numbers_first=False):
        return names, ()
    return None, (f"the class names beside {file.name!r} name none of its labels, and are not used.",)


def _parse(file: File, content: bytes) -> object:
    try:
        text = content.decode("utf-8-sig")
        return json.loads(text) if file.base.endswith(".json") else [line.strip() for line in text.splitlines()]
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{file.name!r} cannot be read ({error}). Write UTF-8 text; in .json, a list of names."
        ) from error


def _checked(file: File, names: object) -> tuple[str, ...]:
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise DataError(f"{file.name!r} is not a list of class names. Write a list of strings, none of them empty.")
    classes = tuple(in_one_form(name) for name in names)
    if len({label_text(name) for name in classes}) < len(classes) or len(classes) > MOST_CLASSES:
        raise DataError(f"{file.name!r} has a class name twice, or more than {MOST_CLASSES:,}. Give each its own name.")
    return classes
