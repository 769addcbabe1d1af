"""Compares loading with timm's loader: from a folder of JPEG photographs to noised training batches of 224 px.

    python benchmarks/decode.py            # 512 images of about 500 x 375 on two cores; a minute or two
    python benchmarks/decode.py --quick    # 64 small images

Both return float32 batches of 64 and their labels: random resized crop (8 to 100% of the area, bilinear), a flip of
half of the images, two RandAugment operations of magnitude 9 of 10 on every image, normalization. The steps differ:

- timm's loader reads and decodes every file again in every epoch, crops and distorts the whole image with Pillow,
  normalizes and collates, in two processes that stay alive. The time of one epoch counts, after a warm-up epoch; the
  time to list the files does not count.
- This package reads and decodes every file once per run, in two threads, and keeps it in memory with a short edge of
  256 px. Every epoch takes its batches from memory, two threads add the noise, and the classifier normalizes them.
  "first epoch" counts everything: listing, fingerprint, file heads, decoding, resizing, the image buffer and an epoch
  of normalized batches. "later epochs" is an epoch of normalized batches; "10 epochs" is one first and nine later ones.

Each round times both in alternating order. Ratios are medians, with the range. On both sides the files come from the
system's cache.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from timm.data import create_dataset, create_loader
from torch import Tensor

from noisystudent.data.settings import DataSettings
from noisystudent.data.splits import DataSplits, open_splits
from noisystudent.models.normalization import Normalization, Normalize
from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.input import InputNoise
from noisystudent.noise.settings import NoiseSettings
from noisystudent.training.loader import BatchLoader, InMemoryStream, make_buffer
from rows import print_rates, ratio_row

SIZE, BATCH, CLASSES, CORES = 224, 64, 4, 2
EPOCHS = 10
SHAPES = ((375, 500), (375, 500), (500, 375), (333, 500))  # height and width, used in turn
NOISE = NoiseSettings(strength=1.0, flip=True, policy="paper", layers=2, magnitude=9.0)


def make_folder(root: Path, count: int, scale: float) -> None:
    """``count`` JPEG files in class folders, each of ``SHAPES`` times ``scale``."""
    random = np.random.default_rng(0)
    for number in range(count):
        folder = root / f"class-{number % CLASSES}"
        folder.mkdir(parents=True, exist_ok=True)
        height, width = (round(edge * scale) for edge in SHAPES[number // CLASSES % len(SHAPES)])
        Image.fromarray(make_image(random, height, width)).save(folder / f"{number:05d}.jpg", quality=90)


def make_image(random: np.random.Generator, height: int, width: int) -> npt.NDArray[np.uint8]:
    """An image with detail at every scale, weaker where it is finer, as in photographs: uint8 [H, W, 3]."""
    total = np.full((height, width, 3), 128.0)
    for cells, contrast in ((4, 60.0), (16, 30.0), (64, 14.0), (256, 7.0)):
        coarse = random.normal(0, contrast, (cells, cells, 3)).clip(-120, 120) + 128
        image = Image.fromarray(coarse.astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
        total += np.asarray(image, np.float64) - 128
    return total.clip(0, 255).astype(np.uint8)


def open_folder(folder: Path) -> DataSplits:
    """Opens and decodes the folder as a run does."""
    return open_splits({"labeled": str(folder)}, DataSettings(size=SIZE, validation_fraction=0), seed=0)


def batches_of(splits: DataSplits) -> BatchLoader:
    """The batches that a stage trains on."""
    buffer = make_buffer([splits.labeled], torch.device("cpu"))
    targets = torch.eye(CLASSES)[torch.from_numpy(splits.labeled.labels)]
    noise = InputNoise(
        NOISE, size=SIZE, strength=1.0, rng=CounterRng(0, "benchmark"), storage_size=splits.format.storage_size
    )
    return BatchLoader([InMemoryStream("labeled", buffer, targets, np.arange(len(buffer)), BATCH, seed=0)], noise)


def batches_of_timm(folder: Path) -> Iterable[tuple[Tensor, Tensor]]:
    """The loader of timm with the same noise, on a CPU."""
    loader: Iterable[tuple[Tensor, Tensor]] = create_loader(
        create_dataset("", root=str(folder)),
        input_size=(3, SIZE, SIZE),
        batch_size=BATCH,
        is_training=True,
        use_prefetcher=False,
        hflip=0.5,
        auto_augment=f"rand-m{NOISE.magnitude:g}-n{NOISE.layers}-p1.0",
        interpolation="bilinear",
        num_workers=CORES,
        pin_memory=False,
    )
    return loader


def time_epoch(batches: BatchLoader, steps: int) -> float:
    """Seconds for ``steps`` batches, ready for the network."""
    normalize = Normalize(Normalization.halves(3))
    start = time.perf_counter()
    for step in range(steps):
        check(normalize(batches(step).pixels))
    return time.perf_counter() - start


def time_first_epoch(folder: Path, steps: int) -> tuple[float, BatchLoader]:
    """Seconds from the folder to the end of the first epoch, and the batches for the epochs after it."""
    start = time.perf_counter()
    batches = batches_of(open_folder(folder))
    time_epoch(batches, steps)
    return time.perf_counter() - start, batches


def time_timm(loader: Iterable[tuple[Tensor, Tensor]], steps: int) -> float:
    """Seconds for one epoch of timm's loader."""
    start = time.perf_counter()
    batch_count = 0
    for pixels, _ in loader:
        check(pixels)
        batch_count += 1
    assert batch_count == steps
    return time.perf_counter() - start


def check(pixels: Tensor) -> None:
    assert pixels.shape == (BATCH, 3, SIZE, SIZE)
    assert pixels.dtype == torch.float32


def compare(count: int, scale: float, rounds: int) -> list[dict[str, Any]]:
    """Rows for the first epoch, later epochs and several epochs together: this package's rate over timm's."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_folder(folder, count, scale)
        loader, steps = batches_of_timm(folder), count // BATCH
        time_timm(loader, steps)  # starts its processes, before this one has threads
        firsts, laters, theirs = [], [], []
        for number in range(rounds):
            if number % 2:
                theirs.append(time_timm(loader, steps))
            first, batches = time_first_epoch(folder, steps)
            firsts.append(first)
            laters.append(time_epoch(batches, steps))
            if not number % 2:
                theirs.append(time_timm(loader, steps))
    together = [(first + (EPOCHS - 1) * later) / EPOCHS for first, later in zip(firsts, laters, strict=True)]
    seconds = {"first epoch": firsts, "later epochs": laters, f"{EPOCHS} epochs": together}
    return [row(name, ours, theirs, steps * BATCH) for name, ours in seconds.items()]


def row(name: str, ours: list[float], theirs: list[float], images: int) -> dict[str, Any]:
    """One row from both sides' seconds per epoch of ``images``, round by round."""
    ratios = [their / our for our, their in zip(ours, theirs, strict=True)]
    rate = round(images / float(np.median(ours)))
    title = f"JPEG folder to batches of {SIZE} px, {name}"
    return ratio_row(title, rate, "images per second", versus="timm's loader", ratios=ratios)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few small images")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    torch.set_num_threads(CORES)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    rows = compare(BATCH, 0.25, 3) if options.quick else compare(512, 1.0, 7)
    print_rates(rows, 46)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
