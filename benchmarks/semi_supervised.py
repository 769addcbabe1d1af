"""Every way to use unlabeled images, from scratch, for the same number of samples seen in all.

    python benchmarks/semi_supervised.py fashion --labels 20 --samples 76800 --seeds 3 --json rows.json
    python benchmarks/semi_supervised.py cifar10 --labels 100 --samples 76800 --set noise.flip=true
    python benchmarks/semi_supervised.py fashion --split "unlabeled 50:1" --development
    python benchmarks/semi_supervised.py digits --quick

A sample is an image through forward and backward: labeled, pseudo-labeled, weak and strong views all count, and so do
the teacher, the student, the search for a noise strength and the control of a run. So "default" is what a user gets
from ``run --budget 76800samples``, half of which its control takes; the other ways train no control. All have the same
splits, network, optimizer, batch size and noise; every model is its last checkpoint. scikit-learn's classifiers see the
pixels of the same images. The benchmark reads ``../shared/data`` and skips with a message if it is missing.
``--development`` never opens the test part.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier

import noisystudent
from noisystudent.data.images import ImageFormat, decode_source
from noisystudent.data.sources.open import open_source
from noisystudent.runtime.env import describe_machine, versions
from splits import Drawing, is_missing, write_split
from unlabeled_folders import SPLITS

SETTINGS: dict[str, Any] = {
    "data.size": 16, "data.near_duplicates": "none", "model.teacher": "tiny_resnet", "noise.strength": 0.25,
    "runtime.threads": 1,
}  # fmt: skip
BATCH = 128
HARD = {
    "rounds.count": 1, "rounds.controls": 0, "selection.rule": "threshold", "selection.threshold": 0.95,
    "selection.per_class": "none", "objective.labels": "hard",
}  # fmt: skip
LONG = {
    "rounds.count": 1, "rounds.controls": 0, "train.warm_start": True, "selection.fraction": 1.0,
    "objective.labels": "soft", "objective.temperature": 0.5,
}  # fmt: skip
ONLINE = {"noise.strength": 0.5, "noise.dropout": 0.0, "noise.stochastic_depth": 0.0, "objective.label_smoothing": 0.0}
FEW_WAYS = ("labels only", "default", "fixmatch", "LabelSpreading, pixels")  # of a smoke test
METHODS = ("fixmatch", "flexmatch", "freematch", "softmatch", "mean_teacher")
QUICK = {"train.batch_size": 16, "data.size": 8}

Points = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Task:
    """A split with the settings and the number of samples that all ways share, and a folder for the work."""

    sources: dict[str, str]
    samples: int
    settings: dict[str, Any]
    out: Path

    @property
    def batch(self) -> int:
        """Images per step."""
        return int(self.settings.get("train.batch_size", BATCH))

    def steps(self, stages: int = 1) -> int:
        """Steps of each of some stages that share the samples."""
        return self.samples // (self.batch * stages)


def labels_only(task: Task) -> float:
    """One training on the labels with all samples."""
    out = task.out / "labels-only"
    settings = {**task.settings, "train.steps": task.steps()}
    noisystudent.train(task.sources["labeled"], out=out, settings=settings, quiet=True)
    return noisystudent.evaluate(checkpoint=out, source=task.sources["test"]).top1


def offline(task: Task, name: str, settings: dict[str, Any]) -> float:
    """A teacher and one student, each with half of the samples."""
    given = {**task.settings, "budget": "none", "train.steps": task.steps(2), **settings}
    run = noisystudent.run(**task.sources, out=task.out / name, settings=given, quiet=True)
    return run.summary.rounds[-1].test.top1  # type: ignore[union-attr]


def budgeted(task: Task, name: str, settings: dict[str, Any]) -> float:
    """What a user gets for the samples, the control included: the delivered model."""
    left_open = {name: value for name, value in task.settings.items() if name not in settings}
    given = {**left_open, "model.backbone": "none", "budget": f"{task.samples}samples", **settings}
    run = noisystudent.run(**task.sources, out=task.out / name, settings=given, quiet=True)
    seen = run.summary.cost.samples_seen
    assert seen is not None
    assert seen <= task.samples
    return run.student.test.top1  # type: ignore[union-attr]


def online(task: Task, method: str) -> float:
    """One training with an online objective, from scratch, with all samples."""
    out = task.out / method
    settings = {**task.settings, **ONLINE, "online.method": method, "train.steps": task.steps()}
    sources = {role: task.sources[role] for role in ("labeled", "unlabeled")}
    noisystudent.train(**sources, out=out, settings=settings, quiet=True)
    return noisystudent.evaluate(checkpoint=out, source=task.sources["test"]).top1


def on_pixels(task: Task, make: Callable[[], Any], *, uses_unlabeled: bool) -> float:
    """A classifier of scikit-learn on standardized pixels."""
    (x, y), (u, _), (test, truth) = (_pixels(task, role) for role in ("labeled", "unlabeled", "test"))
    scaler = StandardScaler().fit(np.concatenate([x, u]))
    x, u, test = (scaler.transform(part) for part in (x, u, test))
    model = make()
    if uses_unlabeled:
        model.fit(np.concatenate([x, u]), np.concatenate([y, np.full(len(u), -1)]))
    else:
        model.fit(x, y)
    return float((model.predict(test) == truth).mean())


def _pixels(task: Task, role: str) -> tuple[Points, npt.NDArray[np.int64]]:
    source = open_source(task.sources[role], labeled=role != "unlabeled")
    size = int(task.settings["data.size"])
    images = decode_source(source, ImageFormat(size, 3), max_corrupt_fraction=0, memory_limit_gb=8)
    labels = images.labels if role != "unlabeled" else np.zeros(len(images), np.int64)
    return images.pixels.reshape(len(images), -1).astype(np.float32), labels


def ways() -> dict[str, Callable[[Task], float]]:
    """Every way by name."""
    regression = LogisticRegression(C=0.01, max_iter=1000)
    return {
        "labels only": labels_only,
        "pseudo labels above 0.95, hard": lambda task: offline(task, "naive", HARD),
        "one long round, soft": lambda task: offline(task, "long", LONG),
        "default": lambda task: budgeted(task, "default", {}),
        "recipe online": lambda task: budgeted(task, "recipe-online", {"recipe": "online", **ONLINE}),
        **{method: lambda task, method=method: online(task, method) for method in METHODS},  # type: ignore[misc]
        "logistic regression, pixels": lambda task: on_pixels(task, lambda: regression, uses_unlabeled=False),
        "SelfTraining, pixels": lambda task: on_pixels(
            task, lambda: SelfTrainingClassifier(regression, threshold=0.75), uses_unlabeled=True
        ),
        "LabelSpreading, pixels": lambda task: on_pixels(
            task, lambda: make_pipeline(LabelSpreading(kernel="knn", n_neighbors=10)), uses_unlabeled=True
        ),
    }


def row_of(
    name: str, values: list[float], base: list[float], options: argparse.Namespace, seconds: float
) -> dict[str, Any]:
    """The mean of a way over seeds, with what is beyond labels only on each."""
    beyond = np.array(values) - np.array(base)
    return {
        "name": f"{options.data}, {options.labels} labels per class, {options.samples:,} samples: {name}",
        "value": round(float(np.mean(values)), 4),
        "unit": "top-1",
        "interval": [min(values), max(values)],
        "beyond_labels_only": [round(float(value), 4) for value in beyond],
        "seconds": round(seconds, 1),
        "split": options.split,
        "machine": describe_machine(),
        "versions": versions(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=("digits", "sign-digits", "trashnet", "fashion", "cifar10"))
    parser.add_argument("--labels", type=int, default=20, help="labeled images per class")
    parser.add_argument("--unlabeled", type=int, default=15000, help="largest number of unlabeled images; 0 = all")
    parser.add_argument("--samples", type=int, default=76800, help="images through forward and backward in all")
    parser.add_argument("--ways", default=",".join(ways()).replace(", ", "/"), help="names, / for ', ' within them")
    parser.add_argument("--split", choices=SPLITS, default="as they are", help="frequencies of the classes")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--development", action="store_true", help="for choosing settings: never opens the test part")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of all networks")
    parser.add_argument("--work", type=Path, help="folder for the work, to resume later (default: a temporary folder)")
    parser.add_argument("--quick", action="store_true", help="a few steps, one seed: a smoke test")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    if is_missing(options.data):
        return 0
    if options.data == "digits" and not options.development:
        options.development = True  # its test part belongs to the demo
    if options.quick:
        options.samples, options.unlabeled = 3200, 100
    named = FEW_WAYS if options.quick else [name.strip().replace("/", ", ") for name in options.ways.split(",")]
    if unknown := set(named) - ways().keys():
        parser.error(f"no such way: {'; '.join(sorted(unknown))}. Known: {'; '.join(ways())}")
    chosen = {name: way for name, way in ways().items() if name in named}
    settings = {**SETTINGS, **(QUICK if options.quick else {}), **dict(text.split("=", 1) for text in options.set)}
    first = 1000 if options.development else 0
    scores: dict[str, list[float]] = {name: [] for name in chosen}
    seconds = dict.fromkeys(chosen, 0.0)
    with tempfile.TemporaryDirectory() as temporary:
        for seed in range(first, first + (1 if options.quick else options.seeds)):
            work = (options.work or Path(temporary)) / f"{options.data}-{options.labels}-{options.samples}-{seed}"
            drawing = Drawing(options.labels, options.unlabeled, seed, options.development, **SPLITS[options.split])
            sources = write_split(options.data, drawing, work / "split")
            task = Task(sources, options.samples, {**settings, "seed": seed}, work)
            for name, way in chosen.items():
                started = time.monotonic()
                scores[name].append(way(task))
                seconds[name] += time.monotonic() - started
                print(f"seed {seed}: {name:<34} {100 * scores[name][-1]:.1f}", flush=True)
    base = scores.get("labels only", [0.0] * len(next(iter(scores.values()))))
    rows = [row_of(name, values, base, options, seconds[name]) for name, values in scores.items()]
    for row in sorted(rows, key=lambda row: -row["value"]):
        low, high = row["interval"]
        print(f"{row['name']:<80} {100 * row['value']:.1f} ({100 * low:.1f} to {100 * high:.1f})  {row['seconds']} s")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
