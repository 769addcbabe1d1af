"""The catalog of packed shards, ``shards.json``: the summary of each, so one file is enough to open thousands."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from noisystudent.artifacts.folder import write_json
from noisystudent.data.files import File, sibling_file
from noisystudent.data.shards.index import ShardInfo, is_older

CATALOG = "shards.json"
_FORMAT = 2


@dataclass(frozen=True)
class Catalog:
    """Whether the shards have labels, and the summary of each shard in the order of the files."""

    labeled: bool
    shards: list[ShardInfo]


def write_catalog(folder: Path, labeled: bool, shards: dict[str, ShardInfo]) -> None:
    """Writes the catalog of shards by file name; the caller guarantees that no key occurs in two of them."""
    entries = [{"name": name, **asdict(shard)} for name, shard in shards.items()]
    write_json(folder / CATALOG, {"format": _FORMAT, "labeled": labeled, "shards": entries})


def read_catalog(files: Sequence[File]) -> Catalog | None:
    """The catalog beside ``files``, or None unless it describes all of them in their present state."""
    if len({file.folder for file in files}) != 1 or len({file.base for file in files}) != len(files):
        return None
    catalog_file = sibling_file(files[0], CATALOG)
    if catalog_file is None or any(is_older(catalog_file, file) for file in files):
        return None
    try:
        content = json.loads(catalog_file.read())
        entries = content["shards"] if content["format"] == _FORMAT else []
        shards = {str(entry["name"]): ShardInfo.of_json(entry) for entry in entries}
        labeled = bool(content["labeled"])
    except (ValueError, KeyError, TypeError):
        return None
    if any(file.base not in shards or shards[file.base].bytes != file.size for file in files):
        return None
    return Catalog(labeled, [shards[file.base] for file in files])
