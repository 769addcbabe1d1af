"""A teacher's stored soft labels: Parquet parts in the order of the source, readable without torch.

A part holds the rows of one shard, or of several consecutive shards if the source has more than ``MAX_PARTS`` shards,
because opening a file costs milliseconds for any number of rows. The rows of each shard form one row group, so a shard
can be read alone; a shard without rows has no row group.

Columns: ``key``; ``prediction`` (uint16); ``confidence`` (float32, the largest probability at temperature 1); and the
soft label. For up to 100 classes, the soft label is all ``log_probabilities``. For more classes, ``top_classes`` and
``top_log_probabilities`` hold the most probable classes in descending order, as many in all rows of a part; the rest
of the probability is spread evenly over the other classes. The stored log-probabilities are rounded to
``MANTISSA_BITS`` binary digits, which changes a probability by less than 0.0004. Prediction and confidence are exact.
Where it is known how close an image is to the labeled ones, ``typicality`` (float32, ``neighbors.py``) says so.

Every image of a shard is accounted for. An image that cannot be decoded has no row; its key and the reason are in the
metadata of the part. Because they are in the same file, a kill or two processes that write the same part can never
lose or duplicate them. ``failed.parquet`` beside the finished parts collects them in a table, for people and SQL:
``shard`` (uint32), ``key``, ``reason``. The metadata (JSON under the name ``noisystudent.part``) also holds the number
of rows of each shard, the number of kept classes and their share of the probability.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from noisystudent.artifacts.folder import atomic_write
from noisystudent.artifacts.tables import damage_as_error, read_table
from noisystudent.errors import ArtifactError

PREDICTIONS = "predictions"  # manifest kind
FAILED = "failed.parquet"
SUMMARY = "summary.json"
MAX_PARTS = 10_000  # per source
MAX_FULL_CLASSES = 100  # up to this number, all classes are stored
KEPT_MASS = 0.99  # share of the mean row's probability that the kept classes must reach
MAX_KEPT_CLASSES = 128
MANTISSA_BITS = 10  # of a stored log-probability, for more than MAX_FULL_CLASSES classes

_METADATA_KEY = b"noisystudent.part"
# Few numbers occur twice in a row group, so dictionaries would only add bytes. Neighboring rows share the beginning of
# the key and the first byte of the floats; class indices need no bits above the highest one.
_ENCODINGS = {
    "key": "DELTA_BYTE_ARRAY",
    "prediction": "DELTA_BINARY_PACKED",
    "confidence": "BYTE_STREAM_SPLIT",
    "typicality": "BYTE_STREAM_SPLIT",
    "log_probabilities.list.element": "BYTE_STREAM_SPLIT",
    "top_classes.list.element": "DELTA_BINARY_PACKED",
    "top_log_probabilities.list.element": "BYTE_STREAM_SPLIT",
}

Floats = npt.NDArray[np.float32]
Classes = npt.NDArray[np.uint16]
Failed = Sequence[tuple[str, str]]  # key and reason


def cut_parts(shards: int) -> tuple[range, ...]:
    """The shards of each part, for a source of ``shards`` shards: as few per part as ``MAX_PARTS`` parts allow."""
    size = max(1, -(-shards // MAX_PARTS))
    return tuple(range(first, min(first + size, shards)) for first in range(0, shards, size))


def part_path(folder: Path, part: int) -> Path:
    """The path of the part with 0-based number ``part``; from 100,000 parts on, names get longer."""
    return folder / f"part-{part:05d}.parquet"


def list_parts(folder: Path) -> list[Path]:
    """The paths of a folder's parts, in the order of their numbers (from 100,000 parts on, names sort differently).

    Raises:
        ArtifactError: the folder has no parts, or a part with a name that this program does not write.
    """
    parts = {_number_of(path): path for path in folder.glob("part-*.parquet")}
    if not parts:
        raise ArtifactError(
            f"{folder} has no part-*.parquet, so it holds no predictions or selection; name such a folder."
        )
    return [parts[number] for number in sorted(parts)]


def _number_of(path: Path) -> int:
    number = path.stem.removeprefix("part-")
    if not (number.isascii() and number.isdecimal()) or path != part_path(path.parent, int(number)):
        raise ArtifactError(
            f"{path} is not the name of a part, such as {part_path(path.parent, 0).name}; move the file away."
        )
    return int(number)


@dataclass(frozen=True, eq=False)
class ShardLabels:
    """The rows of one shard in a part: keys [N], predictions [N], confidences [N] and log-probabilities [N, M].

    ``classes`` [N, M] are the indices of the classes of the log-probabilities, most probable first; None means all
    classes in order. ``failed`` holds the key and the reason of each image that could not be decoded. ``typicality``
    [N] says how close each image is to the labeled ones, where that is known (``neighbors.py``).
    """

    keys: Sequence[str]
    prediction: Classes
    confidence: Floats
    log_probabilities: Floats
    classes: Classes | None = None
    failed: Failed = ()
    typicality: Floats | None = None

    @classmethod
    def of(
        cls, keys: Sequence[str], log_probabilities: Floats, failed: Failed = (), typicality: Floats | None = None
    ) -> ShardLabels:
        """Makes the rows of a shard; keeps no more classes in memory than may be stored.

        Args:
            keys: keys of the images, [N].
            log_probabilities: log-probabilities of all classes, float32 [N, K].
            failed: key and reason of each image that could not be decoded.
            typicality: how close each image is to the labeled ones, float32 [N]; None where it is not known.
        """
        if log_probabilities.shape[1] <= MAX_FULL_CLASSES:
            prediction = log_probabilities.argmax(axis=1).astype(np.uint16)
            confidence = np.exp(log_probabilities.max(axis=1))
            return cls(keys, prediction, confidence, log_probabilities, None, failed, typicality)
        width = min(MAX_KEPT_CLASSES, log_probabilities.shape[1])
        top = np.argpartition(-log_probabilities, width - 1, axis=1)[:, :width]
        top.sort(axis=1)  # so that equally probable classes stay in order
        values = np.take_along_axis(log_probabilities, top, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        classes = np.take_along_axis(top, order, axis=1).astype(np.uint16)
        ranked = np.take_along_axis(values, order, axis=1)
        return cls(keys, classes[:, 0], np.exp(ranked[:, 0]), ranked, classes, failed, typicality)


@dataclass(frozen=True)
class PartStats:
    """The metadata of a part.

    ``rows``: the number of rows of each shard; ``failed``: the images without a row, each as position of the shard in
    the part (from 0), key and reason; ``kept_classes``: the number of stored classes per row; ``kept_mass``: their
    share of all probability in the part.
    """

    rows: tuple[int, ...]
    failed: tuple[tuple[int, str, str], ...]
    kept_classes: int
    kept_mass: float


def write_part(path: Path, shards: Sequence[ShardLabels]) -> None:
    """Writes the part that holds these shards (at least one) atomically; an existing part is not replaced."""
    kept_classes, kept_mass = _kept(shards)
    failed = [(position, key, reason) for position, shard in enumerate(shards) for key, reason in shard.failed]
    stats = PartStats(tuple(len(shard.keys) for shard in shards), tuple(failed), kept_classes, kept_mass)
    tables = [_table(shard, kept_classes) for shard in shards]
    schema = tables[0].schema.with_metadata({_METADATA_KEY: json.dumps(vars(stats)).encode()})
    with atomic_write(path, once=True) as temporary, _writer(temporary, schema) as writer:
        for table in tables:
            if table.num_rows:
                writer.write_table(table)


def rewrite_part(source: Path, target: Path, classes: int, correct: Callable[[Floats], Floats]) -> int:
    """Writes a part again with corrected log-probabilities; keys, shards and all else stay. Returns its rows.

    Args:
        source: the part.
        target: where it is written; an existing part is not replaced.
        classes: the number of classes K.
        correct: from log-probabilities float32 [N, K] of its rows to others.
    """
    stats, typicality = read_part_stats(source), read_typicality(source)
    keys, values = read_log_probabilities(source, classes)
    values, ends = correct(values), np.cumsum(stats.rows)
    shards = []
    for number, (first, end) in enumerate(zip(ends - stats.rows, ends, strict=True)):
        failed = [(key, reason) for position, key, reason in stats.failed if position == number]
        of_shard = None if typicality is None else typicality[first:end]
        shards.append(ShardLabels.of(keys[first:end], values[first:end], failed, of_shard))
    write_part(target, shards)
    return len(keys)


def _kept(shards: Sequence[ShardLabels]) -> tuple[int, float]:
    """The number of classes to keep, the most probable ones, and their share of the mean row's probability."""
    rows = sum(len(shard.keys) for shard in shards)
    width = shards[0].log_probabilities.shape[1]
    if shards[0].classes is None:
        return width, 1.0
    if not rows:
        return 1, 1.0
    sums = [np.exp(shard.log_probabilities).sum(axis=0, dtype=np.float64) for shard in shards]
    mass = np.sum(sums, axis=0).cumsum() / rows
    kept = min(int(np.searchsorted(mass, KEPT_MASS)) + 1, width)
    return kept, round(float(mass[kept - 1]), 6)


def _table(shard: ShardLabels, kept_classes: int) -> pa.Table:
    columns = {
        "key": pa.array(list(shard.keys), pa.string()),
        "prediction": pa.array(shard.prediction),
        "confidence": pa.array(shard.confidence),
    }
    if shard.typicality is not None:
        columns["typicality"] = pa.array(shard.typicality.astype(np.float32))
    if shard.classes is None:
        values = pa.array(shard.log_probabilities.ravel())
        return pa.table(columns | {"log_probabilities": pa.FixedSizeListArray.from_arrays(values, kept_classes)})
    columns["top_classes"] = _lists(shard.classes[:, :kept_classes])
    columns["top_log_probabilities"] = _lists(_round(shard.log_probabilities[:, :kept_classes]))
    return pa.table(columns)


def _lists(values: npt.NDArray[np.generic]) -> pa.Array:
    """Rows as lists of variable length in the schema, because the length differs from part to part."""
    starts = np.arange(len(values) + 1, dtype=np.int32) * values.shape[1]
    return pa.ListArray.from_arrays(pa.array(starts), pa.array(values.ravel()))


def _round(values: Floats) -> Floats:
    """Rounds to ``MANTISSA_BITS`` binary digits, a relative error of at most 2^-MANTISSA_BITS.

    The type stays float32, because few programs read smaller floats from Parquet.
    """
    fraction, exponent = np.frexp(values)
    rounded: Floats = np.ldexp(np.rint(fraction * 2**MANTISSA_BITS) / 2**MANTISSA_BITS, exponent)
    return rounded


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    # Statistics of keys let SQL find one image without reading all rows; those of other columns would be useless.
    return pq.ParquetWriter(
        path, schema, compression="zstd", compression_level=3, use_dictionary=False, write_statistics=["key"],
        column_encoding={name: encoding for name, encoding in _ENCODINGS.items() if name.split(".")[0] in schema.names},
    )  # fmt: skip


def read_part_stats(path: Path) -> PartStats:
    """The metadata of a part.

    Raises:
        ArtifactError: the part cannot be read, or its metadata does not match its rows.
    """
    with damage_as_error(path):
        return _parse_stats(path, pq.read_metadata(path))


def summarize(stats: Sequence[PartStats], classes: int, *, failed: int = 0) -> dict[str, Any]:
    """The content of ``summary.json``: how many images are labeled, and how much of their probability is stored.

    Args:
        stats: the metadata of all parts.
        classes: the number of classes.
        failed: unreadable images beyond those that the parts name.
    """
    rows = [sum(part.rows) for part in stats]
    kept_classes = [part.kept_classes for part, count in zip(stats, rows, strict=True) if count]
    mass = sum(part.kept_mass * count for part, count in zip(stats, rows, strict=True))
    return {
        "images": sum(rows),
        "failed": failed + sum(len(part.failed) for part in stats),
        "parts": len(stats),
        "classes": classes,
        "kept": {"fewest": min(kept_classes), "most": max(kept_classes), "mass": round(mass / sum(rows), 6)},
    }


def _parse_stats(path: Path, file: pq.FileMetaData) -> PartStats:
    text = (file.metadata or {}).get(_METADATA_KEY)
    if text is None:
        raise ArtifactError(
            f"{path} does not record which rows belong to which shard; delete it and run the command again."
        )
    try:
        stored = json.loads(text)
        failed = tuple((int(position), str(key), str(reason)) for position, key, reason in stored["failed"])
        stats = PartStats(tuple(map(int, stored["rows"])), failed, int(stored["kept_classes"]), stored["kept_mass"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ArtifactError(f"{path} is damaged ({error!r}); delete it and run the command again.") from None
    groups = tuple(file.row_group(group).num_rows for group in range(file.num_row_groups))
    if groups != tuple(filter(None, stats.rows)):
        raise ArtifactError(
            f"{path} records {stats.rows} rows for its shards, but its row groups have {groups}; delete it and run the "
            "command again."
        )
    return stats


def write_failed(folder: Path, failed: Sequence[tuple[int, str, str]]) -> None:
    """Writes ``failed.parquet`` atomically: shard, key and reason of all images that could not be decoded."""
    shards, keys, reasons = zip(*failed, strict=True) if failed else ((), (), ())
    columns = {
        "shard": pa.array(shards, pa.uint32()),
        "key": pa.array(keys, pa.string()),
        "reason": pa.array(reasons, pa.string()),
    }
    with atomic_write(folder / FAILED) as temporary:
        pq.write_table(pa.table(columns), temporary, compression="zstd")


def read_failed(folder: Path) -> list[tuple[str, str]]:
    """The key and the reason of all images that could not be decoded; none if the folder does not list them."""
    path = folder / FAILED
    if not path.exists():
        return []
    table = pq.read_table(path, columns=["key", "reason"])
    return list(zip(table["key"].to_pylist(), table["reason"].to_pylist(), strict=True))


def read_log_probabilities(path: Path, classes: int) -> tuple[list[str], Floats]:
    """Reads one part: keys [N] and log-probabilities float32 [N, classes].

    Probability that is not stored is spread evenly over the other classes.
    """
    return _soft_labels(read_table(path), classes)


def read_shard(path: Path, position: int, classes: int) -> tuple[list[str], Floats]:
    """Reads only the rows of one shard of a part, like ``read_log_probabilities``.

    Args:
        path: the part.
        position: the position of the shard in the part, from 0.
        classes: the number of classes.

    Returns:
        Keys [N] and log-probabilities float32 [N, classes].
    """
    with damage_as_error(path), pq.ParquetFile(path) as file:
        rows = _parse_stats(path, file.metadata).rows
        group = sum(1 for count in rows[:position] if count)
        table = file.read_row_group(group) if rows[position] else file.schema_arrow.empty_table()
    return _soft_labels(table, classes)


def _soft_labels(table: pa.Table, classes: int) -> tuple[list[str], Floats]:
    keys: list[str] = table["key"].to_pylist()
    if "log_probabilities" in table.column_names:
        return keys, _matrix(table["log_probabilities"], len(keys)).astype(np.float32).reshape(len(keys), classes)
    top = _matrix(table["top_classes"], len(keys)).astype(np.int64)
    values = _matrix(table["top_log_probabilities"], len(keys)).astype(np.float32)
    # Rounding may have raised their sum above 1, or made another class as probable as the prediction.
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
    """Reads all parts of a folder, in order: keys [N] and log-probabilities float32 [N, classes]."""
    parts = [read_log_probabilities(path, classes) for path in list_parts(folder)]
    return [key for keys, _ in parts for key in keys], np.concatenate([values for _, values in parts])


def read_keys(path: Path) -> list[str]:
    """Reads the keys of one part, [N]."""
    keys: list[str] = read_table(path, ["key"])["key"].to_pylist()
    return keys


def read_labels(path: Path) -> tuple[npt.NDArray[np.int64], Floats]:
    """Reads the predicted classes of one part, int64 [N], and their confidences, float32 [N]."""
    table = read_table(path, ["prediction", "confidence"])
    return table["prediction"].to_numpy().astype(np.int64), table["confidence"].to_numpy().astype(np.float32)


def read_typicality(path: Path) -> Floats | None:
    """Reads how close the images of one part are to the labeled ones, float32 [N]; None where that is not known."""
    with damage_as_error(path):
        is_known = "typicality" in pq.read_schema(path).names
    return read_table(path, ["typicality"])["typicality"].to_numpy().astype(np.float32) if is_known else None


def read_copies(path: Path) -> npt.NDArray[np.int64]:
    """Reads the copies per row of one part of a selection, int64 [N]; 0 means rejected."""
    copies: npt.NDArray[np.int64] = read_table(path, ["copies"])["copies"].to_numpy().astype(np.int64)
    return copies
