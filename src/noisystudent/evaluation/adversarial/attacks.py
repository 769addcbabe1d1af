"""Images changed by as little as an epsilon so that a classifier errs: FGSM and PGD, in pixels from 0 to 1.

Goodfellow et al. 2015, "Explaining and Harnessing Adversarial Examples"; Madry et al. 2018, "Towards Deep Learning
Models Resistant to Adversarial Attacks". Both climb the cross-entropy of the true class; the first is one step of the
second.
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
from noisystudent.models.predictor import require_eval_mode
from noisystudent.noise.counter_rng import CounterRng

Model = Callable[[Tensor], Tensor]
"""What is attacked: float pixels [B, C, H, W] in 0..1 to logits [B, K], each row by its image alone, differentiable.

Normalization belongs inside. A classifier of this package becomes one by ``models.classifier.UnitPixels``. A module
must be in evaluation mode; of a plain function this cannot be seen, and a model that drops units or normalizes by its
batch seems more robust than it is.
"""

Norm = Literal["linf", "l2"]


@dataclass(frozen=True, kw_only=True)
class Attack:
    """Steps up the loss inside a ball of radius ``epsilon`` around each image, and inside 0..1.

    ``norm`` is that of the ball: ``linf``, no pixel changes by more than ``epsilon``, and a step moves every pixel by
    ``step_size``; or ``l2``, Euclidean over all pixels of an image, and a step goes ``step_size`` along the gradient.
    ``random_start``: begins at a point drawn evenly from the ball. ``restarts``: how many such points are tried in all;
    the worst outcome of each image counts.
    """

    norm: Norm = "linf"
    epsilon: float
    steps: int
    step_size: float
    random_start: bool = False
    restarts: int = 1

    def __post_init__(self) -> None:
        if self.norm not in ("linf", "l2"):
            raise SettingsError(f"The norm of an attack is {self.norm!r}, and may be 'linf' or 'l2'.")
        for name, value in (("epsilon", self.epsilon), ("step size", self.step_size)):
            if not 0 <= value < math.inf:
                raise SettingsError(
                    f"The {name} of an attack is {value}; it must be a number from 0, for pixels 0 to 1."
                )
        if self.norm == "linf" and self.epsilon > 1:
            raise SettingsError(
                f"The epsilon of an attack is {self.epsilon}, and pixels go from 0 to 1. Divide it by 255 if it is in "
                "steps of 8-bit pixels."
            )
        if self.steps < 1 or self.restarts < 1:
            raise SettingsError(
                f"An attack has {self.steps} steps and {self.restarts} restarts; each must be at least 1."
            )
        if self.restarts > 1 and not self.random_start:
            raise SettingsError(
                f"An attack has {self.restarts} restarts from the same point, which all end alike. Set random_start."
            )


def fgsm(epsilon: float, norm: Norm = "linf") -> Attack:
    """The fast gradient sign method: one step of ``epsilon`` from the image (Goodfellow et al. 2015, section 4).

    In the norm ``l2`` the step is along the gradient itself.
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

    ``step_size`` is 2.5 ``epsilon`` / ``steps`` unless given, so that every point of the ball can be reached from every
    other.
    """
    size = 2.5 * epsilon / max(1, steps) if step_size is None else step_size
    return Attack(norm=norm, epsilon=epsilon, steps=steps, step_size=size, random_start=random_start, restarts=restarts)


@dataclass(frozen=True)
class Attacked:
    """What an attack made of a batch: the ``pixels`` [B, C, H, W], in 0..1 and in the ball of each image.

    ``fooled`` bool [B]: the model's answer is not the true class. ``flat`` bool [B]: the gradient at the first step was
    zero everywhere, so that there was no direction to go.
    """

    pixels: Tensor
    fooled: Tensor
    flat: Tensor


def attacked(
    model: Model, pixels: Tensor, labels: Tensor, attack: Attack, *, seed: int = 0, indices: Tensor | None = None
) -> Attacked:
    """Attacks images, float [B, C, H, W] in 0..1, away from their true classes, int64 [B], on the model's device.

    Random starts are a function of ``seed``, the restart and the images' ``indices`` int64 [B] (0 to B - 1 unless
    given), not of the batch. With restarts, each image keeps the outcome that fools the model, or else the one of
    highest loss. Parameters get no gradients.

    Raises ``ModelError`` for a module in training mode, for a model that fails on images of this shape and for one
    without, or with infinite, gradients, and ``DataError`` for pixels outside 0..1 and for labels that are no class.
    """
    require_eval_mode(model)
    check_pixels(pixels)
    numbers = torch.arange(len(pixels), device=pixels.device) if indices is None else indices
    best, highest = None, torch.zeros(0)
    for restart in range(attack.restarts):
        start = _random_start(pixels, attack, seed, restart, numbers) if attack.random_start else pixels
        tried, loss = _climb(model, pixels, labels, attack, start)
        if best is None:
            best, highest = tried, loss
            continue
        better = torch.where(tried.fooled == best.fooled, loss > highest, tried.fooled)
        best = Attacked(
            torch.where(better[:, None, None, None], tried.pixels, best.pixels),
            tried.fooled | best.fooled,
            tried.flat & best.flat,
        )
        highest = torch.where(better, loss, highest)
    assert best is not None
    return best


def check_pixels(pixels: Tensor) -> None:
    """Raises ``DataError`` for what are no float images [B, C, H, W] of pixels in 0..1."""
    if pixels.ndim != 4 or not pixels.is_floating_point():
        raise DataError(
            f"Images to attack are {pixels.dtype} of shape {tuple(pixels.shape)}; they must be floats "
            "[B, C, H, W] from 0 to 1. Divide uint8 pixels by 255."
        )
    if len(pixels) and not (pixels.min() >= 0 and pixels.max() <= 1):
        advice = (
            "They look normalized: leave that out, and put the normalization inside the model."
            if pixels.min() < 0
            else "Divide 8-bit pixels by 255."
        )
        raise DataError(
            f"Images to attack have pixels from {pixels.min():.4g} to {pixels.max():.4g}, and they must be from 0 "
            f"to 1. {advice}"
        )


def check_labels(labels: Tensor, logits: Tensor) -> None:
    """Raises ``DataError`` for true classes that are none of the model's."""
    if len(labels) and not (labels.min() >= 0 and labels.max() < logits.shape[1]):
        raise DataError(
            f"True classes go from {int(labels.min())} to {int(labels.max())}, and the model has the classes 0 to "
            f"{logits.shape[1] - 1}. Give labeled images of the model's classes."
        )


def answers(model: Model, pixels: Tensor) -> Tensor:
    """The model's logits [B, K]; raises ``ModelError`` where it fails on images of this shape."""
    try:
        return model(pixels)
    except (NoisyStudentError, torch.OutOfMemoryError):
        raise
    except (RuntimeError, ValueError, IndexError, AssertionError) as error:  # what layers raise for a shape
        owner = getattr(model, "__self__", model)
        layers = owner.modules() if isinstance(owner, nn.Module) else ()
        first = next((layer for layer in layers if isinstance(layer, nn.Conv2d | nn.Linear)), None)
        takes = ""
        if isinstance(first, nn.Conv2d):
            takes = f" Its first layer takes {first.in_channels} channels."
        elif isinstance(first, nn.Linear):
            takes = f" Its first layer takes {first.in_features} values."
        complaint = str(error).strip().split("\n")[0]
        raise ModelError(
            f"The model {type(owner).__name__} fails on images [B, C, H, W] of shape {tuple(pixels.shape)}: "
            f"{complaint}.{takes} Give images of the channels and the size that it takes."
        ) from error


def _climb(model: Model, pixels: Tensor, labels: Tensor, attack: Attack, start: Tensor) -> tuple[Attacked, Tensor]:
    """The attack from one starting point, and the loss [B] where it ends."""
    point, flat = start, torch.zeros(len(pixels), dtype=torch.bool, device=pixels.device)
    for step in range(attack.steps):
        gradient = _gradient(model, point, labels)
        if step == 0:
            flat = (gradient == 0).flatten(1).all(dim=1)
        direction = gradient.sign() if attack.norm == "linf" else _unit(gradient)
        point = _within(point + attack.step_size * direction, pixels, attack)
    with torch.no_grad():
        logits = model(point)
        losses = F.cross_entropy(logits, labels, reduction="none")
    return Attacked(point, logits.argmax(dim=1) != labels, flat), losses


def _gradient(model: Model, point: Tensor, labels: Tensor) -> Tensor:
    """The gradient of each image's loss by its pixels. The sum over images, not the mean: rows do not mix."""
    with torch.enable_grad():
        variable = point.detach().clone().requires_grad_()
        logits = answers(model, variable)
        if not logits.requires_grad:
            raise ModelError(
                "The model's logits have no gradient by the pixels, so it cannot be attacked by one. Give a model that "
                "computes in floats, outside inference mode; of a teacher, give the classifier."
            )
        check_labels(labels, logits)
        loss = F.cross_entropy(logits, labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, variable)
    if not torch.isfinite(gradient).all():
        raise ModelError(
            "The model's loss has a gradient by the pixels that is not finite. Check its weights and its precision."
        )
    return gradient


def _within(point: Tensor, pixels: Tensor, attack: Attack) -> Tensor:
    """The nearest points of the ball around ``pixels``, then of 0..1, which does not lead out of the ball again."""
    change = point - pixels
    if attack.norm == "linf":
        change = change.clamp(-attack.epsilon, attack.epsilon)
    else:
        change = change * (attack.epsilon / _lengths(change)).clamp(max=1)
    return (pixels + change).clamp(0, 1)


def _unit(gradient: Tensor) -> Tensor:
    """The gradient of each image at length 1, or 0 where it is 0.

    Divided by its largest value first: the squares of a sure model's gradients would vanish.
    """
    largest = gradient.flatten(1).abs().amax(dim=1).clamp(min=torch.finfo(gradient.dtype).tiny)
    scaled = gradient / largest[:, None, None, None]
    return scaled / _lengths(scaled)


def _lengths(vectors: Tensor) -> Tensor:
    """Euclidean length of each image's values [B, 1, 1, 1]; never quite 0, so that it can divide."""
    lengths: Tensor = vectors.flatten(1).norm(dim=1).clamp(min=1e-12)
    return lengths[:, None, None, None]


def _random_start(pixels: Tensor, attack: Attack, seed: int, restart: int, indices: Tensor) -> Tensor:
    """A point drawn evenly from the ball of each image, brought into 0..1."""
    count = pixels[0].numel() if len(pixels) else 0
    rng = CounterRng(seed, "attack-start")
    epoch = torch.full_like(indices, restart)
    if attack.norm == "linf":
        change = 2 * rng.uniform(epoch, indices, count) - 1
    else:
        # A normal vector (Box and Muller 1958) has an even direction; radius^d is even for a radius of the ball in d.
        uniform = rng.uniform(epoch, indices, 2 * count + 1)
        normal = (-2 * (1 - uniform[:, :count]).log()).sqrt() * (2 * math.pi * uniform[:, count:-1]).cos()
        change = normal / normal.norm(dim=1, keepdim=True) * uniform[:, -1:] ** (1 / max(1, count))
    return (pixels + attack.epsilon * change.view_as(pixels).to(pixels.dtype)).clamp(0, 1)
