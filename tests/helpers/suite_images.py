"""A checkpoint that has learned a little and a few images, for tests of the robustness suite."""

from pathlib import Path

import numpy as np

import noisystudent
from noisystudent.data.sources.open import open_source


def learned_a_little(root: Path, *, count: int, every: int) -> tuple[Path, str]:
    """A checkpoint for digits of 16 px, and a source of ``count`` of them, one of ``every`` test images."""
    settings = {"train.steps": 20, "train.batch_size": 32, "data.size": 16, "noise.strength": 0.25}
    noisystudent.train(
        labeled="digits:labeled", out=root / "checkpoint", settings={**settings, "model.teacher": "tiny_resnet"},
        quiet=True,
    )  # fmt: skip
    source = open_source("digits:test", labeled=True)
    records = list(source.read(0))[::every][:count]
    np.savez(
        root / "few.npz",
        x=np.stack([np.asarray(record.image) for record in records]),
        y=np.array([record.label for record in records]),
        classes=np.array(source.classes),
    )
    return root / "checkpoint", str(root / "few.npz")
