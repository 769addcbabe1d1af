"""The demo: the main job on scikit-learn's digits, beside what scikit-learn itself makes of the same images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier

from noisystudent import api
from noisystudent.artifacts.folder import write_json
from noisystudent.data.sources.builtin import DigitsPart, open_digits
from noisystudent.errors import SettingsError
from noisystudent.reporting.terminal import print_summary

# Enlarged to 16 pixels, because nearest-neighbor distortions of 8 x 8 leave nothing of a digit; a fixed noise strength,
# because choosing one would double the time. How these were chosen: docs/results.md.
SETTINGS: dict[str, Any] = {
    "data.size": 16,
    "data.near_duplicates": "none",  # the digits hold none; at 8 px a few look as if they were
    "model.teacher": "tiny_resnet",
    "noise.strength": 0.25,
    "noise.crop": "resized",
    "train.steps": 250,
    "train.batch_size": 64,
    "train.learning_rate": 5e-3,
    "runtime.threads": 1,  # so small a model gains little from a second one, and loses much where a core is busy
}


@dataclass(frozen=True)
class Demo:
    """The summaries of the demo's runs, one a seed, and where they lie."""

    summaries: list[dict[str, Any]]
    folders: list[Path]


def demo(*, out: str = "runs/demo", seeds: int = 1, quiet: bool = False) -> Demo:
    """Runs Noisy Student training on 40 labeled and 1,257 unlabeled digits and scores it on 500 others.

    Each seed draws its own split; with several, seed s goes to the folder ``out/seed-s``. Summaries also hold
    three baselines of scikit-learn on the same split.
    """
    if seeds < 1:
        raise SettingsError(f"--seeds is {seeds}; give a whole number of at least 1.")
    folders = [Path(out) if seeds == 1 else Path(out) / f"seed-{seed}" for seed in range(seeds)]
    summaries = [_run_seed(folder, seed, quiet=quiet) for seed, folder in enumerate(folders)]
    return Demo(summaries, folders)


def _run_seed(folder: Path, seed: int, *, quiet: bool) -> dict[str, Any]:
    summary = api.run(
        labeled=f"digits:labeled@{seed}",
        unlabeled=f"digits:unlabeled@{seed}",
        test=f"digits:test@{seed}",
        out=str(folder),
        settings={**SETTINGS, "seed": seed},
        quiet=quiet,
    )
    summary["baselines"] = [{"name": name, "top1": top1} for name, top1 in baselines(seed).items()]
    write_json(folder / "summary.json", summary)
    api.report(folder)
    return summary


def baselines(seed: int) -> dict[str, float]:
    """Test accuracy of three scikit-learn classifiers on the split of ``seed``, with its usual settings.

    Self-training and label spreading see the unlabeled digits too; pixels are scaled to 0..1, and standardized for
    the linear model. Label spreading uses 7 neighbors, its default kernel being made for other scales.
    """
    labeled, targets = _arrays("labeled", seed)
    unlabeled, _ = _arrays("unlabeled", seed)
    test, truth = _arrays("test", seed)
    everything = np.concatenate([labeled, unlabeled])
    known = np.concatenate([targets, np.full(len(unlabeled), -1)])
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    classifiers: dict[str, tuple[ClassifierMixin, npt.NDArray[np.floating], npt.NDArray[np.int64]]] = {
        "logistic regression": (linear, labeled, targets),
        "self-training": (SelfTrainingClassifier(linear), everything, known),
        "label spreading": (LabelSpreading(kernel="knn"), everything, known),
    }
    # Label spreading divides by zero for images that no label reaches; scikit-learn then takes the first class.
    with np.errstate(invalid="ignore"):
        return {name: float(each.fit(x, y).score(test, truth)) for name, (each, x, y) in classifiers.items()}


def _arrays(part: DigitsPart, seed: int) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.int64]]:
    source = open_digits(part, seed=seed, labeled=True)
    records = [record for shard in range(len(source.shard_sizes)) for record in source.read(shard)]
    pixels = np.stack([np.asarray(record.image).ravel() for record in records]) / 255
    return pixels, np.array([record.label for record in records], np.int64)


def evaluated_models(summary: dict[str, Any]) -> dict[str, float]:
    """Test accuracy of everyone in a demo's summary, by name, in the table's order."""
    found = {each["name"]: each["top1"] for each in summary["baselines"]}
    found |= {"teacher": summary["teacher"]["test"]["top1"], "control": summary["control"]["test"]["top1"]}
    found |= {each["name"]: each["test"]["top1"] for each in summary["rounds"]}
    return found | {"student": summary["student"]["test"]["top1"]}


def print_demo(result: Demo) -> None:
    """Prints the table, the verdict and the page's path for one seed; means, ranges and lost seeds for several."""
    if len(result.summaries) == 1:
        print_summary(result.summaries[0])
        print(f"page: {result.folders[0] / 'report.html'}")
        return
    rows = [evaluated_models(summary) for summary in result.summaries]
    print(f"{'test accuracy, %':<22}{'mean':>8}{'lowest':>8}{'highest':>9}")
    for name in rows[0]:
        values = [100 * row[name] for row in rows]
        print(f"{name:<22}{np.mean(values):>8.1f}{min(values):>8.1f}{max(values):>9.1f}")
    print("\n".join(_honest_lines(rows)))
    print(f"pages: {result.folders[0].parent}/seed-*/report.html")


def _honest_lines(rows: list[dict[str, float]]) -> list[str]:
    """Whom the student beats on the mean over seeds, and every seed in which it does not."""
    rivals = [name for name in rows[0] if name not in ("student", "teacher") and not name.startswith("round")]
    means = {name: np.mean([row[name] for row in rows]) for name in rows[0]}
    lost = [name for name in rivals if means[name] >= means["student"]]
    lines = [
        f"On the mean of {len(rows)} seeds the student "
        + (f"does not beat {', '.join(lost)}." if lost else "beats the control and every baseline.")
    ]
    for seed, row in enumerate(rows):
        better = [name for name in rivals if row[name] >= row["student"]]
        if better:
            lines.append(f"Not so in seed {seed}: {', '.join(better)} did as well or better.")
    return lines
