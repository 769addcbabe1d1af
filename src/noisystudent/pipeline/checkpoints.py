"""A finished checkpoint, as the stages of a run hand it on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from noisystudent.artifacts.folder import read_json, read_manifest
from noisystudent.models.checkpoint import CHECKPOINT, checkpoint_fingerprint, load_classifier
from noisystudent.models.classifier import Classifier
from noisystudent.models.create import count_parameters
from noisystudent.models.teacher import NoisedTeacher, Teacher

TRAINING = "training.json"


@dataclass(frozen=True)
class Checkpoint:
    """A finished checkpoint of the run."""

    name: str
    folder: Path
    fingerprint: str
    model: str
    parameters: int
    samples_seen: int
    seconds: float

    def teacher(self, device: torch.device, *, noised: bool = False) -> Teacher:
        """The checkpoint as a teacher; ``noised`` keeps its dropout and stochastic depth on."""
        kind = NoisedTeacher if noised else Teacher
        return kind(load_classifier(self.folder).to(device))


def read_checkpoint(name: str, folder: Path) -> Checkpoint:
    """A finished checkpoint of a run, from its folder."""
    manifest = read_manifest(folder, CHECKPOINT)
    facts = read_json(folder / TRAINING)
    return Checkpoint(
        name, folder, manifest.fingerprint, facts["model"], facts["parameters"], facts["samples_seen"], facts["seconds"]
    )


def open_checkpoint(folder: Path) -> tuple[Checkpoint, Classifier]:
    """A checkpoint from elsewhere, which cost nothing here, and the classifier that it holds."""
    classifier = load_classifier(folder)
    checkpoint = Checkpoint(
        name=folder.name,
        folder=folder,
        fingerprint=checkpoint_fingerprint(folder),
        model=classifier.name,
        parameters=count_parameters(classifier.net),
        samples_seen=0,
        seconds=0.0,
    )
    return checkpoint, classifier
