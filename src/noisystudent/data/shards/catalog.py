"""The catalog of packed shards, ``shards.json``: the facts of each, so that reading one file opens thousands."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from noisystudent.artifacts.folder import write_json
from noisystudent.data.files import File, neighbor
from noisystudent.data.shards.index import Facts, is_older

CATALOG = "shards.json"
_FORMAT = 1


@dataclass(frozen=True)
class Catalog:
    """Whether the shards carry labels, and the facts of each."""

    labeled: bool
    facts: list[Facts]


def write_catalog(folder: Path, labeled: bool, facts: dict[str, Facts]) -> None:
    """Writes the catalog of shards by name; whoever writes it has seen that no key is in two of them."""
    shards = [{"name": name, **asdict(each)} for name, each in facts.items()]
    write_json(folder / CATALOG, {"format": _FORMAT, "labeled": labeled, "shards": shards})


def read_catalog(files: Sequence[File]) -> Catalog | None:
    """What the catalog beside ``files`` says of them, or None unless it is of all of them as they are now."""
    if len({file.folder for file in files}) != 1 or len({file.base for file in files}) != len(files):
        return None
    found = neighbor(files[0], CATALOG)
    if found is None or any(is_older(found, file) for file in files):
        return None
    try:
        told = json.loads(found.read())
        facts = {str(each["name"]): _facts(each) for each in told["shards"]} if told["format"] == _FORMAT else {}
        labeled = bool(told["labeled"])
    except (ValueError, KeyError, TypeError):
        return None
    if any(file.base not in facts or facts[file.base].bytes != file.size for file in files):
        return None
    return Catalog(labeled, [facts[file.base] for file in files])


def _facts(told: dict[str, Any]) -> Facts:
    return Facts(int(told["bytes"]), int(told["rows"]), str(told["content"]), str(told["labels"]), int(told["ignored"]))
