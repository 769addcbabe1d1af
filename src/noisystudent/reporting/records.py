"""What a run folder says, as frozen dataclasses; every field is checked against its type when it is read.

Shares (accuracies, confidences, calibration errors, differences) are fractions from 0 to 1 here; the page and
the terminal turn them into percent and points. Fields that a run may lack are ``None`` or empty.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from noisystudent.display.reliability import CalibrationBin
from noisystudent.reporting.robustness.records import Robustness

Role = Literal["test", "validation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Named numbers of one checkpoint on one source; ``confusion`` has a row for each true class."""

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
class EvaluatedModel:
    """A checkpoint that takes part in the comparison: what it is, what it cost and how it scores."""

    name: str
    model: str
    parameters: int | None = None
    samples_seen: int | None = None
    seconds: float | None = None
    validation: Scores | None = None
    test: Scores | None = None

    def scores(self, role: Role | None) -> Scores | None:
        """The scores on the source with this role, or ``None`` where there are none."""
        return None if role is None else (self.test if role == "test" else self.validation)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundResult(EvaluatedModel):
    """The student of one round, with what was selected for it and the signs that need no labels."""

    round: int
    rolled_back: bool
    selected: int | None = None
    copies: int | None = None
    pseudo_labels: dict[str, float | None] | None = None
    diagnostics: dict[str, float | None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """A simple classifier on the same labels, for scale."""

    name: str
    top1: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Delivered student against control on held-out labels; ``difference`` and ``interval`` are fractions.

    ``helper`` is what the student had and the control had not.
    """

    decision: Literal["keep", "roll back", "cannot tell"]
    reason: str = ""
    difference: float | None = None
    interval: tuple[float, float] | None = None
    p_value: float | None = None
    labels: int | None = None
    source: Literal["test", "validation", "none"] = "none"
    helper: str = "the unlabeled images"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What the whole run took."""

    seconds: float | None = None
    samples_seen: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """``summary.json``: who took part, how they scored, what was delivered and the verdict.

    Methods without a teacher have None for it. ``teachers`` are those whose mean is the teacher, where there are
    several; ``generations`` is the mean of all students. ``robustness`` is None where none was measured.
    """

    classes: tuple[str, ...]
    teacher: EvaluatedModel | None
    student: EvaluatedModel
    delivered: str
    verdict: Verdict
    recipe: str | None = None
    seed: int | None = None
    control: EvaluatedModel | None = None
    teachers: tuple[EvaluatedModel, ...] = ()
    rounds: tuple[RoundResult, ...] = ()
    generations: EvaluatedModel | None = None
    baselines: tuple[Baseline, ...] = ()
    cost: Cost = field(default_factory=Cost)
    robustness: Robustness | None = None

    def class_name(self, index: int) -> str:
        """The name of the class with this index, or ``class <index>`` where the list is too short."""
        return self.classes[index] if 0 <= index < len(self.classes) else f"class {index}"

    def reporting_role(self) -> Role | None:
        """The source that numbers are quoted on: test where the student has test scores, else validation."""
        if self.student.test is not None:
            return "test"
        return "validation" if self.student.validation is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOutFailure:
    """An image that could not be decoded."""

    key: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOutTwin:
    """An unlabeled image that was left out because a held-out image is identical or looks the same."""

    key: str
    same_as: str
    found: Literal["identical", "near-duplicate"] = "identical"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFacts:
    """What ``run.json`` says of one source."""

    name: str
    images: int
    fingerprint: str = ""
    classes: tuple[str, ...] | None = None
    per_class: dict[str, int] | None = None
    failures: tuple[LeftOutFailure, ...] = ()
    left_out: tuple[LeftOutTwin, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """``run.json``: how the run was asked for and on what."""

    version: str
    command: tuple[str, ...]
    settings: dict[str, object]
    recipe: str | None = None
    origins: dict[str, str] = field(default_factory=dict)
    sources: dict[str, SourceFacts | None] = field(default_factory=dict)
    versions: dict[str, object] = field(default_factory=dict)
    machine: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StrengthCandidate:
    """A strength that was tried on ``labels`` labels; how far its accuracy is ``behind`` the best's, and how surely."""

    strength: float
    top1: float | None = None
    nll: float | None = None
    behind: float | None = None
    standard_error: float | None = None
    labels: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StrengthChoice:
    """``strength/summary.json``: the noise strength, what it was chosen from and by what."""

    chosen: float
    by: str
    candidates: tuple[StrengthCandidate, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassSelection:
    """One class before and after selection; ``threshold`` is the lowest confidence taken."""

    name: Annotated[str | int, Field(validation_alias="class")]
    predicted: int
    selected: int
    copies: int
    threshold: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Counts between consecutive edges: one edge more than counts."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.edges) != len(self.counts) + 1:
            raise ValueError(f"{len(self.edges)} edges for {len(self.counts)} counts: one more is needed")


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectionSummary:
    """``round-N/selection/summary.json``: what training took from the pseudo labels and why not the rest."""

    rows: int
    selected: int
    copies: int
    per_class: tuple[ClassSelection, ...] = ()
    reasons: dict[str, int] = field(default_factory=dict)
    confidence_histogram: Histogram | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PseudoLabel:
    """One row of a selection, picked as an example."""

    key: str
    prediction: int
    confidence: float
    copies: int
    reason: str


@dataclass(frozen=True, slots=True)
class Examples:
    """Pseudo labels of one round to look at: the surest and least sure kept, the surest of each rejection.

    ``rows`` is how many rows were looked through, ``complete`` whether those were all.
    """

    round: int
    surest: tuple[PseudoLabel, ...]
    least_sure: tuple[PseudoLabel, ...]
    rejected: dict[str, tuple[PseudoLabel, ...]]
    rows: int
    complete: bool


@dataclass(frozen=True, slots=True)
class WrongImage:
    """A test image that the delivered student gets wrong."""

    key: str
    label: int
    prediction: int
    confidence: float


@dataclass(frozen=True, slots=True)
class Mistakes:
    """The most confident wrong test images of the delivered student, most confident first."""

    images: tuple[WrongImage, ...]
    wrong: int
    count: int


@dataclass(frozen=True, slots=True)
class RunRecord:
    """All that the report says, read from a run folder; ``noise_sheet`` is a PNG."""

    folder: Path
    summary: Summary
    facts: RunFacts
    strength: StrengthChoice | None
    selections: dict[int, SelectionSummary]
    examples: Examples | None
    mistakes: Mistakes | None
    noise_sheet: bytes | None
