"""A folder of finished measurements, entry by entry, so that an interrupted evaluation resumes where it stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from noisystudent.artifacts.archives import prepare
from noisystudent.artifacts.changes import in_words
from noisystudent.artifacts.folder import (
    INPUTS,
    Inputs,
    State,
    atomic_write,
    begin,
    differences,
    read_json,
    state_of,
    write_json,
)
from noisystudent.artifacts.tables import damage_as_error, read_table
from noisystudent.errors import MismatchError
from noisystudent.evaluation.per_image import Confidence, PerImageResults

_IMAGES = "images"

Columns = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class ResultCache:
    """A folder of finished entries.

    Attributes:
        folder: where the entries lie.
        inputs: what they were made from.
        archive_stale: whether entries from other inputs are archived and measured again; otherwise they are refused.
    """

    folder: Path
    inputs: Inputs
    archive_stale: bool = False

    def sub(self, name: str, inputs: Inputs) -> ResultCache:
        """Opens a folder inside this one, for entries that depend on more inputs."""
        return ResultCache.open(self.folder / name, {**self.inputs, **inputs}, archive_stale=self.archive_stale)

    @classmethod
    def open(cls, folder: Path, inputs: Inputs, *, archive_stale: bool = False) -> ResultCache:
        """Opens a folder that is new or has entries from the same inputs.

        Args:
            folder: where the entries lie.
            inputs: what they are made from.
            archive_stale: whether to archive entries from other inputs; they come back if those inputs return.

        Returns:
            The cache.

        Raises:
            MismatchError: the folder has entries from other inputs, and ``archive_stale`` is false.
        """
        if archive_stale:
            prepare(folder, inputs)
        elif state_of(folder, inputs) is State.STALE:
            changes = "; ".join(in_words(differences(read_json(folder / INPUTS), dict(inputs))))
            raise MismatchError(
                f"{folder} holds results that were measured differently; what differs: {changes}. Give another --out, "
                "or delete the folder."
            )
        begin(folder, inputs)
        return cls(folder, inputs, archive_stale)

    def results(self, entry: str, measure: Callable[[], PerImageResults], *, images: str = "") -> PerImageResults:
        """Returns the per-image results of an entry, measured now if there are none; ``images`` as in ``columns``."""
        return _results(self.columns(entry, lambda: _columns(measure()), images=images))

    def columns(self, entry: str, measure: Callable[[], Columns], *, images: str = "") -> Columns:
        """Returns the columns of an entry, one value per image, measured now if there are none.

        Args:
            entry: the name of the entry.
            measure: measures the columns.
            images: the fingerprint of the images if only this entry is measured on them.

        Returns:
            The columns by name.

        Raises:
            MismatchError: the entry was measured on other images, and ``archive_stale`` is false.
        """
        path = self.folder / f"{entry}.parquet"
        previous = _images_of(path) if path.exists() else None
        if previous not in (None, images) and not self.archive_stale:
            raise MismatchError(
                f"{path} was measured on other images than those that are there now. Give another --out, or delete "
                "it to measure them again."
            )
        if previous != images:
            columns = measure()
            with atomic_write(path) as temporary:
                pq.write_table(pa.table(columns).replace_schema_metadata({_IMAGES: images}), temporary)
        table = read_table(path)
        return {name: table[name].to_numpy() for name in table.column_names}

    def has_columns(self, entry: str) -> bool:
        """Whether the columns of an entry exist."""
        return (self.folder / f"{entry}.parquet").exists()

    def numbers(self, entry: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Returns the named numbers of an entry, measured now if there are none."""
        path = self.folder / f"{entry}.json"
        if not path.exists():
            write_json(path, measure())
        numbers: dict[str, Any] = read_json(path)
        return numbers


_CONFIDENCES = tuple(field.name for field in fields(Confidence))


def _columns(results: PerImageResults) -> Columns:
    columns: Columns = {"correct": results.correct, "top5_correct": results.top5_correct}
    for kind, confidence in (("plain", results.plain), ("scaled", results.scaled)):
        columns |= {f"{kind}_{name}": getattr(confidence, name) for name in _CONFIDENCES}
    return columns


def _results(columns: Columns) -> PerImageResults:
    plain, scaled = (Confidence(*(columns[f"{kind}_{name}"] for name in _CONFIDENCES)) for kind in ("plain", "scaled"))
    return PerImageResults(columns["correct"], columns["top5_correct"], plain, scaled)


def _images_of(path: Path) -> str:
    with damage_as_error(path):
        metadata = pq.read_schema(path).metadata or {}
    return str(metadata.get(_IMAGES.encode(), b"").decode())
