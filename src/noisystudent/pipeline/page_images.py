"""Images for a run's page: originals by key from the run's sources, and the run's own noise on its own images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from noisystudent.artifacts.typed_json import read_result
from noisystudent.data.images import ImageFormat, Images, decode_shard
from noisystudent.data.sample import evenly_spread
from noisystudent.data.source import Source
from noisystudent.data.sources.open import open_source
from noisystudent.errors import DataError
from noisystudent.models.settings import ModelPlan
from noisystudent.noise.sheet import draws_sheet
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.stage_noise import input_noise
from noisystudent.reporting.sheet import write_sheet
from noisystudent.results.facts import RunFacts

NOISE_SHEET = "noise.png"
SHEET_IMAGES, SHEET_EPOCHS = 6, 7


def write_noise_sheet(context: RunContext, plan: ModelPlan, strength: float) -> None:
    """Writes ``noise.png``: some labeled images as the teacher saw them in its first epochs."""
    labeled = context.splits.labeled
    rows = evenly_spread(len(labeled), SHEET_IMAGES)
    noise = input_noise(context, "teacher", plan, strength)
    sheet = draws_sheet(labeled.take(rows), noise, rows, SHEET_EPOCHS)
    write_sheet(context.folder / NOISE_SHEET, sheet.columns, sheet.cells)


class SourceImages:
    """Images of a run by role and key, read from its sources; a source that changed or is gone gives none."""

    def __init__(self, facts: RunFacts) -> None:
        self._facts = facts

    @classmethod
    def of_run(cls, folder: Path) -> SourceImages:
        """The images of the run in ``folder``."""
        return cls(read_result(RunFacts, folder / "run.json"))

    def __call__(self, role: str, keys: list[str]) -> dict[str, npt.NDArray[np.uint8]]:
        """Images uint8 [H, W, C] of a role by key; keys that cannot be found are left out."""
        source, stored = self._open(role), self._facts.format
        if source is None or stored is None or not keys:
            return {}
        wanted, format = set(keys), ImageFormat(stored.size, 1 if stored.channels == 1 else 3)
        images: dict[str, npt.NDArray[np.uint8]] = {}
        for shard in range(len(source.shard_sizes)):
            if wanted.isdisjoint(record.key for record in source.read(shard)):
                continue
            images |= _pick(decode_shard(source, shard, format), wanted)
        return images

    def _open(self, role: str) -> Source | None:
        facts = self._facts.sources.get(role)
        if facts is None:
            return None
        # Validation may have been carved out of the labeled source.
        spec = self._facts.settings.get(role) or self._facts.settings.get("labeled")
        try:
            source = open_source(str(spec), labeled=role != "unlabeled")
        except DataError:
            return None
        return source if source.fingerprint == facts.fingerprint else None


def _pick(images: Images, wanted: set[str]) -> dict[str, npt.NDArray[np.uint8]]:
    picked = {}
    for row, key in enumerate(images.keys):
        if key in wanted:
            height, width = images.sizes[row]
            picked[key] = images.pixels[row, :, :height, :width].transpose(1, 2, 0)
    return picked
