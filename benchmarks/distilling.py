"""Tools of the distillation benchmark: a seed's folder, its data splits, and cached training runs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import noisystudent
from noisystudent.data.sources.builtin import open_digits
from noisystudent.data.stratified import draw_labeled
from noisystudent.models.checkpoint import load_classifier
from noisystudent.pseudo_labels import predictions
from splits import FILES, SHARED, read_digits

SMALL, MIDDLE, LARGE = "resnet_small_8", "tiny_resnet", "wrn_16_2"
BASE: dict[str, Any] = {
    "data.size": 16,
    "data.near_duplicates": "none",
    "data.validation_fraction": 0.0,
    "train.batch_size": 64,
    "train.optimizer": "sgd",
    "train.learning_rate": 0.1,
    "train.weight_decay": 5e-4,
    "train.clip": 5.0,
    "objective.label_smoothing": 0.0,
    "noise.strength": 0.5,
    "noise.crop": "pad",
    "noise.flip": True,
    "noise.randaugment": False,
    "noise.dropout": 0.0,
    "noise.stochastic_depth": 0.0,
    "rounds.controls": 0,
    "runtime.threads": 1,
}
BARE = {"noise.crop": "none", "noise.flip": False}
LABELS = 6_000
FEW = 1_800  # 3% of 60,000

Scores = dict[str, float]  # one seed's numbers, by the name of their row
Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Bench:
    """One seed's folder, which stores trained models and their scores."""

    work: Path
    seed: int
    steps: int
    settings: Settings

    def train(self, name: str, model: str, labeled: str, changes: Settings = MappingProxyType({})) -> Path:
        """Trains a model on labels alone; returns its folder."""
        settings = self._settings({"model.teacher": model, **changes})
        settings.pop("rounds.controls")
        noisystudent.train(labeled=labeled, out=self.work / name, settings=settings, quiet=True)
        return self.work / name

    def distill(
        self, name: str, student: str, teachers: Sequence[Path], *, labeled: str | None, unlabeled: str | None = None,
        settings: Settings,
    ) -> Path:  # fmt: skip
        """Trains a student with teachers or without; returns its folder."""
        noisystudent.distill(
            teacher=teachers or None, student=student, labeled=labeled, unlabeled=unlabeled,
            out=self.work / name, settings=self._settings(settings), quiet=True,
        )  # fmt: skip
        return self.work / name / "best"

    def log_probabilities(self, checkpoint: Path, source: str) -> npt.NDArray[np.float32]:
        """The checkpoint's log-probabilities for a source; computed once and stored."""
        name = f"{checkpoint.relative_to(self.work)}-on-{Path(source).name.replace(':', '-')}".replace("/", "-")
        out = self.work / "answers" / name
        return predictions.read_all(
            noisystudent.label(teacher=checkpoint, source=source, out=out, quiet=True, settings={"runtime.threads": 1}),
            10,
        )[1]

    def _settings(self, changes: Settings) -> dict[str, Any]:
        return {**BASE, "seed": self.seed, "train.steps": self.steps, **changes, **self.settings}


@dataclass(frozen=True)
class Fashion:
    """Sources of Fashion-MNIST for one seed, and labels: nested training parts, a held-out part, the test part."""

    few: str
    labeled: str
    all: str
    held_out: str
    test: str
    held_out_labels: npt.NDArray[np.int64]
    test_labels: npt.NDArray[np.int64]

    @classmethod
    def draw(cls, folder: Path, seed: int) -> Fashion:
        """Writes nested stratified parts of the training images to ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        with np.load(SHARED / FILES["fashion"], allow_pickle=False) as data:
            x, y, classes = data["x_train"], data["y_train"].astype(np.int64), data["classes"]
            test_labels = data["y_test"].astype(np.int64)
        held_out, rest = draw_labeled(y, 200, seed)
        labeled, _ = draw_labeled(y[rest], LABELS // 10, seed)
        few, _ = draw_labeled(y[rest][labeled], FEW // 10, seed)
        rows = {"few": rest[labeled][few], "labeled": rest[labeled], "all": rest, "held_out": held_out}
        for name, part in rows.items():
            if not (folder / f"{name}.npz").exists():
                np.savez(folder / f"{name}.npz", x=x[part], y=y[part], classes=classes)
        paths = {name: str(folder / f"{name}.npz") for name in rows}
        return cls(
            **paths, test=f"{SHARED / FILES['fashion']}:test", held_out_labels=y[held_out], test_labels=test_labels
        )


def top1(log_probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> float:
    """Accuracy in percent."""
    return 100 * float((log_probabilities.argmax(axis=1) == labels).mean())


def five_teachers(bench: Bench, data: Fashion) -> list[Path]:
    """Five models that differ only in the seed of their weights and of their image order."""
    return [
        bench.train(f"five/{number}", MIDDLE, data.labeled, {"seed": 100 * (bench.seed + 1) + number})
        for number in range(5)
    ]


def training_digits(seed: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """The digits outside the demo's test part for ``seed``: images [N, 8, 8] and their labels."""
    arrays = read_digits(seed)
    return arrays["x"], arrays["y"].astype(np.int64)


def test_digit_labels(seed: int) -> npt.NDArray[np.int64]:
    """The labels of the demo's test part for ``seed``."""
    source = open_digits("test", seed=seed, labeled=True)
    return np.array([record.label for shard in range(len(source.shard_sizes)) for record in source.read(shard)])


def parameters_of(checkpoint: Path) -> int:
    """Number of weights of a model, without running statistics."""
    return sum(parameter.numel() for parameter in load_classifier(checkpoint).net.parameters())


def milliseconds(checkpoint: Path) -> float:
    """Milliseconds of the fastest of 30 forward passes of one image on one thread."""
    classifier = load_classifier(checkpoint)
    pixels = torch.zeros(1, classifier.channels, classifier.size, classifier.size, dtype=torch.uint8)
    threads, times = torch.get_num_threads(), []
    torch.set_num_threads(1)
    with torch.inference_mode():
        for _ in range(30):
            start = time.perf_counter()
            classifier(pixels)
            times.append(time.perf_counter() - start)
    torch.set_num_threads(threads)
    return 1000 * min(times)
