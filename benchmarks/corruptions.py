"""The corruptions here against those of imagecorruptions-imaug: images a second, taking turns on one core.

    python benchmarks/corruptions.py            # 32 and 224 px, color; some minutes
    python benchmarks/corruptions.py --quick    # 32 px, few rounds

The 15 corruptions that test, at severity 3, each by itself and all of them: the rate of all is that of an image under
every one of the 15. Both use the parameters of 224 px, the only ones that the other package has, whatever the size.
Arrays in, arrays out: this package takes and gives a batch of channels first, in which its random numbers count; the
other takes and gives one image of channels last. Its frost reads a photograph from disk for every image, which is
why the rate of all is also given without frost. Needs imagecorruptions-imaug (extra ``corruptions``); without it the
benchmark is skipped with a message.
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
SIZES = {32: (256, 32), 224: (16, 4)}  # edge: images a turn, here and for the rival
Seconds = dict[str, list[float]]


def ours(name: str, images: Pixels) -> Callable[[], None]:
    """A batch under a corruption, from a resident uint8 tensor."""
    resident, index = channels_first(images), torch.arange(len(images))
    return lambda: void(corrupt(resident, name, SEVERITY, index=index, seed=0, table=TABLE).numpy())


def theirs(name: str, images: Pixels) -> Callable[[], None]:
    """One image after another under the other package's corruption."""
    from imagecorruptions import corrupt as rival

    return lambda: void([rival(image, severity=SEVERITY, corruption_name=name) for image in images])


def void(_: object) -> None:
    """Nothing: what was made is not looked at."""


def seconds(run: Callable[[], None], count: int) -> float:
    """Seconds of the processor an image: on one thread, and unlike the clock, the same beside other work."""
    start = time.process_time()
    run()
    return (time.process_time() - start) / count


def measure(size: int, counts: tuple[int, int], rounds: int) -> tuple[Seconds, Seconds]:
    """Seconds an image of every corruption, here and there, once a round and in turn."""
    images = make_images(counts[0], size)
    here: Seconds = {}
    there: Seconds = {}
    for name in TEST_CORRUPTIONS:
        mine, other = ours(name, images), theirs(name, images[: counts[1]])
        mine()
        other()  # the first call compiles
        here[name], there[name] = [], []
        for _ in range(rounds):
            here[name].append(seconds(mine, counts[0]))
            there[name].append(seconds(other, counts[1]))
    return here, there


def row(name: str, here: list[float], there: list[float]) -> dict[str, Any]:
    """A row of the rate here, and the ratios of the rounds."""
    ratios = [other / mine for mine, other in zip(here, there, strict=True)]
    return ratio_row(name, round(1 / float(np.median(here)), 1), "images a second", versus=RIVAL, ratios=ratios)


def summed(found: Seconds, names: tuple[str, ...]) -> list[float]:
    """Seconds an image of all the corruptions of each round."""
    return [sum(times) for times in zip(*(found[name] for name in names), strict=True)]


def compare(size: int, counts: tuple[int, int], rounds: int) -> list[dict[str, Any]]:
    """The rows of an image size: each corruption, all, and all but frost."""
    here, there = measure(size, counts, rounds)
    rows = [row(f"{name}, {size} px", here[name], there[name]) for name in TEST_CORRUPTIONS]
    for label, names in (
        ("all 15", TEST_CORRUPTIONS),
        ("all but frost", tuple(name for name in TEST_CORRUPTIONS if name != "frost")),
    ):
        rows.append(row(f"{label}, {size} px", summed(here, names), summed(there, names)))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="32 px, few rounds")
    parser.add_argument("--json", type=Path, help="write the rows there")
    given = parser.parse_args()
    if find_spec("imagecorruptions") is None:
        print("skipped: imagecorruptions-imaug is not installed (extra 'corruptions')", file=sys.stderr)
        return 0
    import cv2

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    sizes, rounds = ({32: (128, 8)}, 3) if given.quick else (SIZES, 9)
    rows = [each for size, counts in sizes.items() for each in compare(size, counts, rounds)]
    print_rates(rows, 28)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
