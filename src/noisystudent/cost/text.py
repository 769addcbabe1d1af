"""An estimate as plain text: a line a stage, a line for everything stored, and where the numbers are from."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from noisystudent.cost.estimate import Estimate
from noisystudent.display.wording import aligned, compact, duration, printable

WIDTH = 120
INDENT = 13  # of the sources' texts


def describe(found: Estimate) -> str:
    """The whole answer of ``plan --assume``."""
    assumed = found.assumptions
    prices = assumed.prices
    lines = [
        f"On {assumed.devices.count:,} x {assumed.devices.name}, at prices of {prices.as_of}; nothing of it was run.",
        "",
        *aligned(list(_stage_lines(found))),
        "",
        *aligned(list(_storage_lines(found))),
        "",
        f"In all {prices.currency} {found.price:,.0f}, and {duration(3600 * found.hours)}.",
        "",
        "Assumed:",
        *_sources(found),
    ]
    return "\n".join(printable(line) for line in lines)


def _stage_lines(found: Estimate) -> Iterator[tuple[str, ...]]:
    yield (
        "",
        "samples_seen",
        "a second and device",
        "cores a device",
        "device hours",
        "time",
        found.assumptions.prices.currency,
    )
    for stage in found.stages:
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
        f"{sum(stage.samples_seen for stage in found.stages):,}",
        "",
        "",
        f"{sum(stage.device_hours for stage in found.stages):,.1f}",
        duration(3600 * found.hours),
        f"{found.device_price:,.0f}",
    )


def _storage_lines(found: Estimate) -> Iterator[tuple[str, ...]]:
    yield "", "bytes", found.assumptions.prices.currency
    for each in found.stored:
        yield each.name, _size(each.bytes), ""
    yield f"all of it, for {duration(3600 * found.hours)}", _size(found.bytes_stored), f"{found.storage_price:,.0f}"
    yield (
        f"read, at up to {_size(found.bytes_per_second)} a second",
        _size(found.bytes_read),
        f"{found.reading_price:,.0f}",
    )


def _size(value: float) -> str:
    """Bytes to three digits: ``30.1 TB``."""
    text = compact(value)
    return f"{text}B" if text[-1].isalpha() else f"{text} B"


def _sources(found: Estimate) -> Iterator[str]:
    """Where the assumptions are from, a paragraph each."""
    assumed = found.assumptions
    rooms = [
        ("images", assumed.images.source),
        ("teacher", f"{assumed.teacher.model}: {assumed.teacher.source}"),
        *(("student", f"{student.model}: {student.source}") for student in assumed.students),
        ("devices", assumed.devices.source),
        ("core", assumed.core.source),
        ("predictions", assumed.predictions.source),
        ("prices", assumed.prices.source),
    ]
    for room, source in dict.fromkeys(rooms):  # students that differ only in their ratio are from the same source
        yield from textwrap.wrap(f"{room:<{INDENT}}{source}", WIDTH, subsequent_indent=" " * INDENT)
