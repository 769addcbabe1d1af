"""AutoAttack's standard version, by its authors' package, held to what an attack may do and counted anew.

Croce and Hein 2020, "Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free Attacks":
APGD on the cross-entropy, APGD on the targeted DLR loss, targeted FAB, Square; each goes on with the images that the
ones before it left right.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from noisystudent.errors import DataError, SettingsError
from noisystudent.evaluation.adversarial.attacks import (
    Model,
    Norm,
    answers,
    check_labels,
    check_pixels,
)
from noisystudent.evaluation.adversarial.robust_accuracy import standard_error
from noisystudent.models.predictor import require_eval_mode

FEWEST_CLASSES = 4
_TARGETS = 9  # of the standard version: classes that are aimed at, the likeliest wrong ones
_WARNING = "Warning: "


@dataclass(frozen=True)
class AutoAttacked:
    """What AutoAttack made of a batch: the ``pixels`` [B, C, H, W] and whether each image fools the model, bool [B].

    ``notes`` are the package's own warnings.
    """

    pixels: Tensor
    fooled: Tensor
    notes: tuple[str, ...]


@dataclass(frozen=True)
class AutoAttackAccuracy:
    """How a model stood up to AutoAttack, over ``count`` images of which ``robust_correct`` stayed right."""

    count: int
    robust_correct: int
    notes: tuple[str, ...]

    @property
    def robust_accuracy(self) -> float:
        """The fraction of ALL images that is right under attack; those that were wrong before count as wrong."""
        return self.robust_correct / self.count

    def as_json(self) -> dict[str, Any]:
        """The outcome as a file holds it."""
        return {
            "count": self.count,
            "robust_accuracy": self.robust_accuracy,
            "robust_accuracy_standard_error": standard_error(self.robust_accuracy, self.count),
            "warnings": list(self.notes),
        }


def check_autoattack(classes: int) -> None:
    """Raises ``SettingsError`` where the package is not installed, and for fewer classes than its losses compare."""
    _package()
    if classes < FEWEST_CLASSES:
        raise SettingsError(
            f"AutoAttack needs {FEWEST_CLASSES} classes or more, since its targeted loss compares the four likeliest, "
            f"and there are {classes}. Set evaluation.autoattack to false; FGSM and PGD work with any number."
        )


def autoattack_accuracy(
    model: Model, batches: Iterable[tuple[Tensor, Tensor]], *, norm: Norm, epsilon: float, seed: int = 0
) -> AutoAttackAccuracy:
    """Attacks images batch by batch and counts what stays right; those that are wrong already are not attacked.

    A batch is as in ``robust_accuracies``. Raises ``DataError`` without images, and what ``autoattacked`` raises.
    """
    count = correct = 0
    notes: list[str] = []
    for pixels, labels in batches:
        check_pixels(pixels)
        with torch.no_grad():
            unfooled = answers(model, pixels).argmax(dim=1) == labels
        count += len(labels)
        if unfooled.any():
            found = autoattacked(model, pixels[unfooled], labels[unfooled], norm=norm, epsilon=epsilon, seed=seed)
            correct += int((~found.fooled).sum())
            notes += [note for note in found.notes if note not in notes]
    if not count:
        raise DataError("There are no images to attack. Give labeled images that can be read.")
    return AutoAttackAccuracy(count, correct, tuple(notes))


def autoattacked(
    model: Model, pixels: Tensor, labels: Tensor, *, norm: Norm, epsilon: float, seed: int = 0
) -> AutoAttacked:
    """The worst that AutoAttack finds for images, float [B, C, H, W] in 0..1, of true classes int64 [B].

    Its draws are a function of ``seed`` and of the batch as a whole. With fewer than 10 classes all wrong ones are
    targets, not the 9 likeliest. What the package changes behind its caller's back (torch's random state, gradients of
    parameters, the tracer) is as before at the end.

    Raises what ``attacked`` and ``check_autoattack`` raise, and ``SettingsError`` where the package gives back images
    outside the ball of radius ``epsilon`` or outside 0..1.
    """
    require_eval_mode(model)
    check_pixels(pixels)
    with torch.no_grad():
        logits = answers(model, pixels)
    check_labels(labels, logits)
    check_autoattack(logits.shape[1])
    if epsilon == 0 or not len(pixels):  # nothing can change, and the package would ask thousands of times
        return AutoAttacked(pixels, logits.argmax(dim=1) != labels, ())
    with _undisturbed(model) as printed:
        attack = _package()(
            model, norm="Linf" if norm == "linf" else "L2", eps=epsilon, seed=seed, device=pixels.device, verbose=False
        )
        for part in (attack.apgd_targeted, attack.fab):
            part.n_target_classes = min(_TARGETS, logits.shape[1] - 1)
        moved: Tensor = attack.run_standard_evaluation(pixels, labels, bs=len(pixels))
    _check_outcome(moved, pixels, norm, epsilon)
    with torch.no_grad():
        fooled = answers(model, moved).argmax(dim=1) != labels
    lines = dict.fromkeys(printed.getvalue().splitlines())
    notes = (line.removeprefix(_WARNING) for line in lines if line.startswith(_WARNING))
    return AutoAttacked(moved, fooled, tuple(f"AutoAttack: {note}" for note in notes))


def _package() -> Callable[..., Any]:
    """The class of the authors' package."""
    try:
        import autoattack
    except ImportError as error:
        raise SettingsError(
            f"evaluation.autoattack needs the package autoattack of its authors ({error}), which is on GitHub alone: "
            "pip install git+https://github.com/fra31/auto-attack"
        ) from None
    package: Callable[..., Any] = autoattack.AutoAttack
    return package


@contextlib.contextmanager
def _undisturbed(model: Model) -> Iterator[io.StringIO]:
    """Puts back what the package changes; yields what it prints instead of printing it."""
    owner = getattr(model, "__self__", model)
    parameters = owner.parameters() if isinstance(owner, nn.Module) else ()
    learning = [parameter for parameter in parameters if parameter.requires_grad]
    tracer, printed = sys.gettrace(), io.StringIO()  # a check of the package turns off debuggers and coverage
    started = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = list(range(torch.cuda.device_count())) if started else []
    with torch.random.fork_rng(devices=devices), contextlib.redirect_stdout(printed):
        try:
            for parameter in learning:  # FAB goes backward through all that requires it
                parameter.requires_grad_(False)
            yield printed
        finally:
            for parameter in learning:
                parameter.requires_grad_(True)
            sys.settrace(tracer)


def _check_outcome(moved: Tensor, pixels: Tensor, norm: Norm, epsilon: float) -> None:
    change = (moved - pixels).flatten(1)
    size = float((change.abs().amax(dim=1) if norm == "linf" else change.norm(dim=1)).max())
    low, high = float(moved.min()), float(moved.max())
    if not (size <= epsilon * (1 + 1e-5) + 1e-6 and low >= 0 and high <= 1):
        raise SettingsError(
            f"The package autoattack gave back images that are {size:.6g} ({norm}) away, where epsilon is "
            f"{epsilon:.6g}, with pixels from {low:.6g} to {high:.6g}: its outcome cannot count. Install its published "
            "version: pip install git+https://github.com/fra31/auto-attack"
        )
