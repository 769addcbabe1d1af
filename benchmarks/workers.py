"""Speedup of labeling with two processes on one machine over one process, in images per second.

    python benchmarks/workers.py            # 15 minutes; --shards and --rounds make it shorter
    python benchmarks/workers.py --quick    # within a minute

The unlabeled images are color PNG files of 32 px. Each worker has one torch thread, so two free cores allow a factor of
2 at most. Rounds alternate the order. The time runs from the first part to the last, because interpreters take seconds
to import torch whatever the amount of work. Both must write the same bytes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from noisystudent.data.source import SHARD_ROWS
from noisystudent.models.checkpoint import save_classifier
from noisystudent.models.classifier import create_classifier
from rows import ratio_row

SIZE = 32


def make_folder(root: Path, count: int) -> None:
    """``count`` image files, links to a few distinct ones."""
    root.mkdir()
    random = np.random.default_rng(0)
    for number in range(count):
        path = root / f"{number:06d}.png"
        if number < 100:
            Image.fromarray(random.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)).save(path)
        else:
            path.hardlink_to(root / f"{number % 100:06d}.png")


def label(work: Path, out: Path, workers: int, shards: int) -> float:
    """Labels the images and returns the images per second after the first part of each worker."""
    words = ["-m", "noisystudent", "label", f"--teacher={work / 'teacher'}", f"--source={work / 'unlabeled'}"]
    words += [f"--out={out}", f"--workers={workers}", "--runtime.threads=1", "--runtime.label_batch_size=128"]
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    first_parts, started = 0, 0.0
    while process.poll() is None:
        parts = len(list(out.glob("part-*")))
        if not started and parts >= workers:
            first_parts, started = parts, time.monotonic()
        if parts == shards:
            break
        time.sleep(0.01)
    seconds = time.monotonic() - started
    if process.wait():
        raise SystemExit("labeling failed")
    return (shards - first_parts) * SHARD_ROWS / seconds


def measure(shards: int, rounds: int) -> dict[str, Any]:
    """One row: the rate of two workers divided by that of one."""
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        (work / "teacher").mkdir()
        save_classifier(create_classifier("tiny_resnet", classes=("a", "b"), channels=3, size=SIZE), work / "teacher")
        make_folder(work / "unlabeled", shards * SHARD_ROWS)
        rates: dict[int, list[float]] = {1: [], 2: []}
        manifests = set()
        for number in range(rounds):
            for workers in (1, 2) if number % 2 else (2, 1):
                out = work / f"out-{number}-{workers}"
                rates[workers].append(label(work, out, workers, shards))
                manifests.add((out / "manifest.json").read_bytes())
        assert len(manifests) == 1, "the workers wrote different bytes"
    ratios = [two / one for one, two in zip(rates[1], rates[2], strict=True)]
    versus = f"one worker ({np.median(rates[1]):.1f})"
    rate = round(float(np.median(rates[2])), 1)
    return ratio_row("label: two workers", rate, "images per second", versus=versus, ratios=ratios)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few images, one round")
    parser.add_argument("--shards", type=int, default=60, help="number of unlabeled images, in shards of 1,024")
    parser.add_argument("--rounds", type=int, default=5, help="number of timed rounds")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    row = measure(*((4, 1) if options.quick else (options.shards, options.rounds)))
    print(
        f"{row['name']}: {row['value']:.1f} {row['unit']}, {row['ratio']:.2f} "
        f"({row['interval'][0]:.2f} to {row['interval'][1]:.2f}) times {row['versus']}"
    )
    if options.json:
        options.json.write_text(json.dumps([row], indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
