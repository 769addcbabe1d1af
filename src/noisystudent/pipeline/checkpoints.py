"""Trained models, as the stages of a run hand them on: checkpoints of the run, and predictors from elsewhere."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch

from noisystudent.artifacts.folder import read_json, read_manifest
from noisystudent.data.splits import DataSplits
from noisystudent.errors import ModelError
from noisystudent.models.calibration import CALIBRATION
from noisystudent.models.checkpoint import CHECKPOINT, load_classifier
from noisystudent.models.classifier import Classifier
from noisystudent.models.create import count_parameters
from noisystudent.models.factory import ModelFactory
from noisystudent.models.load import PREFIXES
from noisystudent.models.predictor import Predictor
from noisystudent.models.teacher import NoisedTeacher, Teacher, TeacherModel
from noisystudent.models.training_images import TRAINING_IMAGES
from noisystudent.runtime.settings import RuntimeSettings
from noisystudent.training.loop import METRICS

TRAINING = "training.json"
BESIDE_WEIGHTS = (TRAINING_IMAGES, TRAINING, METRICS, CALIBRATION)  # not part of what identifies a model


class Labeler(Protocol):
    """What labels images: a model, or several that answer as one."""

    @property
    def name(self) -> str:
        """The stage that trained it, or its number as a given teacher; of several, the names of all."""

    @property
    def fingerprint(self) -> str:
        """Identifies the weights."""

    def teacher(self, device: torch.device, *, noised: bool = False) -> TeacherModel:
        """It as a teacher; ``noised`` keeps its dropout and stochastic depth on."""


class TrainedModel(Labeler, Protocol):
    """A model that can teach and be scored, and what its training took in this run."""

    @property
    def model(self) -> str:
        """The architecture."""

    @property
    def parameters(self) -> int:
        """The number of parameters."""

    @property
    def samples_seen(self) -> int:
        """Images through forward and backward in this run."""

    @property
    def seconds(self) -> float:
        """Seconds of training in this run."""

    def predictor(self, name: str, device: torch.device, runtime: RuntimeSettings) -> Predictor:
        """The model as a predictor that is called ``name`` in results."""


@dataclass(frozen=True)
class Checkpoint:
    """A trained model on disk, and what its training took.

    ``name``: its stage in a run; ``model``: the architecture; ``samples_seen``: images through forward and backward in
    that stage; ``weights_samples_seen``: the same in all stages that its weights went through, warm starts included,
    and the pretraining of a backbone not; ``seconds``: of training; ``factory`` builds the architecture where it is a
    user's own.
    """

    name: str
    folder: Path
    fingerprint: str
    model: str
    parameters: int
    samples_seen: int
    weights_samples_seen: int
    seconds: float
    factory: ModelFactory | None = field(default=None, repr=False, compare=False)

    def load(self) -> Classifier:
        """The classifier, on the CPU, in evaluation mode."""
        return load_classifier(self.folder, factory=self.factory)

    def teacher(self, device: torch.device, *, noised: bool = False) -> Teacher:
        """The checkpoint as a teacher; ``noised`` keeps its dropout and stochastic depth on."""
        kind = NoisedTeacher if noised else Teacher
        return kind(self.load().to(device))

    def predictor(self, name: str, device: torch.device, runtime: RuntimeSettings) -> Predictor:
        """The checkpoint as a predictor that is called ``name`` in results."""
        return Predictor.of_classifier(name, self.fingerprint, self.load().to(device), runtime)


def read_checkpoint(name: str, folder: Path, factory: ModelFactory | None = None) -> Checkpoint:
    """A finished checkpoint of a run, from its folder."""
    manifest = read_manifest(folder, CHECKPOINT)
    training = read_json(folder / TRAINING)
    return Checkpoint(
        name=name,
        folder=folder,
        fingerprint=manifest.fingerprint,
        model=training["model"],
        parameters=training["parameters"],
        samples_seen=training["samples_seen"],
        weights_samples_seen=training.get("weights_samples_seen", training["samples_seen"]),
        seconds=training["seconds"],
        factory=factory,
    )


def is_checkpoint(teacher: str) -> bool:
    """Whether text names a finished model, by its folder or a prefix, and not an architecture to train."""
    return teacher.startswith(PREFIXES) or "/" in teacher or Path(teacher).is_dir()


def open_given(name: str | Path | Predictor, runtime: RuntimeSettings) -> Predictor:
    """A model from elsewhere, in float32 where the precision is still to be chosen; raises as ``Predictor.open``."""
    return Predictor.open(name, runtime.settled())


def require_fit(splits: DataSplits, name: str, model: Predictor) -> None:
    """Raises ``ModelError`` for a model from elsewhere of other classes or channels than the images have."""
    if model.classes != splits.classes:
        raise ModelError(
            f"the model {name} has other classes than the data, or in another order than the first model. Its classes: "
            f"{', '.join(model.classes[:20])} ({len(model.classes)}). The data's: "
            f"{', '.join(splits.classes[:20])} ({len(splits.classes)}). Give a model of these classes."
        )
    if model.channels != splits.format.channels:
        needed = "gray" if model.channels == 1 else "rgb"
        raise ModelError(
            f"the model {name} takes images with {model.channels} channels, and these have {splits.format.channels}; "
            f"give data.channels {needed}, and the student sees them alike."
        )


@dataclass(frozen=True)
class GivenModel:
    """A model from elsewhere that teaches, or that a student starts from; it cost nothing here."""

    name: str
    given: Predictor
    samples_seen: int = 0
    weights_samples_seen: int = 0
    seconds: float = 0.0

    @property
    def fingerprint(self) -> str:
        """Identifies the weights."""
        return self.given.fingerprint

    @property
    def model(self) -> str:
        """The architecture, or the name of a module."""
        return self.given.classifier.name if self.given.classifier else self.given.name

    @property
    def parameters(self) -> int:
        """The number of parameters."""
        return count_parameters(self.given.classifier.net if self.given.classifier else self.given.unit)

    def load(self) -> Classifier:
        """A copy of the classifier; raises ``ModelError`` for a module, whose architecture cannot be built again."""
        if self.given.classifier is None:
            raise ModelError(
                f"{self.given!r} is a module, which a student cannot start from: its architecture cannot be built "
                "again. Give a checkpoint's folder, a name, or your own factory as model=."
            )
        return copy.deepcopy(self.given.classifier)

    def teacher(self, device: torch.device, *, noised: bool = False) -> TeacherModel:
        """The model as a teacher: a copy of a classifier on ``device``, or a module where it is."""
        assert not noised
        return Teacher(self.given.classifier).to(device) if self.given.classifier else self.given

    def predictor(self, name: str, device: torch.device, runtime: RuntimeSettings) -> Predictor:
        """The model as a predictor; a classifier is moved to ``device``."""
        if self.given.classifier is None:
            return self.given
        return Predictor.of_classifier(name, self.fingerprint, self.given.classifier.to(device), runtime)
