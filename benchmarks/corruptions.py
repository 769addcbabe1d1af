"""Compares the speed of the corruptions with that of imagecorruptions-imaug, in images per second on one core.

    python benchmarks/corruptions.py            # 32 and 224 px, color; some minutes
    python benchmarks/corruptions.py --quick    # 32 px, few rounds

It times the 15 test corruptions at severity 3, each alone and all together; the rate of all is for one image under all
15. Both packages use the parameters for 224 px at every size, since the other package has no others. Arrays go in and
come out: this package takes and returns a batch with channels first, and the time of its random numbers counts; the
other takes and returns one image with channels last. Its frost reads a photograph from disk for every image, so the
rate of all is also reported without frost. The benchmark needs imagecorruptions-imaug (extra ``corruptions``) and is
skipped with a message without it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from noise import Pixels, channels_first, make_images
from noisystudent.evaluation.corruptions.generate import corrupt
from noisystudent.evaluation.corruptions.tables import TEST_CORRUPTIONS
from rows import print_rates, ratio_row

SEVERITY, TABLE, RIVAL = 3, 224, "imagecorruptions-imaug"
SIZES = {32: (256, 32), 224: (16, 4)}  # edge: images per round, for this package and for the rival
Seconds = dict[str, list[float]]


def ours(name: str, images: Pixels) -> Callable[[], None]:
    """Corrupts a batch, from a uint8 tensor in memory."""
    resident, index = channels_first(images), torch.arange(len(images))
    return lambda: discard(corrupt(resident, name, SEVERITY, index=index, seed=0, table=TABLE).numpy())


def theirs(name: str, images: Pixels) -> Callable[[], None]:
    """Corrupts one image after another with the other package."""
    from imagecorruptions import corrupt as rival

    return lambda: discard([rival(image, severity=SEVERITY, corruption_name=name) for image in images])


def discard(_: object) -> None:
    """Drops a result, so that a lambda returns None."""


def seconds(run: Callable[[], None], count: int) -> float:
    """Processor seconds per image on one thread; unlike the clock, other work on the machine hardly changes them."""
    start = time.process_time()
    run()
    return (time.process_time() - start) / count


def measure(size: int, counts: tuple[int, int], rounds: int) -> tuple[Seconds, Seconds]:
    """Seconds per image of every corruption, once per round, for this package and for the rival, in turn."""
    images = make_images(counts[0], size)
    our_seconds: Seconds = {}
    their_seconds: Seconds = {}
    for name in TEST_CORRUPTIONS:
        our_run, their_run = ours(name, images), theirs(name, images[: counts[1]])
        our_run()
        their_run()  # the first call compiles
        our_seconds[name], their_seconds[name] = [], []
        for _ in range(rounds):
            our_seconds[name].append(seconds(our_run, counts[0]))
            their_seconds[name].append(seconds(their_run, counts[1]))
    return our_seconds, their_seconds


def row(name: str, our_seconds: list[float], their_seconds: list[float]) -> dict[str, Any]:
    """A row with this package's rate, and the ratio of each round."""
    ratios = [theirs / ours for ours, theirs in zip(our_seconds, their_seconds, strict=True)]
    rate = round(1 / float(np.median(our_seconds)), 1)
    return ratio_row(name, rate, "images per second", versus=RIVAL, ratios=ratios)


def summed(seconds_by_name: Seconds, names: tuple[str, ...]) -> list[float]:
    """Seconds per image under all the corruptions ``names``, for each round."""
    return [sum(times) for times in zip(*(seconds_by_name[name] for name in names), strict=True)]


def compare(size: int, counts: tuple[int, int], rounds: int) -> list[dict[str, Any]]:
    """The rows for one image size: each corruption, all, and all but frost."""
    our_seconds, their_seconds = measure(size, counts, rounds)
    rows = [row(f"{name}, {size} px", our_seconds[name], their_seconds[name]) for name in TEST_CORRUPTIONS]
    for label, names in (
        ("all 15", TEST_CORRUPTIONS),
        ("all but frost", tuple(name for name in TEST_CORRUPTIONS if name != "frost")),
    ):
        rows.append(row(f"{label}, {size} px", summed(our_seconds, names), summed(their_seconds, names)))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="32 px, few rounds")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    if find_spec("imagecorruptions") is None:
        print("skipped: imagecorruptions-imaug is not installed (extra 'corruptions')", file=sys.stderr)
        return 0
    import cv2

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    sizes, rounds = ({32: (128, 8)}, 3) if options.quick else (SIZES, 9)
    rows = [measured for size, counts in sizes.items() for measured in compare(size, counts, rounds)]
    print_rates(rows, 28)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
