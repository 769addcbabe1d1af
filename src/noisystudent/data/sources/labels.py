"""Maps the labels in a source, numbers or names, to indices of its classes."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence

from noisystudent.data.files import File, sibling_file
from noisystudent.errors import DataError

MOST_CLASSES = 2**16  # predictions are stored as 16-bit numbers

_NUMBER = re.compile(r"-?[0-9]{1,18}")


def in_one_form(name: str) -> str:
    """A name in Unicode's form NFC: macOS writes some letters as two characters that other systems write as one."""
    return unicodedata.normalize("NFC", name)


def ordered(names: Iterable[str]) -> tuple[str, ...]:
    """Distinct class names in order: by value if all are whole numbers, else as text."""
    distinct = sorted(set(names))
    are_numbers = all(_NUMBER.fullmatch(name) for name in distinct)
    return tuple(sorted(distinct, key=int) if are_numbers else distinct)


def label_text(value: object) -> str | None:
    """A label as text, with numbers in canonical form (``007`` becomes ``7``); None if it is not a label."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    text = str(value).strip()
    return (str(int(text)) if _NUMBER.fullmatch(text) else text) or None


def classes_of(name: str, texts: Iterable[str]) -> tuple[str, ...]:
    """The classes of the source ``name``, from its label texts, if no file names the classes.

    For numbers: every number from 0 to the largest. For names: the sorted names. Raises ``DataError`` for a mixture of
    both, for negative numbers, and for more than 65,536 classes.
    """
    distinct = sorted(set(texts))
    numbers = [int(text) for text in distinct if _NUMBER.fullmatch(text)]
    if numbers and len(numbers) < len(distinct):
        names = [text for text in distinct if not _NUMBER.fullmatch(text)]
        raise DataError(
            f"The labels of {name!r} are partly numbers ({numbers[0]}) and partly names ({names[0]!r}). Use one kind, "
            "or name the classes in a file classes.json beside it."
        )
    if numbers and not 0 <= min(numbers) <= max(numbers) < MOST_CLASSES:
        raise DataError(
            f"The labels of {name!r} go from {min(numbers)} to {max(numbers)}, and 0 to {MOST_CLASSES - 1} are "
            "allowed. Number the classes from 0, and give unlabeled images as a separate source."
        )
    classes = tuple(map(str, range(max(numbers) + 1))) if numbers else tuple(distinct)
    if len(classes) > MOST_CLASSES:
        raise DataError(f"{name!r} has {len(classes):,} different labels, and at most {MOST_CLASSES:,} are allowed.")
    return classes


def numbering(classes: Sequence[str]) -> dict[str, int]:
    """The class index by label text: a name or a number; the number takes precedence if a name is also a number."""
    return {name: index for index, name in enumerate(classes)} | {str(index): index for index in range(len(classes))}


def classes_beside(file: File) -> tuple[str, ...] | None:
    """The class names in ``classes.json`` (a list) or ``classes.txt`` (a name per line) beside a file, or None."""
    for base in ("classes.json", "classes.txt"):
        class_file = sibling_file(file, base)
        if class_file is not None:
            return _checked(class_file, _parse(class_file, class_file.read()))
    return None


def _parse(file: File, content: bytes) -> object:
    try:
        text = content.decode("utf-8")
        return json.loads(text) if file.base.endswith(".json") else [line.strip() for line in text.splitlines()]
    except ValueError as error:
        raise DataError(
            f"{file.name!r} cannot be read ({error}). Write UTF-8 text; in .json, a list of names."
        ) from error


def _checked(file: File, names: object) -> tuple[str, ...]:
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise DataError(f"{file.name!r} is not a list of class names. Write a list of strings, none of them empty.")
    if len(set(names)) < len(names) or len(names) > MOST_CLASSES:
        raise DataError(f"{file.name!r} has a class name twice, or more than {MOST_CLASSES:,}. Give each its own name.")
    return tuple(names)
