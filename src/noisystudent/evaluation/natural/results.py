"""The scores of a model on naturally shifted test sets, as dataclasses (``robustness.json``, under ``natural``)."""

from __future__ import annotations

from dataclasses import dataclass

from noisystudent.artifacts.typed_json import Finite


@dataclass(frozen=True, slots=True, kw_only=True)
class NaturalResult:
    """The scores of a model on one naturally shifted set.

    Attributes:
        source: the source of the set, as in ``evaluation.natural``.
        classes: how the classes of the set were matched with the model's.
        count: the images that were scored.
        scores: fractions by name, such as ``top1_200way`` (among 200 classes), ``clean_top1_200way`` (on clean images
            of the same classes) or ``gap`` (the first minus the second); None where there are no clean images.
        clean_count: the clean images of the set's classes; None for label sets.
        skipped: the images without a label in their label set; None for other sets.
        notes: how the set differs from the published one, and what it lacks.
    """

    source: str
    classes: str
    count: int
    scores: dict[str, Finite | None]
    clean_count: int | None = None
    skipped: int | None = None
    notes: tuple[str, ...] = ()
