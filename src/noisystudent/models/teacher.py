"""The teacher: a type, not a habit."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, nn

from noisystudent.errors import ModelError
from noisystudent.models.classifier import Classifier
from noisystudent.noise.crop import PlainView


class Teacher:
    """A frozen copy of a classifier that sees whole images plainly and cannot be trained.

    Evaluation mode, no gradients, no noise, its own image size and normalization. It is deliberately no
    ``nn.Module``: a student that holds one neither trains, saves nor counts its weights, and
    ``student.train()`` does not reach it (Xie et al. 2020: the teacher is not noised).
    """

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = copy.deepcopy(classifier).eval().requires_grad_(False)
        self._view = PlainView(classifier.size)

    def __call__(self, pixels: Tensor, sizes: Tensor) -> Tensor:
        """Logits float32 [B, K] of canvases uint8 [B, C, H, W] with valid (height, width) ``sizes`` [B, 2].

        Images may be stored for another size than the teacher's: its view takes its share of them. Raises
        ``ModelError`` when they have another number of channels than the teacher's.
        """
        if pixels.shape[1] != self.channels:
            raise ModelError(
                f"The teacher {self._classifier.name} takes images with {self.channels} channels and was "
                f"given {pixels.shape[1]}; decode them with the teacher's number of channels."
            )
        with torch.inference_mode():
            logits: Tensor = self._classifier(self._view(pixels, sizes))
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
    def weights(self) -> Mapping[str, Tensor]:
        """The network's tensors by name, as its checkpoint has them."""
        return self._classifier.net.state_dict()

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits."""
        return self._classifier.classes

    @property
    def size(self) -> int:
        """Edge in pixels of the view that the teacher takes of an image."""
        return self._classifier.size

    @property
    def channels(self) -> int:
        """Channels of the images: 1 or 3."""
        return self._classifier.channels

    @property
    def device(self) -> torch.device:
        """Where the teacher computes."""
        return self._classifier.device


class NoisedTeacher(Teacher):
    """A teacher that keeps its dropout and stochastic depth, for the paper's ablation (Xie et al., 2020, section 4.1).

    Batch norm still uses its running statistics. Its noise comes from torch's generator; its images are noised by
    whoever hands them over.
    """

    def __init__(self, classifier: Classifier) -> None:
        super().__init__(classifier)
        for module in self._classifier.modules():
            module.training = not isinstance(module, nn.modules.batchnorm._BatchNorm)
