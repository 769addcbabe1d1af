"""The scores of one model on one labeled source, as dataclasses."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from noisystudent.artifacts.folder import read_json
from noisystudent.errors import ArtifactError


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Rows with confidence in (low, high]: their number, mean confidence and accuracy, both 0 in an empty bin."""

    low: float
    high: float
    count: int
    confidence: float = 0.0
    accuracy: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Metrics of one model on one labeled source, as fractions from 0 to 1 (``nll`` in nats, ``brier`` in [0, 2]).

    ``per_class`` holds the accuracy of each class, None for a class without images; ``confusion`` has one row per true
    class; ``calibration`` is the reliability diagram.
    """

    top1: float
    count: int
    top5: float | None = None
    ece: float | None = None
    nll: float | None = None
    brier: float | None = None
    per_class: dict[str, float | None] = field(default_factory=dict)
    confusion: tuple[tuple[int, ...], ...] | None = None
    calibration: tuple[CalibrationBin, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TemperatureScaling:
    """Calibration at a fitted temperature (Guo et al. 2017, section 4.2).

    The temperature was fitted on ``count`` images of ``source``; ``left_out`` more were among the scored images.
    ``at_end``: the fit ran to an end of its range, so the temperature should not be used.
    """

    temperature: float
    ece: float
    nll: float
    brier: float
    source: str
    count: int
    left_out: int
    at_end: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoresAtSize:
    """The metrics of one model on one labeled source, as in ``Scores``, at one ``size`` of its input in pixels."""

    size: int
    top1: float
    count: int
    top5: float | None = None
    ece: float | None = None
    nll: float | None = None

    @classmethod
    def of(cls, size: int, scores: Scores) -> ScoresAtSize:
        """The metrics of scores at a size."""
        return cls(size=size, top1=scores.top1, count=scores.count, top5=scores.top5, ece=scores.ece, nll=scores.nll)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationResult(Scores):
    """What ``evaluate`` returns and writes: scores, unreadable images (key to reason), and temperature scaling.

    ``classes`` says which of the model's classes the images have, where these are not simply all. ``training_images``
    of the images are labeled images of the model's training; None where the model has no record of these. ``by_size``:
    the scores at the sizes that were asked for, from the smallest.
    """

    classes: str = ""
    unreadable: dict[str, str] = field(default_factory=dict)
    training_images: int | None = None
    temperature_scaling: TemperatureScaling | None = None
    by_size: tuple[ScoresAtSize, ...] = ()


def is_evaluation(path: Path) -> bool:
    """Whether a file holds scores that this program wrote."""
    try:
        content = read_json(path)
    except ArtifactError:
        return False
    return isinstance(content, dict) and {"top1", "count", "calibration"} <= content.keys()
