"""Images for a run's page: thumbnails from its sources, and its own noise on its own images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from noisystudent.artifacts.folder import read_json
from noisystudent.data.images import ImageFormat, Images, decode_shard
from noisystudent.data.sample import evenly_spread
from noisystudent.data.source import Source
from noisystudent.data.sources.open import open_source
from noisystudent.errors import DataError
from noisystudent.models.settings import ModelPlan
from noisystudent.noise.sheet import draws_sheet
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.train_stage import input_noise
from noisystudent.reporting.sheet import write_sheet

NOISE_SHEET = "noise.png"
IMAGES, EPOCHS = 6, 7


def write_noise_sheet(context: RunContext, plan: ModelPlan, strength: float) -> None:
    """Writes ``noise.png``: some labeled images as the teacher saw them in its first epochs."""
    labeled = context.splits.labeled
    rows = evenly_spread(len(labeled), IMAGES)
    noise = input_noise(context, "teacher", plan, strength)
    sheet = draws_sheet(labeled.take(rows), noise, rows, EPOCHS)
    write_sheet(context.folder / NOISE_SHEET, sheet.columns, sheet.cells)


class Thumbnails:
    """Loads images by role and key; a role whose source has changed or gone gives none."""

    def __init__(self, summaries: dict[str, Any]) -> None:
        self._settings = summaries["settings"]
        self._sources = summaries["sources"]
        self._format = ImageFormat(summaries["format"]["size"], summaries["format"]["channels"])

    @classmethod
    def of_run(cls, folder: Path) -> Thumbnails:
        """The images of the run in ``folder``."""
        return cls(read_json(folder / "run.json"))

    def __call__(self, role: str, keys: list[str]) -> dict[str, npt.NDArray[np.uint8]]:
        """Images uint8 [H, W, C] of a role by key; keys that cannot be found are left out."""
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


def _pick(images: Images, wanted: set[str]) -> dict[str, npt.NDArray[np.uint8]]:
    picked = {}
    for row, key in enumerate(images.keys):
        if key in wanted:
            height, width = images.sizes[row]
            picked[key] = images.pixels[row, :, :height, :width].transpose(1, 2, 0)
    return picked
