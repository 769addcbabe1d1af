"""The images in scikit-learn: 1,797 handwritten digits, 8x8 gray, available without a download."""

from __future__ import annotations

from typing import Literal

import numpy as np

from noisystudent.data.sources.arrays import ArraySource
from noisystudent.data.stratified import draw_labeled

DigitsPart = Literal["", "labeled", "unlabeled", "test"]

_LABELED_PER_CLASS = 4
_TEST_PER_CLASS = 50


def open_digits(part: DigitsPart = "", *, seed: int = 0, labeled: bool) -> ArraySource:
    """The digits of scikit-learn's ``load_digits``, or a part of them; values 0..16 are scaled to 0..255.

    Args:
        part: ``test`` has 50 images per class, ``labeled`` 4 per class, and ``unlabeled`` the other 1,257; empty: all.
        seed: seed of the draw of the parts.
        labeled: whether the records have labels.

    Returns:
        The source; its keys are ``digit-0001`` with the row in ``load_digits``.
    """
    from sklearn.datasets import load_digits  # imported only for digits: it takes a second

    digits = load_digits()
    labels = np.asarray(digits.target, dtype=np.int64)
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    classes = tuple(str(digit) for digit in range(10))
    test, rest = draw_labeled(labels, _TEST_PER_CLASS, seed, names=classes)
    few, remaining = draw_labeled(labels[rest], _LABELED_PER_CLASS, seed, names=classes)
    rows = {"": np.arange(len(labels)), "test": test, "labeled": rest[few], "unlabeled": rest[remaining]}[part]
    return ArraySource(
        "digits" + (f":{part}" if part else "") + (f"@{seed}" if part and seed else ""),
        images[rows],
        keys=[f"digit-{row:04d}" for row in rows],
        labels=labels[rows],
        classes=classes,
        labeled=labeled,
    )
