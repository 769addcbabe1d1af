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
    begin,
    differences,
    prepare,
    read_json,
    replacing,
    state_of,
    write_json,
)
from noisystudent.errors import MismatchError
from noisystudent.evaluation.per_image import Confidence, Outcomes

_PICTURES = "pictures"

Columns = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Kept:
    """A folder of finished pieces, which were made from ``inputs``; ``renewing``: others are set aside, not refused."""

    folder: Path
    inputs: Inputs
    renewing: bool = False

    def room(self, name: str, inputs: Inputs) -> Kept:
        """A folder in this one for pieces that hang on more inputs."""
        return Kept.open(self.folder / name, {**self.inputs, **inputs}, renewing=self.renewing)

    @classmethod
    def open(cls, folder: Path, inputs: Inputs, *, renewing: bool = False) -> Kept:
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

    def outcomes(self, piece: str, measure: Callable[[], Outcomes], *, pictures: str = "") -> Outcomes:
        """The outcomes of a piece, measured now unless they are there; ``pictures`` as in ``columns``."""
        return _outcomes(self.columns(piece, lambda: _columns(measure()), pictures=pictures))

    def columns(self, piece: str, measure: Callable[[], Columns], *, pictures: str = "") -> Columns:
        """The named columns of a piece, a value for each picture, measured now unless they are there.

        ``pictures`` is the fingerprint of those that this piece alone is measured on. Where they were others, it is
        measured again when ``renewing``, and else raises ``MismatchError``.
        """
        path = self.folder / f"{piece}.parquet"
        before = _pictures_of(path) if path.exists() else None
        if before not in (None, pictures) and not self.renewing:
            raise MismatchError(
                f"{path} was measured on other pictures than those that are there now. Give another --out, or delete "
                "it to measure them again."
            )
        if before != pictures:
            found = measure()
            with replacing(path) as temporary:
                pq.write_table(pa.table(found).replace_schema_metadata({_PICTURES: pictures}), temporary)
        table = pq.read_table(path)
        return {name: table[name].to_numpy() for name in table.column_names}

    def has_columns(self, piece: str) -> bool:
        """Whether the columns of a piece are there."""
        return (self.folder / f"{piece}.parquet").exists()

    def numbers(self, piece: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The named numbers of a piece, measured now unless they are there."""
        path = self.folder / f"{piece}.json"
        if not path.exists():
            write_json(path, measure())
        found: dict[str, Any] = read_json(path)
        return found


_CONFIDENCES = tuple(field.name for field in fields(Confidence))


def _columns(found: Outcomes) -> Columns:
    columns: Columns = {"right": found.right, "among_five": found.among_five}
    for kind, confidence in (("plain", found.plain), ("scaled", found.scaled)):
        columns |= {f"{kind}_{name}": getattr(confidence, name) for name in _CONFIDENCES}
    return columns


def _outcomes(columns: Columns) -> Outcomes:
    plain, scaled = (Confidence(*(columns[f"{kind}_{name}"] for name in _CONFIDENCES)) for kind in ("plain", "scaled"))
    return Outcomes(columns["right"], columns["among_five"], plain, scaled)


def _pictures_of(path: Path) -> str:
    metadata = pq.read_schema(path).metadata or {}
    return str(metadata.get(_PICTURES.encode(), b"").decode())
