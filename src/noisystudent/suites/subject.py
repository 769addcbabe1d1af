"""Who is measured: a classifier with its own view, as a function of that view."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from noisystudent.data.pictures import PictureFormat
from noisystudent.errors import ModelError
from noisystudent.evaluation.attacks import Model, check_attackable
from noisystudent.models.checkpoint import checkpoint_fingerprint, load_classifier
from noisystudent.models.classifier import Classifier, UnitPixels
from noisystudent.runtime.device import autocast, open_device
from noisystudent.runtime.settings import RuntimeSettings


@dataclass(frozen=True)
class Subject:
    """A classifier in evaluation mode: its classes, the square views that it takes, and its answers to them.

    ``answer`` takes uint8 [B, C, size, size] and gives logits; ``unit`` takes floats of 0..1 and is differentiable.
    ``fingerprint`` identifies it.
    """

    name: str
    fingerprint: str
    classes: tuple[str, ...]
    size: int
    channels: int
    answer: Callable[[Tensor], Tensor]
    unit: Model
    device: torch.device
    batch_size: int
    precision: str = "float32"

    @classmethod
    def open(cls, checkpoint: Path, runtime: RuntimeSettings) -> Subject:
        """A checkpoint's classifier on the device that the settings name."""
        classifier = load_classifier(checkpoint).to(open_device(runtime))
        return cls.of_classifier(checkpoint.name, checkpoint_fingerprint(checkpoint), classifier, runtime)

    @classmethod
    def of_classifier(cls, name: str, fingerprint: str, classifier: Classifier, runtime: RuntimeSettings) -> Subject:
        """A classifier of this package, where it is."""
        classifier.eval().requires_grad_(False)
        return cls(
            name, fingerprint, classifier.classes, classifier.size, classifier.channels, classifier,
            UnitPixels(classifier).eval(), classifier.device, runtime.label_batch_size, runtime.precision,
        )  # fmt: skip

    @classmethod
    def of_module(
        cls, module: nn.Module, *, classes: tuple[str, ...], size: int, channels: int = 3, batch_size: int = 256
    ) -> Subject:
        """Any module that takes floats [B, C, size, size] of 0..1, with its normalization inside, and gives logits.

        Raises ``ModelError`` for one in training mode, and for answers of another number of classes.
        """
        check_attackable(module)
        device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
        with torch.no_grad():
            logits = module(torch.full((2, channels, size, size), 0.5, device=device))
        if tuple(logits.shape) != (2, len(classes)):
            raise ModelError(
                f"The module answers two pictures with {tuple(logits.shape)}, and {len(classes)} classes are named; "
                "it must give logits [B, K] in the order of the classes."
            )
        return cls(
            type(module).__name__, "", classes, size, channels, lambda views: module(views.float() / 255), module,
            device, batch_size,
        )  # fmt: skip

    @property
    def format(self) -> PictureFormat:
        """How pictures are to be decoded for it."""
        return PictureFormat(self.size, 1 if self.channels == 1 else 3)

    def log_probabilities(self, views: Tensor) -> npt.NDArray[np.float32]:
        """Log of the softmax for uint8 views [N, C, size, size], a batch at a time: float32 [N, K]."""
        rows = []
        for first in range(0, len(views), self.batch_size):
            some = views[first : first + self.batch_size]
            with torch.inference_mode(), autocast(self.device, self.precision):
                logits = self.answer(some.to(self.device))
            rows.append(torch.log_softmax(logits.float(), dim=-1).cpu().numpy())
        return np.concatenate(rows) if rows else np.zeros((0, len(self.classes)), np.float32)
