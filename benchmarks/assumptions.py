"""Measures the numbers in ``configs/assumptions`` that do not need the devices themselves.

    python benchmarks/assumptions.py            # about a minute
    python benchmarks/assumptions.py --quick    # two models, few images

Operations and parameters: torch counts the forward pass of timm's EfficientNet models at the image sizes of the family
(a multiplication and an addition are two operations), on tensors without memory. The rows compare them with the
multiply-adds that the paper (Tan and Le 2019, table 2) and, for L2, timm publish. The backward pass is not counted:
torch's counter treats the gradients of a depthwise convolution as those of a full one and reports about fifty forward
passes instead of two.

Images: JPEG files of about 500 x 375 from a tar shard are decoded and resized for a model of 475 px, then cropped and
noised as in the paper (preset ``paper-l2``). The unit is images per CPU second of one thread; values are medians over
rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from torch.utils.flop_counter import FlopCounterMode

from noisystudent.data.images import ImageFormat, decode_shard
from noisystudent.data.sources.open import open_source
from noisystudent.models.create import count_parameters
from noisystudent.models.settings import FAMILIES
from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.input import InputNoise
from noisystudent.noise.settings import NoiseSettings
from noisystudent.runtime.env import describe_machine, versions
from streaming import make_shards

PUBLISHED = {"b0": 0.39, "b1": 0.70, "b2": 1.0, "b3": 1.8, "b4": 4.2, "b5": 9.9, "b6": 19, "b7": 37, "l2": 172.11}
SIZE, BATCH = 475, 16


def count_operations(variant: str) -> list[dict[str, Any]]:
    """Rows for a model's operations, compared with published counts, and for its parameters."""
    member = FAMILIES["efficientnet"][variant]
    with torch.device("meta"):
        net = timm.create_model(member.large, num_classes=1000).eval()
        pixels = torch.empty(1, 3, member.size, member.size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(pixels)
    gigaflops = counter.get_total_flops() / 1e9
    versus = f"{PUBLISHED[variant]:g} G multiply-adds, published"
    return [
        row(
            f"{member.large}, forward at {member.size} px",
            gigaflops,
            "Gflop",
            versus,
            gigaflops / 2 / PUBLISHED[variant],
        ),
        row(f"{member.large}, parameters", count_parameters(net), ""),
    ]


def time_images(count: int, rounds: int) -> list[dict[str, Any]]:
    """Rows for decoding and for noise, in images per CPU second."""
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["XDG_CACHE_HOME"] = temporary
        folder = Path(temporary) / "shards"
        folder.mkdir()
        make_shards(folder, count, 1.0)
        source, format = open_source(str(folder / "train-000.tar"), labeled=True), ImageFormat(SIZE, 3)
        settings = NoiseSettings(preset="paper-l2")
        noise = InputNoise(settings, size=SIZE, strength=1.0, rng=CounterRng(0, "x"), storage_size=format.storage_size)
        decoding, noising = [], []
        for epoch in range(rounds):
            start = time.process_time()
            images = decode_shard(source, 0, format)
            decoding.append(time.process_time() - start)
            pixels, sizes = torch.from_numpy(images.pixels), torch.from_numpy(images.sizes.astype(np.int64))
            start = time.process_time()
            for first in range(0, count, BATCH):
                index = torch.arange(first, min(first + BATCH, count))
                noise(pixels[index], sizes[index], torch.full_like(index, epoch), index)
            noising.append(time.process_time() - start)
    unit = "images per CPU second"
    return [
        row(f"decoding for {SIZE} px", count / float(np.median(decoding)), unit),
        row(f"crop and noise at {SIZE} px", count / float(np.median(noising)), unit),
    ]


def row(name: str, value: float, unit: str, versus: str | None = None, ratio: float | None = None) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(value, 3),
        "unit": unit,
        "versus": versus,
        "ratio": ratio and round(ratio, 3),
        "machine": describe_machine(),
        "versions": versions(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two models, few images")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    variants = ("b7", "l2") if options.quick else tuple(PUBLISHED)
    rows = [counted for variant in variants for counted in count_operations(variant)]
    rows += time_images(16, 1) if options.quick else time_images(128, 5)
    for measured in rows:
        comparison = f" ({measured['ratio']:.2f} of {measured['versus']})" if measured["versus"] else ""
        print(f"{measured['name']:<44}{measured['value']:>16,.10g} {measured['unit']}{comparison}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
