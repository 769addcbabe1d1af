"""Images that come with scikit-learn: 1,797 handwritten digits, 8x8 gray and always at hand."""

from __future__ import annotations

from typing import Literal

import numpy as np

from noisystudent.data.sources.arrays import ArraySource
from noisystudent.data.stratified import draw_labeled

DigitsPart = Literal["", "labeled", "unlabeled", "test"]

_LABELED_PER_CLASS = 4
_TEST_PER_CLASS = 50


def open_digits(part: DigitsPart = "", *, seed: int = 0, labeled: bool) -> ArraySource:
    """The digits of scikit-learn's ``load_digits``, or one of three parts of them that ``seed`` draws.

    ``test`` has 50 images a class, ``labeled`` 4 a class and ``unlabeled`` the 1,257 others; empty is all
    of them. Values 0..16 are scaled to 0..255. Keys are ``digit-0001`` with the row in ``load_digits``.
    """
    from sklearn.datasets import load_digits  # a second to import: only for who asks for digits

    digits = load_digits()
    labels = np.asarray(digits.target, dtype=np.int64)
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    test, rest = draw_labeled(labels, _TEST_PER_CLASS, seed)
    few, others = draw_labeled(labels[rest], _LABELED_PER_CLASS, seed)
    rows = {"": np.arange(len(labels)), "test": test, "labeled": rest[few], "unlabeled": rest[others]}[part]
    return ArraySource(
        "digits" + (f":{part}" if part else "") + (f"@{seed}" if part and seed else ""),
        images[rows],
        keys=[f"digit-{row:04d}" for row in rows],
        labels=labels[rows],
        classes=tuple(str(digit) for digit in range(10)),
        labeled=labeled,
    )
