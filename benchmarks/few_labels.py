"""A few labels of a real data set, the rest as the pile: what the control, every student and the verdict come to.

    python benchmarks/few_labels.py sign-digits --labels 10 --seeds 3 --json rows.json
    python benchmarks/few_labels.py fashion --labels 20 --pile 6000 --seeds 3
    python benchmarks/few_labels.py digits --labels 4 --development --seeds 5
    python benchmarks/few_labels.py fashion --quick

Labeled pictures are drawn stratified from the training part with the seed; the pile is the rest without its labels, up
to ``--pile`` pictures; the test part only reports. Reads ``../shared/data`` and skips with a message where it is
absent. Further words are settings, such as ``--set train.steps=500``.

``--development`` is for choosing settings: it never opens the test part. Seeds start at 1,000, and pictures of the
training part that are neither labeled nor in the pile stand in for the test. The digits, which have no training part of
their own, are only for that: their test of seed 0 and up is ``noisystudent demo``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import noisystudent
import noisystudent.demonstration
from noisystudent.data.builtin import open_digits
from noisystudent.data.folder import FolderSource
from noisystudent.data.split import draw_labeled
from noisystudent.randomness import generator
from noisystudent.runtime.machine import describe_machine, versions

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
FILES = {"sign-digits": "sign-digits-64.tar.xz", "fashion": "fashion-mnist.npz"}
SETTINGS: dict[str, dict[str, Any]] = {
    "digits": noisystudent.demonstration.SETTINGS,
    "sign-digits": {"data.size": 32, "model.teacher": "tiny_resnet"},
    "fashion": {"data.size": 28, "model.teacher": "tiny_resnet"},
}
QUICK = {"train.steps": 5, "train.batch_size": 16, "rounds.count": 1, "noise.strength": 0.25}


Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Split:
    """Rows of a training part: labeled ones, the pile, and with ``--development`` what stands in for the test."""

    labeled: npt.NDArray[np.int64]
    pile: npt.NDArray[np.int64]
    development: npt.NDArray[np.int64]


def draw_split(labels: npt.NDArray[np.int64], given: argparse.Namespace, seed: int) -> Split:
    """A seeded split: labels stratified, then the development pictures, then up to ``--pile`` of the rest."""
    labeled, rest = draw_labeled(labels, given.labels, seed)
    shuffled = generator(seed, "pile").permutation(rest)
    held_out = len(shuffled) // 6 if given.development else 0
    pile = shuffled[held_out:][: given.pile or None]
    return Split(labeled, np.sort(pile), np.sort(shuffled[:held_out]))


def split_folder(root: Path, out: Path, given: argparse.Namespace, seed: int) -> dict[str, str]:
    """Copies a seeded split of ``root``'s class folders to ``out``; returns the run's sources."""
    source = FolderSource(root / "train", labeled=True)
    records = [record for shard in range(len(source.shard_sizes)) for record in source.read(shard)]
    split = draw_split(np.array([record.label for record in records]), given, seed)
    for part in ("labeled", "pile", "development"):
        for row in getattr(split, part):
            target = out / part / records[row].key
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / "train" / records[row].key, target)
    test = out / "development" if given.development else root / "test"
    return {"labeled": str(out / "labeled"), "unlabeled": str(out / "pile"), "test": str(test)}


def split_arrays(arrays: Arrays, test: str, out: Path, given: argparse.Namespace, seed: int) -> dict[str, str]:
    """Writes a seeded split of training arrays as .npz files to ``out``; returns the run's sources."""
    split = draw_split(arrays["y"].astype(np.int64), given, seed)
    for part in ("labeled", "pile", "development"):
        rows = getattr(split, part)
        np.savez(out / f"{part}.npz", x=arrays["x"][rows], y=arrays["y"][rows], classes=arrays["classes"])
    test = str(out / "development.npz") if given.development else test
    return {"labeled": str(out / "labeled.npz"), "unlabeled": str(out / "pile.npz"), "test": test}


def read_fashion() -> Arrays:
    """The training part of Fashion-MNIST."""
    with np.load(SHARED / FILES["fashion"], allow_pickle=False) as data:
        return {"x": data["x_train"], "y": data["y_train"], "classes": data["classes"]}


def read_digits(seed: int) -> Arrays:
    """The digits that are not in the demo's test of ``seed``."""
    parts = [open_digits(part, seed=seed, labeled=True) for part in ("labeled", "unlabeled")]
    records = [record for part in parts for shard in range(len(part.shard_sizes)) for record in part.read(shard)]
    return {
        "x": np.stack([np.asarray(record.picture) for record in records]),
        "y": np.array([record.label for record in records]),
        "classes": np.array(parts[0].classes),
    }


def run_seed(name: str, seed: int, given: argparse.Namespace, work: Path) -> dict[str, Any]:
    """One run; returns its summary."""
    folder = work / f"{name}-{given.labels}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    if name == "digits":
        sources = split_arrays(read_digits(seed), f"digits:test@{seed}", folder, given, seed)
    elif name == "fashion":
        sources = split_arrays(read_fashion(), f"{SHARED / FILES[name]}:test", folder, given, seed)
    else:
        with tarfile.open(SHARED / FILES[name]) as archive:
            archive.extractall(folder / "all", filter="data")
        (root,) = [path.parent for path in (folder / "all").rglob("train")]
        sources = split_folder(root, folder, given, seed)
    settings = {**SETTINGS[name], **(QUICK if given.quick else {}), **dict(each.split("=", 1) for each in given.set)}
    return noisystudent.run(**sources, out=str(folder / "run"), settings={**settings, "seed": seed})


def scores_of(summary: dict[str, Any]) -> dict[str, float]:
    """Test accuracy of everyone in a run, in the order of the story."""
    everyone = [summary["teacher"], summary["control"], *summary["rounds"], summary["student"]]
    return {each["name"]: each["test"]["top1"] for each in everyone if each}


def rows_of(name: str, summaries: list[dict[str, Any]], given: argparse.Namespace) -> list[dict[str, Any]]:
    """Mean test accuracy over seeds of everyone in the runs, with the range over seeds."""
    scores = [scores_of(summary) for summary in summaries]
    rows: list[dict[str, Any]] = []
    for role in scores[0]:
        values = np.array([each[role] for each in scores])
        control = np.array([each.get("control", np.nan) for each in scores])
        rows.append(
            {
                "name": f"{name}, {given.labels} labels a class: {role}",
                "value": round(float(values.mean()), 4),
                "unit": "top-1",
                "versus": "control",
                "ratio": round(float((values / control).mean()), 4),
                "seeds": len(summaries),
                "interval": [float(values.min()), float(values.max())],
                "passes": summaries[0]["student"]["passes"],
                "seconds": round(float(np.mean([summary["student"]["seconds"] for summary in summaries])), 1),
                "machine": describe_machine(),
                "versions": versions(),
            }
        )
    return rows


def verdict_line(summary: dict[str, Any]) -> str:
    """One run's verdict: decision, student minus control in points, its paired interval."""
    verdict = summary["verdict"]
    if verdict["difference"] is None:
        return f"seed {summary['seed']}: {verdict['decision']}"
    low, high = (100 * bound for bound in verdict["interval"])
    by = f"student minus control {100 * verdict['difference']:+.1f} points ({low:+.1f} to {high:+.1f})"
    return f"seed {summary['seed']}: {verdict['decision']}, {by}, p {verdict['p_value']:.2g}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=SETTINGS)
    parser.add_argument("--labels", type=int, default=10, help="labeled pictures a class")
    parser.add_argument("--pile", type=int, default=0, help="most unlabeled pictures; 0 = all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--development", action="store_true", help="choose settings without the test part")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the run")
    parser.add_argument("--work", type=Path, help="where to work, to resume later (default: a folder that is removed)")
    parser.add_argument("--quick", action="store_true", help="a few steps, one seed: only shows that it runs")
    parser.add_argument("--json", type=Path, help="write the rows there")
    given = parser.parse_args()
    if given.data == "digits" and not given.development:
        parser.error("digits needs --development; for the test of seeds 0 and up run 'noisystudent demo --seeds 5'")
    if given.data in FILES and not (SHARED / FILES[given.data]).exists():
        print(f"skipped: {FILES[given.data]} is not in ../shared/data", file=sys.stderr)
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        work = given.work or Path(temporary)
        first = given.first_seed + (1000 if given.development else 0)
        seeds = range(first, first + (1 if given.quick else given.seeds))
        summaries = [run_seed(given.data, seed, given, work) for seed in seeds]
        rows = rows_of(given.data, summaries, given)
    for row in rows:
        low, high = row["interval"]
        print(f"{row['name']:<48} {100 * row['value']:.1f} ({100 * low:.1f} to {100 * high:.1f})  {row['seconds']} s")
    print("\n".join(verdict_line(summary) for summary in summaries))
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
