"""The result of a run or a distillation: who was trained, how they scored, what is delivered, and the verdict.

Accuracies, calibration errors and differences are fractions from 0 to 1. Fields that a run may lack are None or empty.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from noisystudent.evaluation.metrics.results import Scores
from noisystudent.evaluation.results import ComparisonResult
from noisystudent.evaluation.verdict import Verdict
from noisystudent.results.fix import FixResult

Role = Literal["test", "validation"]
ChosenBy = Literal["validation", "cross-fitting", "nothing"]
ControlLength = Literal["samples", "steps"]  # what a control has in common with the student


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatedModel:
    """One trained model: its architecture, its cost and its scores on held-out sources.

    ``milliseconds`` are those of an answer per image, 32 at a time on the run's device; measured by distillations.
    """

    name: str
    model: str
    parameters: int | None = None
    samples_seen: int | None = None
    seconds: float | None = None
    validation: Scores | None = None
    test: Scores | None = None
    milliseconds: float | None = None

    def scores(self, role: Role | None) -> Scores | None:
        """The scores on the source with this role, or None where there are none."""
        return None if role is None else (self.test if role == "test" else self.validation)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundTeacher:
    """One of several teachers whose mean labels in a round: its stage or its name in the settings, and its weight.

    ``validation_top1`` is the accuracy that the weight is from; None where all teachers count the same.
    """

    name: str
    model: str
    weight: float
    validation_top1: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundResult(EvaluatedModel):
    """The student of one round, and what it learned from.

    ``selected`` pseudo labels trained, as ``copies`` samples per epoch; ``pseudo_labels`` says how many are right,
    where the true classes are known; ``diagnostics`` need no labels; ``drift`` are the signs that pseudo labels drift;
    ``teachers`` are those whose mean labeled, where there were several.
    """

    round: int
    rolled_back: bool
    selected: int | None = None
    copies: int | None = None
    pseudo_labels: dict[str, float | None] | None = None
    diagnostics: dict[str, float | None] | None = None
    drift: tuple[str, ...] = ()
    teachers: tuple[RoundTeacher, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Why ``best/`` holds the model that it holds, and what else there is.

    ``chosen_by``: validation labels, cross-fitting on the labels, or nothing, because test labels choose nothing.
    ``labels_only_above``: the stages
    of labels-only models that score higher than it where results are reported, with their accuracy, best first.
    """

    chosen_by: ChosenBy = "nothing"
    labels_only_above: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """A simple classifier on the same labels, for scale.

    ``checkpoint`` is its stage where the run keeps it as a checkpoint.
    """

    name: str
    top1: float
    checkpoint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCost:
    """``cost.json`` of a stage: its seconds, and the images that it trained on and only predicted.

    ``samples_seen`` are images through forward and backward, ``images_predicted`` those through forward alone, to label
    and to score.
    """

    name: str
    seconds: float = 0.0
    samples_seen: int = 0
    images_predicted: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerTimes:
    """Milliseconds of an answer per image, by the name of the model, with ``images`` at a time on a device."""

    milliseconds: dict[str, float]
    images: int
    device: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What the whole run took: the sums over ``stages``, the search for a noise strength and the page included.

    ``session_seconds`` is the last call alone, finished stages not counted.
    """

    seconds: float | None = None
    session_seconds: float | None = None
    samples_seen: int | None = None
    images_predicted: int | None = None
    stages: tuple[StageCost, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """``summary.json`` of a run folder: every trained model with its scores, the delivered one, and the verdict.

    ``student`` is the delivered model, ``delivered`` the name of its stage. ``teacher`` is None for methods without
    one; ``teachers`` are the members where it is the mean of several; ``further_controls`` are labels-only models like
    ``control``, and ``control_length`` is what these have in common with the student: the samples that its weights saw,
    or its steps; ``controls_of_steps`` are further ones of as many steps, with which the student is not compared;
    ``small_student`` is the network that ``head.student`` names, and ``generations`` the mean of all students of a
    distillation. ``robustness`` compares all models, with the control first; ``fixed`` are the models that were fixed
    for a larger size, at both sizes.
    """

    classes: tuple[str, ...]
    teacher: EvaluatedModel | None
    student: EvaluatedModel
    delivered: str
    verdict: Verdict
    recipe: str | None = None
    seed: int | None = None
    delivery: Delivery = field(default_factory=Delivery)
    control: EvaluatedModel | None = None
    further_controls: tuple[EvaluatedModel, ...] = ()
    control_length: ControlLength = "samples"
    controls_of_steps: tuple[EvaluatedModel, ...] = ()
    teachers: tuple[EvaluatedModel, ...] = ()
    rounds: tuple[RoundResult, ...] = ()
    small_student: EvaluatedModel | None = None
    generations: EvaluatedModel | None = None
    baselines: tuple[Baseline, ...] = ()
    cost: Cost = field(default_factory=Cost)
    robustness: ComparisonResult | None = None
    fixed: tuple[FixResult, ...] = ()

    def class_name(self, index: int) -> str:
        """The name of the class with this index, or ``class <index>`` where there is none."""
        return self.classes[index] if 0 <= index < len(self.classes) else f"class {index}"

    def reporting_role(self) -> Role | None:
        """The source that numbers are quoted on: test where the student has test scores, else validation."""
        if self.student.test is not None:
            return "test"
        return "validation" if self.student.validation is not None else None
