"""Says in words what differs between the inputs of two pieces of work, where ``differences`` has pairs of hashes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType

_HASH = r'\[?"?[0-9a-f]{20,}(?:/\w+)*(?:"\]?|", .*|\.\.\.)'  # alone, as the first of a list, or shortened
_PAIR = re.compile(rf"(?P<name>\S+): (?P<before>{_HASH}|null|\[\]) -> (?P<after>{_HASH}|null|\[\])", re.DOTALL)
_MOST_OF_A_GROUP = 6  # lines
_IMAGES = ("labeled", "unlabeled", "validation", "test", "source", "images", "audience", "held_out")
_MODELS = ("teacher", "checkpoint", "checkpoints", "subject", "start", "teachers")


def in_words(changes: Sequence[str], sources: Mapping[str, str] = MappingProxyType({})) -> list[str]:
    """The lines of ``differences``, with words in place of pairs of hashes; of many numbers of one thing, one line.

    Args:
        changes: what ``differences`` returns.
        sources: the sources of the work by role, such as ``labeled``, which are named where their images changed.
    """
    lines = [_line_in_words(change, sources) for change in changes]
    groups = Counter(_group_of(change) for change in changes)
    shown = [
        f"{_group_of(change)}: other values" if groups[_group_of(change)] > _MOST_OF_A_GROUP else line
        for change, line in zip(changes, lines, strict=True)
    ]
    return list(dict.fromkeys(shown))


def _group_of(change: str) -> str:
    """What a line is about: the name before its last dot, such as ``aligned.shares`` of ``aligned.shares.3``."""
    return change.partition(":")[0].rpartition(".")[0] or change


def _line_in_words(change: str, sources: Mapping[str, str]) -> str:
    pair = _PAIR.fullmatch(change)
    if pair is None or {pair["before"], pair["after"]} <= {"null", "[]"}:
        return change
    name, last = pair["name"], pair["name"].rpartition(".")[2]
    if pair["before"] in ("null", "[]"):
        return f"{name}: there was none before"
    if pair["after"] in ("null", "[]"):
        return f"{name}: there is none now"
    if last in _IMAGES:
        return f"{name}: other images{f' in {sources[last]}' if last in sources else ''}"
    return f"{name}: {'another model' if last in _MODELS else 'other content'}"
