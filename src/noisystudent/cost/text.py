"""An estimate as plain text: one line per stage, one per kind of stored files, and the sources of the numbers."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from noisystudent.cost.estimate import Estimate
from noisystudent.display.wording import aligned, compact, duration, printable

WIDTH = 120
INDENT = 13  # of the texts of sources


def describe(estimate: Estimate) -> str:
    """Returns the output of ``plan --assume``."""
    assumptions = estimate.assumptions
    prices = assumptions.prices
    devices = f"{assumptions.devices.count:,} x {assumptions.devices.name}"
    lines = [
        f"Estimate for {devices}, at prices of {prices.as_of}; nothing was run.",
        "",
        *aligned(list(_stage_lines(estimate))),
        "",
        *aligned(list(_storage_lines(estimate))),
        "",
        f"Total: {prices.currency} {estimate.price:,.0f} and {duration(3600 * estimate.hours)}.",
        "Not counted: the search for a noise strength and for other settings, selection, scoring.",
        "",
        "Assumed:",
        *_sources(estimate),
    ]
    return "\n".join(printable(line) for line in lines)


def _stage_lines(estimate: Estimate) -> Iterator[tuple[str, ...]]:
    yield (
        "",
        "samples seen",
        "per second and device",
        "cores per device",
        "device hours",
        "time",
        estimate.assumptions.prices.currency,
    )
    for stage in estimate.stages:
        yield (
            stage.name,
            f"{stage.samples_seen:,}",
            f"{stage.rate:,.1f}",
            f"{stage.cores:,.1f}",
            f"{stage.device_hours:,.1f}",
            duration(3600 * stage.hours),
            f"{stage.price:,.0f}",
        )
    yield (
        "all stages",
        f"{sum(stage.samples_seen for stage in estimate.stages):,}",
        "",
        "",
        f"{sum(stage.device_hours for stage in estimate.stages):,.1f}",
        duration(3600 * estimate.hours),
        f"{estimate.device_price:,.0f}",
    )


def _storage_lines(estimate: Estimate) -> Iterator[tuple[str, ...]]:
    yield "", "bytes", estimate.assumptions.prices.currency
    for files in estimate.stored:
        yield files.name, _size(files.bytes), ""
    time = duration(3600 * estimate.hours)
    yield f"all files, for {time}", _size(estimate.bytes_stored), f"{estimate.storage_price:,.0f}"
    yield (
        f"read, at up to {_size(estimate.bytes_per_second)} per second",
        _size(estimate.bytes_read),
        f"{estimate.reading_price:,.0f}",
    )


def _size(value: float) -> str:
    """Bytes to three digits: ``30.1 TB``."""
    text = compact(value)
    return f"{text}B" if text[-1].isalpha() else f"{text} B"


def _sources(estimate: Estimate) -> Iterator[str]:
    """One paragraph per section of the assumptions, with the source of its numbers."""
    assumptions = estimate.assumptions
    sources = [
        ("images", assumptions.images.source),
        ("teacher", f"{assumptions.teacher.model}: {assumptions.teacher.source}"),
        *(("student", f"{student.model}: {student.source}") for student in assumptions.students),
        ("devices", assumptions.devices.source),
        ("core", assumptions.core.source),
        ("predictions", assumptions.predictions.source),
        ("prices", assumptions.prices.source),
    ]
    for section, source in dict.fromkeys(sources):  # students that differ only in their ratio have the same source
        yield from textwrap.wrap(f"{section:<{INDENT}}{source}", WIDTH, subsequent_indent=" " * INDENT)
