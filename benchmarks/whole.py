"""Time of all of ImageNet-C's corruptions: 15 at 5 severities, for a small model and generated images of 32 px.

    python benchmarks/whole.py            # 10,000 images; minutes
    python benchmarks/whole.py --quick    # 64 images

The time is the wall clock of one run on all cores, including the writing of results. Frost is measured if its textures
are installed (extra ``corruptions``); the output names the number of conditions.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import noisystudent
from noise import make_images
from noisystudent.models.checkpoint import save_classifier
from noisystudent.models.classifier import create_classifier
from rows import plain_row

SIZE, CLASSES, COUNT, QUICK = 32, 10, 10_000, 64


def measure(count: int, precision: str, work: Path) -> list[dict[str, Any]]:
    """Rows for the minutes of all conditions, and for images per second."""
    classes = tuple(map(str, range(CLASSES)))
    labels = np.arange(count) % CLASSES
    np.savez(work / "test.npz", x=make_images(count, SIZE), y=labels, classes=np.array(classes))
    save_classifier(create_classifier("tiny_resnet", classes=classes, channels=3, size=SIZE), work / "net")
    settings = {"evaluation.suite": ["corruptions"], "runtime.precision": precision}
    start = time.monotonic()
    result = noisystudent.robustness(
        checkpoint=work / "net", source=work / "test.npz", out=work / "out", settings=settings
    )
    seconds = time.monotonic() - start
    assert result.corruptions, "the suite has corruptions"
    conditions = sum(map(len, result.corruptions.errors.values()))
    title = f"{conditions} conditions of {count:,} images, {precision}"
    return [
        plain_row(title, seconds / 60, "minutes"),
        plain_row(title, conditions * count / seconds, "images per second"),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--precision",
        default="float32",
        choices=("float32", "bfloat16"),
        help="bfloat16 only where the processor has it",
    )
    parser.add_argument("--quick", action="store_true", help="few images: a smoke test")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        rows = measure(QUICK if options.quick else COUNT, options.precision, Path(work))
    for row in rows:
        print(f"{row['name']}: {row['value']} {row['unit']}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
