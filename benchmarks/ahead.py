"""Times the noise of a student's batches made one by one, and several at once as on a GPU, in milliseconds per step.

    python benchmarks/ahead.py                # on the GPU if there is one
    python benchmarks/ahead.py --quick

A step has 448 images of 32 px under noise of strength 1, as an online student's with 64 labeled images (FixMatch).
On a GPU it also says how many bytes differ from those of the CPU: none, because all that the noise draws and computes
is exact.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.input import InputNoise
from noisystudent.noise.settings import NoiseSettings, PolicyName
from noisystudent.training.ahead import MOST_BYTES
from noisystudent.training.loader import BatchLoader, ImageBuffer, InMemoryStream
from rows import ratio_row

IMAGES, EDGE = 448, 32


def loader_on(device: torch.device, policy: str, images: int) -> BatchLoader:
    """Batches of random images under a policy's noise."""
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4096, 3, EDGE, EDGE), dtype=np.uint8))
    buffer = ImageBuffer(pixels.to(device), torch.full((4096, 2), EDGE, device=device))
    stream = InMemoryStream("unlabeled", buffer, torch.zeros(4096, 1, device=device), np.arange(4096), images, seed=0)
    settings = NoiseSettings.model_validate({"policy": policy, "flip": True})
    return BatchLoader([stream], InputNoise(settings, size=EDGE, strength=1.0, rng=CounterRng(0, "ahead")))


def milliseconds(work: Callable[[], object], device: torch.device) -> float:
    """Of a call, until the device has finished."""
    started = time.perf_counter()
    work()
    if device.type != "cpu":
        torch.accelerator.synchronize()
    return 1000 * (time.perf_counter() - started)


def measure(policy: str, device: torch.device, images: int, rounds: int) -> dict[str, Any]:
    """The time per step of both ways, alternating."""
    batches = loader_on(device, policy, images)
    count = max(2, MOST_BYTES // (images * 3 * EDGE**2))
    batches.several(range(count))
    alone, at_once = [], []
    for number in range(rounds):
        steps = range(number * count, (number + 1) * count)
        alone.append(milliseconds(lambda steps=steps: [batches(step) for step in steps], device) / count)  # type: ignore[misc]
        at_once.append(milliseconds(lambda steps=steps: batches.several(steps), device) / count)  # type: ignore[misc]
    ratios = [ahead / one for ahead, one in zip(at_once, alone, strict=True)]
    name = f"noise of {images} images of {EDGE} px, {policy}, {count} steps at once, {device.type}"
    row = ratio_row(name, round(min(at_once), 2), "ms per step", versus="one step at a time", ratios=ratios)
    here = loader_on(torch.device("cpu"), policy, images)(1).pixels
    return {**row, "one_by_one": round(min(alone), 2), "different": int((batches(1).pixels.cpu() != here).sum())}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few images and rounds: a smoke test")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    images, rounds = (2048, 2) if options.quick else (IMAGES, 5)
    policies = get_args(PolicyName)
    rows = [measure(policy, device, images, rounds) for policy in policies[: 1 if options.quick else None]]
    for row in rows:
        print(f"{row['name']}: {row['value']} ms, one by one {row['one_by_one']} ms, {row['different']} bytes differ")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
