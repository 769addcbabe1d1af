"""How long the whole of ImageNet-C's corruptions takes: 15 at 5 severities, a small net, generated images of 32 px.

    python benchmarks/whole.py            # 10,000 images; minutes
    python benchmarks/whole.py --quick    # 64 images

The clock of one run on all cores, writing of the pieces included. Frost is measured where its textures are (extra
``corruptions``); what is printed says how many corruptions there were.
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
    """The minutes that all conditions took, and the images a second."""
    classes = tuple(map(str, range(CLASSES)))
    labels = np.arange(count) % CLASSES
    np.savez(work / "test.npz", x=make_images(count, SIZE), y=labels, classes=np.array(classes))
    save_classifier(create_classifier("tiny_resnet", classes=classes, channels=3, size=SIZE), work / "net")
    settings = {"evaluation.suite": ["corruptions"], "runtime.precision": precision}
    start = time.monotonic()
    told = noisystudent.robustness(
        checkpoint=work / "net", source=work / "test.npz", out=work / "out", settings=settings
    )
    seconds = time.monotonic() - start
    conditions = sum(map(len, told["corruptions"]["errors"].values()))
    what = f"{conditions} conditions of {count:,} images, {precision}"
    return [
        plain_row(what, seconds / 60, "minutes"),
        plain_row(what, conditions * count / seconds, "images a second"),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", default="bfloat16", choices=("float32", "bfloat16"))
    parser.add_argument("--quick", action="store_true", help="few images: only shows that it runs")
    parser.add_argument("--json", type=Path, help="write the rows there")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        rows = measure(QUICK if given.quick else COUNT, given.precision, Path(work))
    for row in rows:
        print(f"{row['name']}: {row['value']} {row['unit']}")
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
