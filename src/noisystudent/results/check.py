"""What an audit of the sources of a run found, before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass, field

from noisystudent.data.summary import SourceSummary
from noisystudent.results.findings import LabelIssue


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSizes:
    """The edges of the images of a source in pixels: of up to 2,000 of them, evenly spaced.

    ``median`` is the median short edge; ``small`` images have less than half of it, ``long`` ones are more than three
    times as long as wide. Both list keys.
    """

    read: int
    median: int
    smallest: int
    largest: int
    small: tuple[str, ...] = ()
    long: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DataCheck:
    """What ``check`` returns.

    ``sources`` and ``sizes`` are by role. ``label_issues`` are labels that look wrong to heads on the features of
    ``backbone`` that did not learn from them; None without a backbone, or where a class has a single label.
    """

    sources: dict[str, SourceSummary] = field(default_factory=dict)
    sizes: dict[str, ImageSizes] = field(default_factory=dict)
    backbone: str | None = None
    label_issues: tuple[LabelIssue, ...] | None = None
