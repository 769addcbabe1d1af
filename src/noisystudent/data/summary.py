"""The facts about one source of a command: what it holds, and everything in it that is not used."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from noisystudent.data.dedup.leakage import Excluded
from noisystudent.data.dedup.repeats import Conflict, count_repeats, find_conflicts
from noisystudent.data.images import Failure, Images
from noisystudent.data.source import PassedOver, Source, class_counts, passed_over, source_notes


@dataclass(frozen=True, kw_only=True)
class SourceSummary:
    """What the first lines of a command, ``run.json`` and the page say about a source.

    ``images`` are the readable ones where they were decoded, else all. ``per_class`` is None without labels.
    ``passed_over`` is None where the source does not say. ``failures`` are unreadable images, ``left_out`` images that
    are also held out, ``conflicts`` images under several labels, ``repeats`` the number of images that their class has
    twice. ``note`` says where the images come from if the source was not given; ``notes`` are sentences for the user.
    """

    name: str
    images: int
    fingerprint: str = ""
    per_class: dict[str, int] | None = None
    failures: tuple[Failure, ...] = ()
    note: str = ""
    passed_over: tuple[PassedOver, ...] | None = None
    notes: tuple[str, ...] = ()
    left_out: tuple[Excluded, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    repeats: int = 0


def summarize(source: Source) -> SourceSummary:
    """The facts about a source that is not decoded, without its fingerprint, which takes time."""
    return SourceSummary(
        name=source.name,
        images=sum(source.shard_sizes),
        per_class=class_counts(source),
        passed_over=_passed_over(source),
        notes=source_notes(source),
    )


def summarize_decoded(source: Source, images: Images) -> SourceSummary:
    """The facts about a source whose images are decoded, with the labels of the source."""
    labeled = source.classes is not None
    per_class = None
    if source.classes is not None:
        counts = np.bincount(images.labels, minlength=len(source.classes))
        per_class = {name: int(count) for name, count in zip(source.classes, counts, strict=True)}
    return SourceSummary(
        name=source.name,
        fingerprint=source.fingerprint,
        images=len(images),
        per_class=per_class,
        failures=images.failures,
        passed_over=_passed_over(source),
        notes=source_notes(source),
        conflicts=find_conflicts(images) if labeled else (),
        repeats=count_repeats(images) if labeled else 0,
    )


def _passed_over(source: Source) -> tuple[PassedOver, ...] | None:
    return passed_over(source) if hasattr(source, "passed_over") else None
