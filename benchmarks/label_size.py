"""Bytes per row that ``noisystudent label`` writes for 1,000 classes, by column, and the size of 300 million rows.

    python benchmarks/label_size.py            # 102,400 rows
    python benchmarks/label_size.py --quick    # 10,240 rows

The rows are random and go through the function that writes real parts, with 30 shards of 1,024 rows per part as for
300 million images. The classes form families, so images of one class share their next most probable classes. The
teacher's confidence varies from row to row. The keys are names of tar members in their order. The sharpness of the
teacher determines how many classes are stored: the middle teacher stores ten, and a duller and a sharper one show how
much the size depends on it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from noisystudent.data.source import SHARD_ROWS
from noisystudent.pseudo_labels.predictions import ShardLabels, cut_parts, part_path, read_part_stats, write_part
from rows import plain_row

CLASSES, FAMILIES, FEATURES = 1000, 40, 64
ROWS = 300_000_000
SHARPNESS = {"dull": 20.0, "middling": 27.0, "sharp": 40.0}


class Teacher:
    """Synthetic log-probabilities of a good teacher: images lie near their class and close to its family."""

    def __init__(self, sharpness: float) -> None:
        self._random = np.random.default_rng(0)
        families = self._random.normal(size=(FAMILIES, FEATURES))
        features = 0.7 * self._random.normal(size=(CLASSES, FEATURES)) + families[np.arange(CLASSES) % FAMILIES]
        features /= np.linalg.norm(features, axis=1, keepdims=True)
        self._similarity = features @ features.T
        self._sharpness = sharpness

    def __call__(self, rows: int) -> npt.NDArray[np.float32]:
        """Log-probabilities float32 [rows, CLASSES]."""
        sizes = 1 / np.sqrt(np.arange(1, CLASSES + 1))
        classes = self._random.choice(CLASSES, rows, p=sizes / sizes.sum())
        sharpness = self._sharpness * np.exp(0.3 * self._random.normal(size=(rows, 1)))
        logits = sharpness * (self._similarity[classes] + 0.1 * self._random.normal(size=(rows, CLASSES)))
        logits -= logits.max(axis=1, keepdims=True)
        return (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32)


def measure(name: str, shards: int) -> list[dict[str, Any]]:
    """Rows for one teacher: bytes per row in total and by column, and gigabytes for ``ROWS`` rows."""
    teacher, sizes, total_bytes, stats = Teacher(SHARPNESS[name]), Counter[str](), 0, []
    shards_per_part = len(cut_parts(-(-ROWS // SHARD_ROWS))[0])
    with tempfile.TemporaryDirectory() as folder:
        for part in range(-(-shards // shards_per_part)):
            numbers = range(part * shards_per_part, min((part + 1) * shards_per_part, shards))
            path = part_path(Path(folder), part)
            write_part(path, [ShardLabels.of(_keys(number), teacher(SHARD_ROWS)) for number in numbers])
            sizes += _column_sizes(path)
            total_bytes += path.stat().st_size
            stats.append(read_part_stats(path))
    rows = shards * SHARD_ROWS
    count = float(np.mean([part.kept_classes for part in stats]))
    mass = float(np.mean([part.kept_mass for part in stats]))
    about = f"{name} teacher, {count:.1f} classes stored with {mass:.1%} of the mass"
    sizes["metadata"] = total_bytes - sizes.total()
    measured = [plain_row(f"{about}: {ROWS:,} rows", total_bytes / rows * ROWS / 1e9, "GB")]
    measured += [plain_row(f"{about}: per row", total_bytes / rows, "bytes")]
    return measured + [plain_row(f"{about}: {column}", size / rows, "bytes per row") for column, size in sizes.items()]


def _keys(shard: int) -> list[str]:
    return [f"shard-{row // 10_000:06d}/{row:09d}.jpg" for row in range(shard * SHARD_ROWS, (shard + 1) * SHARD_ROWS)]


def _column_sizes(path: Path) -> Counter[str]:
    metadata, sizes = pq.read_metadata(path), Counter[str]()
    for group in range(metadata.num_row_groups):
        for number in range(metadata.num_columns):
            column = metadata.row_group(group).column(number)
            sizes[column.path_in_schema.split(".")[0]] += column.total_compressed_size
    return sizes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rows")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    rows = []
    for name in SHARPNESS:
        measured = measure(name, 10 if options.quick else 100)
        for row in measured:
            print(f"{row['name']:<86}{row['value']:8.2f} {row['unit']}", flush=True)
        rows += measured
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
