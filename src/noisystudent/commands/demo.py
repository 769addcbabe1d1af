"""The demo: Noisy Student training on scikit-learn's digits, beside scikit-learn's own classifiers."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
from noisystudent.artifacts.typed_json import write_result
from noisystudent.commands.say import say
from noisystudent.data.sources.builtin import DigitsPart, open_digits
from noisystudent.errors import SettingsError
from noisystudent.models.backbones import open_backbone
from noisystudent.pipeline.run_folder import Run
from noisystudent.reporting.terminal import closing_lines, print_summary
from noisystudent.results.run import Baseline, RunSummary

# Enlarged to 16 pixels, because nearest-neighbor distortions of 8 x 8 leave nothing of a digit; a fixed noise strength,
# because choosing one would double the time. How these were chosen: docs/results/from-scratch.md.
SETTINGS: dict[str, Any] = {
    "data.size": 16,
    "data.near_duplicates": "none",  # the digits hold none; at 8 pixels a few look as if they were
    "model.teacher": "tiny_resnet",
    "noise.strength": 0.25,
    "noise.crop": "resized",
    "train.steps": 250,
    "train.batch_size": 64,
    "train.learning_rate": 5e-3,
    "runtime.threads": 1,  # so small a model gains little from a second one, and loses much where a core is busy
}


# The same digits, enlarged to what the backbone takes.
ON_BACKBONE: dict[str, Any] = {
    "data.size": 96,
    "data.near_duplicates": "none",
    "model.backbone": "efficientnet-lite0",
    "model.tune": "head",
    "budget": "none",
}


@dataclass(frozen=True)
class Demo:
    """The demo's runs, one per seed; ``on_backbone``: those on a frozen backbone, where they were asked for."""

    runs: list[Run]
    on_backbone: list[Run]


def demo(*, out: str = "runs/demo", seeds: int = 1, backbone: bool = False, quiet: bool = False) -> Demo:
    """Runs Noisy Student training on 40 labeled and 1,257 unlabeled digits and scores it on 500 others.

    Args:
        out: The folder of the run; with several seeds, seed s goes to ``out/seed-s``.
        seeds: The number of seeds; each draws its own split.
        backbone: Run the same digits on the frozen features of EfficientNet-Lite0, too, in ``<out>-backbone``.
        quiet: No progress.

    Returns:
        The runs; their summaries also hold three baselines of scikit-learn on the same split.

    Raises:
        SettingsError: ``seeds`` is below 1.
        ModelError: The weights package is not installed (``backbone``).
    """
    if seeds < 1:
        raise SettingsError(f"--seeds is {seeds}; give a whole number of at least 1.")
    if backbone:
        open_backbone(ON_BACKBONE["model.backbone"])  # says what is missing before the minutes of the first run
    runs = [_run_seed(folder, seed, SETTINGS, quiet=quiet) for seed, folder in _folders(out, seeds)]
    enlarged = _folders(f"{out}-backbone", seeds) if backbone else []
    return Demo(
        [_with_baselines(run, seed) for seed, run in enumerate(runs)],
        [_run_seed(folder, seed, ON_BACKBONE, quiet=quiet) for seed, folder in enlarged],
    )


def _folders(out: str, seeds: int) -> list[tuple[int, Path]]:
    return [(seed, Path(out) if seeds == 1 else Path(out) / f"seed-{seed}") for seed in range(seeds)]


def _run_seed(folder: Path, seed: int, settings: dict[str, Any], *, quiet: bool) -> Run:
    return api.run(
        f"digits:labeled@{seed}",
        f"digits:unlabeled@{seed}",
        test=f"digits:test@{seed}",
        out=folder,
        settings={**settings, "seed": seed},
        quiet=quiet,
    )


def _with_baselines(run: Run, seed: int) -> Run:
    """The run with scikit-learn's classifiers in its summary and on its page."""
    rows = tuple(Baseline(name=name, top1=top1) for name, top1 in baselines(seed).items())
    run = replace(run, summary=replace(run.summary, baselines=rows))
    write_result(run.path / "summary.json", run.summary)
    api.report(run.path)
    return run


def baselines(seed: int) -> dict[str, float]:
    """Test accuracy of three scikit-learn classifiers on the split of ``seed``, with its usual settings.

    Self-training and label spreading see the unlabeled digits too. Pixels are scaled to 0..1, and standardized for the
    linear model. Label spreading uses 7 neighbors, because its default kernel suits other scales.
    """
    labeled, targets = _arrays("labeled", seed)
    unlabeled, _ = _arrays("unlabeled", seed)
    test, test_labels = _arrays("test", seed)
    images = np.concatenate([labeled, unlabeled])
    labels = np.concatenate([targets, np.full(len(unlabeled), -1)])
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    classifiers: dict[str, tuple[ClassifierMixin, npt.NDArray[np.floating], npt.NDArray[np.int64]]] = {
        "logistic regression": (linear, labeled, targets),
        "self-training": (SelfTrainingClassifier(linear), images, labels),
        "label spreading": (LabelSpreading(kernel="knn"), images, labels),
    }
    # Label spreading divides by zero for images that no label reaches; scikit-learn then takes the first class.
    with np.errstate(invalid="ignore"):
        return {
            name: float(classifier.fit(x, y).score(test, test_labels))
            for name, (classifier, x, y) in classifiers.items()
        }


def _arrays(part: DigitsPart, seed: int) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.int64]]:
    source = open_digits(part, seed=seed, labeled=True)
    records = [record for shard in range(len(source.shard_sizes)) for record in source.read(shard)]
    pixels = np.stack([np.asarray(record.image).ravel() for record in records]) / 255
    return pixels, np.array([record.label for record in records], np.int64)


def accuracies_on_test(summary: RunSummary) -> dict[str, float]:
    """Test accuracy of every classifier in a demo's summary, by name, in the table's order."""
    models = [
        ("teacher", summary.teacher),
        ("control", summary.control),
        *((student.name, student) for student in summary.rounds),
        ("student", summary.student),
    ]
    baselines = {baseline.name: baseline.top1 for baseline in summary.baselines}
    return baselines | {name: model.test.top1 for name, model in models if model and model.test}


def print_demo(result: Demo) -> None:
    """Prints table, verdict and page for one seed; means, ranges and lost seeds for several."""
    if len(result.runs) == 1:
        for run in (*result.runs, *result.on_backbone):
            print_summary(run.summary)
            say("\n".join(closing_lines(run.summary, run.path)))
        _print_comparison(result)
        return
    rows = [accuracies_on_test(run.summary) for run in result.runs]
    print(f"{'test accuracy, %':<22}{'mean':>8}{'lowest':>8}{'highest':>9}")
    for name in rows[0]:
        values = [100 * row[name] for row in rows]
        print(f"{name:<22}{np.mean(values):>8.1f}{min(values):>8.1f}{max(values):>9.1f}")
    say("\n".join(_honest_lines(rows)))
    say(f"pages: {result.runs[0].path.parent}/seed-*/report.html")
    _print_comparison(result)


def _print_comparison(result: Demo) -> None:
    """Says which start is better on these digits, from scratch or on a frozen backbone, on the mean over seeds."""
    if not result.on_backbone:
        return
    scratch, frozen = (
        100 * float(np.mean([run.summary.student.test.top1 for run in runs if run.summary.student.test]))
        for runs in (result.runs, result.on_backbone)
    )
    seeds = f"on the mean of {len(result.runs)} seeds" if len(result.runs) > 1 else "on this split"
    better = "Training from scratch is better here" if scratch > frozen else "The frozen backbone is better here"
    say(
        f"{better}: {scratch:.1f}% right from scratch, {frozen:.1f}% on features of EfficientNet-Lite0, {seeds}. "
        "Digits of 8 pixels are far from the photographs that its weights know."
    )


def _honest_lines(rows: list[dict[str, float]]) -> list[str]:
    """Which classifiers the student beats on the mean over seeds, and every seed in which it does not."""
    rivals = [name for name in rows[0] if name != "student" and not name.startswith("round")]
    means = {name: np.mean([row[name] for row in rows]) for name in rows[0]}
    lost = [name for name in rivals if means[name] >= means["student"]]
    lines = [
        f"On the mean of {len(rows)} seeds the student "
        + (f"does not beat {', '.join(lost)}." if lost else "beats the teacher, the control and every baseline.")
    ]
    for seed, row in enumerate(rows):
        better = [name for name in rivals if row[name] >= row["student"]]
        if better:
            lines.append(f"Not so in seed {seed}: {', '.join(better)} did as well or better.")
    return lines
