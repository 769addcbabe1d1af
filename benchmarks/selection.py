"""Time and peak memory of ``noisystudent select`` at 1, 10 and 100 million rows, compared with DuckDB.

    python benchmarks/selection.py                    # 1 and 10 million rows; most of the time goes into making them
    python benchmarks/selection.py --millions 100     # needs about 4 GB of disk
    python benchmarks/selection.py --quick            # 300,000 rows

The rows are random: 1,000 classes with Zipf-distributed sizes, confidences of which many are close to 1, keys of 28
letters, and the five most probable classes with their log-probabilities, which a selection does not read. They are cut
into parts as ``noisystudent label`` cuts them (or by ``--part-rows``), with 1,024 rows per row group. The benchmark
makes two selections: the curriculum's first fifth of every class, and the paper's rule, which fills up small classes
with copies. Each runs in a separate process, which reports its peak memory. Its time is that of the whole command, from
the start of Python to the manifest with the hashes of all files. The rows were just written, so both sides read them
from the system's cache.

DuckDB runs the curriculum as one SQL query with a window function, two threads and up to 8 GB of memory, and writes
each row's number and copies to one Parquet file. Both must select exactly the same rows.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from noisystudent.artifacts.folder import begin, commit
from noisystudent.data.source import SHARD_ROWS
from noisystudent.pseudo_labels.predictions import (
    PREDICTIONS,
    ShardLabels,
    cut_parts,
    list_parts,
    part_path,
    read_copies,
    write_part,
)
from rows import plain_row

CLASSES = 1000
SIZES = 1 / np.arange(1, CLASSES + 1)
REST = np.array([0.6, 0.2, 0.1, 0.05])  # the next classes' shares of the probability that the first one leaves
RULES = {"curriculum": ["--selection.rule=curriculum"], "threshold": ["--selection.rule=threshold"]}
# ru_maxrss would start at the memory of the parent process.
PEAK = """
def peak_megabytes():
    status = Path("/proc/self/status")
    if status.exists():
        return int(next(line.split()[1] for line in status.read_text().splitlines() if "VmHWM" in line)) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
"""
SELECT = f"""
import resource, sys
from pathlib import Path
from noisystudent.commands.main import main
{PEAK}
code = main(sys.argv[1:])
print(peak_megabytes())
sys.exit(code)
"""
QUERY = """
COPY (
    SELECT row, (rank <= ceil(0.2 * rows - 1e-9))::UTINYINT AS copies FROM (
        SELECT
            file_index * {part_rows} + file_row_number AS row,
            row_number() OVER (PARTITION BY prediction ORDER BY confidence DESC, file_index, file_row_number) AS rank,
            count(*) OVER (PARTITION BY prediction) AS rows
        FROM (
            SELECT prediction, confidence, file_row_number,
                regexp_extract(filename, 'part-(\\d+)', 1)::INTEGER AS file_index
            FROM read_parquet('{parts}', filename = true, file_row_number = true)
        )
    )
) TO '{out}' (FORMAT parquet, COMPRESSION zstd)
"""
DUCKDB = f"""
import resource, sys
from pathlib import Path
import duckdb
{PEAK}
query, spill = sys.argv[1:]
duckdb.connect(config={{"threads": 2, "memory_limit": "8GB", "temp_directory": spill}}).execute(query)
print(peak_megabytes())
"""


def make_predictions(folder: Path, rows: int, part_rows: int) -> None:
    """Writes a folder of predictions as ``noisystudent label`` does."""
    random = np.random.default_rng(0)
    inputs = {"classes": [f"class-{number:04d}" for number in range(CLASSES)]}
    begin(folder, inputs)
    for first in range(0, rows, part_rows):
        end = min(first + part_rows, rows)
        shards = [_draw(random, start, min(start + SHARD_ROWS, end)) for start in range(first, end, SHARD_ROWS)]
        write_part(part_path(folder, first // part_rows), shards)
    commit(folder, PREDICTIONS, inputs)


def _draw(random: np.random.Generator, first: int, end: int) -> ShardLabels:
    """Labels of the rows from ``first`` to before ``end``."""
    count = end - first
    prediction = np.searchsorted(SIZES.cumsum(), random.random(count) * SIZES.sum(), side="right").astype(np.uint16)
    confidence = (1 - random.random(count) ** 3).astype(np.float32)
    others = random.integers(0, CLASSES, (count, len(REST))).astype(np.uint16)
    probabilities = np.column_stack([confidence, np.outer(1 - confidence, REST)])
    return ShardLabels(
        keys=[f"data/folder/{number:012d}.jpg" for number in range(first, end)],
        prediction=prediction,
        confidence=confidence,
        log_probabilities=np.log(np.maximum(probabilities, 1e-9)).astype(np.float32),
        classes=np.column_stack([prediction, others]),
    )


def timed(code: str, *words: str) -> tuple[float, float]:
    """Seconds and peak memory in MiB of a process that runs ``code``."""
    start = time.perf_counter()
    finished = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if finished.returncode:
        raise SystemExit(f"the process failed: {finished.stderr.strip()}")
    return seconds, float(finished.stdout.split()[-1])


def measure(rows: int, part_rows: int | None, *, duckdb: bool) -> list[dict[str, Any]]:
    """Rows for both rules at one number of rows."""
    part_rows = part_rows or SHARD_ROWS * len(cut_parts(-(-rows // SHARD_ROWS))[0])
    parts = f"{rows:,} rows in {-(-rows // part_rows):,} parts"
    measured = []
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        predictions = work / "predictions"
        make_predictions(predictions, rows, part_rows)
        for rule, words in RULES.items():
            out = work / rule
            seconds, peak = timed(SELECT, "select", "--predictions", str(predictions), "--out", str(out), *words)
            name = f"select, {rule}, {parts}"
            print(f"{name:<60}{seconds:8.1f} s {peak:8.0f} MiB", flush=True)
            measured += [plain_row(name, seconds, "s"), plain_row(f"{name}: peak memory", peak, "MiB")]
        if duckdb:
            other = work / "duckdb.parquet"
            query = QUERY.format(part_rows=part_rows, parts=f"{predictions}/part-*.parquet", out=other)
            seconds, peak = timed(DUCKDB, query, str(work / "spilled"))
            print(f"{'DuckDB, curriculum':<60}{seconds:8.1f} s {peak:8.0f} MiB", flush=True)
            check_same(work / "curriculum", other)
            for row, value in zip(measured[:2], (seconds, peak), strict=True):
                row |= {"versus": f"DuckDB ({value:.1f} {row['unit']})", "ratio": round(value / row["value"], 2)}
    return measured


def check_same(selection: Path, other: Path) -> None:
    """Stops the benchmark unless DuckDB selected exactly the same rows."""
    table = pq.read_table(other)
    selected = np.zeros(table.num_rows, bool)
    selected[table["row"].to_numpy()] = table["copies"].to_numpy() > 0
    first = 0
    for path in list_parts(selection):
        copies = read_copies(path)
        if not np.array_equal(copies > 0, selected[first : first + len(copies)]):
            raise SystemExit(f"DuckDB selects other rows than {path.name}")
        first += len(copies)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rows")
    parser.add_argument("--millions", type=float, nargs="+", default=[1, 10], help="numbers of rows, in millions")
    parser.add_argument("--part-rows", type=int, help="rows per part, a multiple of 1,024")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    duckdb = importlib.util.find_spec("duckdb") is not None
    if not duckdb:
        print("DuckDB is not installed, so it is left out; install it with: pip install 'noisystudent[sql]'")
    rows = []
    for millions in [0.3] if options.quick else options.millions:
        rows += measure(round(millions * 1e6), options.part_rows, duckdb=duckdb)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
