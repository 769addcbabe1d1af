"""A teacher's stored soft labels: one Parquet part a shard, same row order, readable without torch.

Columns: ``key``; ``prediction`` (uint16); ``confidence`` (float32, the largest probability at temperature 1); and the
soft label. Up to 100 classes it is ``log_probabilities`` in full; beyond, ``top_classes`` and
``top_log_probabilities`` hold the most probable ones and the rest of the mass is spread evenly over the others.

Every row of a shard is accounted for. A picture that cannot be decoded has nothing to store, so it has no row that
every reader would have to step over; the part's metadata names it and the reason, in the same file, so that a kill or
two processes with the same shard can never lose or double it. ``failed.parquet`` beside the finished parts gathers
these as a table, for people and SQL: ``shard`` (uint32), ``key``, ``reason``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from noisystudent.artifacts import replacing
from noisystudent.errors import ArtifactError

PREDICTIONS = "predictions"  # the kind in a manifest
FAILED = "failed.parquet"
FULL_UP_TO = 100  # classes
KEPT_MASS = 0.99  # of the mean row, decides how many classes are kept
MOST_KEPT = 128

_FAILED_KEY = b"noisystudent.failed"

Floats = npt.NDArray[np.float32]
Failed = Sequence[tuple[str, str]]  # key and reason


def part_path(folder: Path, shard: int) -> Path:
    """Where the part of 0-based ``shard`` lies; from 100,000 shards on the names grow longer."""
    return folder / f"part-{shard:05d}.parquet"


def list_parts(folder: Path) -> list[Path]:
    """The parts of a folder in the order of their shards, which from 100,000 on is not that of their names.

    Raises ``ArtifactError`` when there are none, or one whose name this program does not write.
    """
    parts = {_shard_of(path): path for path in folder.glob("part-*.parquet")}
    if not parts:
        raise ArtifactError(f"{folder} holds no part-*.parquet; it is not a folder of predictions or a selection.")
    return [parts[shard] for shard in sorted(parts)]


def _shard_of(path: Path) -> int:
    number = path.stem.removeprefix("part-")
    if not (number.isascii() and number.isdecimal()) or path != part_path(path.parent, int(number)):
        raise ArtifactError(f"{path} is not named as parts are, like {part_path(path.parent, 0).name}; move it away.")
    return int(number)


def write_part(path: Path, keys: Sequence[str], log_probabilities: Floats, failed: Failed = ()) -> None:
    """Writes one part atomically from keys [N] and log-probabilities float32 [N, K]; one that is there stays.

    ``failed`` names the shard's other pictures, which could not be decoded, and says why.
    """
    columns: dict[str, pa.Array] = {
        "key": pa.array(list(keys), pa.string()),
        "prediction": pa.array(log_probabilities.argmax(axis=1).astype(np.uint16)),
        "confidence": pa.array(np.exp(log_probabilities.max(axis=1)).astype(np.float32)),
    }
    if log_probabilities.shape[1] <= FULL_UP_TO:
        columns["log_probabilities"] = _rows(log_probabilities.astype(np.float32))
    else:
        order = np.argsort(-log_probabilities, axis=1, kind="stable")
        ranked = np.take_along_axis(log_probabilities, order, axis=1)
        kept_mass = np.exp(ranked[:, :MOST_KEPT]).mean(axis=0).cumsum() if len(ranked) else np.ones(1)
        kept = min(int(np.searchsorted(kept_mass, KEPT_MASS)) + 1, MOST_KEPT, ranked.shape[1])
        columns["top_classes"] = _rows(order[:, :kept].astype(np.uint16))
        columns["top_log_probabilities"] = _rows(ranked[:, :kept].astype(np.float32))
    metadata = {_FAILED_KEY: json.dumps(list(failed)).encode()} if failed else None
    with replacing(path, once=True) as temporary:
        pq.write_table(pa.table(columns, metadata=metadata), temporary, compression="zstd")


def account_for(path: Path) -> tuple[int, list[tuple[str, str]]]:
    """How many pictures a part has labels for, and key and reason of those that could not be decoded."""
    try:
        found = pq.read_metadata(path)
        failed = json.loads((found.metadata or {}).get(_FAILED_KEY, b"[]"))
        return found.num_rows, [(str(key), str(reason)) for key, reason in failed]
    except (pa.ArrowInvalid, ValueError) as error:
        raise ArtifactError(f"{path} is damaged ({error}); delete it and run the command again.") from None


def write_failed(folder: Path, failed: Sequence[tuple[int, str, str]]) -> None:
    """Writes ``failed.parquet`` atomically from shard, key and reason of all pictures that could not be decoded."""
    shards, keys, reasons = zip(*failed, strict=True) if failed else ((), (), ())
    columns = {
        "shard": pa.array(shards, pa.uint32()),
        "key": pa.array(keys, pa.string()),
        "reason": pa.array(reasons, pa.string()),
    }
    with replacing(folder / FAILED) as temporary:
        pq.write_table(pa.table(columns), temporary, compression="zstd")


def _rows(values: npt.NDArray[np.generic]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


def read_log_probabilities(path: Path, classes: int) -> tuple[list[str], Floats]:
    """Reads one part back: keys [N] and log-probabilities float32 [N, classes], the unstored mass spread evenly."""
    table = pq.read_table(path)
    keys: list[str] = table["key"].to_pylist()
    if "log_probabilities" in table.column_names:
        return keys, _matrix(table["log_probabilities"], len(keys)).astype(np.float32)
    top = _matrix(table["top_classes"], len(keys)).astype(np.int64)
    values = _matrix(table["top_log_probabilities"], len(keys)).astype(np.float32)
    rest = np.maximum(1 - np.exp(values.astype(np.float64)).sum(axis=1), 1e-9) / max(classes - top.shape[1], 1)
    full = np.repeat(np.log(rest).astype(np.float32)[:, None], classes, axis=1)
    np.put_along_axis(full, top, values, axis=1)
    return keys, full


def _matrix(column: pa.ChunkedArray, rows: int) -> npt.NDArray[np.generic]:
    flat: npt.NDArray[np.generic] = column.combine_chunks().flatten().to_numpy()
    return flat.reshape(rows, -1)


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
