"""How a run was asked for, on what data, and what it chose: ``run.json``, ``strength/summary.json``, planned stages."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadableImage:
    """An image that could not be decoded, and why."""

    key: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExcludedImage:
    """An unlabeled image that was left out because a held-out image is identical or looks the same."""

    key: str
    same_as: str
    found: Literal["identical", "near-duplicate"] = "identical"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFacts:
    """One source of a run: its size, its classes, and which images were unreadable or left out.

    ``fingerprint`` identifies the content; ``note`` says where the images come from when the source was not given, such
    as a validation set carved out of the labeled images.
    """

    name: str
    images: int
    fingerprint: str = ""
    note: str = ""
    classes: tuple[str, ...] | None = None
    per_class: dict[str, int] | None = None
    failures: tuple[UnreadableImage, ...] = ()
    left_out: tuple[ExcludedImage, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFormat:
    """The format of a run's images: the largest input edge of its models in pixels, and the channels."""

    size: int
    channels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """``run.json``: the command, the settings with the origin of each value, the sources, versions and the machine."""

    version: str
    command: tuple[str, ...]
    settings: dict[str, object]
    format: StoredFormat | None = None
    recipe: str | None = None
    origins: dict[str, str] = field(default_factory=dict)
    extensions: dict[str, str] = field(default_factory=dict)
    sources: dict[str, SourceFacts | None] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    machine: str = ""
    threads: int | None = None


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
    """``strength/summary.json``: the chosen noise strength, the candidates, and how they were compared."""

    chosen: float
    by: str
    candidates: tuple[StrengthCandidate, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStage:
    """A stage of a run: whether it is done, and an estimate of its cost."""

    name: str
    state: Literal["absent", "partial", "complete", "stale"]
    samples_seen: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanResult:
    """What ``plan`` returns: the stages of a run in order, and what those that are not done will cost."""

    stages: tuple[PlannedStage, ...]

    @property
    def samples_left(self) -> int:
        """Training samples of the stages that are not done."""
        return sum(stage.samples_seen for stage in self.stages if stage.state != "complete")

    @property
    def seconds_left(self) -> float:
        """Estimated seconds of training on this machine."""
        return sum(stage.seconds for stage in self.stages)
