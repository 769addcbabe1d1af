"""Noisy Student training on feature vectors in memory: a teacher, rounds of students, each a small network.

The rounds are those of ``pipeline/noisy_student``; the noise is that of features: Gaussian noise and dropout.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from noisystudent.losses.losses import smoothed_one_hot
from noisystudent.losses.objectives import LossTerms, noisy_student, supervised
from noisystudent.models.feature_classifier import FeatureClassifier
from noisystudent.pipeline.features.teachers import LEAST
from noisystudent.pipeline.features.vector_teachers import VectorTeachers
from noisystudent.pseudo_labels.predictions import ShardLabels, part_path, read_copies, write_part
from noisystudent.pseudo_labels.selection.select import select
from noisystudent.pseudo_labels.selection.settings import SelectionSettings
from noisystudent.random_streams import generator, stream_key
from noisystudent.training.loader import Batch
from noisystudent.training.loop import fit
from noisystudent.training.settings import TrainSettings

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

DROPOUT = 0.1
SMOOTHING = 0.1  # of labels and of pseudo labels, which are hard, as for heads


@dataclass(frozen=True, kw_only=True)
class FeatureTraining:
    """How networks learn from features.

    ``hidden``: widths of the hidden layers; ``noise``: standard deviation of Gaussian noise on standardized features;
    ``rounds``: students after the teacher; ``selection``: with a number for ``fraction``; ``classes``: their number.
    """

    hidden: tuple[int, ...]
    noise: float
    rounds: int
    train: TrainSettings
    selection: SelectionSettings
    classes: int
    seed: int

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the classes: their numbers."""
        return tuple(map(str, range(self.classes)))


@dataclass(frozen=True)
class FeatureRounds:
    """The last student, and for each unlabeled row the class and the round of its last pseudo label (-1: none)."""

    classifier: FeatureClassifier
    pseudo_labels: Ints
    rounds: Ints
    selected: tuple[int, ...] = field(default=())


def train_on_features(labeled: Floats, labels: Ints, unlabeled: Floats, training: FeatureTraining) -> FeatureRounds:
    """Trains a teacher on the labels, then students on labels and selected pseudo labels; without unlabeled rows none.

    Args:
        labeled: Standardized features [L, F].
        labels: Their classes [L].
        unlabeled: Standardized features [U, F].
        training: How.
    """
    known = _Rows(torch.from_numpy(labeled).float(), _one_hot(labels, training))
    current = _fit(known, None, training, "teacher", 1)
    pseudo_labels, rounds = np.full((2, len(unlabeled)), -1, np.int64)
    selected: list[int] = []
    if not len(unlabeled) or not training.rounds:
        return FeatureRounds(current, pseudo_labels, rounds)
    teachers = VectorTeachers(labeled.astype(np.float32), labels, unlabeled.astype(np.float32), training.seed)
    for number in range(1, training.rounds + 1):
        answers = teachers.mean(np.exp(current.log_probabilities(unlabeled)).astype(np.float32))
        best = answers.argmax(axis=1)
        copies = _select(np.log(np.maximum(answers, LEAST)), training, number)
        chosen = np.flatnonzero(copies)
        if not len(chosen):
            break
        pseudo = _Rows(torch.from_numpy(unlabeled[chosen]).float(), _one_hot(best[chosen], training), copies[chosen])
        current = _fit(known, pseudo, training, f"student-{number}", number)
        pseudo_labels[chosen], rounds[chosen] = best[chosen], number
        selected.append(len(chosen))
    return FeatureRounds(current, pseudo_labels, rounds, tuple(selected))


@dataclass(frozen=True, eq=False)
class _Rows:
    """Features float32 [N, F], target probabilities [N, K], and how often each row counts (None: once)."""

    features: Tensor
    targets: Tensor
    copies: Ints | None = None

    def draw(self, count: int, random: np.random.Generator) -> Ints:
        """The numbers of ``count`` rows, drawn with replacement."""
        if self.copies is None:
            return random.integers(0, len(self.features), count)
        return random.choice(len(self.copies), count, p=self.copies / self.copies.sum())


def _fit(
    known: _Rows, pseudo: _Rows | None, training: FeatureTraining, stage: str, round_number: int
) -> FeatureClassifier:
    """One network, trained by the loop; every batch is a function of seed, stage and step."""
    settings, seed = training.train, stream_key(training.seed, "features", stage)
    width = known.features.shape[1]
    classifier = FeatureClassifier(width, training.hidden, training.names, dropout=DROPOUT, seed=seed)
    counts = settings.student_counts(round_number) if pseudo else (settings.batch_size, 0)

    def batch(step: int) -> Batch:
        random = generator(seed, "order", step)
        parts = [(rows, rows.draw(count, random)) for rows, count in zip((known, pseudo), counts, strict=True) if rows]
        features = torch.cat([rows.features[chosen] for rows, chosen in parts])
        noise = random.normal(0.0, training.noise, features.shape).astype(np.float32)
        targets = torch.cat([rows.targets[chosen] for rows, chosen in parts])
        return Batch(features + torch.from_numpy(noise), targets, labeled=counts[0], step=step)

    with tempfile.TemporaryDirectory() as folder:
        trained, _ = fit(classifier, batch, _objective(pseudo is not None), settings, Path(folder), seed=seed)
    assert isinstance(trained, FeatureClassifier)
    return trained


def _one_hot(classes: Ints, training: FeatureTraining) -> Tensor:
    return smoothed_one_hot(torch.from_numpy(classes), training.classes, SMOOTHING)


def _objective(with_pseudo: bool) -> Callable[[Tensor, Batch], LossTerms]:
    if with_pseudo:
        return lambda logits, batch: noisy_student(logits, batch.targets, batch.labeled, "concatenated")
    return lambda logits, batch: supervised(logits, batch.targets)


def _select(log_probabilities: npt.NDArray[np.float32], training: FeatureTraining, number: int) -> Ints:
    """How often each unlabeled row trains the student of a round, [U]."""
    with tempfile.TemporaryDirectory() as folder:
        part = part_path(Path(folder), 0)
        write_part(part, [ShardLabels.of([""] * len(log_probabilities), log_probabilities)])
        out = Path(folder) / "selection"
        select(out, [part], training.selection, classes=training.names, round_number=number, seed=training.seed)
        return read_copies(out / part.name)
