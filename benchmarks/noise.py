"""Compares RandAugment's speed with that of timm and torchvision, in images per second on one core.

    python benchmarks/noise.py                # 32, 64 and 224 px, color; a few minutes
    python benchmarks/noise.py --quick
    python benchmarks/noise.py --operations   # also times each operation

All libraries apply two operations to every image at the same relative magnitude: 9 of 10 (timm and this package), or 27
of 30 (torchvision, whose scale ends at 30). Arrays go in and come out, each in its natural layout. This package takes
and returns a batch with channels first, as in training, and the time of its random numbers and of the batch's memory
counts. The other libraries take and return one image with channels last; they work on Pillow images, so the conversion
counts. A change of layout does not count, and neither does stacking a batch. By default timm skips each operation with
probability 0.5; here that is turned off, so that all do the same work. torchvision draws from other operations, one of
which does nothing, so it is also compared with this package's policy of the same operations and scales.
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
SIZES = {32: 1024, 64: 512, 224: 128}  # edge: images per round
Pixels = npt.NDArray[np.uint8]


def make_images(count: int, size: int) -> Pixels:
    """Smooth color images with some grain, HWC; pure noise would have flat histograms."""
    noise = np.random.default_rng(0)
    coarse = noise.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    smooth = [np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)) for image in coarse]
    grain = noise.integers(-8, 9, (count, size, size, 3))
    return np.clip(np.stack(smooth).astype(np.int16) + grain, 0, 255).astype(np.uint8)


def channels_first(images: Pixels) -> torch.Tensor:
    """The images in the layout of training, ``uint8 [B, C, H, W]``."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def ours(augment: RandAugment, images: Pixels) -> Callable[[], None]:
    """The noise of this package on batches of a uint8 tensor in memory, as in training."""
    rng, pixels = CounterRng(0, "benchmark"), channels_first(images)

    def run() -> None:
        for first in range(0, len(pixels), BATCH):
            batch = pixels[first : first + BATCH]
            index = torch.arange(first, first + len(batch))
            augment(batch, rng.uniform(torch.zeros_like(index), index, augment.draws)).numpy()

    return run


def on_pillow(transform: Callable[[Image.Image], Image.Image], images: Pixels) -> Callable[[], None]:
    """A transform of Pillow images, applied to one image after another."""

    def run() -> None:
        for image in images:
            np.asarray(transform(Image.fromarray(image)))

    return run


def rates(rivals: dict[str, Callable[[], None]], count: int, rounds: int) -> dict[str, list[float]]:
    """Images per second of each rival: ``count`` images once per round, in an order that rotates with the round."""
    for run in rivals.values():
        run()
    rates_by_name: dict[str, list[float]] = {name: [] for name in rivals}
    for number in range(rounds):
        names = list(rivals)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            start = time.perf_counter()
            rivals[name]()
            rates_by_name[name].append(count / (time.perf_counter() - start))
    return rates_by_name


def compare(size: int, count: int, rounds: int) -> list[dict[str, Any]]:
    """A row per rival: this package's rate divided by the rival's, the median over rounds, with the range."""
    timm_transform = rand_augment_transform(f"rand-m{MAGNITUDE:g}-n{LAYERS}-p1.0", {"img_mean": (128, 128, 128)})
    same_operations = RandAugment(layers=LAYERS, magnitude=MAGNITUDE * 3, policy="torchvision")
    images = make_images(count, size)
    rivals = {
        "RandAugment": ours(RandAugment(layers=LAYERS, magnitude=MAGNITUDE), images),
        "torchvision's operations": ours(same_operations, images),
        "timm": on_pillow(timm_transform, images),
        "torchvision": on_pillow(TorchvisionRandAugment(LAYERS, int(MAGNITUDE * 3)), images),
    }
    measured = rates(rivals, count, rounds)
    rows = []
    for name, rival in (
        ("RandAugment", "timm"),
        ("RandAugment", "torchvision"),
        ("torchvision's operations", "torchvision"),
    ):
        ratios = [ours / theirs for ours, theirs in zip(measured[name], measured[rival], strict=True)]
        rate = round(float(np.median(measured[name])))
        rows.append(ratio_row(f"{name}, {size} px", rate, "images per second", versus=rival, ratios=ratios))
    return rows


def time_operations(size: int, count: int) -> dict[str, float]:
    """Microseconds per image for every operation, as the only operation of a RandAugment layer: the best of five."""
    pixels = channels_first(make_images(min(count, BATCH), size))
    microseconds = {}
    for name in OPERATIONS:
        augment = RandAugment(layers=1, magnitude=MAGNITUDE, operations=(name,))
        uniforms = torch.rand(len(pixels), augment.draws, generator=torch.Generator().manual_seed(0))
        best = float("inf")
        for _ in range(5):
            start = time.perf_counter()
            augment(pixels, uniforms)
            best = min(best, time.perf_counter() - start)
        microseconds[name] = best / len(pixels) * 1e6
    return microseconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="32 px, few rounds")
    parser.add_argument("--operations", action="store_true", help="also time each operation")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    random.seed(0)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    sizes, rounds = ({32: 256}, 3) if options.quick else (SIZES, 9)
    rows = [row for size, count in sizes.items() for row in compare(size, count, rounds)]
    print_rates(rows, 33)
    if options.operations:
        for size, count in sizes.items():
            times = time_operations(size, count)
            listed = ", ".join(f"{name} {microseconds:.1f}" for name, microseconds in times.items())
            print(f"{size} px, microseconds per image: {listed}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
