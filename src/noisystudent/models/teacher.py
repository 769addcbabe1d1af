"""Teachers: models that answer for stored images and that training cannot change."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Literal, Protocol, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from noisystudent.data.images import ImageFormat, Images
from noisystudent.errors import ModelError
from noisystudent.models.classifier import Classifier
from noisystudent.noise.crop import PlainView
from noisystudent.runtime.device import autocast
from noisystudent.runtime.memory import memory_shortage_as_error
from noisystudent.runtime.progress import Bar

Floats = npt.NDArray[np.float32]


class TeacherModel(Protocol):
    """What labeling and distillation need of a teacher: ``Teacher`` and ``Predictor`` both have it."""

    @property
    def name(self) -> str:
        """The name in messages."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits."""

    @property
    def size(self) -> int:
        """Edge in pixels of the square view that the teacher takes of an image."""

    @property
    def channels(self) -> int:
        """Channels of the images: 1 or 3."""

    @property
    def format(self) -> ImageFormat:
        """The format in which images are decoded for the teacher."""

    @property
    def device(self) -> torch.device:
        """The device that holds the weights."""

    def __call__(self, pixels: Tensor, sizes: Tensor) -> Tensor:
        """Logits float32 [B, K] of canvases uint8 [B, C, H, W] with valid (height, width) ``sizes`` [B, 2].

        They may enter a student's loss.
        """


class Teacher:
    """A frozen copy of a classifier: evaluation mode, no gradients, no noise, its own image size and normalization.

    It is deliberately no ``nn.Module``: a student that holds one neither trains, saves nor counts its weights, and
    ``student.train()`` does not reach it (Xie et al. 2020: the teacher is not noised).
    """

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = copy.deepcopy(classifier).eval().requires_grad_(False)
        self._view = PlainView(classifier.size, classifier.crop)

    def __call__(self, pixels: Tensor, sizes: Tensor) -> Tensor:
        """Computes the logits of stored images.

        Images may be stored for another size than the teacher's. The teacher's view covers the same part of them.

        Args:
            pixels: canvases, uint8 [B, C, H, W], each image at the top left.
            sizes: height and width of each image on its canvas, [B, 2].

        Returns:
            Logits, float32 [B, K]; they may enter a student's loss.

        Raises:
            ModelError: the images have another number of channels than the teacher takes.
        """
        require_channels(self, pixels)
        with torch.inference_mode():
            logits: Tensor = self._classifier(self._view(pixels, sizes))
        # An inference tensor may not enter a student's loss; a copy made outside of inference mode may.
        return logits.to(torch.float32, copy=True)

    def train(self, mode: bool = True) -> Self:
        """Does nothing, whatever ``mode`` is: a teacher stays in evaluation mode."""
        return self

    def eval(self) -> Self:
        """Does nothing: a teacher is always in evaluation mode."""
        return self

    def to(self, device: torch.device) -> Self:
        """Moves the teacher to ``device`` and returns it."""
        self._classifier.to(device)
        return self

    @property
    def name(self) -> str:
        """The architecture."""
        return self._classifier.name

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits."""
        return self._classifier.classes

    @property
    def size(self) -> int:
        """Edge in pixels of the square view that the teacher takes of an image."""
        return self._classifier.size

    @property
    def channels(self) -> int:
        """Channels of the images: 1 or 3."""
        return self._classifier.channels

    @property
    def format(self) -> ImageFormat:
        """The format in which images are decoded for the teacher."""
        return format_of(self, self._classifier)

    @property
    def device(self) -> torch.device:
        """The device that holds the weights."""
        return self._classifier.device


class NoisedTeacher(Teacher):
    """A teacher that keeps its dropout and stochastic depth, for the paper's ablation (Xie et al., 2020, section 4.1).

    Batch norm still uses its running statistics. The noise comes from torch's generator. The caller adds input noise.
    """

    def __init__(self, classifier: Classifier) -> None:
        super().__init__(classifier)
        for module in self._classifier.modules():
            module.training = not isinstance(module, nn.modules.batchnorm._BatchNorm)


def format_of(model: TeacherModel, classifier: Classifier | None, crop: float | None = None) -> ImageFormat:
    """The format in which images are decoded for a model, with the bits and the crop of its classifier, if any.

    ``crop`` is the share of the short edge that a model without a classifier sees; None: the official one.
    """
    channels: Literal[1, 3] = 1 if model.channels == 1 else 3
    if classifier is None:
        return ImageFormat(model.size, channels, crop=crop)
    bits, crop, squash = classifier.bits, classifier.crop, classifier.squash
    return ImageFormat(model.size, channels, bits=bits, crop=crop, squash=squash)


def require_channels(model: TeacherModel, pixels: Tensor) -> None:
    """Raises ``ModelError`` if images [B, C, H, W] have another number of channels than the model takes."""
    if pixels.shape[1] != model.channels:
        raise ModelError(
            f"The model {model.name} takes images with {model.channels} channels and was given {pixels.shape[1]}; "
            "decode them with the model's number of channels."
        )


def log_probabilities(
    teacher: TeacherModel, images: Images, *, batch_size: int, precision: str = "float32", bar: Bar | None = None
) -> Floats:
    """Computes the log of the softmax at temperature 1 for decoded images, batch by batch.

    Args:
        teacher: the model.
        images: images decoded in the teacher's format, or stored for another size.
        batch_size: images per forward pass.
        precision: ``float32``, ``bfloat16`` or ``float16``.
        bar: advances by the images of each batch.

    Returns:
        Log-probabilities, float32 [N, K], in the order of the images.

    Raises:
        ModelError: an answer is no number, or a batch does not fit into memory.
    """
    rows = []
    with memory_shortage_as_error(ModelError, "runtime.label_batch_size (in Python: batch_size)"):
        for pixels, sizes in on_device(images, batch_size, teacher.device):
            with torch.inference_mode(), autocast(teacher.device, precision):
                logits = teacher(pixels, sizes)
            rows.append(torch.log_softmax(logits.float(), dim=-1).cpu().numpy())
            if bar:
                bar.advance(len(pixels))
    return require_numbers(stack_rows(rows, len(teacher.classes)), teacher.name, images.keys)


def stack_rows(parts: Sequence[Floats], width: int) -> Floats:
    """Arrays [N, ``width``] one below the other; no rows if there is no array."""
    return np.concatenate(parts) if parts else np.zeros((0, width), np.float32)


def require_numbers(values: Floats, name: str, keys: Sequence[str] | None = None) -> Floats:
    """Returns a model's answers [N, K]; raises ``ModelError`` that names the first image where one is NaN."""
    if np.isnan(values).any():
        rows = np.flatnonzero(np.isnan(values).any(axis=1))
        key = repr(keys[rows[0]]) if keys else f"number {rows[0]}"
        raise ModelError(
            f"{name} answers {len(rows):,} of {len(values):,} images with numbers that are not finite, first the image "
            f"{key}. Check its weights and its normalization; with mixed precision, try runtime.precision float32."
        )
    return values


def on_device(images: Images, batch_size: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Pixels uint8 [B, C, H, W] and sizes int64 [B, 2] of one batch after the other."""
    for first in range(0, len(images), batch_size):
        rows = slice(first, first + batch_size)
        sizes = torch.from_numpy(images.sizes[rows].astype(np.int64))
        yield torch.from_numpy(images.pixels[rows]).to(device), sizes.to(device)
