"""Adversarial attacks by gradient, FGSM and PGD, on images with pixels from 0 to 1.

Goodfellow et al. 2015, "Explaining and Harnessing Adversarial Examples"; Madry et al. 2018, "Towards Deep Learning
Models Resistant to Adversarial Attacks". Both increase the cross-entropy of the true class; FGSM is one step of PGD.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from noisystudent.errors import DataError, ModelError, NoisyStudentError, SettingsError
from noisystudent.models.wrapped_module import require_eval_mode
from noisystudent.noise.counter_rng import CounterRng

Model = Callable[[Tensor], Tensor]
"""An attacked model: a differentiable function from float pixels [B, C, H, W] in [0, 1] to logits [B, K].

Each row of logits must depend on its own image only, and normalization is part of the model.
``models.classifier.UnitPixels`` adapts a classifier of this package. A module must be in evaluation mode. For a plain
function this cannot be checked; a model with active dropout or batch statistics seems more robust than it is.
"""

Norm = Literal["linf", "l2"]


@dataclass(frozen=True, kw_only=True)
class Attack:
    """The settings of an attack: gradient ascent on the loss within a ball around each image and within [0, 1].

    Attributes:
        norm: the norm of the ball. ``linf``: no pixel value changes by more than ``epsilon``, and a step moves every
            value by ``step_size``. ``l2``: the Euclidean length of the change is at most ``epsilon``, and a step moves
            ``step_size`` along the gradient.
        epsilon: radius of the ball, for pixels from 0 to 1.
        steps: number of gradient steps.
        step_size: length of a step in ``norm``.
        random_start: start at a random point, uniform in the ball, instead of the image.
        restarts: number of starts; the worst result of each image counts.
    """

    norm: Norm = "linf"
    epsilon: float
    steps: int
    step_size: float
    random_start: bool = False
    restarts: int = 1

    def __post_init__(self) -> None:
        if self.norm not in ("linf", "l2"):
            raise SettingsError(f"The norm of an attack must be 'linf' or 'l2', not {self.norm!r}.")
        for name, value in (("epsilon", self.epsilon), ("step size", self.step_size)):
            if not 0 <= value < math.inf:
                raise SettingsError(
                    f"The {name} of an attack is {value}; it must be finite and at least 0, for pixels from 0 to 1."
                )
        if self.norm == "linf" and self.epsilon > 1:
            raise SettingsError(
                f"The epsilon of an attack is {self.epsilon}, but pixels go from 0 to 1. Divide it by 255 if it is in "
                "steps of 8-bit pixels."
            )
        if self.steps < 1 or self.restarts < 1:
            raise SettingsError(
                f"An attack has {self.steps} steps and {self.restarts} restarts; each must be at least 1."
            )
        if self.restarts > 1 and not self.random_start:
            raise SettingsError(
                f"An attack has {self.restarts} restarts from the same point, which all end equally. Set random_start."
            )


def fgsm(epsilon: float, norm: Norm = "linf") -> Attack:
    """The fast gradient sign method: one step of length ``epsilon`` (Goodfellow et al. 2015, section 4).

    Args:
        epsilon: radius of the ball, for pixels from 0 to 1.
        norm: with ``l2`` the step is along the gradient instead of its sign.

    Returns:
        The attack.
    """
    return Attack(norm=norm, epsilon=epsilon, steps=1, step_size=epsilon)


def pgd(
    epsilon: float,
    *,
    norm: Norm = "linf",
    steps: int = 10,
    step_size: float | None = None,
    random_start: bool = False,
    restarts: int = 1,
) -> Attack:
    """Projected gradient descent on the negative loss (Madry et al. 2018, section 2.1).

    Args:
        epsilon: radius of the ball, for pixels from 0 to 1.
        norm: the norm of the ball.
        steps: number of gradient steps.
        step_size: length of a step; by default 2.5 ``epsilon`` / ``steps``, with which every point of the ball can be
            reached from every other.
        random_start: start at a random point of the ball instead of the image.
        restarts: number of random starts; the worst result of each image counts.

    Returns:
        The attack.
    """
    size = 2.5 * epsilon / max(1, steps) if step_size is None else step_size
    return Attack(norm=norm, epsilon=epsilon, steps=steps, step_size=size, random_start=random_start, restarts=restarts)


@dataclass(frozen=True)
class AttackedBatch:
    """The result of an attack on a batch of images.

    Attributes:
        pixels: the changed images [B, C, H, W], in [0, 1] and within the ball of each image.
        fooled: whether the model's prediction is not the true class, bool [B].
        zero_gradient: whether the gradient was zero everywhere at the first step, bool [B].
    """

    pixels: Tensor
    fooled: Tensor
    zero_gradient: Tensor


def attack_images(
    model: Model, pixels: Tensor, labels: Tensor, attack: Attack, *, seed: int = 0, indices: Tensor | None = None
) -> AttackedBatch:
    """Attacks a batch of images, away from their true classes; parameters get no gradients.

    Random starts depend only on ``seed``, the restart and the image's index, not on the batch. With restarts, the
    result of each image is one that fools the model if there is any, else the one with the highest loss.

    Args:
        model: the model, in evaluation mode.
        pixels: float [B, C, H, W] in [0, 1], on the model's device.
        labels: true classes, int64 [B], on the model's device.
        attack: the settings of the attack.
        seed: the seed of random starts.
        indices: the number that addresses each image's random start, int64 [B]; by default 0 to B - 1.

    Returns:
        The changed images, and which of them fool the model.

    Raises:
        ModelError: a module is in training mode, the model fails on images of this shape, or its gradients are missing
            or not finite.
        DataError: pixels are outside [0, 1], or a label is not a class of the model.
    """
    require_eval_mode(model)
    check_pixels(pixels)
    if indices is None:
        indices = torch.arange(len(pixels), device=pixels.device)
    worst, highest_loss = None, torch.zeros(0)
    for restart in range(attack.restarts):
        start = _random_start(pixels, attack, seed, restart, indices) if attack.random_start else pixels
        result, loss = _ascend(model, pixels, labels, attack, start)
        if worst is None:
            worst, highest_loss = result, loss
            continue
        is_worse = torch.where(result.fooled == worst.fooled, loss > highest_loss, result.fooled)
        worst = AttackedBatch(
            torch.where(is_worse[:, None, None, None], result.pixels, worst.pixels),
            result.fooled | worst.fooled,
            result.zero_gradient & worst.zero_gradient,
        )
        highest_loss = torch.where(is_worse, loss, highest_loss)
    assert worst is not None
    return worst


def check_pixels(pixels: Tensor) -> None:
    """Raises ``DataError`` unless ``pixels`` are float images [B, C, H, W] in [0, 1]."""
    if pixels.ndim != 4 or not pixels.is_floating_point():
        raise DataError(
            f"Images to attack are {pixels.dtype} of shape {tuple(pixels.shape)}; they must be floats "
            "[B, C, H, W] from 0 to 1. Divide uint8 pixels by 255."
        )
    if len(pixels) and not (pixels.min() >= 0 and pixels.max() <= 1):
        advice = (
            "They look normalized: omit that, and put the normalization inside the model."
            if pixels.min() < 0
            else "Divide 8-bit pixels by 255."
        )
        raise DataError(
            f"Images to attack have pixels from {pixels.min():.4g} to {pixels.max():.4g}; they must be from 0 to 1. "
            f"{advice}"
        )


def check_labels(labels: Tensor, logits: Tensor) -> None:
    """Raises ``DataError`` if a label is not a class of the model, given its logits [B, K]."""
    if len(labels) and not (labels.min() >= 0 and labels.max() < logits.shape[1]):
        raise DataError(
            f"True classes go from {int(labels.min())} to {int(labels.max())}, but the model has the classes 0 to "
            f"{logits.shape[1] - 1}. Give labeled images of the model's classes."
        )


def compute_logits(model: Model, pixels: Tensor) -> Tensor:
    """The model's logits [B, K]; raises ``ModelError`` if it fails on images of this shape."""
    try:
        return model(pixels)
    except (NoisyStudentError, torch.OutOfMemoryError):
        raise
    except (RuntimeError, ValueError, IndexError, AssertionError) as error:  # layers raise these for a wrong shape
        owner = getattr(model, "__self__", model)
        layers = owner.modules() if isinstance(owner, nn.Module) else ()
        first_layer = next((layer for layer in layers if isinstance(layer, nn.Conv2d | nn.Linear)), None)
        expected = ""
        if isinstance(first_layer, nn.Conv2d):
            expected = f" Its first layer takes {first_layer.in_channels} channels."
        elif isinstance(first_layer, nn.Linear):
            expected = f" Its first layer takes {first_layer.in_features} values."
        message = str(error).strip().split("\n")[0]
        raise ModelError(
            f"The model {type(owner).__name__} fails on images [B, C, H, W] of shape {tuple(pixels.shape)}: "
            f"{message}.{expected} Give images with the channels and the size that it takes."
        ) from error


def _ascend(
    model: Model, pixels: Tensor, labels: Tensor, attack: Attack, start: Tensor
) -> tuple[AttackedBatch, Tensor]:
    """Runs the attack from one start; also returns the final loss [B]."""
    point, zero_gradient = start, torch.zeros(len(pixels), dtype=torch.bool, device=pixels.device)
    for step in range(attack.steps):
        gradient = _gradient(model, point, labels)
        if step == 0:
            zero_gradient = (gradient == 0).flatten(1).all(dim=1)
        direction = gradient.sign() if attack.norm == "linf" else _normalize(gradient)
        point = _project(point + attack.step_size * direction, pixels, attack)
    with torch.no_grad():
        logits = model(point)
        losses = F.cross_entropy(logits, labels, reduction="none")
    return AttackedBatch(point, logits.argmax(dim=1) != labels, zero_gradient), losses


def _gradient(model: Model, point: Tensor, labels: Tensor) -> Tensor:
    """The gradient of each image's loss with respect to its pixels; the losses are summed, so rows do not mix."""
    with torch.enable_grad():
        variable = point.detach().clone().requires_grad_()
        logits = compute_logits(model, variable)
        if not logits.requires_grad:
            raise ModelError(
                "The model's logits have no gradient with respect to the pixels, so a gradient attack is not possible. "
                "Give a model that computes in floats outside inference mode; for a teacher, give its classifier."
            )
        check_labels(labels, logits)
        loss = F.cross_entropy(logits, labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, variable)
    if not torch.isfinite(gradient).all():
        raise ModelError(
            "The gradient of the model's loss with respect to the pixels is not finite. Check its weights and its "
            "precision."
        )
    return gradient


def _project(point: Tensor, pixels: Tensor, attack: Attack) -> Tensor:
    """Projects onto the ball around ``pixels``, then onto [0, 1], which does not leave the ball again."""
    change = point - pixels
    if attack.norm == "linf":
        change = change.clamp(-attack.epsilon, attack.epsilon)
    else:
        change = change * (attack.epsilon / _l2_norms(change)).clamp(max=1)
    return (pixels + change).clamp(0, 1)


def _normalize(gradient: Tensor) -> Tensor:
    """The gradient of each image scaled to length 1; a zero gradient stays zero.

    It is first divided by its largest value, because the squares of a confident model's gradients would underflow.
    """
    largest = gradient.flatten(1).abs().amax(dim=1).clamp(min=torch.finfo(gradient.dtype).tiny)
    scaled = gradient / largest[:, None, None, None]
    return scaled / _l2_norms(scaled)


def _l2_norms(vectors: Tensor) -> Tensor:
    """The Euclidean length of each image's values [B, 1, 1, 1], at least 1e-12, so it can be a divisor."""
    norms: Tensor = vectors.flatten(1).norm(dim=1).clamp(min=1e-12)
    return norms[:, None, None, None]


def _random_start(pixels: Tensor, attack: Attack, seed: int, restart: int, indices: Tensor) -> Tensor:
    """A uniform random point in the ball of each image, clipped to [0, 1]."""
    count = pixels[0].numel() if len(pixels) else 0
    rng = CounterRng(seed, "attack-start")
    epoch = torch.full_like(indices, restart)
    if attack.norm == "linf":
        change = 2 * rng.uniform(epoch, indices, count) - 1
    else:
        # A normal vector (Box and Muller 1958) has a uniform direction; in d dimensions, radius^d is uniform in a ball.
        uniform = rng.uniform(epoch, indices, 2 * count + 1)
        normal = (-2 * (1 - uniform[:, :count]).log()).sqrt() * (2 * math.pi * uniform[:, count:-1]).cos()
        change = normal / normal.norm(dim=1, keepdim=True) * uniform[:, -1:] ** (1 / max(1, count))
    return (pixels + attack.epsilon * change.view_as(pixels).to(pixels.dtype)).clamp(0, 1)
