"""Settings of a run that takes seconds, and the weights that a run left."""

from pathlib import Path

DIGITS = {"labeled": "digits:labeled", "unlabeled": "digits:unlabeled", "test": "digits:test"}
SMALL = {
    "train.steps": 8,
    "train.batch_size": 32,
    "rounds.count": 2,
    "noise.strength": 0.25,
    "model.teacher": "tiny_resnet",
}


def without(settings: dict[str, object], *names: str) -> dict[str, object]:
    """The settings without those with ``names``, which a command does not take."""
    return {name: value for name, value in settings.items() if name not in names}


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()
