"""Accuracy under several attacks over a stream of images, with warnings if an attack may have failed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from noisystudent.errors import DataError
from noisystudent.evaluation.adversarial.attacks import Attack, Model, attack_images, check_pixels, compute_logits
from noisystudent.evaluation.metrics.accuracy import standard_error
from noisystudent.models.wrapped_module import require_eval_mode

MAX_ZERO_GRADIENT = 0.01  # a larger fraction of images with zero gradient gives a warning


@dataclass(frozen=True)
class RobustAccuracy:
    """A model's accuracy under one attack.

    Attributes:
        attack: the settings of the attack.
        count: number of images.
        clean_correct: number of images that are correct without the attack.
        robust_correct: number of images that are correct before and after the attack.
        zero_gradient: number of attacked images whose loss had zero gradient at the start.
    """

    attack: Attack
    count: int
    clean_correct: int
    robust_correct: int
    zero_gradient: int

    @property
    def robust_accuracy(self) -> float:
        """The fraction of ALL images that is correct under attack; images that were wrong before count as wrong."""
        return self.robust_correct / self.count

    @property
    def success_rate(self) -> float | None:
        """The fraction of images CORRECT before the attack that it makes wrong; None if there were none."""
        return 1 - self.robust_correct / self.clean_correct if self.clean_correct else None

    def as_json(self) -> dict[str, object]:
        """The attack's settings and results in JSON's types, with standard errors sqrt(p (1 - p) / n) over images."""
        return {
            **asdict(self.attack),
            "robust_accuracy": self.robust_accuracy,
            "robust_accuracy_standard_error": standard_error(self.robust_accuracy, self.count),
            "success_rate": self.success_rate,
            "success_rate_standard_error": (
                None if self.success_rate is None else standard_error(self.success_rate, self.clean_correct)
            ),
        }


@dataclass(frozen=True)
class RobustnessReport:
    """A model's accuracy under several attacks.

    Attributes:
        count: number of images.
        clean_accuracy: accuracy without an attack, in [0, 1].
        image: (channels, height, width) of the attacked images: accuracies at different sizes are not comparable.
        results: the results in the order of the attacks.
        warnings: reasons to doubt the results, as sentences.
    """

    count: int
    clean_accuracy: float
    image: tuple[int, int, int]
    results: tuple[RobustAccuracy, ...]
    warnings: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """The report in JSON's types."""
        return {
            "count": self.count,
            "clean_accuracy": self.clean_accuracy,
            "clean_accuracy_standard_error": standard_error(self.clean_accuracy, self.count),
            "image": list(self.image),
            "attacks": [result.as_json() for result in self.results],
            "warnings": list(self.warnings),
        }


def robust_accuracies(
    model: Model, batches: Iterable[tuple[Tensor, Tensor]], attacks: Sequence[Attack], *, seed: int = 0
) -> RobustnessReport:
    """Measures the accuracy under several attacks, batch by batch; only one batch is in memory at a time.

    Only images that the model gets right are attacked: the others are wrong already. Random starts depend on ``seed``
    and on the position of an image in the stream.

    Args:
        model: the model, in evaluation mode.
        batches: float pixels [B, C, H, W] in [0, 1] and true classes int64 [B], on the model's device.
        attacks: the attacks; a curve over epsilon is a sequence of attacks.
        seed: the seed of random starts.

    Returns:
        The results of all attacks, with warnings.

    Raises:
        DataError: there are no images. ``attacks.attack_images`` raises further errors.
    """
    require_eval_mode(model)
    count = clean_correct = classes = 0
    robust, zero_gradient = [0] * len(attacks), [0] * len(attacks)
    shape, warnings = (0, 0, 0), []
    for pixels, labels in batches:
        if not len(labels):
            continue
        check_pixels(pixels)
        with torch.no_grad():
            logits = compute_logits(model, pixels)
        if not count:
            channels, height, width = pixels.shape[1:]
            shape, classes = (channels, height, width), logits.shape[1]
            warnings += _output_warnings(model, pixels, logits)
        correct = logits.argmax(dim=1) == labels
        indices = torch.arange(count, count + len(labels), device=pixels.device)[correct]
        for position, attack in enumerate(attacks if len(indices) else ()):
            result = attack_images(model, pixels[correct], labels[correct], attack, seed=seed, indices=indices)
            robust[position] += int((~result.fooled).sum())
            zero_gradient[position] += int(result.zero_gradient.sum())
        count += len(labels)
        clean_correct += len(indices)
    if not count:
        raise DataError("There are no images to attack. Give labeled images that can be read.")
    results = tuple(
        RobustAccuracy(attack, count, clean_correct, *counts)
        for attack, *counts in zip(attacks, robust, zero_gradient, strict=True)
    )
    warnings += _result_warnings(results, classes, math.prod(shape))
    return RobustnessReport(count, clean_correct / count, shape, results, tuple(warnings))


def _output_warnings(model: Model, pixels: Tensor, logits: Tensor) -> list[str]:
    """Warnings about the model's outputs for the first batch: probabilities, randomness."""
    warnings = []
    if (logits >= 0).all() and torch.allclose(logits.sum(dim=1), logits.new_ones(len(logits)), atol=1e-4):
        warnings.append(
            "The model's outputs are not negative and sum to 1: they look like probabilities. A second softmax hides "
            "the gradient; give logits."
        )
    with torch.no_grad():
        repeated = model(pixels)
    if not torch.allclose(logits, repeated, rtol=1e-3, atol=1e-4):
        warnings.append(
            "The model's outputs for the same images differ between two calls. An attack on one output says nothing "
            "about the next: the accuracy under attack is too high."
        )
    return warnings


def _result_warnings(results: Sequence[RobustAccuracy], classes: int, values: int) -> list[str]:
    """Signs of masked gradients (Athalye et al. 2018, section 3.1; Carlini et al. 2019)."""
    warnings = []
    most_zero = max(results, key=lambda result: result.zero_gradient, default=None)
    if most_zero and most_zero.zero_gradient > MAX_ZERO_GRADIENT * most_zero.clean_correct:
        warnings.append(
            f"On {most_zero.zero_gradient} of {most_zero.clean_correct} attacked images the gradient of the loss is "
            "zero everywhere, so a gradient attack cannot change them: the accuracy under attack is too high."
        )
    for multi_step in results:
        attack, accuracy = multi_step.attack, multi_step.robust_accuracy
        if attack.steps == 1:
            continue
        error = standard_error(accuracy, multi_step.count)
        for one_step in results:
            same_ball = (one_step.attack.norm, one_step.attack.epsilon) == (attack.norm, attack.epsilon)
            if same_ball and one_step.attack.steps == 1 and accuracy - one_step.robust_accuracy > error:
                warnings.append(
                    f"At epsilon {attack.epsilon:.4g} ({attack.norm}) accuracy is {one_step.robust_accuracy:.4f} after "
                    f"one step, but {accuracy:.4f} after {attack.steps} steps. More steps should be no weaker: the "
                    "gradients may be masked, or the step size is wrong."
                )
        # With this radius every image can become uniform gray, which shows no class.
        unbounded = 0.5 if attack.norm == "linf" else 0.5 * math.sqrt(values)
        if attack.epsilon >= unbounded and accuracy > 1 / classes + 2 * error:
            warnings.append(
                f"At epsilon {attack.epsilon:.4g} ({attack.norm}) any image can become uniform gray, but accuracy is "
                f"still {accuracy:.4f}, where chance is {1 / classes:.4f}: the attack fails for another reason than "
                "robustness."
            )
    return warnings
