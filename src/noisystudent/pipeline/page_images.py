"""Pictures of a run for its page, read from the run's own sources when they are still there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from noisystudent.artifacts.folder import read_json
from noisystudent.data.images import PictureFormat, Pictures, decode_shard
from noisystudent.data.source import Source
from noisystudent.data.sources.open import open_source
from noisystudent.errors import DataError


class Thumbnails:
    """Loads pictures by role and key; a role whose source has changed or gone gives none."""

    def __init__(self, described: dict[str, Any]) -> None:
        self._settings = described["settings"]
        self._sources = described["sources"]
        self._format = PictureFormat(described["format"]["size"], described["format"]["channels"])

    @classmethod
    def of_run(cls, folder: Path) -> Thumbnails:
        """The pictures of the run in ``folder``."""
        return cls(read_json(folder / "run.json"))

    def __call__(self, role: str, keys: list[str]) -> dict[str, npt.NDArray[np.uint8]]:
        """Pictures uint8 [H, W, C] of a role by key; keys that cannot be found are left out."""
        source = self._open(role)
        if source is None or not keys:
            return {}
        wanted = set(keys)
        found: dict[str, npt.NDArray[np.uint8]] = {}
        for shard in range(len(source.shard_sizes)):
            if wanted.isdisjoint(record.key for record in source.read(shard)):
                continue
            found |= _pick(decode_shard(source, shard, self._format), wanted)
        return found

    def _open(self, role: str) -> Source | None:
        if role not in self._sources:
            return None
        labeled = role != "unlabeled"
        spec = self._settings[role] or self._settings["labeled"]  # validation may have been carved out of the labels
        try:
            source = open_source(spec, labeled=labeled)
        except DataError:
            return None
        return source if source.fingerprint == self._sources[role]["fingerprint"] else None


def _pick(pictures: Pictures, wanted: set[str]) -> dict[str, npt.NDArray[np.uint8]]:
    picked = {}
    for row, key in enumerate(pictures.keys):
        if key in wanted:
            height, width = pictures.sizes[row]
            picked[key] = pictures.pixels[row, :, :height, :width].transpose(1, 2, 0)
    return picked
