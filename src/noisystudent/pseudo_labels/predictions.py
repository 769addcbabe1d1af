"""A teacher's stored soft labels: Parquet parts in the order of the source, readable without torch.

A part holds the rows of one shard; of several consecutive ones when the source has more than ``MOST_PARTS`` shards,
for a file costs its readers milliseconds, however few its rows. The rows of each shard are a row group of their own,
so that they can be read alone; a shard without rows has none.

Columns: ``key``; ``prediction`` (uint16); ``confidence`` (float32, the largest probability at temperature 1); and the
soft label. Up to 100 classes it is ``log_probabilities`` in full; beyond, ``top_classes`` and
``top_log_probabilities`` hold the most probable ones, in that order and as many in all rows of a part, and the rest
of the mass is spread evenly over the others. What is stored of them is rounded to ``DIGITS`` binary digits, which
moves a probability by less than 0.0004; prediction and confidence are exact.

Every row of a shard is accounted for. An image that cannot be decoded has nothing to store, so it has no row that
every reader would have to step over; the part's metadata names it and the reason, in the same file, so that a kill or
two processes with the same part can never lose or double it. ``failed.parquet`` beside the finished parts gathers
these as a table, for people and SQL: ``shard`` (uint32), ``key``, ``reason``. The metadata (JSON under the name
``noisystudent.part``) also says how many rows each shard has, and how many classes are kept with how much of the mass.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from noisystudent.artifacts.folder import atomic_write
from noisystudent.errors import ArtifactError

PREDICTIONS = "predictions"  # the kind in a manifest
FAILED = "failed.parquet"
MOST_PARTS = 10_000  # of one source
FULL_UP_TO = 100  # classes
KEPT_MASS = 0.99  # of the mean row, decides how many classes are kept
MOST_KEPT = 128
DIGITS = 10  # binary, of a stored log-probability beyond FULL_UP_TO classes

_ABOUT = b"noisystudent.part"
# Hardly a number occurs twice in a row group, so dictionaries only add to it. What is alike in neighboring rows is a
# key's beginning, and the first byte of a float; the bits of class numbers beyond the highest one are not needed.
_ENCODINGS = {
    "key": "DELTA_BYTE_ARRAY",
    "prediction": "DELTA_BINARY_PACKED",
    "confidence": "BYTE_STREAM_SPLIT",
    "log_probabilities.list.element": "BYTE_STREAM_SPLIT",
    "top_classes.list.element": "DELTA_BINARY_PACKED",
    "top_log_probabilities.list.element": "BYTE_STREAM_SPLIT",
}

Floats = npt.NDArray[np.float32]
Classes = npt.NDArray[np.uint16]
Failed = Sequence[tuple[str, str]]  # key and reason


def cut_parts(shards: int) -> tuple[range, ...]:
    """The shards of each part of a source of ``shards``: as few to a part as keep the parts to ``MOST_PARTS``."""
    size = max(1, -(-shards // MOST_PARTS))
    return tuple(range(first, min(first + size, shards)) for first in range(0, shards, size))


def part_path(folder: Path, part: int) -> Path:
    """Where the part of 0-based number ``part`` lies; from 100,000 parts on the names grow longer."""
    return folder / f"part-{part:05d}.parquet"


def list_parts(folder: Path) -> list[Path]:
    """The parts of a folder in the order of their numbers, which from 100,000 on is not that of their names.

    Raises ``ArtifactError`` when there are none, or one whose name this program does not write.
    """
    parts = {_number_of(path): path for path in folder.glob("part-*.parquet")}
    if not parts:
        raise ArtifactError(f"{folder} holds no part-*.parquet; it is not a folder of predictions or a selection.")
    return [parts[number] for number in sorted(parts)]


def _number_of(path: Path) -> int:
    number = path.stem.removeprefix("part-")
    if not (number.isascii() and number.isdecimal()) or path != part_path(path.parent, int(number)):
        raise ArtifactError(f"{path} is not named as parts are, like {part_path(path.parent, 0).name}; move it away.")
    return int(number)


@dataclass(frozen=True, eq=False)
class ShardLabels:
    """What a part stores of one shard: keys [N], predictions [N], confidences [N] and soft labels [N, M].

    ``classes`` [N, M] are the classes that the log-probabilities are of, most probable first; None says that they are
    all there, in their order. ``failed`` names the images that could not be decoded, and says why.
    """

    keys: Sequence[str]
    prediction: Classes
    confidence: Floats
    log_probabilities: Floats
    classes: Classes | None = None
    failed: Failed = ()

    @classmethod
    def of(cls, keys: Sequence[str], log_probabilities: Floats, failed: Failed = ()) -> ShardLabels:
        """From a shard's keys [N] and log-probabilities float32 [N, K], of which no more is held than may be stored."""
        if log_probabilities.shape[1] <= FULL_UP_TO:
            prediction = log_probabilities.argmax(axis=1).astype(np.uint16)
            return cls(keys, prediction, np.exp(log_probabilities.max(axis=1)), log_probabilities, None, failed)
        width = min(MOST_KEPT, log_probabilities.shape[1])
        top = np.argpartition(-log_probabilities, width - 1, axis=1)[:, :width]
        top.sort(axis=1)  # of equally probable classes, the first comes first
        values = np.take_along_axis(log_probabilities, top, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        classes = np.take_along_axis(top, order, axis=1).astype(np.uint16)
        ranked = np.take_along_axis(values, order, axis=1)
        return cls(keys, classes[:, 0], np.exp(ranked[:, 0]), ranked, classes, failed)


@dataclass(frozen=True)
class PartStats:
    """What a part says of itself.

    ``rows`` is how many of each of its shards; ``failed`` are the images without one: place of the shard in the part
    (from 0), key, reason. ``kept_classes`` have ``kept_mass`` of all probability in the part.
    """

    rows: tuple[int, ...]
    failed: tuple[tuple[int, str, str], ...]
    kept_classes: int
    kept_mass: float


def write_part(path: Path, shards: Sequence[ShardLabels]) -> None:
    """Writes the part of these shards (at least one) atomically; one that is there stays."""
    kept, mass = _kept(shards)
    failed = [(place, *each) for place, shard in enumerate(shards) for each in shard.failed]
    about = PartStats(tuple(len(shard.keys) for shard in shards), tuple(failed), kept, mass)
    tables = [_table(shard, kept) for shard in shards]
    schema = tables[0].schema.with_metadata({_ABOUT: json.dumps(vars(about)).encode()})
    with atomic_write(path, once=True) as temporary, _writer(temporary, schema) as writer:
        for table in tables:
            if table.num_rows:
                writer.write_table(table)


def _kept(shards: Sequence[ShardLabels]) -> tuple[int, float]:
    """How many of the most probable classes are kept, and their share of the mean row."""
    rows = sum(len(shard.keys) for shard in shards)
    width = shards[0].log_probabilities.shape[1]
    if shards[0].classes is None:
        return width, 1.0
    if not rows:
        return 1, 1.0
    group = [np.exp(shard.log_probabilities).sum(axis=0, dtype=np.float64) for shard in shards]
    mass = np.sum(group, axis=0).cumsum() / rows
    kept = min(int(np.searchsorted(mass, KEPT_MASS)) + 1, width)
    return kept, round(float(mass[kept - 1]), 6)


def _table(shard: ShardLabels, kept: int) -> pa.Table:
    columns = {
        "key": pa.array(list(shard.keys), pa.string()),
        "prediction": pa.array(shard.prediction),
        "confidence": pa.array(shard.confidence),
    }
    if shard.classes is None:
        values = pa.array(shard.log_probabilities.ravel())
        return pa.table(columns | {"log_probabilities": pa.FixedSizeListArray.from_arrays(values, kept)})
    columns["top_classes"] = _lists(shard.classes[:, :kept])
    columns["top_log_probabilities"] = _lists(_rounded(shard.log_probabilities[:, :kept]))
    return pa.table(columns)


def _lists(values: npt.NDArray[np.generic]) -> pa.Array:
    """Rows as lists, whose type does not say how long they are: that differs from part to part."""
    starts = np.arange(len(values) + 1, dtype=np.int32) * values.shape[1]
    return pa.ListArray.from_arrays(pa.array(starts), pa.array(values.ravel()))


def _rounded(values: Floats) -> Floats:
    """Each to ``DIGITS`` binary digits: at most 2^-DIGITS of itself away. As float32, since few programs read less."""
    fraction, exponent = np.frexp(values)
    rounded: Floats = np.ldexp(np.rint(fraction * 2**DIGITS) / 2**DIGITS, exponent)
    return rounded


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    # Statistics of keys let SQL find one image without reading all; those of the rest would say nothing.
    return pq.ParquetWriter(
        path, schema, compression="zstd", compression_level=3, use_dictionary=False, write_statistics=["key"],
        column_encoding={name: each for name, each in _ENCODINGS.items() if name.split(".")[0] in schema.names},
    )  # fmt: skip


def read_part_stats(path: Path) -> PartStats:
    """What a part says of itself; raises ``ArtifactError`` when its rows are others, or it cannot be read."""
    try:
        return _account(path, pq.read_metadata(path))
    except (pa.ArrowInvalid, ValueError) as error:
        raise ArtifactError(f"{path} is damaged ({error}); delete it and run the command again.") from None


def _account(path: Path, found: pq.FileMetaData) -> PartStats:
    about = (found.metadata or {}).get(_ABOUT)
    if about is None:
        raise ArtifactError(f"{path} does not say which rows are of which shard; delete it and run the command again.")
    said = json.loads(about)
    failed = tuple((int(place), str(key), str(reason)) for place, key, reason in said["failed"])
    stats = PartStats(tuple(said["rows"]), failed, said["kept_classes"], said["kept_mass"])
    groups = tuple(found.row_group(group).num_rows for group in range(found.num_row_groups))
    if groups != tuple(filter(None, stats.rows)):
        raise ArtifactError(
            f"{path} says that its shards have {stats.rows} rows, but has {groups}; delete it and run the command "
            "again."
        )
    return stats


def write_failed(folder: Path, failed: Sequence[tuple[int, str, str]]) -> None:
    """Writes ``failed.parquet`` atomically from shard, key and reason of all images that could not be decoded."""
    shards, keys, reasons = zip(*failed, strict=True) if failed else ((), (), ())
    columns = {
        "shard": pa.array(shards, pa.uint32()),
        "key": pa.array(keys, pa.string()),
        "reason": pa.array(reasons, pa.string()),
    }
    with atomic_write(folder / FAILED) as temporary:
        pq.write_table(pa.table(columns), temporary, compression="zstd")


def read_log_probabilities(path: Path, classes: int) -> tuple[list[str], Floats]:
    """Reads one part back: keys [N] and log-probabilities float32 [N, classes], the unstored mass spread evenly."""
    return _soft_labels(pq.read_table(path), classes)


def read_shard(path: Path, place: int, classes: int) -> tuple[list[str], Floats]:
    """Reads of a part only the rows of its shard number ``place`` (from 0), as ``read_log_probabilities`` does."""
    with pq.ParquetFile(path) as file:
        rows = _account(path, file.metadata).rows
        group = sum(1 for count in rows[:place] if count)
        table = file.read_row_group(group) if rows[place] else file.schema_arrow.empty_table()
    return _soft_labels(table, classes)


def _soft_labels(table: pa.Table, classes: int) -> tuple[list[str], Floats]:
    keys: list[str] = table["key"].to_pylist()
    if "log_probabilities" in table.column_names:
        return keys, _matrix(table["log_probabilities"], len(keys)).astype(np.float32).reshape(len(keys), classes)
    top = _matrix(table["top_classes"], len(keys)).astype(np.int64)
    values = _matrix(table["top_log_probabilities"], len(keys)).astype(np.float32)
    # By rounding, their sum may have become more than 1, and another as probable as the prediction.
    mass = np.exp(values.astype(np.float64)).sum(axis=1)
    values -= np.log(np.maximum(mass, 1)).astype(np.float32)[:, None]
    values[:, 1:] = np.minimum(values[:, 1:], np.nextafter(values[:, :1], np.float32(-np.inf)))
    rest = np.maximum(1 - mass, 1e-9) / max(classes - top.shape[1], 1)
    full = np.repeat(np.log(rest).astype(np.float32)[:, None], classes, axis=1)
    np.put_along_axis(full, top, values, axis=1)
    return keys, full


def _matrix(column: pa.ChunkedArray, rows: int) -> npt.NDArray[np.generic]:
    flat: npt.NDArray[np.generic] = column.combine_chunks().flatten().to_numpy()
    return flat.reshape(rows, len(flat) // max(rows, 1))


def read_all(folder: Path, classes: int) -> tuple[list[str], Floats]:
    """All parts of a folder, one after another: keys [N], log-probabilities float32 [N, classes]."""
    parts = [read_log_probabilities(path, classes) for path in list_parts(folder)]
    return [key for keys, _ in parts for key in keys], np.concatenate([values for _, values in parts])


def read_keys(path: Path) -> list[str]:
    """The keys of one part: [N]."""
    keys: list[str] = pq.read_table(path, columns=["key"])["key"].to_pylist()
    return keys


def read_labels(path: Path) -> tuple[npt.NDArray[np.int64], Floats]:
    """The predicted classes of one part, int64 [N], and their confidences, float32 [N]."""
    table = pq.read_table(path, columns=["prediction", "confidence"])
    return table["prediction"].to_numpy().astype(np.int64), table["confidence"].to_numpy().astype(np.float32)


def read_copies(path: Path) -> npt.NDArray[np.int64]:
    """How often training takes each row of a selection's part: int64 [N]."""
    copies: npt.NDArray[np.int64] = pq.read_table(path, columns=["copies"])["copies"].to_numpy().astype(np.int64)
    return copies
