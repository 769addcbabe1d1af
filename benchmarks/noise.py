"""RandAugment here against timm's and torchvision's: images a second, all in one process taking turns on one core.

    python benchmarks/noise.py                # 32, 64 and 224 px, color; a few minutes
    python benchmarks/noise.py --quick
    python benchmarks/noise.py --operations   # also how long each operation takes

Two operations on every image at the same magnitude for all: 9 of 10 (timm and this package) or of 30 (torchvision,
whose scale ends there). Arrays in, arrays out, each in its natural layout: this package takes and gives a batch of
channels first, as images lie in training, and its draws and the batch's memory count; the others take and give one
image of channels last, and as they work on Pillow images, the conversion counts. Nobody's change of layout counts,
nor the others' stacking of a batch. timm usually skips each operation with probability 0.5; here it is told not to, so
that all do the same work. torchvision draws from other operations, one of which does nothing; so it is also compared
with this package's policy of the same operations and scales.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from timm.data.auto_augment import rand_augment_transform
from torchvision.transforms import RandAugment as TorchvisionRandAugment

from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.randaugment import RandAugment
from noisystudent.noise.settings import OPERATIONS
from rows import print_rates, ratio_row

LAYERS, MAGNITUDE, BATCH = 2, 9.0, 128
SIZES = {32: 1024, 64: 512, 224: 128}  # edge: images a turn
Pixels = npt.NDArray[np.uint8]


def make_images(count: int, size: int) -> Pixels:
    """Smooth color images with some grain, HWC; bare noise would have flat histograms."""
    noise = np.random.default_rng(0)
    coarse = noise.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    smooth = [np.asarray(Image.fromarray(each).resize((size, size), Image.Resampling.BICUBIC)) for each in coarse]
    grain = noise.integers(-8, 9, (count, size, size, 3))
    return np.clip(np.stack(smooth).astype(np.int16) + grain, 0, 255).astype(np.uint8)


def channels_first(images: Pixels) -> torch.Tensor:
    """The images as they lie in training, ``uint8 [B, C, H, W]``."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def ours(augment: RandAugment, images: Pixels) -> Callable[[], None]:
    """Batches of this package's noise, from a resident uint8 tensor as in training."""
    rng, resident = CounterRng(0, "benchmark"), channels_first(images)

    def run() -> None:
        for first in range(0, len(resident), BATCH):
            batch = resident[first : first + BATCH]
            index = torch.arange(first, first + len(batch))
            augment(batch, rng.uniform(torch.zeros_like(index), index, augment.rng)).numpy()

    return run


def on_pillow(transform: Callable[[Image.Image], Image.Image], images: Pixels) -> Callable[[], None]:
    """One image after another through a transform of Pillow images."""

    def run() -> None:
        for image in images:
            np.asarray(transform(Image.fromarray(image)))

    return run


def rates(rivals: dict[str, Callable[[], None]], count: int, rounds: int) -> dict[str, list[float]]:
    """Images a second of each rival, ``count`` of them once a round, the order turning from round to round."""
    for run in rivals.values():
        run()
    found: dict[str, list[float]] = {name: [] for name in rivals}
    for number in range(rounds):
        names = list(rivals)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            start = time.perf_counter()
            rivals[name]()
            found[name].append(count / (time.perf_counter() - start))
    return found


def compare(size: int, count: int, rounds: int) -> list[dict[str, Any]]:
    """A row per rival: this package's rate over the rival's, the median over rounds, with the range."""
    timm_transform = rand_augment_transform(f"rand-m{MAGNITUDE:g}-n{LAYERS}-p1.0", {"img_mean": (128, 128, 128)})
    same_operations = RandAugment(layers=LAYERS, magnitude=MAGNITUDE * 3, policy="torchvision")
    images = make_images(count, size)
    rivals = {
        "RandAugment": ours(RandAugment(layers=LAYERS, magnitude=MAGNITUDE), images),
        "torchvision's operations": ours(same_operations, images),
        "timm": on_pillow(timm_transform, images),
        "torchvision": on_pillow(TorchvisionRandAugment(LAYERS, int(MAGNITUDE * 3)), images),
    }
    found = rates(rivals, count, rounds)
    rows = []
    for name, rival in (
        ("RandAugment", "timm"),
        ("RandAugment", "torchvision"),
        ("torchvision's operations", "torchvision"),
    ):
        ratios = [mine / theirs for mine, theirs in zip(found[name], found[rival], strict=True)]
        rate = round(float(np.median(found[name])))
        rows.append(ratio_row(f"{name}, {size} px", rate, "images a second", versus=rival, ratios=ratios))
    return rows


def time_operations(size: int, count: int) -> dict[str, float]:
    """Microseconds an image of every operation, as RandAugment runs a layer of nothing else: the best of five."""
    pixels = channels_first(make_images(min(count, BATCH), size))
    found = {}
    for name in OPERATIONS:
        augment = RandAugment(layers=1, magnitude=MAGNITUDE, operations=(name,))
        uniforms = torch.rand(len(pixels), augment.rng, generator=torch.Generator().manual_seed(0))
        best = float("inf")
        for _ in range(5):
            start = time.perf_counter()
            augment(pixels, uniforms)
            best = min(best, time.perf_counter() - start)
        found[name] = best / len(pixels) * 1e6
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="32 px, few rounds")
    parser.add_argument("--operations", action="store_true", help="also time each operation")
    parser.add_argument("--json", type=Path, help="write the rows there")
    given = parser.parse_args()
    torch.set_num_threads(1)
    random.seed(0)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    sizes, rounds = ({32: 256}, 3) if given.quick else (SIZES, 9)
    rows = [row for size, count in sizes.items() for row in compare(size, count, rounds)]
    print_rates(rows, 33)
    if given.operations:
        for size, count in sizes.items():
            timed = time_operations(size, count)
            print(
                f"{size} px, microseconds an image: " + ", ".join(f"{name} {each:.1f}" for name, each in timed.items())
            )
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
