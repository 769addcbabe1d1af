"""The teacher: a type, not a habit."""

from __future__ import annotations

import copy
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from noisystudent.data.pictures import PictureFormat
from noisystudent.errors import ModelError
from noisystudent.models.classifier import Classifier
from noisystudent.noise.crop import PlainView


class Teacher:
    """A frozen copy of a classifier that sees whole pictures plainly and cannot be trained.

    Evaluation mode, no gradients, no noise, its own picture size and normalization. It is deliberately no
    ``nn.Module``: a student that holds one neither trains, saves nor counts its weights, and
    ``student.train()`` does not reach it (Xie et al. 2020: the teacher is not noised).
    """

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = copy.deepcopy(classifier).eval().requires_grad_(False)

    def __call__(self, pixels: Tensor, sizes: Tensor) -> Tensor:
        """Logits float32 [B, K] of canvases uint8 [B, C, H, W] with valid (height, width) ``sizes`` [B, 2].

        Pictures stored for another size than the teacher's are cut to the same part and resized. Raises
        ``ModelError`` when they have another number of channels than the teacher's.
        """
        if pixels.shape[1] != self.channels:
            raise ModelError(
                f"The teacher {self._classifier.name} takes pictures with {self.channels} channels and was "
                f"given {pixels.shape[1]}; decode them with the teacher's number of channels."
            )
        with torch.inference_mode():
            logits: Tensor = self._classifier(_plain_view(pixels, sizes, self.size))
        # An inference tensor may not enter a student's loss; a copy made out here may.
        return logits.to(torch.float32, copy=True)

    def train(self, mode: bool = True) -> Self:
        """Does nothing, whatever ``mode``: a teacher stays in evaluation mode."""
        return self

    def eval(self) -> Self:
        """Does nothing: a teacher is always in evaluation mode."""
        return self

    def to(self, device: torch.device) -> Self:
        """Moves the teacher to ``device`` and returns it."""
        self._classifier.to(device)
        return self

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits."""
        return self._classifier.classes

    @property
    def size(self) -> int:
        """Edge in pixels of the view that the teacher takes of a picture."""
        return self._classifier.size

    @property
    def channels(self) -> int:
        """Channels of the pictures: 1 or 3."""
        return self._classifier.channels

    @property
    def device(self) -> torch.device:
        """Where the teacher computes."""
        return self._classifier.device


def _plain_view(pixels: Tensor, sizes: Tensor, size: int) -> Tensor:
    """The central part that a model of ``size`` pixels sees of stored pictures: uint8 [B, C, size, size].

    Stored at the edge that ``size`` calls for, or at ``size`` itself, that is the plain view as it is. From
    another edge the same share of the short edge is cut out, then resized (bicubic, antialiased).
    """
    short = int(sizes.amin())
    stored = PictureFormat(size, 3).stored_edge
    part = size if short in (size, stored) else round(short * size / stored)
    view = PlainView(part)(pixels, sizes)
    if part == size:
        return view
    resized = F.interpolate(view.float(), (size, size), mode="bicubic", antialias=True)
    return resized.round_().clamp_(0, 255).to(torch.uint8)
