"""AutoAttack's standard version, from its authors' package; its results are checked and counted independently.

Croce and Hein 2020, "Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free Attacks":
APGD on the cross-entropy, APGD on the targeted DLR loss, targeted FAB and Square. Each attacks only the images that are
still correct after the attacks before it.
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
    check_labels,
    check_pixels,
    compute_logits,
)
from noisystudent.evaluation.metrics.accuracy import standard_error
from noisystudent.models.wrapped_module import require_eval_mode

MIN_CLASSES = 4
_TARGETS = 9  # target classes in the standard version: the most probable wrong ones
_WARNING = "Warning: "


@dataclass(frozen=True)
class AutoAttackedBatch:
    """The result of AutoAttack on a batch of images.

    Attributes:
        pixels: the changed images [B, C, H, W].
        fooled: whether each of them fools the model, bool [B].
        notes: the package's own warnings.
    """

    pixels: Tensor
    fooled: Tensor
    notes: tuple[str, ...]


@dataclass(frozen=True)
class AutoAttackAccuracy:
    """A model's accuracy under AutoAttack.

    Attributes:
        count: number of images.
        robust_correct: number of images that are correct before and after the attack.
        notes: the package's own warnings.
    """

    count: int
    robust_correct: int
    notes: tuple[str, ...]

    @property
    def robust_accuracy(self) -> float:
        """The fraction of ALL images that is correct under attack; images that were wrong before count as wrong."""
        return self.robust_correct / self.count

    def as_json(self) -> dict[str, Any]:
        """The result in JSON's types."""
        return {
            "count": self.count,
            "robust_accuracy": self.robust_accuracy,
            "robust_accuracy_standard_error": standard_error(self.robust_accuracy, self.count),
            "warnings": list(self.notes),
        }


def check_autoattack(classes: int) -> None:
    """Raises ``SettingsError`` if the package is not installed or there are too few classes for its losses."""
    _import_autoattack()
    if classes < MIN_CLASSES:
        raise SettingsError(
            f"AutoAttack needs at least {MIN_CLASSES} classes, because its targeted loss compares the four most "
            f"probable ones; there are {classes}. Set evaluation.autoattack to false; FGSM and PGD need only two."
        )


def autoattack_accuracy(
    model: Model, batches: Iterable[tuple[Tensor, Tensor]], *, norm: Norm, epsilon: float, seed: int = 0
) -> AutoAttackAccuracy:
    """Measures the accuracy under AutoAttack, batch by batch; images that are already wrong are not attacked.

    Args:
        model: the model, in evaluation mode.
        batches: pixels and true classes, as in ``robust_accuracies``.
        norm: the norm of the ball.
        epsilon: radius of the ball, for pixels from 0 to 1.
        seed: the seed of the attack.

    Returns:
        The counts over all images.

    Raises:
        DataError: there are no images. ``run_autoattack`` raises further errors.
    """
    count = correct = 0
    notes: list[str] = []
    for pixels, labels in batches:
        check_pixels(pixels)
        with torch.no_grad():
            clean_correct = compute_logits(model, pixels).argmax(dim=1) == labels
        count += len(labels)
        if clean_correct.any():
            result = run_autoattack(
                model, pixels[clean_correct], labels[clean_correct], norm=norm, epsilon=epsilon, seed=seed
            )
            correct += int((~result.fooled).sum())
            notes += [note for note in result.notes if note not in notes]
    if not count:
        raise DataError("There are no images to attack. Give labeled images that can be read.")
    return AutoAttackAccuracy(count, correct, tuple(notes))


def run_autoattack(
    model: Model, pixels: Tensor, labels: Tensor, *, norm: Norm, epsilon: float, seed: int = 0
) -> AutoAttackedBatch:
    """Runs AutoAttack on a batch of images.

    Its random numbers depend on ``seed`` and on the whole batch. With fewer than 10 classes, all wrong classes are
    targets, instead of the 9 most probable. Global state that the package changes (torch's random state, gradients of
    parameters, the tracer) is restored at the end.

    Args:
        model: the model, in evaluation mode.
        pixels: float [B, C, H, W] in [0, 1], on the model's device.
        labels: true classes, int64 [B], on the model's device.
        norm: the norm of the ball.
        epsilon: radius of the ball, for pixels from 0 to 1.
        seed: the seed of the attack.

    Returns:
        The changed images, and which of them fool the model.

    Raises:
        SettingsError: the package is not installed, there are too few classes, or the package returns images outside
            the ball or outside [0, 1].
        ModelError, DataError: as in ``attacks.attack_images``.
    """
    require_eval_mode(model)
    check_pixels(pixels)
    with torch.no_grad():
        logits = compute_logits(model, pixels)
    check_labels(labels, logits)
    check_autoattack(logits.shape[1])
    if epsilon == 0 or not len(pixels):  # nothing can change, but the package would query the model thousands of times
        return AutoAttackedBatch(pixels, logits.argmax(dim=1) != labels, ())
    with _preserve_state(model) as printed:
        attack = _import_autoattack()(
            model, norm="Linf" if norm == "linf" else "L2", eps=epsilon, seed=seed, device=pixels.device, verbose=False
        )
        for part in (attack.apgd_targeted, attack.fab):
            part.n_target_classes = min(_TARGETS, logits.shape[1] - 1)
        attacked: Tensor = attack.run_standard_evaluation(pixels, labels, bs=len(pixels))
    _check_result(attacked, pixels, norm, epsilon)
    with torch.no_grad():
        fooled = compute_logits(model, attacked).argmax(dim=1) != labels
    lines = dict.fromkeys(printed.getvalue().splitlines())
    notes = (line.removeprefix(_WARNING) for line in lines if line.startswith(_WARNING))
    return AutoAttackedBatch(attacked, fooled, tuple(f"AutoAttack: {note}" for note in notes))


def _import_autoattack() -> Callable[..., Any]:
    """The class AutoAttack of the authors' package."""
    try:
        import autoattack
    except ImportError as error:
        raise SettingsError(
            f"evaluation.autoattack needs its authors' package autoattack ({error}), which is only on GitHub: "
            "pip install git+https://github.com/fra31/auto-attack"
        ) from None
    attack_class: Callable[..., Any] = autoattack.AutoAttack
    return attack_class


@contextlib.contextmanager
def _preserve_state(model: Model) -> Iterator[io.StringIO]:
    """Restores the global state that the package changes; yields a buffer with the text that it prints."""
    owner = getattr(model, "__self__", model)
    parameters = owner.parameters() if isinstance(owner, nn.Module) else ()
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    tracer, printed = sys.gettrace(), io.StringIO()  # a check in the package disables debuggers and coverage
    uses_cuda = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = list(range(torch.cuda.device_count())) if uses_cuda else []
    with torch.random.fork_rng(devices=devices), contextlib.redirect_stdout(printed):
        try:
            for parameter in trainable:  # FAB computes gradients of all parameters that require them
                parameter.requires_grad_(False)
            yield printed
        finally:
            for parameter in trainable:
                parameter.requires_grad_(True)
            sys.settrace(tracer)


def _check_result(attacked: Tensor, pixels: Tensor, norm: Norm, epsilon: float) -> None:
    """Raises ``SettingsError`` for images outside the ball or outside [0, 1]."""
    change = (attacked - pixels).flatten(1)
    distance = float((change.abs().amax(dim=1) if norm == "linf" else change.norm(dim=1)).max())
    low, high = float(attacked.min()), float(attacked.max())
    if not (distance <= epsilon * (1 + 1e-5) + 1e-6 and low >= 0 and high <= 1):
        raise SettingsError(
            f"The package autoattack returned images at a distance of {distance:.6g} ({norm}) for an epsilon of "
            f"{epsilon:.6g}, with pixels from {low:.6g} to {high:.6g}, so its result is not valid. Install its "
            "published version: pip install git+https://github.com/fra31/auto-attack"
        )
