"""Images with more than one true class: ImageNet's reassessed labels ("ReaL") in their published format.

Beyer et al. 2020, "Are we done with ImageNet?": real.json of google-research/reassessed-imagenet, a list of 50,000
lists of class numbers; the first is for ILSVRC2012_val_00000001.JPEG. A list may be empty: no class fits the image.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from noisystudent.errors import DataError

LabelSet = tuple[int, ...]  # class numbers, in any order

_NUMBER = re.compile(r"ILSVRC2012_val_([0-9]{8})(?:\.|$)")


def read_label_sets(path: str | Path, *, classes: int = 1000) -> tuple[LabelSet, ...]:
    """Reads the label sets of a file like real.json.

    Args:
        path: the JSON file, a list of lists of class numbers.
        classes: number of classes; class numbers go from 0 to ``classes`` - 1.

    Returns:
        The label sets in the order of the image numbers, which begin with 1.

    Raises:
        DataError: the file cannot be read, or is not a list of lists of class numbers.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"The label sets {str(path)!r} cannot be read ({error}). Give a JSON file.") from error
    if not isinstance(content, list) or not all(isinstance(row, list) for row in content):
        raise DataError(f"{str(path)!r} is not a list of lists. Give real.json as its authors publish it.")
    for number, row in enumerate(content, 1):
        for label in row:
            if type(label) is not int or not 0 <= label < classes:
                raise DataError(
                    f"{str(path)!r} has {label!r} as a class of image {number}; classes are numbers from 0 to "
                    f"{classes - 1}. Give real.json as its authors publish it."
                )
    return tuple(tuple(row) for row in content)


def label_sets_of(keys: Sequence[str], sets: Sequence[LabelSet]) -> list[LabelSet]:
    """Finds the label set of each image by the number in its key; folders and order do not matter.

    Args:
        keys: the keys of the images, such as ``n01751748/ILSVRC2012_val_00000001.JPEG``, which has the first set.
        sets: the label sets in the order of the image numbers.

    Returns:
        The label set of each key.

    Raises:
        DataError: a key has no image number, or one without a label set.
    """
    matched = []
    for key in keys:
        match = _NUMBER.search(key)
        if not match or not 1 <= int(match[1]) <= len(sets):
            raise DataError(
                f"The image {key!r} has no number from 1 to {len(sets)} in its name. Label sets are for images "
                "named like ILSVRC2012_val_00000001.JPEG: keep the names of ImageNet's validation images."
            )
        matched.append(sets[int(match[1]) - 1])
    return matched
