"""How a run was asked for, on what data, and what it chose: ``run.json``, summaries of choices, planned stages."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Literal

from noisystudent.data.summary import SourceSummary

NAMES_WRITTEN = 100  # of the things of one kind that a source passes over


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadableImage:
    """An image that could not be decoded, and why."""

    key: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExcludedImage:
    """A labeled or unlabeled image that was left out because a held-out image is identical or looks the same."""

    key: str
    same_as: str
    found: Literal["identical", "near-duplicate"] = "identical"


@dataclass(frozen=True, slots=True, kw_only=True)
class PassedOverFiles:
    """Things of one kind in a source that are not read as images: their number, and the first of their names."""

    what: str
    count: int
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConflictingImage:
    """One image under several labels: its keys and, in the same order, their classes."""

    keys: tuple[str, ...]
    classes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFacts:
    """One source of a run: its size, its classes, and everything in it that was not used or needs the user's eye.

    ``fingerprint`` identifies the content; ``note`` says where the images come from when the source was not given, such
    as a validation set carved out of the labeled images; ``notes`` are sentences for the user; ``repeats`` counts the
    images whose class has the same image already.
    """

    name: str
    images: int
    fingerprint: str = ""
    note: str = ""
    classes: tuple[str, ...] | None = None
    per_class: dict[str, int] | None = None
    failures: tuple[UnreadableImage, ...] = ()
    left_out: tuple[ExcludedImage, ...] = ()
    passed_over: tuple[PassedOverFiles, ...] = ()
    notes: tuple[str, ...] = ()
    conflicts: tuple[ConflictingImage, ...] = ()
    repeats: int = 0


def source_facts(source: SourceSummary, classes: tuple[str, ...] | None) -> SourceFacts:
    """The facts about a source as ``run.json`` has them; of names that are passed over, the first ``NAMES_WRITTEN``."""
    return SourceFacts(
        name=source.name,
        images=source.images,
        fingerprint=source.fingerprint,
        note=source.note,
        classes=classes,
        per_class=source.per_class,
        failures=tuple(UnreadableImage(key=failure.key, reason=failure.reason) for failure in source.failures),
        left_out=tuple(ExcludedImage(**asdict(image)) for image in source.left_out),
        passed_over=tuple(
            PassedOverFiles(what=kind.what, count=kind.count, names=kind.names[:NAMES_WRITTEN])
            for kind in source.passed_over or ()
        ),
        notes=source.notes,
        conflicts=tuple(ConflictingImage(**asdict(conflict)) for conflict in source.conflicts),
        repeats=source.repeats,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFormat:
    """The format of a run's images: the largest input edge of its models in pixels, and the channels."""

    size: int
    channels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StartFacts:
    """The pretrained weights that the models of a run start from: their name, their model, what they were trained on.

    ``fingerprint`` identifies all that a model takes from them; ``reason`` says why ``auto`` took them, and is empty
    where the user named them; ``notice`` is their license and whose they are, and empty where it is not known.
    """

    weights: str
    architecture: str
    trained_on: str
    fingerprint: str
    reason: str = ""
    notice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """``run.json``: the command, the settings with the origin of each value, the sources, versions and the machine.

    ``stages`` names the stages that a run of networks expects, in order.
    """

    version: str
    command: tuple[str, ...]
    settings: dict[str, object]
    format: StoredFormat | None = None
    recipe: str | None = None
    origins: dict[str, str] = field(default_factory=dict)
    extensions: dict[str, str] = field(default_factory=dict)
    start: StartFacts | None = None
    sources: dict[str, SourceFacts | None] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    machine: str = ""
    threads: int | None = None
    stages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StrengthCandidate:
    """A noise strength, scored on ``labels`` labels that its teachers did not see.

    ``behind`` is how far its accuracy falls short of the best candidate's, ``standard_error`` that of this difference,
    paired over labels.
    """

    strength: float
    top1: float | None = None
    nll: float | None = None
    behind: float | None = None
    standard_error: float | None = None
    labels: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StrengthChoice:
    """``strength/choice/summary.json``: the chosen noise strength, the candidates, and how they were compared."""

    chosen: float
    by: str
    candidates: tuple[StrengthCandidate, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkTrial:
    """The share of labels that a network predicts and did not see: ``top1``, after ``steps`` at ``size`` pixels.

    ``frozen`` is that of heads on frozen features, and ``standard_error`` that of the difference.
    """

    top1: float
    frozen: float
    standard_error: float
    size: int
    steps: int


MANY_TRIED = 300  # labels, from which on the whole backbone need not be clearly better


@dataclass(frozen=True, slots=True, kw_only=True)
class StartTrial:
    """``start/choice/summary.json``: how the starts of a run predict ``labels`` labels that they did not see.

    ``scratch`` is a network from scratch, beside frozen features at the size of the weights, and ``tuned`` the whole
    backbone, beside frozen features at its own size; each is None where it was not tried. ``student``: whether the
    budget gives the whole backbone a student on images as large as those of heads, which always have one.
    ``large_images``: whether the whole backbone was tried, and images have 112 px and more, which frozen features suit.
    """

    labels: int
    scratch: NetworkTrial | None = None
    tuned: NetworkTrial | None = None
    student: bool = True
    large_images: bool = False

    @property
    def must_lead(self) -> bool:
        """Whether the whole backbone must be clearly better than heads, instead of not clearly worse.

        So it is with fewer than ``MANY_TRIED`` labels where it is no better in the end: on large images, which frozen
        features suit, or without a student on images as large as those of heads (NOTEBOOK.md).
        """
        return self.labels < MANY_TRIED and (self.large_images or not self.student)

    @property
    def prefers(self) -> Literal["frozen", "scratch", "tuned"]:
        """The whole backbone unless heads are clearly better, or a network from scratch is as good as both are.

        A trained network has a small part of the time that a run gives it, and heads need seconds. So the one from
        scratch is preferred where it is as good as heads already, and the whole backbone unless heads are ahead by two
        standard errors; where it ``must_lead``, it must be ahead by two itself.
        """
        scratch, tuned = self.scratch, self.tuned
        if scratch and scratch.top1 < scratch.frozen:
            scratch = None
        if tuned and tuned.top1 >= tuned.frozen + tuned.standard_error * (2 if self.must_lead else -2):
            return "scratch" if scratch and scratch.top1 >= tuned.top1 else "tuned"
        return "scratch" if scratch else "frozen"


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentChoice:
    """``student-choice/summary.json``: what the only student of a run learns from, where the budget leaves it open.

    Of ``images`` unlabeled images, the teacher answered ``sure`` with a probability of ``threshold`` or more.
    """

    images: int
    sure: int
    threshold: float
    student: Literal["online", "round"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PenaltyCandidate:
    """A weight decay of heads, scored on labels that its heads did not see."""

    penalty: float
    nll: float
    top1: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadTeacher:
    """A teacher on frozen features: its weight in the mean of all, and its accuracy on labels that it did not see."""

    name: str
    weight: float
    top1: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadChoice:
    """``head-choice/summary.json``: what cross-fitting on ``labels`` labels decided for heads on frozen features.

    ``labels`` is None where a class has a single label, which no cross-fitting can test.
    """

    penalty: float
    teachers: tuple[HeadTeacher, ...]
    candidates: tuple[PenaltyCandidate, ...] = ()
    labels: int | None = None

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each teacher by name."""
        return {member.name: member.weight for member in self.teachers}


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadEvidence:
    """``cross-fit/summary.json``: how many labels a student and a labels-only head predict that neither saw.

    ``student`` and ``labels_only`` are accuracies on ``labels`` labels, ``p_value`` that of McNemar's exact test, and
    the temperatures those under which these labels are most likely; None of an earlier version.
    """

    student: float
    labels_only: float
    p_value: float
    labels: int
    student_temperature: float | None = None
    labels_only_temperature: float | None = None

    def student_is_worse(self, p_value: float) -> bool:
        """Whether the labels show the student to be worse at this level."""
        return self.student < self.labels_only and self.p_value < p_value


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStage:
    """A stage of a run: whether it is done, and what it costs.

    ``samples_seen`` and ``images_predicted`` are those that the run will report; ``seconds`` are estimated, and None
    where they are not, because nothing like the stage was timed.
    """

    name: str
    state: Literal["absent", "partial", "complete", "stale"]
    samples_seen: int
    images_predicted: int
    seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanResult:
    """What ``plan`` returns: the stages of a run in order, and what those that are not done will cost."""

    stages: tuple[PlannedStage, ...]

    @property
    def samples_left(self) -> int:
        """Samples that the stages that are not done will train on."""
        return sum(stage.samples_seen for stage in self.stages if stage.state != "complete")

    @property
    def predicted_left(self) -> int:
        """Images that the stages that are not done will label or score."""
        return sum(stage.images_predicted for stage in self.stages if stage.state != "complete")

    @property
    def seconds_left(self) -> float:
        """Estimated seconds on this machine, without the stages that have no estimate."""
        return sum(stage.seconds or 0.0 for stage in self.stages)

    @property
    def without_estimate(self) -> tuple[str, ...]:
        """The names of the stages that are not done and have no estimate."""
        return tuple(stage.name for stage in self.stages if stage.seconds is None and stage.state != "complete")
