"""What a run found out about its images: ``findings/summary.json``, which the page and the CSV files show.

Probabilities are fractions from 0 to 1; classes are names; keys are those of the sources.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CheckedBy = Literal["cross-fitting", "own answers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelIssue:
    """A label that looks wrong: the given class, what the model says, and the probability of both by the model."""

    key: str
    label: str
    prediction: str
    label_probability: float
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfClassImage:
    """An unlabeled image that may be of no class: what the model calls it, and its distance to the labeled images.

    ``distance`` is the mean cosine distance to the nearest ten, 0 to 2.
    """

    key: str
    prediction: str
    confidence: float
    distance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageToLabel:
    """An unlabeled image whose label would teach the model much: its two most probable classes."""

    key: str
    first: str
    first_confidence: float
    second: str
    second_confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """``findings/summary.json``.

    ``labels_by``: whether labels were checked by models that did not learn from them (``cross-fitting``), or by the
    delivered model, which did. ``checked`` of the ``unlabeled`` images were looked at, in evenly spread shards.
    ``threshold`` is the distance from which an image counts as of no class; None if none does.
    ``confidence_counts``: of the checked images, those with a confidence of at least 0%, 1%, ... 100%.
    ``label_for_test`` are unlabeled images drawn at random, which a test set can be made of.
    """

    labels: int
    labels_by: CheckedBy
    label_issues: tuple[LabelIssue, ...]
    unlabeled: int
    checked: int
    threshold: float | None
    out_of_class: tuple[OutOfClassImage, ...]
    label_next: tuple[ImageToLabel, ...]
    label_for_test: tuple[str, ...]
    confidence_counts: tuple[int, ...]
