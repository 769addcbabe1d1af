"""The resolution fix on hand signs: trained on enlarged crops at 32 pixels, tested at 32 and 48, fixed and not.

    python benchmarks/resolution.py            # an hour on a busy core
    python benchmarks/resolution.py --quick    # a few steps

Every seed draws its labels and its test images from the training part of sign-digits-64 alone (a split for
development). The crops show 8 to 100% of an image's area, so objects look 0.71 times as large in the test as in
training at 32 pixels, and 1.06 times at 48, which ``--size auto`` chooses. The fix learns from the training's labels.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import noisystudent
from rows import plain_row
from splits import Drawing, is_missing, write_split

DATA, FIRST_SEED = "sign-digits", 1000
TRAINING: dict[str, Any] = {
    "model.teacher": "resnet_small_8",
    "data.size": 32,
    "data.channels": "rgb",
    "data.near_duplicates": "none",
    "data.validation_fraction": 0.0,
    "train.batch_size": 64,
    "noise.crop": "resized",
    "noise.strength": 1.0,
    "noise.randaugment": False,
    "noise.dropout": 0.0,
    "noise.stochastic_depth": 0.0,
    "objective.label_smoothing": 0.0,
    "runtime.threads": 1,
}
FIXES: Mapping[str, Mapping[str, Any]] = {
    "fixed": {},
    "fixed, affine": {"fix.norm": "affine"},
    "fixed, classifier alone": {"fix.norm": "none"},
    "fixed, second version": {"fix.preset": "repo:fixres-v2"},
}
MODELS = ("as trained", *FIXES)
SIZES = (24, 32, 40, 48, 56, 64)


def measure(seed: int, labels: int, steps: int, epochs: float | None) -> dict[str, float]:
    """Accuracies of one seed in percent, by model and size such as ``fixed at 48``."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        sources = write_split(DATA, Drawing(labels, 0, seed, development=True), work / "data")
        settings = {**TRAINING, "train.steps": steps, "seed": seed}
        noisystudent.train(sources["labeled"], out=work / "trained", settings=settings, quiet=True)
        found = {f"as trained at {size}": value for size, value in over_resolution(work / "trained", sources).items()}
        for number, (name, changes) in enumerate(FIXES.items()):
            fix = {"seed": seed, "runtime.threads": 1, **changes, **({"fix.epochs": epochs} if epochs else {})}
            out = work / f"fixed-{number}"
            noisystudent.fix(sources["labeled"], checkpoint=work / "trained", out=out, settings=fix, quiet=True)
            found |= {f"{name} at {size}": value for size, value in over_resolution(out, sources).items()}
        return found


def over_resolution(checkpoint: Path, sources: Mapping[str, str]) -> dict[int, float]:
    """Accuracy in percent by size."""
    result = noisystudent.evaluate(
        checkpoint=checkpoint, source=sources["test"], sizes=SIZES, settings={"runtime.threads": 1}
    )
    return {at.size: 100 * at.top1 for at in result.by_size}


def rows_of(by_seed: Sequence[Mapping[str, float]]) -> list[dict[str, Any]]:
    """A row per model and size: the mean over the seeds, and their range."""
    rows = []
    for model in MODELS:
        for size in SIZES:
            values = [found[f"{model} at {size}"] for found in by_seed]
            row = plain_row(f"{model} at {size} px", float(np.mean(values)), "% top-1")
            rows.append({**row, "seeds": len(values), "interval": [round(min(values), 2), round(max(values), 2)]})
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--labels", type=int, default=60, help="per class")
    parser.add_argument("--steps", type=int, default=800, help="of the training")
    parser.add_argument("--quick", action="store_true", help="one seed and a few steps")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    if is_missing(DATA):
        return 0
    torch.set_num_threads(1)
    labels, steps, epochs = (4, 2, 1.0) if options.quick else (options.labels, options.steps, None)
    seeds = range(FIRST_SEED, FIRST_SEED + (1 if options.quick else options.seeds))
    by_seed = []
    for seed in seeds:
        by_seed.append(measure(seed, labels, steps, epochs))
        shown = ", ".join(f"{name} {by_seed[-1][name]:.1f}" for name in ("as trained at 32", "as trained at 48"))
        print(f"seed {seed}: {shown}, fixed at 48 {by_seed[-1]['fixed at 48']:.1f}", flush=True)
        if options.json:  # a benchmark that is stopped keeps its finished seeds
            options.json.write_text(json.dumps(rows_of(by_seed), indent=1) + "\n")
    print(f"{f'top-1 in %, mean of {len(by_seed)}':<28}" + "".join(f"{size:>8} px" for size in SIZES))
    for model in MODELS:
        means = [np.mean([found[f"{model} at {size}"] for found in by_seed]) for size in SIZES]
        print(f"{model:<28}" + "".join(f"{mean:>11.1f}" for mean in means))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
