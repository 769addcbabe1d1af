"""Who is measured: a classifier with its own view, as a function of that view."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from noisystudent.artifacts.folder import fingerprint_of
from noisystudent.data.images import ImageFormat
from noisystudent.errors import ModelError
from noisystudent.models.classifier import Classifier, UnitPixels
from noisystudent.models.load import Place, fingerprint_at, open_classifier, short_name, weights_fingerprint
from noisystudent.runtime.device import autocast, open_device
from noisystudent.runtime.settings import RuntimeSettings


@dataclass(frozen=True)
class Predictor:
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
    unit: Callable[[Tensor], Tensor]
    device: torch.device
    batch_size: int
    precision: str = "float32"

    @classmethod
    def open(cls, checkpoint: Place, runtime: RuntimeSettings) -> Predictor:
        """The classifier of a checkpoint, a folder or ``timm:NAME``, on the device that the settings name."""
        classifier = open_classifier(checkpoint).to(open_device(runtime))
        fingerprint = fingerprint_at(checkpoint, classifier.net.state_dict())
        return cls.of_classifier(short_name(checkpoint), fingerprint, classifier, runtime)

    @classmethod
    def of_classifier(cls, name: str, fingerprint: str, classifier: Classifier, runtime: RuntimeSettings) -> Predictor:
        """A classifier of this package, where it is."""
        classifier.eval().requires_grad_(False)
        return cls(
            name, fingerprint, classifier.classes, classifier.size, classifier.channels, classifier,
            UnitPixels(classifier).eval(), classifier.device, runtime.label_batch_size, runtime.precision,
        )  # fmt: skip

    @classmethod
    def of_module(
        cls,
        module: nn.Module,
        *,
        classes: Sequence[str],
        size: int,
        channels: int = 3,
        batch_size: int = 256,
        name: str = "",
    ) -> Predictor:
        """Any module that takes floats [B, C, size, size] of 0..1 and gives logits [B, K], where it is.

        ``classes`` are in the order of the logits; ``channels`` is 3, or 1 for gray images. Normalization belongs
        inside, which cannot be seen from here: wrap a network that takes normalized pixels, as in
        ``nn.Sequential(torchvision.transforms.v2.Normalize(mean, std), net)``.

        ``name`` is what it is called in reports, its class's name unless given. The fingerprint, by which finished
        measures are known, is of the name, the module as it is printed, its parameters and its buffers: what it has in
        other attributes is not seen, so give modules that differ in those alone different names.

        Raises ``ModelError`` for a module in training mode, one that cannot take such images, answers that are no
        logits (probabilities, numbers that are not finite) or of another number of classes, and a class named twice.
        """
        require_eval_mode(module)
        name, classes = name or type(module).__name__, tuple(classes)
        if len(set(classes)) < len(classes):
            twice = next(each for each in classes if classes.count(each) > 1)
            raise ModelError(
                f"{name} is said to have the class {twice!r} more than once. Give each output its own name."
            )
        device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
        _check_answers(module, name, (2, channels, size, size), len(classes), device)
        return cls(
            name, _fingerprint(name, module), classes, size, channels, lambda views: module(views.float() / 255),
            module, device, batch_size,
        )  # fmt: skip

    @property
    def format(self) -> ImageFormat:
        """How images are to be decoded for it."""
        return ImageFormat(self.size, 1 if self.channels == 1 else 3)

    def log_probabilities(self, views: Tensor) -> npt.NDArray[np.float32]:
        """Log of the softmax for uint8 views [N, C, size, size], a batch at a time: float32 [N, K]."""
        rows = []
        for first in range(0, len(views), self.batch_size):
            some = views[first : first + self.batch_size]
            with torch.inference_mode(), autocast(self.device, self.precision):
                logits = self.answer(some.to(self.device))
            rows.append(torch.log_softmax(logits.float(), dim=-1).cpu().numpy())
        return np.concatenate(rows) if rows else np.zeros((0, len(self.classes)), np.float32)


def require_eval_mode(model: Callable[[Tensor], Tensor]) -> None:
    """Raises ``ModelError`` for a module, or a method of one, that is or holds a module in training mode."""
    owner = getattr(model, "__self__", model)
    if isinstance(owner, nn.Module) and any(module.training for module in owner.modules()):
        raise ModelError(
            f"The model {type(owner).__name__} is in training mode, in which its answers depend on chance or on the "
            "batch, and an attack on it says nothing. Call eval() on it first."
        )


def _check_answers(
    module: nn.Module, name: str, shape: tuple[int, int, int, int], classes: int, device: torch.device
) -> None:
    """Tries a module with two gray images; raises ``ModelError`` unless it gives logits for each class."""
    if shape[1] not in (1, 3):
        raise ModelError(f"{name} is said to take {shape[1]} channels, and images have 1 or 3. Give channels=1 or 3.")
    try:
        with torch.no_grad():
            logits = module(torch.full(shape, 0.5, device=device))
    except Exception as error:  # a module of anyone's may fail in any way
        raise ModelError(
            f"{name} was tried with images of shape {shape} (batch, channels, height, width) and failed "
            f"({type(error).__name__}: {error}). Give the size and channels that it takes."
        ) from error
    if not isinstance(logits, Tensor) or tuple(logits.shape) != (shape[0], classes):
        what = tuple(logits.shape) if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
        raise ModelError(
            f"{name} answers images of shape {shape} with {what}, and {classes} classes are named; it must give "
            "logits [B, K] in the order of the classes."
        )
    if not logits.isfinite().all():
        raise ModelError(f"{name} answers gray images with numbers that are not finite. Check its weights.")
    if (logits > 0).all() and torch.allclose(logits.sum(dim=1).float(), torch.ones(shape[0], device=logits.device)):
        raise ModelError(
            f"{name} gives probabilities (its answers are above 0 and sum to 1), and calibration and attacks are "
            "of logits. Leave its softmax out, or take the logarithm of what it gives."
        )


def _fingerprint(name: str, module: nn.Module) -> str:
    printed = re.sub(r" at 0x[0-9a-fA-F]+", "", repr(module))  # an address is another in every process
    kind = f"{type(module).__module__}.{type(module).__qualname__}"
    tensors = dict(module.named_parameters()) | dict(module.named_buffers())
    return fingerprint_of([name, kind, printed, weights_fingerprint(tensors)])
