"""The paper's ablations on real data with few labels, one table each, on splits of their own for every seed.

    python benchmarks/studies.py fashion --labels 20 --unlabeled 6000 --work studies --set train.steps=200
    python benchmarks/studies.py cifar10 --labels 100 --unlabeled 6000 --studies rounds,ratio --set noise.flip=true
    python benchmarks/studies.py fashion --quick

Every study is ``noisystudent study``; the tables are ``study.md`` in the folder of each. Studies share what they have
in common, and ``--work`` keeps it, so that a killed benchmark goes on. The benchmark reads ``../shared/data`` and skips
with a message if it is missing. ``--development`` never opens the test part.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import noisystudent
from noisystudent.pipeline.studies.paper import PAPER_STUDIES
from noisystudent.reporting.study import study_text
from splits import Drawing, is_missing, write_splits

SETTINGS: dict[str, Any] = {"data.size": 16, "noise.strength": 0.25, "rounds.controls": 1, "runtime.threads": 1}
MODELS = {name: "tiny_resnet" for name in PAPER_STUDIES if not name.endswith("-size")}  # those have models of their own
OWN = {"ratio": {"train.batch_size": 32}}  # its pseudo labels come on top of that
QUICK = {"train.steps": 2, "train.batch_size": 16, "data.near_duplicates": "none", "selection.threshold": 0.0}


def rows_of(data: str, result: noisystudent.StudyResult) -> list[dict[str, Any]]:
    """One row per cell, with the difference to the reference."""
    return [
        {
            "name": f"{data}, {result.name}: {row.name}",
            "value": round(row.mean, 4),
            "unit": "top-1",
            "by_seed": [round(value, 4) for value in row.top1],
            "difference": row.difference,
            "interval": row.interval,
            "published_difference": row.published_difference,
            "agreement": row.agreement,
            "shown": row.shown,
            "seconds": result.seconds,
            "machine": result.machine,
            "versions": result.versions,
        }
        for row in result.rows
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=("sign-digits", "trashnet", "fashion", "cifar10"))
    parser.add_argument("--studies", default=",".join(PAPER_STUDIES), help="names, with commas (default: all)")
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
    names = ["warm-start"] if options.quick else options.studies.split(",")
    first = 1000 if options.development else 0
    seeds = range(first, first + (1 if options.quick else options.seeds))
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        work = (options.work or Path(temporary)).resolve()
        unlabeled = 100 if options.quick else options.unlabeled
        drawings = [Drawing(options.labels, unlabeled, seed, options.development) for seed in seeds]
        sources = write_splits(options.data, drawings, work / "splits")
        done: list[Path] = []
        for name in names:
            settings = {
                **SETTINGS,
                **({"model.teacher": MODELS[name]} if name in MODELS else {}),
                **(QUICK if options.quick else {}),
                **dict(setting.split("=", 1) for setting in options.set),
                **OWN.get(name, {}),
            }
            result = noisystudent.study(
                name, **sources, seeds=tuple(seeds), out=work / name, shared=done, settings=settings
            )
            done.append(work / name)
            rows += rows_of(options.data, result)
            print(study_text(result), end="\n\n", flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
