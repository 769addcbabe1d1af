"""A few labels of a real data set, the rest as the pile: what the control, every student and the verdict come to.

    python benchmarks/few_labels.py sign-digits --labels 10 --seeds 3 --json rows.json
    python benchmarks/few_labels.py fashion --labels 20 --pile 6000 --seeds 3
    python benchmarks/few_labels.py fashion --quick

Labeled pictures are drawn stratified from the training part with the seed; the pile is the rest without its labels, up
to ``--pile`` pictures; the test part only reports. Reads ``../shared/data`` and skips with a message where it is
absent. Further words are settings, such as ``--set train.steps=500``.

``--development`` is for choosing settings: it never opens the test part. Seeds start at 1,000, and pictures of the
training part that are neither labeled nor in the pile stand in for the test.
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
from noisystudent.data.folder import FolderSource
from noisystudent.data.split import draw_labeled
from noisystudent.randomness import generator
from noisystudent.runtime.machine import describe_machine, versions

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
FILES = {"sign-digits": "sign-digits-64.tar.xz", "fashion": "fashion-mnist.npz"}
SETTINGS: dict[str, dict[str, Any]] = {
    "sign-digits": {"data.size": 32, "model.teacher": "tiny_resnet"},
    "fashion": {"data.size": 28, "model.teacher": "tiny_resnet"},
}
QUICK = {"train.steps": 5, "train.batch_size": 16, "rounds.count": 1, "noise.strength": 0.25}


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


def split_arrays(path: Path, out: Path, given: argparse.Namespace, seed: int) -> dict[str, str]:
    """Writes a seeded split of an .npz as .npz files to ``out``; returns the run's sources."""
    with np.load(path, allow_pickle=False) as data:
        arrays = {name: data[name] for name in ("x_train", "y_train", "classes")}
    split = draw_split(arrays["y_train"].astype(np.int64), given, seed)
    for part in ("labeled", "pile", "development"):
        rows = getattr(split, part)
        chosen = {"x": arrays["x_train"][rows], "y": arrays["y_train"][rows], "classes": arrays["classes"]}
        np.savez(out / f"{part}.npz", **chosen)
    test = out / "development.npz" if given.development else f"{path}:test"
    return {"labeled": str(out / "labeled.npz"), "unlabeled": str(out / "pile.npz"), "test": str(test)}


def run_seed(name: str, seed: int, given: argparse.Namespace, work: Path) -> dict[str, Any]:
    """One run; returns its summary."""
    folder = work / f"{name}-{given.labels}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    if name == "fashion":
        sources = split_arrays(SHARED / FILES[name], folder, given, seed)
    else:
        with tarfile.open(SHARED / FILES[name]) as archive:
            archive.extractall(folder / "all", filter="data")
        (root,) = [path.parent for path in (folder / "all").rglob("train")]
        sources = split_folder(root, folder, given, seed)
    settings = {**SETTINGS[name], **(QUICK if given.quick else {}), **dict(each.split("=", 1) for each in given.set)}
    return noisystudent.run(**sources, out=str(folder / "run"), settings={**settings, "seed": seed})


def rows_of(name: str, summaries: list[dict[str, Any]], given: argparse.Namespace) -> list[dict[str, Any]]:
    """Mean test accuracy over seeds of teacher, control and student, with the range, and the verdicts."""
    rows: list[dict[str, Any]] = []
    control = np.array([summary["control"]["test"]["top1"] for summary in summaries])
    for role in ("teacher", "control", "student"):
        values = np.array([summary[role]["test"]["top1"] for summary in summaries])
        rows.append(
            {
                "name": f"{name}, {given.labels} labels a class: {role}",
                "value": round(float(values.mean()), 4),
                "unit": "top-1",
                "versus": "control",
                "ratio": round(float((values / control).mean()), 4),
                "seeds": len(summaries),
                "interval": [float(values.min()), float(values.max())],
                "difference": round(float((values - control).mean()), 4),
                "passes": summaries[0][role]["passes"],
                "seconds": round(float(np.mean([summary[role]["seconds"] for summary in summaries])), 1),
                "verdicts": [summary["verdict"]["decision"] for summary in summaries],
                "machine": describe_machine(),
                "versions": versions(),
            }
        )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=FILES)
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
    if not (SHARED / FILES[given.data]).exists():
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
    print(f"verdicts: {', '.join(rows[-1]['verdicts'])}")
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
