"""Peak memory of labeling a folder, at a number of pictures and at ten times that number.

    python benchmarks/labeling_memory.py            # 3,000 and 30,000 pictures of 64 px
    python benchmarks/labeling_memory.py --quick    # 600 and 2,400

Each size is labeled by a process of its own, which says how much memory it ever held. A source that streams needs the
same for both, but for the list of file names.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from noisystudent.models.checkpoint import save_classifier
from noisystudent.models.classifier import create_classifier
from noisystudent.runtime.machine import describe_machine, versions

SIZE, DISTINCT = 64, 100
CHILD = """
import resource, sys
from pathlib import Path
import noisystudent
checkpoint, source, out = sys.argv[1:]
settings = {"runtime.threads": 1, "runtime.label_batch_size": 128}
noisystudent.label(teacher=Path(checkpoint), source=source, out=Path(out), settings=settings, quiet=True)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10))
"""


def make_folder(root: Path, count: int) -> None:
    """``count`` JPEG files, hard links to a few distinct ones: for the reader each is a file of its own."""
    root.mkdir()
    random = np.random.default_rng(0)
    for number in range(min(DISTINCT, count)):
        Image.fromarray(random.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)).save(root / f"{number:06d}.jpg")
    for number in range(DISTINCT, count):
        os.link(root / f"{number % DISTINCT:06d}.jpg", root / f"{number:06d}.jpg")


def peak_megabytes(checkpoint: Path, source: Path, out: Path) -> float:
    words = [sys.executable, "-c", CHILD, str(checkpoint), str(source), str(out)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def measure(counts: tuple[int, int]) -> dict[str, Any]:
    """One row: peak memory at the larger count, and over that at the smaller."""
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        checkpoint = work / "teacher"
        checkpoint.mkdir()
        save_classifier(create_classifier("tiny_resnet", classes=("a", "b"), channels=3, size=SIZE), checkpoint)
        peaks = []
        for count in counts:
            make_folder(work / str(count), count)
            peaks.append(peak_megabytes(checkpoint, work / str(count), work / f"out-{count}"))
    return {
        "name": f"label: peak memory at {counts[1]:,} pictures",
        "value": round(peaks[1], 1),
        "unit": "MiB",
        "versus": f"{counts[0]:,} pictures ({peaks[0]:.1f} MiB)",
        "ratio": round(peaks[1] / peaks[0], 3),
        "seeds": 1,
        "interval": None,
        "machine": describe_machine(),
        "versions": versions(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few pictures")
    parser.add_argument("--json", type=Path, help="write the rows there")
    given = parser.parse_args()
    row = measure((600, 2400) if given.quick else (3000, 30_000))
    print(f"{row['name']}: {row['value']:.1f} MiB, {row['ratio']:.3f} of that at {row['versus']}")
    if given.json:
        given.json.write_text(json.dumps([row], indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
