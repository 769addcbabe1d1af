"""Noise from torchvision, and a selection of your own, in an otherwise ordinary run."""

import numpy as np
from torchvision.transforms import v2

import noisystudent as ns

# Digits must not be mirrored, but may be moved and turned a little.
noise = v2.RandomAffine(degrees=10, translate=(0.1, 0.1), scale=(0.9, 1.1))


def surest_of_each_class(predictions: ns.PredictionColumns) -> np.ndarray:
    """Once each of the 60 pseudo labels per class whose confidence is highest, and no others."""
    confidence = np.exp(predictions.log_probabilities).max(axis=1)
    copies = np.zeros(len(predictions), int)
    for label in range(len(predictions.classes)):
        rows = np.flatnonzero(predictions.prediction == label)
        copies[rows[np.argsort(-confidence[rows])][:60]] = 1
    return copies


run = ns.run(
    "digits:labeled",
    "digits:unlabeled",
    test="digits:test",
    out="runs/own-parts",
    settings={
        "model.teacher": "tiny_resnet",
        "data.size": 8,
        "data.near_duplicates": "none",
        "noise.preset": "none",  # your own noise alone
        "train.steps": 60,
        "train.batch_size": 32,
        "rounds.count": 1,
        "rounds.controls": 1,
    },
    noise=noise,
    select=surest_of_each_class,
    quiet=True,
)
print(f"{run.rounds[0].selected} pseudo labels trained; verdict: {run.verdict.decision}")
