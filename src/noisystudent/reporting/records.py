"""The content of a run folder that the page shows: results, examples of pseudo labels, and mistakes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from noisystudent.pseudo_labels.selection.results import SelectionSummary
from noisystudent.results.facts import RunFacts, StrengthChoice
from noisystudent.results.run import RunSummary


@dataclass(frozen=True, slots=True)
class PseudoLabel:
    """One row of a selection that the page shows as an example."""

    key: str
    prediction: int
    confidence: float
    copies: int
    reason: str


@dataclass(frozen=True, slots=True)
class Examples:
    """Examples of one round's pseudo labels.

    ``most_confident`` and ``least_confident`` are selected rows; ``rejected`` are the most confident rows per reason;
    ``rows`` is the number of searched rows; ``complete`` tells whether these were all rows.
    """

    round: int
    most_confident: tuple[PseudoLabel, ...]
    least_confident: tuple[PseudoLabel, ...]
    rejected: dict[str, tuple[PseudoLabel, ...]]
    rows: int
    complete: bool


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
