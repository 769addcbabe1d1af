"""Images for a run's page: originals by key from the run's sources, and the run's own noise on its own images."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from noisystudent.artifacts.typed_json import read_result
from noisystudent.data.class_names import match_classes, spellings
from noisystudent.data.decode import decode_image
from noisystudent.data.sample import evenly_spread
from noisystudent.data.source import Record, Source, shard_keys
from noisystudent.data.sources.open import open_source
from noisystudent.errors import DataError
from noisystudent.models.settings import ModelPlan
from noisystudent.noise.sheet import draws_sheet
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.stages.noise import input_noise
from noisystudent.reporting.sheet import write_sheet
from noisystudent.results.facts import RunFacts

NOISE_SHEET = "noise.png"
SHEET_IMAGES, SHEET_EPOCHS = 6, 7
LONGEST = 256  # pixels of an image that goes to the page, which reduces it further


def write_noise_sheet(context: RunContext, plan: ModelPlan, strength: float) -> None:
    """Writes ``noise.png``: some labeled images as the teacher saw them in its first epochs."""
    labeled = context.splits.labeled
    rows = evenly_spread(len(labeled), SHEET_IMAGES)
    noise = input_noise(context, "teacher", plan, strength)
    sheet = draws_sheet(labeled.take(rows), noise, rows, SHEET_EPOCHS)
    write_sheet(context.folder / NOISE_SHEET, sheet.columns, sheet.cells)


class SourceImages:
    """Images of a run by role and key, read from its sources; a source that changed or is gone gives none."""

    def __init__(self, facts: RunFacts, *, known_same: bool = False) -> None:
        """``known_same``: the sources were read a moment ago, so their content, which takes long, is not compared."""
        self._facts, self._known_same = facts, known_same
        self._opened: dict[str, Source | None] = {}

    @classmethod
    def of_run(cls, folder: Path, *, known_same: bool = False) -> SourceImages:
        """The images of the run in ``folder``; ``known_same``: its sources were read a moment ago."""
        return cls(read_result(RunFacts, folder / "run.json"), known_same=known_same)

    def __call__(self, role: str, keys: list[str]) -> dict[str, npt.NDArray[np.uint8]]:
        """Images uint8 [H, W] or [H, W, 3] of a role by key: the originals, reduced to what a page shows.

        Keys that cannot be found or read are left out.
        """
        source, stored = self._open(role), self._facts.format
        if source is None or stored is None or not keys:
            return {}
        wanted, images = set(keys), {}
        for shard in range(len(source.shard_sizes)):
            of_shard = wanted.intersection(shard_keys(source, shard))
            for record in source.read(shard) if of_shard else ():
                if record.key in of_shard:
                    of_shard.remove(record.key)
                    with suppress(DataError):
                        images[record.key] = _shown(record, stored.channels)
                if not of_shard:
                    break
        return images

    def truth(self) -> dict[str, int]:
        """The true class of each unlabeled image by its key, where the source knows it; for the page only."""
        labeled, source = self._facts.sources.get("labeled"), self._open("unlabeled")
        if labeled is None or labeled.classes is None or source is None:
            return {}
        known = source.truth(spellings(labeled.classes)) or {}
        names = sorted(set(known.values()))
        index_of = dict(zip(names, match_classes(names, labeled.classes).tolist(), strict=True))
        return {key: index_of[name] for key, name in known.items()}

    def _open(self, role: str) -> Source | None:
        """The source of a role if it is still there and the same; it is opened and compared once."""
        if role not in self._opened:
            self._opened[role] = self._compared(role)
        return self._opened[role]

    def _compared(self, role: str) -> Source | None:
        facts = self._facts.sources.get(role)
        if facts is None:
            return None
        # Validation may have been carved out of the labeled source.
        spec = self._facts.settings.get(role) or self._facts.settings.get("labeled")
        try:
            source = open_source(str(spec), labeled=role != "unlabeled")
        except DataError:
            return None
        return source if self._known_same or source.fingerprint == facts.fingerprint else None


def _shown(record: Record, channels: int) -> npt.NDArray[np.uint8]:
    """The pixels of an original, reduced to at most ``LONGEST`` pixels; raises ``DataError`` if it is unreadable."""
    if record.problem:
        raise DataError(record.problem)
    image = decode_image(record.image, 1 if channels == 1 else 3)
    image.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    return np.asarray(image, np.uint8)
