"""Peak memory of labeling, of a streamed run and of a robustness suite, for up to ten times as many images.

    python benchmarks/memory.py                       # 10,000, 30,000 and 100,000 images of 32 px
    python benchmarks/memory.py --plot docs/memory.svg
    python benchmarks/memory.py --quick               # 1,000 and 4,000, without the run

The unlabeled images are JPEG files, in a folder or in tar shards. Each number comes from a separate process, which
reports its peak memory. A streamed job needs the same memory for any number of images, apart from file names. In
memory, the pixels of 100,000 images would take 293 MiB more.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import noisystudent
from noisystudent.display.charts import Series, line_chart
from noisystudent.models.checkpoint import save_classifier
from noisystudent.models.classifier import create_classifier
from noisystudent.reporting.standalone import standalone
from rows import ratio_row

SIZE, DISTINCT, LABELED = 32, 100, 20
LABEL = """
noisystudent.label(teacher=work / "teacher", source=source, out=out, quiet=True,
                   settings={"runtime.threads": 1, "runtime.label_batch_size": 128})
"""
RUN = """
noisystudent.run(labeled=work / "labeled", unlabeled=source, out=out, quiet=True, settings={
    "runtime.threads": 1, "runtime.label_batch_size": 128, "model.teacher": "tiny_resnet", "rounds.count": 1,
    "rounds.controls": 0, "noise.strength": 0.25, "train.steps": 25, "data.streaming": "always", "data.window": 512})
"""
SUITE = """
noisystudent.robustness(checkpoint=work / "teacher", source=source, out=out, quiet=True, settings={
    "runtime.threads": 1, "runtime.label_batch_size": 128, "evaluation.suite": ["calibration", "corruptions"],
    "evaluation.corruptions": ["contrast", "gaussian_noise"], "evaluation.severities": [1, 5]})
"""
QUICK_SUITE = SUITE.replace("[1, 5]", "[5]")
CHILD = """
import resource, sys
from pathlib import Path
import noisystudent
work, source, out = (Path(word) for word in sys.argv[1:])
{}
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10))
"""


def make_folder(root: Path, count: int) -> Path:
    """``count`` JPEG files, hard links to a few distinct ones; the reader sees separate files."""
    root.mkdir(parents=True)
    random = np.random.default_rng(count)
    for number in range(min(DISTINCT, count)):
        Image.fromarray(random.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)).save(root / f"{number:06d}.jpg")
    for number in range(DISTINCT, count):
        os.link(root / f"{number % DISTINCT:06d}.jpg", root / f"{number:06d}.jpg")
    return root


def prepare(work: Path) -> None:
    """A teacher and two classes of labeled images."""
    (work / "teacher").mkdir()
    save_classifier(create_classifier("tiny_resnet", classes=("a", "b"), channels=3, size=SIZE), work / "teacher")
    for name in ("a", "b"):
        make_folder(work / "labeled" / name, LABELED)


def peak_megabytes(body: str, work: Path, source: Path, out: Path) -> float:
    """Peak memory of a process that runs ``body``, in MiB."""
    words = [sys.executable, "-c", CHILD.format(body), str(work), str(source), str(out)]
    finished = subprocess.run(words, check=True, capture_output=True, text=True)
    return float(finished.stdout.split()[-1])


def measure(counts: Sequence[int], *, quick: bool) -> dict[str, list[float]]:
    """Peak memory in MiB of each job at each count."""
    peaks: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        prepare(work)
        for count in counts:
            folder = make_folder(work / f"unlabeled-{count}", count)
            shards = work / f"shards-{count}"
            noisystudent.pack(source=folder, out=shards, quiet=True)
            test = work / f"test-{count}"
            for name in ("a", "b"):
                make_folder(test / name, count // 2)
            jobs = {
                "label a folder": (LABEL, folder),
                "label tar shards": (LABEL, shards),
                "suite": (QUICK_SUITE if quick else SUITE, test),
            }
            if not quick:
                jobs["run on tar shards"] = (RUN, shards)
            for name, (body, source) in jobs.items():
                peaks.setdefault(name, []).append(peak_megabytes(body, work, source, work / f"{name}-{count}"))
                print(f"{name}, {count:,} images: {peaks[name][-1]:,.0f} MiB", flush=True)
    return peaks


def rows_of(counts: Sequence[int], peaks: dict[str, list[float]]) -> list[dict[str, Any]]:
    """A row per job: peak memory at the largest count, and its ratio to the peak at the smallest count."""
    return [
        ratio_row(
            f"{name}: peak memory at {counts[-1]:,} images", round(values[-1], 1), "MiB",
            versus=f"{counts[0]:,} images ({values[0]:.1f} MiB)", ratios=[values[-1] / values[0]],
        )
        for name, values in peaks.items()
    ]  # fmt: skip


def plot(path: Path, counts: Sequence[int], peaks: dict[str, list[float]]) -> None:
    """Draws one line per job."""
    series = [Series(name, tuple(enumerate(values))) for name, values in peaks.items()]
    names = [f"{count:,}" for count in counts]
    chart = line_chart(series, title="Peak memory", x_label="images", y_label="MiB", x_names=names)
    path.write_text(standalone(chart))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few images, without the run")
    parser.add_argument("--plot", type=Path, help="draw the numbers into this SVG file")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    counts = (1000, 4000) if options.quick else (10_000, 30_000, 100_000)
    peaks = measure(counts, quick=options.quick)
    rows = rows_of(counts, peaks)
    for row in rows:
        print(f"{row['name']}: {row['value']:.1f} MiB, {row['ratio']:.3f} times the peak at {row['versus']}")
    if options.plot:
        plot(options.plot, counts, peaks)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
