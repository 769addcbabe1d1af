"""A Wide ResNet that learns online from few labels, for a GPU: its test accuracy, and the time until each accuracy.

    python benchmarks/wide_resnet.py --steps 30000 --json docs/results/wide-resnet.json
    python benchmarks/wide_resnet.py --data digits --quick

By default WRN-28-2 on CIFAR-10 (JPEG quality 75) with 4,000 labels, by FixMatch (Sohn et al. 2020) as published: 64
labeled and 448 unlabeled images per step, SGD with Nesterov momentum, weight decay 5e-4, averaged weights. Unlike there
the averaged weights answer to weak views, which spares their backward pass, and the learning rate falls to 0, because
there are a thirtieth of the steps. The curve is measured on 5,000 images of the training part that are neither labeled
nor unlabeled ones; the test part is read once, at the end. The time is that of the whole training and its
evaluations, without decoding, and also of everything. Reads ``../shared/data`` and skips with a message without it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import binomtest

import noisystudent
from noisystudent.runtime.env import describe_machine, versions
from rows import command_of
from splits import Drawing, is_missing, write_split

CURVE = 5000  # images that the curve is measured on, at most a quarter of the unlabeled ones
POINTS, TOP1 = 20, "validation_top1"  # of the curve, and its name among the metrics
SETTINGS: dict[str, Any] = {
    "model.teacher": "wrn_28_2", "data.near_duplicates": "none", "noise.flip": True, "noise.strength": 1.0,
    "noise.hole": 16, "noise.dropout": 0.0, "noise.stochastic_depth": 0.0, "objective.label_smoothing": 0.0,
    "online.method": "fixmatch", "online.teacher": "average", "train.batch": "labeled", "train.batch_size": 64,
    "train.ratio": 7.0, "train.optimizer": "sgd", "train.learning_rate": 0.03, "train.weight_decay": 5e-4,
    "train.clip": 0.0, "train.ema_decay": 0.999, "train.warmup": 0.02, "runtime.precision": "bfloat16",
}  # fmt: skip
QUICK = {"data.size": 8, "noise.hole": 4, "train.batch_size": 2}


def with_curve_part(sources: dict[str, str], folder: Path) -> dict[str, str]:
    """The sources, with a part of the unlabeled images, and their labels, for the curve: the source validation."""
    with np.load(sources["unlabeled"], allow_pickle=False) as data:
        arrays = dict(data)
    count = min(CURVE, len(arrays["x"]) // 4)
    chosen = np.random.default_rng(0).permutation(len(arrays["x"])) < count
    parts = {}
    for name, rows in {"unlabeled": ~chosen, "validation": chosen}.items():
        parts[name] = str(folder / f"{name}-of-curve.npz")
        np.savez(parts[name], x=arrays["x"][rows], y=arrays["y"][rows], classes=arrays["classes"])
    return {**sources, **parts}


def curve_of(folder: Path, seconds: float, steps: int) -> list[list[float]]:
    """Seconds and accuracy of the averaged weights through the training; every step takes as long."""
    rows = [json.loads(row) for row in (folder / "metrics.jsonl").read_text().splitlines()]
    scored = [row for row in rows if TOP1 in row]
    return [[round(seconds * row["step"] / steps, 1), round(row[TOP1], 4)] for row in scored]


def measure(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """One training from its split to its test accuracy."""
    started = time.monotonic()
    split = write_split(options.data, Drawing(options.labels, 0, options.seed), work / "split")
    sources = with_curve_part(split, work)
    settings = {**SETTINGS, **(QUICK if options.quick else {}), **dict(text.split("=", 1) for text in options.set)}
    settings |= {"train.steps": options.steps, "train.evaluate_every": max(20, options.steps // POINTS // 20 * 20)}
    settings |= {"seed": options.seed, "validation": sources["validation"]}
    out = work / "student"
    trained = noisystudent.train(sources["labeled"], unlabeled=sources["unlabeled"], out=out, settings=settings)
    seconds = trained.seconds
    assert seconds is not None
    scored = noisystudent.evaluate(checkpoint=out, source=sources["test"])
    interval = binomtest(round(scored.top1 * scored.count), scored.count).proportion_ci(method="wilson")
    name = f"{options.data}, {options.labels} labels per class: {settings['model.teacher']}, {options.steps:,} steps"
    return {
        "name": name,
        "value": round(scored.top1, 4),
        "unit": "top-1",
        "interval": [round(float(bound), 4) for bound in (interval.low, interval.high)],
        "seeds": 1,
        "steps": options.steps,
        "seconds": round(seconds, 1),
        "seconds_of_all": round(time.monotonic() - started, 1),
        "curve": curve_of(out, seconds, options.steps),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "command": options.command,
        "machine": describe_machine(),
        "versions": versions(),
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=("cifar10", "fashion", "digits"), default="cifar10")
    parser.add_argument("--labels", type=int, default=400, help="labeled images per class")
    parser.add_argument("--steps", type=int, default=30_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the training")
    parser.add_argument("--quick", action="store_true", help="a few steps on a few small images: a smoke test")
    parser.add_argument("--json", type=Path, help="write the row to this file")
    options = parser.parse_args()
    if options.quick:
        options.labels, options.steps = 10, 40
    options.command = command_of("wide_resnet.py", sys.argv[1:])
    return options


def main() -> int:
    options = parse()
    if is_missing(options.data):
        return 0
    with tempfile.TemporaryDirectory() as folder:
        row = measure(options, Path(folder))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps([row], indent=1) + "\n")
    low, high = row["interval"]
    accuracy = f"{100 * row['value']:.1f} ({100 * low:.1f} to {100 * high:.1f})"
    print(f"{row['name']}: {accuracy}, {row['seconds']} s of training")
    for seconds, top1 in row["curve"]:
        print(f"{seconds:8.1f} s  {100 * top1:.1f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
