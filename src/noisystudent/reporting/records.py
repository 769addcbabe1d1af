"""The content of a run folder that the page shows: results, examples of pseudo labels, and mistakes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from noisystudent.pseudo_labels.selection.results import SelectionSummary
from noisystudent.pseudo_labels.shift import ClassShares
from noisystudent.results.facts import HeadEvidence, RunFacts, StrengthChoice
from noisystudent.results.findings import Findings
from noisystudent.results.run import Role, RunSummary


@dataclass(frozen=True, slots=True)
class PseudoLabel:
    """One row of a selection that the page shows as an example; ``truth`` is its true class where that is known."""

    key: str
    prediction: int
    confidence: float
    copies: int
    reason: str
    truth: int | None = None


@dataclass(frozen=True, slots=True)
class Examples:
    """Examples of one round's pseudo labels.

    ``most_confident`` and ``least_confident`` are selected rows; ``rejected`` are the most confident rows per reason;
    ``rows`` is the number of searched rows; ``complete`` tells whether these were all rows. ``wrong`` are the most
    confident selected rows whose true class is known to be another one, ``wrong_rows`` of ``known_rows``.
    """

    round: int
    most_confident: tuple[PseudoLabel, ...]
    least_confident: tuple[PseudoLabel, ...]
    rejected: dict[str, tuple[PseudoLabel, ...]]
    rows: int
    complete: bool
    wrong: tuple[PseudoLabel, ...] = ()
    wrong_rows: int = 0
    known_rows: int = 0


@dataclass(frozen=True, slots=True)
class WrongImage:
    """A test image that the delivered student classifies wrongly."""

    key: str
    label: int
    prediction: int
    confidence: float


@dataclass(frozen=True, slots=True)
class Mistakes:
    """Mistakes of the delivered student on the test source.

    ``images`` are the most confident mistakes, in descending order; ``wrong`` is the number of mistakes among ``count``
    labeled images.
    """

    images: tuple[WrongImage, ...]
    wrong: int
    count: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What one model answers for an image."""

    model: str
    prediction: int
    confidence: float


@dataclass(frozen=True, slots=True)
class ComparedImage:
    """A held-out image with the answers of the control and of every later model, in order; the student is the last."""

    key: str
    label: int
    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True)
class WonLost:
    """Held-out images that only the student or only the control gets right, the surest answers first.

    ``won``, ``lost`` and ``both_wrong`` count all of them; ``won_images`` and ``lost_images`` are those that are shown.
    """

    role: Role
    won: int
    lost: int
    both_wrong: int
    won_images: tuple[ComparedImage, ...]
    lost_images: tuple[ComparedImage, ...]


@dataclass(frozen=True, slots=True)
class MapPoint:
    """One image on the map: its place from 0 to 1, its class, and what is known about it."""

    key: str
    labeled: bool
    x: float
    y: float
    label: int
    confidence: float
    out_of_class: bool


@dataclass(frozen=True, slots=True)
class ImageMap:
    """The map: its images, and their copies in one JPEG image, in as many columns as rows."""

    points: tuple[MapPoint, ...]
    sprite: bytes
    edge: int


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The content of a run folder that the page shows; ``noise_sheet`` is a PNG."""

    folder: Path
    summary: RunSummary
    facts: RunFacts
    strength: StrengthChoice | None
    selections: dict[int, SelectionSummary]
    examples: Examples | None
    mistakes: Mistakes | None
    noise_sheet: bytes | None
    findings: Findings | None = None
    evidence: HeadEvidence | None = None
    won_lost: WonLost | None = None
    image_map: ImageMap | None = None
    class_shares: dict[int, ClassShares] = field(default_factory=dict)
