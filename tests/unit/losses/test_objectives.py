"""The objective of distillation and its published settings, against NumPy formulas."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from loss_references import kl, softmax
from noisystudent.errors import SettingsError
from noisystudent.losses.losses import smoothed_one_hot
from noisystudent.losses.objectives import (
    LossTerms,
    combine_teachers,
    distillation_objective,
    equivalent_smoothing,
    tempered_virtual_teacher,
)
from noisystudent.losses.presets import PRESETS
from noisystudent.losses.settings import TEACHER_FREE, DistillationSettings, Method

B, K, LABELED = 12, 7, 5


@pytest.fixture
def sample():
    """Logits of a student and of two teachers, and one-hot targets, in float64."""
    random = np.random.default_rng(0)
    targets = np.eye(K)[random.integers(0, K, B)]
    targets[LABELED:] = 0
    return random.normal(0, 3, (B, K)), random.normal(0, 3, (B, 2, K)), targets


def loss_of(sample, settings: DistillationSettings, *, teachers: int = 1, progress: float = 1.0) -> LossTerms:
    z, v, q = map(torch.from_numpy, sample)
    rows = settings.rows(LABELED, B)
    teacher_logits = v[rows, :teachers] if settings.needs_teacher else None
    return distillation_objective(z, q, LABELED, teacher_logits, settings, progress=progress)


def hard_term(sample) -> float:
    z, _, q = sample
    return float(-(q[:LABELED] * np.log(softmax(z[:LABELED]))).sum(axis=1).mean())


@pytest.mark.parametrize(
    ("applies_to", "rows"), [("both", slice(B)), ("labeled", slice(5)), ("unlabeled", slice(5, B))]
)
def test_soft_and_hard_terms_act_on_their_rows(sample, applies_to, rows):
    settings = DistillationSettings(
        method="kd", hard_weight=0.3, soft_weight=0.6, temperature=4.0, applies_to=applies_to
    )
    z, v, _ = sample
    soft = 16 * kl(softmax(v[rows, 0], 4.0), softmax(z[rows], 4.0)).mean()
    terms = loss_of(sample, settings)
    assert float(terms.loss) == pytest.approx(0.3 * hard_term(sample) + 0.6 * soft, rel=1e-6)
    assert {name: float(value) for name, value in terms.named.items()} == pytest.approx(
        {"hard": hard_term(sample), "soft": soft}, rel=1e-6
    )


def test_without_t_squared_and_averaged_over_classes(sample):
    plain = DistillationSettings(method="kd", hard_weight=0.0, soft_weight=1.0, temperature=5.0)
    unscaled = plain.model_copy(update={"scale_by_t_squared": False})
    averaged = plain.model_copy(update={"reduction": "elements"})
    assert float(loss_of(sample, unscaled).loss) == pytest.approx(float(loss_of(sample, plain).loss) / 25, rel=1e-6)
    assert float(loss_of(sample, averaged).loss) == pytest.approx(float(loss_of(sample, plain).loss) / K, rel=1e-6)


def test_the_soft_weight_rises_during_the_warmup(sample):
    settings = DistillationSettings(method="kd", hard_weight=0.0, soft_weight=1.0, warmup=0.25)
    full = float(loss_of(sample, settings).loss)
    assert float(loss_of(sample, settings, progress=0.1).loss) == pytest.approx(0.4 * full, rel=1e-6)
    assert float(loss_of(sample, settings, progress=0.5).loss) == pytest.approx(full, rel=1e-6)


def test_several_teachers_are_their_weighted_mean(sample):
    z, v, _ = sample
    weights = np.array([0.25, 0.75])
    common = {"method": "kd", "hard_weight": 0.0, "soft_weight": 1.0, "temperature": 3.0, "weights": (1.0, 3.0)}
    arithmetic = (softmax(v, 3.0) * weights[:, None]).sum(axis=1)
    terms = loss_of(sample, DistillationSettings(**common), teachers=2)
    assert float(terms.loss) == pytest.approx(9 * kl(arithmetic, softmax(z, 3.0)).mean(), rel=1e-6)
    geometric = softmax((v * weights[:, None]).sum(axis=1), 3.0)
    terms = loss_of(sample, DistillationSettings(**common, mean="geometric"), teachers=2)
    assert float(terms.loss) == pytest.approx(9 * kl(geometric, softmax(z, 3.0)).mean(), rel=1e-6)


def test_the_arithmetic_mean_of_several_teachers_holds_at_the_settings_temperature(sample):
    _, v, _ = sample
    settings = DistillationSettings(method="kd", temperature=3.0)
    logits = combine_teachers(torch.from_numpy(v), settings).numpy()
    np.testing.assert_allclose(softmax(logits, 3.0), softmax(v, 3.0).mean(axis=1), rtol=1e-9)


def test_hard_distillation_with_equal_weights(sample):
    z, v, _ = sample
    settings = DistillationSettings(preset="paper:touvron2021")
    of_teacher = -np.log(softmax(z))[np.arange(B), v[:, 0].argmax(axis=1)].mean()
    assert float(loss_of(sample, settings).loss) == pytest.approx(0.5 * hard_term(sample) + 0.5 * of_teacher, rel=1e-6)


def test_decoupled_distillation_uses_the_label_or_else_the_teachers_prediction(sample):
    z, v, q = sample
    settings = DistillationSettings(preset="paper:zhao2022", hard_weight=0.0)
    classes = np.concatenate([q[:LABELED].argmax(axis=1), v[LABELED:, 0].argmax(axis=1)])
    true = np.arange(B), classes
    p, t = softmax(z, 4.0), softmax(v[:, 0], 4.0)
    target = kl(np.stack([t[true], 1 - t[true]], 1), np.stack([p[true], 1 - p[true]], 1))
    mask = np.ones((B, K), bool)
    mask[true] = False
    p, t = p[mask].reshape(B, K - 1), t[mask].reshape(B, K - 1)
    others = kl(t / t.sum(1, keepdims=True), p / p.sum(1, keepdims=True))
    assert float(loss_of(sample, settings).loss) == pytest.approx(16 * (target + 8 * others).mean(), rel=1e-6)


def test_rank_relations(sample):
    z, v, _ = sample
    p, t = softmax(z, 4.0), softmax(v[:, 0], 4.0)
    rows = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(p, t, strict=True)])
    columns = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(p.T, t.T, strict=True)])
    expected = hard_term(sample) + 2 * 16 * (2 - rows - columns)
    assert float(loss_of(sample, DistillationSettings(preset="repo:dist-cifar")).loss) == pytest.approx(
        expected, rel=1e-6
    )


def test_standardized_logits(sample):
    z, v, _ = sample

    def standard(logits: np.ndarray) -> np.ndarray:
        return (logits - logits.mean(axis=1, keepdims=True)) / (1e-7 + logits.std(axis=1, ddof=1, keepdims=True))

    soft = 4 * kl(softmax(standard(v[:, 0]), 2.0), softmax(standard(z), 2.0)).mean()
    terms = loss_of(sample, DistillationSettings(preset="paper:sun2024"))
    assert float(terms.loss) == pytest.approx(0.1 * hard_term(sample) + 9 * soft, rel=1e-6)


def virtual(sample) -> np.ndarray:
    q = sample[2][:LABELED]
    return np.where(q == 1, 0.99, 0.01 / (K - 1))


def test_the_three_ways_to_temper_a_virtual_teacher(sample):
    z = sample[0][:LABELED]
    powered = virtual(sample) ** (1 / 20)
    targets = {
        "power": (powered / powered.sum(axis=1, keepdims=True), 20.0),
        "softmax": (softmax(virtual(sample), 20.0), 20.0),
        "released": (softmax(virtual(sample), 20.0), 1.0),
    }
    for tempering, (target, student_temperature) in targets.items():
        settings = DistillationSettings(preset="paper:yuan2020-reg", tempering=tempering)
        expected = 0.9 * hard_term(sample) + 0.1 * kl(target, softmax(z, student_temperature)).mean()
        assert float(loss_of(sample, settings).loss) == pytest.approx(expected, rel=1e-6)


def test_the_papers_figure_shows_power_tempering():
    """Ten classes at temperature 20: about 0.15 and 0.095 in Figure 3; the code has 0.1045 and 0.0995."""
    classes, settings = torch.tensor([0]), DistillationSettings(preset="paper:yuan2020-reg")
    targets = {
        tempering: tempered_virtual_teacher(classes, 10, settings.model_copy(update={"tempering": tempering}))[0, :2]
        for tempering in ("power", "released")
    }
    assert targets["power"].tolist() == pytest.approx([0.135, 0.096], abs=5e-4)
    assert targets["released"].tolist() == pytest.approx([0.1045, 0.0995], abs=5e-5)


def test_the_released_virtual_teacher_is_label_smoothing_of_a_scaled_loss(sample):
    """Its gradient equals that of matched smoothing up to rounding: the published gain includes another loss scale."""
    gradients = []
    for method in ("virtual_teacher", "matched_smoothing"):
        settings = DistillationSettings(preset="repo:tf-kd-reg-mobilenetv2", method=method)
        z = torch.from_numpy(sample[0]).requires_grad_()
        terms = distillation_objective(z, torch.from_numpy(sample[2]), LABELED, None, settings)
        gradients.append(torch.autograd.grad(terms.loss, z)[0])
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-5, atol=1e-9)
    smoothing = equivalent_smoothing(DistillationSettings(preset="repo:tf-kd-reg-mobilenetv2"), K)
    z = torch.from_numpy(sample[0]).requires_grad_()
    smoothed = smoothed_one_hot(torch.from_numpy(sample[2][:LABELED].argmax(axis=1)), K, smoothing.share)
    loss = smoothing.scale * -(smoothed * torch.log_softmax(z[:LABELED], dim=-1)).sum(dim=-1).mean()
    torch.testing.assert_close(torch.autograd.grad(loss, z)[0], gradients[0], rtol=1e-4, atol=1e-7)


# Released configurations for CIFAR-100: weight of the cross entropy, and of T^2 KL summed over classes.
TF_KD = {
    "repo:tf-kd": (0.05, 3.8),
    "repo:tf-kd-self-mobilenetv2": (0.05, 3.8),
    "repo:tf-kd-reversed": (0.4, 2.4),
    "repo:tf-kd-self-resnet18": (0.05, 17.1),
    "repo:tf-kd-self-googlenet": (0.6, 80.0),
    "repo:tf-kd-self-densenet121": (0.1, 180.0),
    "repo:tf-kd-self-resnext29": (0.1, 360.0),
    "repo:tf-kd-reg-mobilenetv2": (0.05, 0.0095),
    "repo:tf-kd-reg-resnet18": (0.9, 0.10),
    "repo:tf-kd-reg-googlenet": (0.9, 0.05),
}


@pytest.mark.parametrize("name", TF_KD)
def test_weights_of_the_released_tf_kd_code(name):
    settings = DistillationSettings(preset=name)
    assert settings.reduction == "elements"
    t_squared = settings.temperature**2 if settings.scale_by_t_squared else 1.0
    divergence_weight = settings.soft_weight * t_squared / 100
    assert (settings.hard_weight, divergence_weight) == pytest.approx(TF_KD[name], rel=1e-6)


# The label smoothing that the released regularization equals with 100 classes, and the scale of its loss.
@pytest.mark.parametrize(
    ("model", "share", "scale"), [("mobilenetv2", 0.16, 0.06), ("resnet18", 0.1, 1.0), ("googlenet", 0.05, 0.95)]
)
def test_the_released_regularization_equals_label_smoothing(model, share, scale):
    smoothing = equivalent_smoothing(DistillationSettings(preset=f"repo:tf-kd-reg-{model}"), 100)
    assert (smoothing.share, smoothing.scale) == pytest.approx((share, scale), abs=3e-3)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_loss_with_a_right_gradient(sample, name):
    settings = DistillationSettings(preset=name)
    assert settings.method != "none"
    z, v, q = map(torch.from_numpy, sample)
    rows = settings.rows(LABELED, B)
    teacher_logits = v[rows, :1] if settings.needs_teacher else None
    assert settings.needs_teacher == (settings.method not in TEACHER_FREE)

    def loss(logits):
        return distillation_objective(logits, q, LABELED, teacher_logits, settings).loss.double()

    z = z.requires_grad_()
    step, (gradient,) = 1e-3, torch.autograd.grad(loss(z), z)
    for row, column in ((0, 0), (2, 3), (4, 6)):
        shift = torch.zeros_like(z)
        shift[row, column] = step
        with torch.no_grad():
            slope = float(loss(z + shift) - loss(z - shift)) / (2 * step)
        # Hard terms are in float32, which limits the accuracy of a finite difference.
        assert float(gradient[row, column]) == pytest.approx(slope, rel=2e-3, abs=2e-3 * float(gradient.abs().max()))


def test_a_batch_without_labels_has_the_soft_term_only(sample):
    z, v, q = map(torch.from_numpy, sample)
    settings = DistillationSettings(method="kd", hard_weight=0.5, soft_weight=1.0, temperature=1.0)
    terms = distillation_objective(z, q, 0, v[:, :1], settings)
    assert list(terms.named) == ["soft"]
    assert float(terms.loss) == pytest.approx(kl(softmax(sample[1][:, 0]), softmax(sample[0])).mean(), rel=1e-6)


METHODS = [method for method in get_args(Method) if method != "none"]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_a_loss_of_its_own(sample, method):
    losses = {
        name: float(loss_of(sample, DistillationSettings(method=name, hard_weight=0.0, soft_weight=1.0)).loss)
        for name in METHODS
    }
    assert sum(loss == pytest.approx(losses[method], rel=1e-9) for loss in losses.values()) == 1


@pytest.mark.parametrize("method", sorted(set(METHODS) - set(TEACHER_FREE)))
def test_a_method_without_its_teacher_is_refused(sample, method):
    z, _, q = map(torch.from_numpy, sample)
    with pytest.raises(SettingsError, match=f"method {method} needs a teacher"):
        distillation_objective(z, q, LABELED, None, DistillationSettings(method=method))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"temperature": 0}, "greater than 0"),
        ({"temperature": -1}, "greater than 0"),
        ({"hard_weight": 0, "soft_weight": 0}, "hard_weight and soft_weight are both 0"),
        ({"hard_weight": -0.1}, "greater than or equal to 0"),
        ({"weights": (0.0, 0.0)}, "do not sum to 0"),
        ({"weights": (1.0,), "teachers": ("a", "b")}, "2 teachers and 1 weights"),
        ({"preset": "paper:hinton2016"}, "no preset 'paper:hinton2016'.*hinton2015"),
        ({"method": "virtual_teacher", "applies_to": "unlabeled"}, "needs labels and applies_to is unlabeled"),
        ({"method": "dkd", "dkd_alpha": 0, "dkd_beta": 0}, "nothing to learn"),
        ({"method": "dist", "dist_beta": 0, "dist_gamma": 0}, "nothing to learn"),
    ],
)
def test_bad_settings_are_named(values, message):
    with pytest.raises(ValidationError, match=message):
        DistillationSettings(**values)
