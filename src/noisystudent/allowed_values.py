"""What a setting allows, in words for messages: read off its type and its bounds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

_KINDS = {int: "a whole number", float: "a number", str: "text", date: "a date such as 2026-01-31"}
_SEVERAL = "several of these with commas between them"


def allowed_values(field: FieldInfo) -> str:
    """What a setting allows, such as ``auto or a whole number of at least 8``.

    Args:
        field: The setting.
    """
    if _has_pattern(field.metadata):  # its description begins with what the pattern says
        return (field.description or "").partition(";")[0]
    kind = field.annotation
    if get_origin(kind) is tuple:
        return f"{_either(_words(get_args(kind)[0], ()))}, or {_SEVERAL}"
    return _either(_words(kind, field.metadata))


def choices_of(annotation: object) -> list[str]:
    """The words that a setting takes, wherever they stand in its type."""
    if get_origin(annotation) is Literal:
        return [choice for choice in get_args(annotation) if isinstance(choice, str) and choice]
    return [choice for part in get_args(annotation) for choice in choices_of(part)]


def _words(kind: Any, metadata: Sequence[object]) -> list[str]:  # noqa: ANN401 - a type
    """Each thing that a type allows; of text with a check of its own, the check says what."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        inner = [rule for part in parts[1:] for rule in (part.metadata if isinstance(part, FieldInfo) else [part])]
        return [] if parts[0] is str else _words(parts[0], inner)
    if origin is Literal:
        return [_shown(choice) for choice in parts if choice != ""]
    if origin in (Union, UnionType):
        found = [word for part in parts for word in _words(part, metadata)]
        return sorted(dict.fromkeys(found), key=lambda word: word.startswith((*_KINDS.values(), _SEVERAL)))
    if origin is tuple:
        return [_SEVERAL]
    if kind is bool:
        return ["true", "false"]
    return [] if kind is NoneType else [f"{_KINDS.get(kind, 'text')}{_bounds(metadata)}"]


def _shown(choice: object) -> str:
    return str(choice).lower() if isinstance(choice, bool) else str(choice)


def _bounds(metadata: Iterable[object]) -> str:
    """The bounds of a number in words."""
    found = {name: getattr(rule, name) for rule in metadata for name in ("ge", "gt", "le", "lt") if hasattr(rule, name)}
    if {"ge", "le"} <= found.keys():
        return f" from {found['ge']:g} to {found['le']:g}"
    texts = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    bounds = " and ".join(f"{text} {found[name]:g}" for name, text in texts.items() if name in found)
    return f" {'of ' if bounds.startswith('at') else ''}{bounds}" if bounds else ""


def _has_pattern(metadata: Iterable[object]) -> bool:
    return any(getattr(rule, "pattern", None) for rule in metadata)


def _either(words: Sequence[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last
