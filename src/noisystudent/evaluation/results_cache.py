"""What a suite has measured so far, piece by piece in a folder, so that a killed one goes on where it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from noisystudent.artifacts.folder import (
    INPUTS,
    Inputs,
    State,
    atomic_write,
    begin,
    differences,
    prepare,
    read_json,
    state_of,
    write_json,
)
from noisystudent.errors import MismatchError
from noisystudent.evaluation.per_image import Confidence, PerImageResults

_IMAGES = "images"

Columns = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class ResultCache:
    """A folder of finished pieces, which were made from ``inputs``; ``renewing``: others are set aside, not refused."""

    folder: Path
    inputs: Inputs
    renewing: bool = False

    def sub(self, name: str, inputs: Inputs) -> ResultCache:
        """A folder in this one for pieces that hang on more inputs."""
        return ResultCache.open(self.folder / name, {**self.inputs, **inputs}, renewing=self.renewing)

    @classmethod
    def open(cls, folder: Path, inputs: Inputs, *, renewing: bool = False) -> ResultCache:
        """The folder, new or with pieces from the same inputs.

        Pieces from other inputs are set aside when ``renewing``, to be brought back when those inputs return; otherwise
        they raise ``MismatchError``.
        """
        if renewing:
            prepare(folder, inputs)
        elif state_of(folder, inputs) is State.STALE:
            changes = "; ".join(differences(read_json(folder / INPUTS), dict(inputs)))
            raise MismatchError(
                f"{folder} holds what was measured otherwise; what differs: {changes}. Give another --out, or "
                "delete it."
            )
        begin(folder, inputs)
        return cls(folder, inputs, renewing)

    def results(self, entry: str, measure: Callable[[], PerImageResults], *, images: str = "") -> PerImageResults:
        """The outcomes of a piece, measured now unless they are there; ``images`` as in ``columns``."""
        return _results(self.columns(entry, lambda: _columns(measure()), images=images))

    def columns(self, entry: str, measure: Callable[[], Columns], *, images: str = "") -> Columns:
        """The named columns of a piece, a value for each image, measured now unless they are there.

        ``images`` is the fingerprint of those that this piece alone is measured on. Where they were others, it is
        measured again when ``renewing``, and else raises ``MismatchError``.
        """
        path = self.folder / f"{entry}.parquet"
        before = _images_of(path) if path.exists() else None
        if before not in (None, images) and not self.renewing:
            raise MismatchError(
                f"{path} was measured on other images than those that are there now. Give another --out, or delete "
                "it to measure them again."
            )
        if before != images:
            found = measure()
            with atomic_write(path) as temporary:
                pq.write_table(pa.table(found).replace_schema_metadata({_IMAGES: images}), temporary)
        table = pq.read_table(path)
        return {name: table[name].to_numpy() for name in table.column_names}

    def has_columns(self, entry: str) -> bool:
        """Whether the columns of a piece are there."""
        return (self.folder / f"{entry}.parquet").exists()

    def numbers(self, entry: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The named numbers of a piece, measured now unless they are there."""
        path = self.folder / f"{entry}.json"
        if not path.exists():
            write_json(path, measure())
        found: dict[str, Any] = read_json(path)
        return found


_CONFIDENCES = tuple(field.name for field in fields(Confidence))


def _columns(found: PerImageResults) -> Columns:
    columns: Columns = {"correct": found.correct, "top5_correct": found.top5_correct}
    for kind, confidence in (("plain", found.plain), ("scaled", found.scaled)):
        columns |= {f"{kind}_{name}": getattr(confidence, name) for name in _CONFIDENCES}
    return columns


def _results(columns: Columns) -> PerImageResults:
    plain, scaled = (Confidence(*(columns[f"{kind}_{name}"] for name in _CONFIDENCES)) for kind in ("plain", "scaled"))
    return PerImageResults(columns["correct"], columns["top5_correct"], plain, scaled)


def _images_of(path: Path) -> str:
    metadata = pq.read_schema(path).metadata or {}
    return str(metadata.get(_IMAGES.encode(), b"").decode())
