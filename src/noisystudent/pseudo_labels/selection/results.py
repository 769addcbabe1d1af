"""The summary of a selection as dataclasses: the content of its ``summary.json``."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassSelection:
    """One class before and after selection.

    ``threshold`` is the lowest selected confidence; ``share`` the share of the class that the selection aims at, None
    where that is the rule's own aim.
    """

    name: str
    predicted: int
    selected: int
    copies: int
    threshold: float | None = None
    share: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Counts between consecutive edges: one edge more than counts."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.edges) != len(self.counts) + 1:
            raise ValueError(
                f"{len(self.edges)} edges for {len(self.counts)} counts; there must be one more edge than counts"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectionSummary:
    """The number of pseudo labels, of selected ones and of their copies, in total and per class.

    ``reasons`` counts the rows by the reason for selecting or rejecting them.
    """

    rows: int
    selected: int
    copies: int
    rule: str = ""
    per_class: tuple[ClassSelection, ...] = ()
    reasons: dict[str, int] = field(default_factory=dict)
    confidence_histogram: Histogram | None = None
    warnings: tuple[str, ...] = ()
