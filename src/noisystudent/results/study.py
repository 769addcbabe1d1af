"""The result of a study: the cells' accuracies by seed, and how far each is from the reference."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Agreement = Literal["same sign", "opposite sign", "level", ""]


@dataclass(frozen=True, slots=True, kw_only=True)
class CellResult:
    """One row of a study; accuracies and differences are fractions.

    Attributes:
        name: What the row is called.
        settings: Its settings by dotted name, above those that all rows share.
        top1: Test accuracy of its last student by seed, in the order of the study's seeds; empty where ``missing``.
        difference: Mean over seeds of its accuracy minus that of the reference on the same seed; None of the reference
            itself, and where ``missing``.
        interval: The 95% interval of the difference, over test images and trainings.
        published: The paper's accuracy.
        published_difference: The paper's difference to the reference.
        agreement: Whether the difference has the sign that the paper reports; empty where the paper reports none.
        shown: Whether the interval leaves out 0.
        samples_seen: Images through forward and backward in one run, the search for a noise strength included.
        missing: Why it has no result, such as a threshold that leaves no pseudo label; empty otherwise.
    """

    name: str
    settings: dict[str, object] = field(default_factory=dict)
    top1: tuple[float, ...]
    difference: float | None = None
    interval: tuple[float, float] | None = None
    published: float | None = None
    published_difference: float | None = None
    agreement: Agreement = ""
    shown: bool = False
    samples_seen: int | None = None
    missing: str = ""

    @property
    def mean(self) -> float | None:
        """The mean accuracy over seeds; None where ``missing``."""
        return sum(self.top1) / len(self.top1) if self.top1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyResult:
    """``study.json``: a question and the rows that answer it.

    Attributes:
        name: The study's name, or that of its file.
        title: The heading of its table.
        question: What its cells answer.
        reference: The row that the others are compared with.
        seeds: The seeds of the runs.
        rows: The rows; the first is labels-only training, where it was trained.
        source: Where the paper has its numbers; empty for a user's own study.
        finding: What the paper says in words.
        test_images: How many test images each accuracy is measured on.
        luck: Whether the intervals hold the luck of training; fits of heads on frozen features have none.
        seconds: What all runs took, stages that several cells share counted once.
        machine: The machine.
        versions: Versions of this package and of torch.
    """

    name: str
    title: str
    question: str
    reference: str
    seeds: tuple[int, ...]
    rows: tuple[CellResult, ...]
    source: str = ""
    finding: str = ""
    test_images: int = 0
    luck: bool = True
    seconds: float = 0.0
    machine: str = ""
    versions: dict[str, str] = field(default_factory=dict)
