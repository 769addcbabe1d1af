"""NoisyStudentClassifier beside scikit-learn's own ways to use unlabeled rows, on the same rows.

    python benchmarks/estimator.py digits --labels 4,10,20 --seeds 5 --json rows.json
    python benchmarks/estimator.py sign-digits --labels 4,10,20      # features of EfficientNet-Lite0, frozen
    python benchmarks/estimator.py digits --quick

The digits are pixels (64 features); the photographs are features of a backbone (``noisystudent[backbone]``) at
``--size`` pixels, which are computed once. Every classifier has its default settings, after a ``StandardScaler``, and
answers for test rows that none has seen. ``--development`` draws the test rows from the training part. The benchmark
reads ``../shared/data`` for photographs and skips with a message if it is missing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier
from sklearn.svm import SVC

from noisystudent import NoisyStudentClassifier
from noisystudent.data.images import decode_source
from noisystudent.data.sources.open import open_source
from noisystudent.models.backbones import open_backbone
from noisystudent.models.predictor import Predictor
from noisystudent.models.weights_package import LITE0
from noisystudent.runtime.env import describe_machine, versions
from noisystudent.runtime.settings import RuntimeSettings
from splits import Drawing, draw, is_missing, write_split

OURS = "NoisyStudentClassifier"

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Parts = dict[str, tuple[Floats, Ints]]


def classifiers(seed: int, steps: int) -> dict[str, tuple[bool, ClassifierMixin]]:
    """Every way by name: whether it takes unlabeled rows, and the classifier."""
    logistic, vectors = LogisticRegression(max_iter=5000), SVC(probability=True, random_state=seed)
    return {
        "LogisticRegression": (False, logistic),
        "SVC": (False, SVC()),
        "SelfTrainingClassifier, LogisticRegression": (True, SelfTrainingClassifier(logistic)),
        "SelfTrainingClassifier, SVC": (True, SelfTrainingClassifier(vectors)),
        "LabelSpreading, neighbors": (True, LabelSpreading(kernel="knn", max_iter=200)),
        f"{OURS}, rounds=0": (True, NoisyStudentClassifier(rounds=0, steps=steps, random_state=seed)),
        OURS: (True, NoisyStudentClassifier(steps=steps, random_state=seed)),
    }


def read_digits_part(part: str) -> tuple[Floats, Ints]:
    """The pixels [N, 64] and the classes of a part of the digits."""
    source = open_source(f"digits:{part}", labeled=True)
    records = [record for shard in range(len(source.shard_sizes)) for record in source.read(shard)]
    pixels = np.stack([np.asarray(record.image, np.float32).ravel() for record in records])
    return pixels, np.array([record.label for record in records])


def read_digits() -> Parts:
    """The digits: ``train`` are the labeled and the unlabeled ones of seed 0."""
    labeled, unlabeled = read_digits_part("labeled"), read_digits_part("unlabeled")
    train = tuple(np.concatenate(pair) for pair in zip(labeled, unlabeled, strict=True))
    return {"train": train, "test": read_digits_part("test")}


def read_photos(name: str, size: int, work: Path) -> Parts:
    """The features and classes of the photographs of a data set, from a frozen backbone."""
    sources = write_split(name, Drawing(1, 0, 0), work)
    backbone = open_backbone(LITE0.name)
    assert backbone is not None
    folder = Path(sources["test"])
    classes = tuple(open_source(folder, labeled=True).classes or ())
    classifier = backbone.new_classifier(LITE0.architecture, classes=classes, size=size)
    predictor = Predictor.of_classifier("backbone", "", classifier, RuntimeSettings(device="cpu"))
    parts = {}
    for part in ("train", "test"):
        source = open_source(folder.parent / part, labeled=True)
        images = decode_source(source, predictor.format, max_corrupt_fraction=0.0, memory_limit_gb=4)
        parts[part] = predictor.features(images.without_labels()), images.labels
    return parts


def run(parts: Parts, labels: int, seed: int, options: argparse.Namespace) -> dict[str, tuple[float, float]]:
    """Accuracy on test rows and seconds of every way, on one draw of labels."""
    features, truth = parts["train"]
    split = draw(truth, Drawing(labels, 0, seed, development=options.development))
    asked = (features[split.development], truth[split.development]) if options.development else parts["test"]
    rows = np.concatenate([split.labeled, split.unlabeled])
    given = np.concatenate([truth[split.labeled], np.full(len(split.unlabeled), -1)])
    found = {}
    for name, (takes_unlabeled, classifier) in classifiers(seed, options.steps).items():
        used = slice(None) if takes_unlabeled else slice(len(split.labeled))
        started = time.perf_counter()
        whole = make_pipeline(StandardScaler(), classifier).fit(features[rows[used]], given[used])
        found[name] = float(whole.score(*asked)), time.perf_counter() - started
    return found


def rows_of(data: str, labels: int, found: list[dict[str, tuple[float, float]]]) -> list[dict[str, Any]]:
    """A row per way: the mean accuracy over seeds, and the mean difference to ours with its range."""
    rows = []
    for name in found[0]:
        accuracy = [result[name][0] for result in found]
        ahead = [result[OURS][0] - result[name][0] for result in found]
        rows.append(
            {
                "name": f"{data}, {labels} labels per class: {name}",
                "value": round(float(np.mean(accuracy)), 4),
                "unit": "accuracy",
                "versus": OURS,
                "difference": round(float(np.mean(ahead)), 4),
                "interval": [round(min(ahead), 4), round(max(ahead), 4)],
                "wins": sum(value > 0 for value in ahead),
                "seeds": len(found),
                "seconds": round(float(np.mean([result[name][1] for result in found])), 1),
                "machine": describe_machine(),
                "versions": versions(),
            }
        )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default="digits", choices=("digits", "sign-digits", "trashnet"))
    parser.add_argument("--labels", default="4,10,20", help="labeled rows per class, several by commas")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--size", type=int, default=128, help="edge of photographs in pixels")
    parser.add_argument("--development", action="store_true", help="for choosing settings: never opens the test part")
    parser.add_argument("--quick", action="store_true", help="a few steps, one seed: a smoke test")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    if is_missing(options.data):
        return 0
    warnings.simplefilter("ignore")  # of scikit-learn, about its own defaults
    options.steps = 10 if options.quick else None
    first = 1000 if options.development else 0
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as work:
        parts = read_digits() if options.data == "digits" else read_photos(options.data, options.size, Path(work))
        for labels in [4] if options.quick else map(int, options.labels.split(",")):
            seeds = range(first, first + (1 if options.quick else options.seeds))
            rows += rows_of(options.data, labels, [run(parts, labels, seed, options) for seed in seeds])
    for row in rows:
        low, high = row["interval"]
        print(
            f"{row['name']:<72} {100 * row['value']:.1f}  ours {100 * row['difference']:+.1f} ({100 * low:+.1f} to "
            f"{100 * high:+.1f}), ahead on {row['wins']} of {row['seeds']}  {row['seconds']} s"
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
