"""The stability of a model along perturbed sequences, as dataclasses (``robustness.json``, ``perturbations``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from noisystudent.artifacts.typed_json import Finite
from noisystudent.evaluation.perturbations.metrics import SequenceStability


@dataclass(frozen=True, slots=True, kw_only=True)
class StabilityRates:
    """The flip probability and the top-5 distance of one perturbation, in percent of a reference model's."""

    flip_probability: Finite
    top5_distance: Finite


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineStability:
    """Flips and top-5 distances in percent of those of the reference model ``baseline``.

    ``mean_flip_rate`` (mFR) and ``mean_top5_distance`` (mT5D) are means over ImageNet-P's ten perturbations; None
    unless all of them were measured.
    """

    baseline: str
    mean_flip_rate: Finite | None
    mean_top5_distance: Finite | None
    perturbations: dict[str, StabilityRates]


@dataclass(frozen=True, slots=True, kw_only=True)
class PerturbationResult:
    """How stable the predictions of a model are along sequences of slightly perturbed images.

    Attributes:
        source: whether the sequences were generated from the evaluated images, or read from a published set.
        perturbations: the stability along the sequences of each perturbation.
        difficulty: 1 to 3, the lag between the frames that are compared (for noise, its strength).
        missing: ImageNet-P's perturbations that were not measured.
        mean_flip_probability: the mean over ImageNet-P's ten, as a fraction; None unless all were measured.
        mean_top5_distance: the mean over the ten, from 0 to 15; None unless all were measured.
        count: the sequences per perturbation; None if the perturbations have different numbers.
        table: the image size in pixels whose published strengths were used; None for a published set.
        folder: the folder of the published set; empty for generated sequences.
        ignored: the names in the folder that are not parts of a published set.
        relative: stability relative to the model of ``evaluation.baseline``.
    """

    source: Literal["generated", "published"]
    perturbations: dict[str, SequenceStability]
    difficulty: int
    missing: tuple[str, ...] = ()
    mean_flip_probability: Finite | None = None
    mean_top5_distance: Finite | None = None
    count: int | None = None
    table: int | None = None
    folder: str = ""
    ignored: tuple[str, ...] = ()
    relative: BaselineStability | None = None
