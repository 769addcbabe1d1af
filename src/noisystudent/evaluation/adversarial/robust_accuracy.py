"""Accuracy under attack, over streamed images and several attacks, and signs that an attack only seemed to fail."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from noisystudent.errors import DataError
from noisystudent.evaluation.adversarial.attacks import Attack, Model, answers, attacked, check_pixels
from noisystudent.models.predictor import require_eval_mode

FLAT_SHARE = 0.01  # more images without a gradient than this are worth a warning


@dataclass(frozen=True)
class RobustAccuracy:
    """How a model stood up to one attack, over ``count`` images of which it got ``clean_correct`` right without it.

    ``robust_correct``: right before and after the attack. ``flat``: of the attacked images, those where the loss had
    no gradient at the start.
    """

    attack: Attack
    count: int
    clean_correct: int
    robust_correct: int
    flat: int

    @property
    def robust_accuracy(self) -> float:
        """The fraction of ALL images that is right under attack; those that were wrong before count as wrong."""
        return self.robust_correct / self.count

    @property
    def success_rate(self) -> float | None:
        """The fraction of images RIGHT before the attack that it turns wrong; None when there were none."""
        return 1 - self.robust_correct / self.clean_correct if self.clean_correct else None

    def as_json(self) -> dict[str, object]:
        """The attack's settings and its outcome, with standard errors sqrt(p (1 - p) / n) over images."""
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
    """A model under several attacks: ``results`` in their order, and ``warnings`` in plain words.

    ``image`` is the (channels, height, width) that were attacked: accuracies at different sizes do not compare.
    """

    count: int
    clean_accuracy: float
    image: tuple[int, int, int]
    results: tuple[RobustAccuracy, ...]
    warnings: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """The report as a file holds it."""
        return {
            "count": self.count,
            "clean_accuracy": self.clean_accuracy,
            "clean_accuracy_standard_error": standard_error(self.clean_accuracy, self.count),
            "image": list(self.image),
            "attacks": [outcome.as_json() for outcome in self.results],
            "warnings": list(self.warnings),
        }


def robust_accuracies(
    model: Model, batches: Iterable[tuple[Tensor, Tensor]], attacks: Sequence[Attack], *, seed: int = 0
) -> RobustnessReport:
    """Attacks images batch by batch, each batch by each of the ``attacks``, and counts what stays right.

    A batch is float pixels [B, C, H, W] in 0..1 and true classes int64 [B], on the model's device; one is held at a
    time. A curve over epsilon is a sequence of attacks. Only images that the model gets right are attacked: the
    others are wrong already. Random starts go by ``seed`` and by the place of an image in all batches together.

    Raises ``DataError`` without images, and what ``attacked`` raises.
    """
    require_eval_mode(model)
    count = clean_correct = classes = 0
    robust, flat = [0] * len(attacks), [0] * len(attacks)
    shape, warnings = (0, 0, 0), []
    for pixels, labels in batches:
        if not len(labels):
            continue
        check_pixels(pixels)
        with torch.no_grad():
            logits = answers(model, pixels)
        if not count:
            channels, height, width = pixels.shape[1:]
            shape, classes = (channels, height, width), logits.shape[1]
            warnings += _warnings_of_outputs(model, pixels, logits)
        correct = logits.argmax(dim=1) == labels
        indices = torch.arange(count, count + len(labels), device=pixels.device)[correct]
        for place, attack in enumerate(attacks if len(indices) else ()):
            outcome = attacked(model, pixels[correct], labels[correct], attack, seed=seed, indices=indices)
            robust[place] += int((~outcome.fooled).sum())
            flat[place] += int(outcome.flat.sum())
        count += len(labels)
        clean_correct += len(indices)
    if not count:
        raise DataError("There are no images to attack. Give labeled images that can be read.")
    results = tuple(
        RobustAccuracy(attack, count, clean_correct, *tally)
        for attack, *tally in zip(attacks, robust, flat, strict=True)
    )
    warnings += _warnings_of_outcomes(results, classes, math.prod(shape))
    return RobustnessReport(count, clean_correct / count, shape, results, tuple(warnings))


def standard_error(fraction: float, count: int) -> float:
    """That of a fraction of ``count`` independent images, sqrt(p (1 - p) / n)."""
    return math.sqrt(fraction * (1 - fraction) / count)


def _warnings_of_outputs(model: Model, pixels: Tensor, logits: Tensor) -> list[str]:
    """What the answers to the first batch give away."""
    warnings = []
    if (logits >= 0).all() and torch.allclose(logits.sum(dim=1), logits.new_ones(len(logits)), atol=1e-4):
        warnings.append(
            "The model's outputs are not negative and sum to 1: they look like probabilities. A softmax taken twice "
            "hides the gradient; give logits."
        )
    with torch.no_grad():
        again = model(pixels)
    if not torch.allclose(logits, again, rtol=1e-3, atol=1e-4):
        warnings.append(
            "The model answers the same images differently when asked again. An attack on one answer says nothing "
            "of the next: the accuracy under attack is too high."
        )
    return warnings


def _warnings_of_outcomes(results: Sequence[RobustAccuracy], classes: int, values: int) -> list[str]:
    """Signs of masked gradients (Athalye et al. 2018, section 3.1; Carlini et al. 2019)."""
    warnings = []
    flattest = max(results, key=lambda outcome: outcome.flat, default=None)
    if flattest and flattest.flat > FLAT_SHARE * flattest.clean_correct:
        warnings.append(
            f"On {flattest.flat} of {flattest.clean_correct} attacked images the loss has no gradient by the pixels "
            "at all, so an attack by gradient cannot move them: the accuracy under attack is too high."
        )
    for many in results:
        if many.attack.steps == 1:
            continue
        error = standard_error(many.robust_accuracy, many.count)
        for one in results:
            same = (one.attack.norm, one.attack.epsilon) == (many.attack.norm, many.attack.epsilon)
            if same and one.attack.steps == 1 and many.robust_accuracy - one.robust_accuracy > error:
                warnings.append(
                    f"At epsilon {many.attack.epsilon:.4g} ({many.attack.norm}) one step leaves "
                    f"{one.robust_accuracy:.4f} right and {many.attack.steps} steps leave {many.robust_accuracy:.4f}. "
                    "More steps should do no worse: the gradients may be masked, or the step size is wrong."
                )
        # With this much room every image can be made an even gray, of which no class can be told.
        enough = 0.5 if many.attack.norm == "linf" else 0.5 * math.sqrt(values)
        if many.attack.epsilon >= enough and many.robust_accuracy > 1 / classes + 2 * error:
            warnings.append(
                f"At epsilon {many.attack.epsilon:.4g} ({many.attack.norm}) any image can become an even gray, and "
                f"still {many.robust_accuracy:.4f} are right, where chance is {1 / classes:.4f}: the attack fails for "
                "another reason than robustness."
            )
    return warnings
