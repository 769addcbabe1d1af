"""Objectives in which the student's own answer to a weak view teaches it the strong view of the same image.

FixMatch (Sohn et al. 2020), FlexMatch (Zhang et al. 2021), FreeMatch (Wang et al. 2023), SoftMatch (Chen et al. 2023)
and Mean Teacher (Tarvainen and Valpola 2017), as their released code in USB computes them (semilearn 0.3.2). They
differ in how much an image counts: by a fixed threshold, thresholds per class, free thresholds, or a weight. What a
method remembers from step to step is in the buffers of its module. p are the probabilities of weak views, [U, K].
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noisystudent.losses.losses import apply_temperature, cross_entropy
from noisystudent.losses.objectives import LossTerms
from noisystudent.losses.settings import OnlineSettings

_ALIGNED = 1e-6  # added to both averages before they are divided, as in the released code
_LOGARITHM = 1e-12  # added before the logarithm of the fairness term, as in the released code
_TINY = 1e-20  # least variance, so that equal confidences do not divide by 0


def above_threshold(confidence: Tensor, threshold: Tensor | float) -> Tensor:
    """1 where a confidence is at least its threshold, else 0: float [U] (Sohn et al. 2020, equation 4)."""
    return (confidence >= threshold).to(confidence.dtype)


def flexible_thresholds(learned: Tensor, threshold: float) -> Tensor:
    """The threshold of each class, [K], from its learning effect b, 0 to 1, [K]: threshold b / (2 - b).

    This is the convex mapping function of Zhang et al. 2021 (curriculum pseudo labeling).
    """
    return threshold * learned / (2 - learned)


def learning_effects(counts: Tensor, *, warmup: bool) -> Tensor:
    """The learning effect of each class, [K], from 0 to 1 (Zhang et al. 2021, curriculum pseudo labeling).

    Args:
        counts: unlabeled images by what was learned of them, [1 + K]: first those of which nothing was, then those
            that were above the threshold, by their class.
        warmup: divide by the largest of all counts, not of the classes alone, so that thresholds rise slowly (the
            paper's threshold warm-up).
    """
    largest = counts.max() if warmup else counts[1:].max()
    return counts[1:] / largest.clamp_min(1)


def free_thresholds(confidence: Tensor, probabilities: Tensor) -> Tensor:
    """The threshold of each class, [K]: mean confidence times p(class) / max p (Wang et al. 2023, 4.1).

    Args:
        confidence: running mean of the largest probability, a scalar.
        probabilities: running mean of the probabilities, [K].
    """
    return confidence * probabilities / probabilities.max()


def truncated_gaussian(confidence: Tensor, mean: Tensor, variance: Tensor, deviations: float) -> Tensor:
    """The weight of each image, [U]: 1 above the mean confidence, below it exp(-d^2 n^2 / (2 variance)).

    d is the distance from the mean and n the number of ``deviations`` (Chen et al. 2023, section 3; n is 2 in the
    released code).
    """
    below = (confidence - mean).clamp(max=0.0)
    return torch.exp(-(below**2) * deviations**2 / (2 * variance.clamp_min(_TINY)))


def align(probabilities: Tensor, average: Tensor, target: Tensor) -> Tensor:
    """Probabilities times ``target`` / ``average`` [K], renormalized: [U, K] (Berthelot et al. 2020, section 3.1)."""
    aligned = probabilities * (target + _ALIGNED) / (average + _ALIGNED)
    return aligned / aligned.sum(dim=-1, keepdim=True)


def fairness(strong: Tensor, used: Tensor, average: Tensor, histogram: Tensor) -> Tensor:
    """The self-adaptive fairness of FreeMatch, a scalar to minimize (Wang et al. 2023, section 4.2).

    Minus the cross entropy between two distributions over the classes, each divided by how often a class is predicted:
    the running one of weak views, and that of the strong views in use. 0 where none is in use.

    Args:
        strong: logits of strong views, [U, K].
        used: 1 for those in use, else 0, [U].
        average: running mean of the probabilities of weak views, [K].
        histogram: running share of each class among the predictions for weak views, [K].
    """
    probabilities = torch.softmax(strong.float(), dim=-1)
    number = used.sum().clamp_min(1)
    predicted = F.one_hot(probabilities.argmax(dim=-1), strong.shape[-1]).to(used.dtype)
    wanted = average * _inverse(histogram)
    shown = (used @ probabilities) / number * _inverse((used @ predicted) / number)
    total = shown.sum()
    shown = shown / torch.where(total > 0, total, torch.ones_like(total))
    term = (wanted / wanted.sum() * torch.log(shown + _LOGARITHM)).sum()
    return torch.where(used.sum() > 0, term, torch.zeros_like(term))


def _inverse(shares: Tensor) -> Tensor:
    """1 / share, and 0 for 0."""
    return torch.where(shares > 0, 1 / shares.clamp_min(torch.finfo(shares.dtype).tiny), torch.zeros_like(shares))


def squared_difference(strong: Tensor, weak: Tensor) -> Tensor:
    """The mean square of the difference of probabilities, of logits [U, K] each: a scalar.

    Tarvainen and Valpola 2017, section 2. No gradient flows into ``weak``.
    """
    return F.mse_loss(torch.softmax(strong.float(), dim=-1), torch.softmax(weak.detach().float(), dim=-1))


class FixedThreshold(nn.Module):
    """FixMatch: an image counts if its confidence reaches the threshold."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self._threshold = threshold

    def forward(self, probabilities: Tensor, positions: Tensor) -> Tensor:
        """The weight of each image, [U]."""
        return above_threshold(probabilities.amax(dim=-1), self._threshold)


class FlexibleThresholds(nn.Module):
    """FlexMatch: the threshold of a class rises with the number of images that the student has learned of it."""

    learned: Tensor
    counts: Tensor
    effects: Tensor

    def __init__(self, threshold: float, *, warmup: bool, classes: int, unlabeled: int) -> None:
        """``unlabeled`` is the number of unlabeled images; ``learned`` has the class of each, -1 for none yet.

        ``counts`` says how many images have each class, first none. A step changes it by its own images alone, so its
        cost does not depend on the number of unlabeled images.
        """
        super().__init__()
        self._threshold, self._warmup, self._classes = threshold, warmup, classes
        self.register_buffer("learned", torch.full((unlabeled,), -1, dtype=torch.int32))
        self.register_buffer("counts", torch.tensor([unlabeled, *[0] * classes]))
        self.register_buffer("effects", torch.zeros(classes))

    def forward(self, probabilities: Tensor, positions: Tensor) -> Tensor:
        """The weight of each image, [U]; ``positions`` (int64 [U]) say which images these are."""
        confidence, classes = probabilities.max(dim=-1)
        weights = above_threshold(confidence, flexible_thresholds(self.effects, self._threshold)[classes])
        sure = confidence >= self._threshold
        seen = torch.unique(positions)  # an image may be in a batch twice, at the end of an epoch
        before = self._counts_of(seen)
        self.learned[positions[sure]] = classes[sure].to(self.learned.dtype)
        self.counts += self._counts_of(seen) - before
        effects = learning_effects(self.counts, warmup=self._warmup)
        self.effects.copy_(torch.where(self.counts.max() < len(self.learned), effects, self.effects))
        return weights

    def _counts_of(self, positions: Tensor) -> Tensor:
        return torch.bincount(self.learned[positions] + 1, minlength=1 + self._classes)


class FreeThresholds(nn.Module):
    """FreeMatch: thresholds follow the mean confidence, and per class the mean probability."""

    confidence: Tensor
    average: Tensor
    histogram: Tensor

    def __init__(self, momentum: float, *, classes: int) -> None:
        super().__init__()
        self._momentum = momentum
        uniform = torch.full((classes,), 1 / classes)
        self.register_buffer("confidence", uniform.mean())
        self.register_buffer("average", uniform.clone())
        self.register_buffer("histogram", uniform.clone())

    def forward(self, probabilities: Tensor, positions: Tensor) -> Tensor:
        """The weight of each image, [U], after the averages have moved."""
        confidence, classes = probabilities.max(dim=-1)
        shares = torch.bincount(classes, minlength=len(self.average)) / len(classes)
        _move(self.confidence, confidence.mean(), self._momentum)
        _move(self.average, probabilities.mean(dim=0), self._momentum)
        _move(self.histogram, shares, self._momentum)
        return above_threshold(confidence, free_thresholds(self.confidence, self.average)[classes])


class SoftWeights(nn.Module):
    """SoftMatch: every image counts, the less the further its confidence is below the mean."""

    mean: Tensor
    variance: Tensor

    def __init__(self, momentum: float, *, deviations: float, classes: int) -> None:
        super().__init__()
        self._momentum, self._deviations = momentum, deviations
        self.register_buffer("mean", torch.tensor(1 / classes))
        self.register_buffer("variance", torch.tensor(1.0))

    def forward(self, probabilities: Tensor, positions: Tensor) -> Tensor:
        """The weight of each image, [U], after the averages have moved; U is at least 2."""
        confidence = probabilities.amax(dim=-1)
        _move(self.mean, confidence.mean(), self._momentum)
        _move(self.variance, confidence.var(), self._momentum)
        return truncated_gaussian(confidence, self.mean, self.variance, self._deviations)


class Alignment(nn.Module):
    """Distribution alignment: predictions are rescaled so that their average is uniform, or that of labeled images."""

    average: Tensor
    target: Tensor
    started: Tensor

    def __init__(self, momentum: float, *, to_labeled: bool, classes: int) -> None:
        super().__init__()
        self._momentum, self._to_labeled = momentum, to_labeled
        uniform = torch.full((classes,), 1 / classes)
        self.register_buffer("average", uniform.clone())
        self.register_buffer("target", uniform.clone())
        self.register_buffer("started", torch.tensor(False))

    def forward(self, probabilities: Tensor, labeled: Tensor) -> Tensor:
        """Aligned p, [U, K], after the averages have moved; ``labeled`` are probabilities of labeled images, [L, K]."""
        mean = probabilities.mean(dim=0)
        self.average.copy_(torch.where(self.started, self.average, mean))
        _move(self.average, mean, self._momentum)
        self.started.fill_(True)
        if self._to_labeled:
            _move(self.target, labeled.mean(dim=0), self._momentum)
        return align(probabilities, self.average, self.target)


def _move(average: Tensor, value: Tensor, momentum: float) -> None:
    """Moves a running mean by 1 - ``momentum`` of the way to a value."""
    average.mul_(momentum).add_((1 - momentum) * value)


class OnlineObjective(nn.Module):
    """The objective of an online student: labeled loss plus weight times unlabeled loss.

    Its buffers hold what the method remembers. They are part of the state of a training that resumes.
    """

    def __init__(self, settings: OnlineSettings, *, classes: int, unlabeled: int) -> None:
        """Makes the objective with nothing learned yet.

        Args:
            settings: the method and its parameters; the method is not none.
            classes: number of classes K.
            unlabeled: number of unlabeled images.
        """
        super().__init__()
        assert settings.method != "none"
        self._settings = settings
        self.weighting = _weighting(settings, classes, unlabeled)
        aligned_to = settings.aligned_to
        self.alignment = (
            Alignment(settings.momentum, to_labeled=aligned_to == "labeled", classes=classes)
            if aligned_to != "none"
            else None
        )

    def forward(
        self, labeled: Tensor, targets: Tensor, weak: Tensor, strong: Tensor, positions: Tensor, progress: float
    ) -> LossTerms:
        """The loss of a batch; what the method remembers moves on.

        Args:
            labeled: logits of labeled images, [L, K].
            targets: their target probabilities, [L, K].
            weak: logits of weak views, by student or average, [U, K]; no gradient flows into them.
            strong: the student's logits of strong views of the same images, [U, K].
            positions: which unlabeled images these are, int64 [U], from 0.
            progress: fraction of the training that is done, 0 to 1.
        """
        on_labeled = cross_entropy(labeled, targets).mean()
        if self._settings.method == "mean_teacher":
            on_unlabeled = squared_difference(strong, weak)
            ramp = min(progress / self._settings.ramp, 1.0) if self._settings.ramp else 1.0
            loss = on_labeled + self._settings.unlabeled_weight * ramp * on_unlabeled
            return LossTerms(loss, {"labeled": on_labeled.detach(), "unlabeled": on_unlabeled.detach()})
        soft_labels, weights = self._pseudo_labels(labeled.detach().float(), weak.detach().float(), positions)
        on_unlabeled = (weights * cross_entropy(strong, soft_labels)).mean()
        loss = on_labeled + self._settings.unlabeled_weight * on_unlabeled
        named = {"labeled": on_labeled.detach(), "unlabeled": on_unlabeled.detach(), "used": weights.mean()}
        if isinstance(self.weighting, FreeThresholds):
            fair = fairness(strong, weights, self.weighting.average, self.weighting.histogram)
            loss, named["fairness"] = loss + self._settings.fairness * fair, fair.detach()
        return LossTerms(loss, named)

    @torch.no_grad()
    def _pseudo_labels(self, labeled: Tensor, weak: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """The targets of strong views, [U, K], and the weight of each image, [U]."""
        assert self.weighting is not None
        probabilities = torch.softmax(weak, dim=-1)
        aligned: Tensor = (
            self.alignment(probabilities, torch.softmax(labeled, dim=-1)) if self.alignment else probabilities
        )
        weights: Tensor = self.weighting(aligned, positions)
        # SoftMatch aligns what it weighs, not what it teaches (Chen et al. 2023, uniform alignment).
        taught = probabilities if self._settings.method == "softmatch" else aligned
        if self._settings.labels == "hard":
            return F.one_hot(taught.argmax(dim=-1), taught.shape[-1]).float(), weights
        return apply_temperature(taught.log(), self._settings.temperature), weights


def _weighting(settings: OnlineSettings, classes: int, unlabeled: int) -> nn.Module | None:
    """What says how much each image counts; None for Mean Teacher, in which all do."""
    match settings.method:
        case "fixmatch":
            return FixedThreshold(settings.threshold)
        case "flexmatch":
            warmup = settings.threshold_warmup
            return FlexibleThresholds(settings.threshold, warmup=warmup, classes=classes, unlabeled=unlabeled)
        case "freematch":
            return FreeThresholds(settings.momentum, classes=classes)
        case "softmatch":
            return SoftWeights(settings.momentum, deviations=settings.deviations, classes=classes)
        case _:
            return None
