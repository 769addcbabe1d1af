"""The errors of a model on corrupted images, as dataclasses (``robustness.json``, under ``corruptions``)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from noisystudent.artifacts.typed_json import Finite
from noisystudent.evaluation.corruptions.metrics import AlexNetErrors, CorruptionErrors

ClassesBy = Literal["name", "synset", "number", "position"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AlexNetResult(AlexNetErrors):
    """Errors in percent of AlexNet's; the relative ones subtract ``clean_error``, measured on ``clean_source``."""

    clean_error: Finite
    clean_source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineErrors:
    """Errors in percent of those of the reference model ``baseline``, averaged over severities.

    ``mean_corruption_error`` is the mean over ImageNet-C's 15 corruptions; None unless all of them were measured.
    """

    baseline: str
    mean_corruption_error: Finite | None
    corruption_errors: dict[str, Finite]


@dataclass(frozen=True, slots=True, kw_only=True)
class CorruptionResult(CorruptionErrors):
    """Top-1 errors of a model by corruption and severity (1 to 5), as fractions from 0 to 1, with their means.

    Attributes:
        source: whether the images were generated from the evaluated ones, or read from a published set.
        errors: the error by corruption and severity.
        count: the images of each condition; None if the conditions have different numbers.
        table: the image size in pixels whose published strengths were used; None for a published set.
        folder: the folder of the published set; empty for generated images.
        edge: the shorter edge in pixels of the first image of the published set.
        ignored: the names in the folder that are not parts of a published set.
        counts: the images of a published set by corruption and severity.
        unreadable: the number of unreadable images of a published set by condition, such as ``fog-3``.
        classes_by: how the classes of the published set were matched with the model's.
        missing_classes: the model's classes without images, once if they are the same in all conditions, else by
            condition.
        alexnet: errors relative to AlexNet, only for all of ImageNet-C at full size.
        relative_to_baseline: errors relative to the model of ``evaluation.baseline``.
    """

    source: Literal["generated", "published"]
    errors: dict[str, dict[int, Finite]]
    count: int | None = None
    table: int | None = None
    folder: str = ""
    edge: int | None = None
    ignored: tuple[str, ...] = ()
    counts: dict[str, dict[int, int]] = field(default_factory=dict)
    unreadable: dict[str, int] = field(default_factory=dict)
    classes_by: ClassesBy | None = None
    missing_classes: tuple[str, ...] | dict[str, tuple[str, ...]] = ()
    alexnet: AlexNetResult | None = None
    relative_to_baseline: BaselineErrors | None = None
