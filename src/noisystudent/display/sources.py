"""What is in the sources of a command, and what of it is not used, as lines for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TypeVar

from noisystudent.data.dedup.leakage import Excluded
from noisystudent.data.dedup.repeats import Conflict
from noisystudent.data.images import Failure
from noisystudent.data.source import PassedOver
from noisystudent.data.summary import SourceSummary
from noisystudent.display.wording import plural, printable

NAMES_SHOWN = 3  # of the things of one kind
CLASSES_SHOWN = 20  # with more, only their number, and the smallest and the largest class

Thing = TypeVar("Thing")


def source_lines(role: str, source: SourceSummary) -> list[str]:
    """The lines about one source: its name, images and classes, then everything in it that needs the user's eye.

    Args:
        role: what the source is for, such as ``labeled``.
        source: the facts about it.
    """
    parts = [f"{role}: {plural(source.images, 'image')} from {source.name}"]
    parts += [class_sentence(source.per_class)] if source.per_class else []
    parts += [f"{len(source.failures):,} unreadable"] if source.failures else []
    parts += ["nothing passed over"] if source.passed_over == () else []
    parts += [source.note] if source.note else []
    details = [passed_over_sentence(kind) for kind in source.passed_over or ()]
    details += [f"unreadable: {unreadable_sentence(source.failures)}"] if source.failures else []
    details += [conflict_sentence(source.conflicts)] if source.conflicts else []
    details += (
        [f"{plural(source.repeats, 'image')} of a class that has the same image already"] if source.repeats else []
    )
    details += [f"note: {note}" for note in source.notes]
    details += [left_out_sentence(f"the {role} set", source.left_out)] if source.left_out else []
    return [printable(line) for line in ("; ".join(parts), *(f"  {detail}" for detail in details))]


def class_sentence(per_class: Mapping[str, int]) -> str:
    """The classes and how many images each has; only the smallest and the largest if there are many."""
    if len(per_class) <= CLASSES_SHOWN:
        return f"{len(per_class)} classes: {', '.join(f'{name} ({count:,})' for name, count in per_class.items())}"
    fewest, most = (choose(per_class, key=lambda name: per_class[name]) for choose in (min, max))
    if per_class[fewest] == per_class[most]:
        return f"{len(per_class):,} classes of {plural(per_class[most], 'image')} each"
    reach = f"{per_class[fewest]:,} ({fewest!r}) to {per_class[most]:,} ({most!r})"
    return f"{len(per_class):,} classes of {reach} images each"


def passed_over_sentence(kind: PassedOver) -> str:
    """Things of one kind that were not read, with their number and first names."""
    return f"passed over: {kind.what} ({kind.count:,}): {_first(kind.names, kind.count, repr)}"


def unreadable_sentence(failures: Collection[Failure]) -> str:
    """The first of the images that could not be read, with their reasons."""
    return _first(failures, len(failures), lambda failure: f"{failure.key!r} ({failure.reason})")


def conflict_sentence(conflicts: Sequence[Conflict]) -> str:
    """The images that stand under several labels, and what to do."""
    shown = _first(
        conflicts,
        len(conflicts),
        lambda conflict: " and ".join(
            f"{key!r} ({name})" for key, name in zip(conflict.keys, conflict.classes, strict=True)
        ),
    )
    subject = "1 image is" if len(conflicts) == 1 else f"{len(conflicts):,} images are"
    return (
        f"{subject} in two or more classes: {shown}. All copies count as they are; keep each in the class that is right"
    )


def left_out_sentence(where: str, left_out: Sequence[Excluded]) -> str:
    """The images that do not train because they are also held out."""
    similar = sum(image.found == "near-duplicate" for image in left_out)
    shown = _first(left_out, len(left_out), lambda image: f"{image.key!r} ({image.found}: {image.same_as!r})")
    return (
        f"left out of {where}: {plural(len(left_out), 'image')}, also among the validation or test images "
        f"({len(left_out) - similar} identical, {similar} near-duplicates): {shown}"
    )


def _first(things: Iterable[Thing], count: int, text: Callable[[Thing], str]) -> str:
    """The first few of ``count`` things as text, and how many more there are."""
    shown = [text(thing) for thing, _ in zip(things, range(NAMES_SHOWN), strict=False)]
    more = count - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more else "")
