"""The objective of distillation and its published settings, against formulas written here in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from loss_references import kl, softmax
from noisystudent.losses.losses import smoothed_one_hot
from noisystudent.losses.objectives import (
    LossTerms,
    distillation_objective,
    equivalent_smoothing,
    merged,
    tempered_virtual_teacher,
)
from noisystudent.losses.presets import PRESETS
from noisystudent.losses.settings import TEACHER_FREE, DistillationSettings

B, K, LABELED = 12, 7, 5


@pytest.fixture
def given():
    """Logits of a student and of two teachers, and one-hot targets, in float64."""
    random = np.random.default_rng(0)
    targets = np.eye(K)[random.integers(0, K, B)]
    targets[LABELED:] = 0
    return random.normal(0, 3, (B, K)), random.normal(0, 3, (B, 2, K)), targets


def loss_of(given, settings: DistillationSettings, *, teachers: int = 1, progress: float = 1.0) -> LossTerms:
    z, v, q = (torch.from_numpy(each) for each in given)
    rows = settings.rows(LABELED, B)
    taught = v[rows, :teachers] if settings.taught else None
    return distillation_objective(z, q, LABELED, taught, settings, progress=progress)


def hard_part(given) -> float:
    z, _, q = given
    return float(-(q[:LABELED] * np.log(softmax(z[:LABELED]))).sum(axis=1).mean())


@pytest.mark.parametrize(("on", "rows"), [("both", slice(B)), ("labeled", slice(5)), ("unlabeled", slice(5, B))])
def test_soft_and_hard_targets_each_on_their_rows(given, on, rows):
    settings = DistillationSettings(method="kd", hard_weight=0.3, soft_weight=0.6, temperature=4.0, applies_to=on)
    z, v, _ = given
    soft = 16 * kl(softmax(v[rows, 0], 4.0), softmax(z[rows], 4.0)).mean()
    terms = loss_of(given, settings)
    assert float(terms.loss) == pytest.approx(0.3 * hard_part(given) + 0.6 * soft, rel=1e-6)
    assert {name: float(value) for name, value in terms.named.items()} == pytest.approx(
        {"hard": hard_part(given), "soft": soft}, rel=1e-6
    )


def test_without_t_squared_and_averaged_over_classes(given):
    whole = DistillationSettings(method="kd", hard_weight=0.0, soft_weight=1.0, temperature=5.0)
    plain, averaged = (whole.model_copy(update=each) for each in ({"squared": False}, {"reduction": "elements"}))
    assert float(loss_of(given, plain).loss) == pytest.approx(float(loss_of(given, whole).loss) / 25, rel=1e-6)
    assert float(loss_of(given, averaged).loss) == pytest.approx(float(loss_of(given, whole).loss) / K, rel=1e-6)


def test_the_weight_rises_over_the_ramp(given):
    settings = DistillationSettings(method="kd", hard_weight=0.0, soft_weight=1.0, warmup=0.25)
    whole = float(loss_of(given, settings).loss)
    assert float(loss_of(given, settings, progress=0.1).loss) == pytest.approx(0.4 * whole, rel=1e-6)
    assert float(loss_of(given, settings, progress=0.5).loss) == pytest.approx(whole, rel=1e-6)


def test_several_teachers_are_their_weighted_mean(given):
    z, v, _ = given
    shares = np.array([0.25, 0.75])
    kept = {"method": "kd", "hard": 0.0, "soft": 1.0, "temperature": 3.0, "weights": (1.0, 3.0)}
    mean = (softmax(v, 3.0) * shares[:, None]).sum(axis=1)
    found = loss_of(given, DistillationSettings(**kept), teachers=2)
    assert float(found.loss) == pytest.approx(9 * kl(mean, softmax(z, 3.0)).mean(), rel=1e-6)
    joint = softmax((v * shares[:, None]).sum(axis=1), 3.0)
    found = loss_of(given, DistillationSettings(**kept, mean="geometric"), teachers=2)
    assert float(found.loss) == pytest.approx(9 * kl(joint, softmax(z, 3.0)).mean(), rel=1e-6)


def test_the_arithmetic_mean_of_several_is_that_at_the_settings_temperature(given):
    _, v, _ = given
    settings = DistillationSettings(method="kd", temperature=3.0)
    one = merged(torch.from_numpy(v), settings).numpy()
    np.testing.assert_allclose(softmax(one, 3.0), softmax(v, 3.0).mean(axis=1), rtol=1e-9)


def test_hard_distillation_of_halves(given):
    z, v, _ = given
    settings = DistillationSettings(preset="paper:touvron2021")
    of_teacher = -np.log(softmax(z))[np.arange(B), v[:, 0].argmax(axis=1)].mean()
    assert float(loss_of(given, settings).loss) == pytest.approx(0.5 * hard_part(given) + 0.5 * of_teacher, rel=1e-6)


def test_decoupled_distillation_takes_the_label_or_else_the_teachers_choice(given):
    z, v, q = given
    settings = DistillationSettings(preset="paper:zhao2022", hard_weight=0.0)
    classes = np.concatenate([q[:LABELED].argmax(axis=1), v[LABELED:, 0].argmax(axis=1)])
    own = np.arange(B), classes
    p, t = softmax(z, 4.0), softmax(v[:, 0], 4.0)
    target = kl(np.stack([t[own], 1 - t[own]], 1), np.stack([p[own], 1 - p[own]], 1))
    mask = np.ones((B, K), bool)
    mask[own] = False
    p, t = (each[mask].reshape(B, K - 1) for each in (p, t))
    others = kl(t / t.sum(1, keepdims=True), p / p.sum(1, keepdims=True))
    assert float(loss_of(given, settings).loss) == pytest.approx(16 * (target + 8 * others).mean(), rel=1e-6)


def test_rank_relations(given):
    z, v, _ = given
    p, t = softmax(z, 4.0), softmax(v[:, 0], 4.0)
    rows = np.mean([np.corrcoef(one, other)[0, 1] for one, other in zip(p, t, strict=True)])
    columns = np.mean([np.corrcoef(one, other)[0, 1] for one, other in zip(p.T, t.T, strict=True)])
    expected = hard_part(given) + 2 * 16 * (2 - rows - columns)
    assert float(loss_of(given, DistillationSettings(preset="repo:dist-cifar")).loss) == pytest.approx(
        expected, rel=1e-6
    )


def test_standardized_logits(given):
    z, v, _ = given

    def standard(each: np.ndarray) -> np.ndarray:
        return (each - each.mean(axis=1, keepdims=True)) / (1e-7 + each.std(axis=1, ddof=1, keepdims=True))

    soft = 4 * kl(softmax(standard(v[:, 0]), 2.0), softmax(standard(z), 2.0)).mean()
    found = loss_of(given, DistillationSettings(preset="paper:sun2024"))
    assert float(found.loss) == pytest.approx(0.1 * hard_part(given) + 9 * soft, rel=1e-6)


def virtual(given) -> np.ndarray:
    q = given[2][:LABELED]
    return np.where(q == 1, 0.99, 0.01 / (K - 1))


def test_the_three_readings_of_a_virtual_teacher(given):
    z = given[0][:LABELED]
    powered = virtual(given) ** (1 / 20)
    targets = {
        "power": (powered / powered.sum(axis=1, keepdims=True), 20.0),
        "softmax": (softmax(virtual(given), 20.0), 20.0),
        "released": (softmax(virtual(given), 20.0), 1.0),
    }
    for reading, (target, student_temperature) in targets.items():
        settings = DistillationSettings(preset="paper:yuan2020-reg", tempering=reading)
        expected = 0.9 * hard_part(given) + 0.1 * kl(target, softmax(z, student_temperature)).mean()
        assert float(loss_of(given, settings).loss) == pytest.approx(expected, rel=1e-6)


def test_what_the_papers_figure_shows_is_the_power_reading():
    """Ten classes at temperature 20: about 0.15 and 0.095 in Figure 3; the code has 0.1045 and 0.0995."""
    classes, settings = torch.tensor([0]), DistillationSettings(preset="paper:yuan2020-reg")
    targets = {
        reading: tempered_virtual_teacher(classes, 10, settings.model_copy(update={"reading": reading}))[0, :2].tolist()
        for reading in ("power", "released")
    }
    assert targets["power"] == pytest.approx([0.135, 0.096], abs=5e-4)
    assert targets["released"] == pytest.approx([0.1045, 0.0995], abs=5e-5)


def test_the_released_virtual_teacher_is_label_smoothing_of_a_scaled_loss(given):
    """Its gradient is that of the matched smoothing, to rounding: the published gain has another loss scale in it."""
    gradients = []
    for method in ("virtual_teacher", "matched_smoothing"):
        settings = DistillationSettings(preset="repo:tf-kd-reg-mobilenetv2", method=method)
        z = torch.from_numpy(given[0]).requires_grad_()
        terms = distillation_objective(z, torch.from_numpy(given[2]), LABELED, None, settings)
        gradients.append(torch.autograd.grad(terms.loss, z)[0])
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-5, atol=1e-9)
    smoothing = equivalent_smoothing(DistillationSettings(preset="repo:tf-kd-reg-mobilenetv2"), K)
    z = torch.from_numpy(given[0]).requires_grad_()
    smoothed = smoothed_one_hot(torch.from_numpy(given[2][:LABELED].argmax(axis=1)), K, smoothing.share)
    loss = smoothing.scale * -(smoothed * torch.log_softmax(z[:LABELED], dim=-1)).sum(dim=-1).mean()
    torch.testing.assert_close(torch.autograd.grad(loss, z)[0], gradients[0], rtol=1e-4, atol=1e-7)


# Of the released configurations for CIFAR-100: weight on the cross entropy, and on T^2 KL summed over classes.
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
    on_divergence = settings.soft * (settings.temperature**2 if settings.squared else 1.0) / 100
    assert (settings.hard, on_divergence) == pytest.approx(TF_KD[name], rel=1e-6)


# How much label smoothing the released regularization comes to with 100 classes, and how large its loss is.
@pytest.mark.parametrize(
    ("model", "share", "scale"), [("mobilenetv2", 0.16, 0.06), ("resnet18", 0.1, 1.0), ("googlenet", 0.05, 0.95)]
)
def test_the_released_regularization_comes_to_label_smoothing(model, share, scale):
    found = equivalent_smoothing(DistillationSettings(preset=f"repo:tf-kd-reg-{model}"), 100)
    assert (found.share, found.scale) == pytest.approx((share, scale), abs=3e-3)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_loss_with_a_right_gradient(given, name):
    settings = DistillationSettings(preset=name)
    assert settings.method != "none"
    z, v, q = (torch.from_numpy(each) for each in given)
    rows = settings.rows(LABELED, B)
    taught = v[rows, :1] if settings.taught else None
    assert settings.taught == (settings.method not in TEACHER_FREE)

    def loss(logits):
        return distillation_objective(logits, q, LABELED, taught, settings).loss.double()

    z = z.requires_grad_()
    step, (gradient,) = 1e-3, torch.autograd.grad(loss(z), z)
    for row, column in ((0, 0), (2, 3), (4, 6)):
        shift = torch.zeros_like(z)
        shift[row, column] = step
        with torch.no_grad():
            slope = float(loss(z + shift) - loss(z - shift)) / (2 * step)
        # Hard parts are in float32, which bounds what a difference can show.
        assert float(gradient[row, column]) == pytest.approx(slope, rel=2e-3, abs=2e-3 * float(gradient.abs().max()))


def test_only_unlabeled_images_have_a_soft_part_alone(given):
    z, v, q = (torch.from_numpy(each) for each in given)
    settings = DistillationSettings(method="kd", hard_weight=0.5, soft_weight=1.0, temperature=1.0)
    terms = distillation_objective(z, q, 0, v[:, :1], settings)
    assert list(terms.named) == ["soft"]
    assert float(terms.loss) == pytest.approx(kl(softmax(given[1][:, 0]), softmax(given[0])).mean(), rel=1e-6)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"temperature": 0}, "greater than 0"),
        ({"temperature": -1}, "greater than 0"),
        ({"hard": 0, "soft": 0}, "hard and soft are both 0"),
        ({"hard": -0.1}, "greater than or equal to 0"),
        ({"weights": (0.0, 0.0)}, "do not sum to 0"),
        ({"weights": (1.0,), "teachers": ("a", "b")}, "2 teachers and 1 weights"),
        ({"preset": "paper:hinton2016"}, "no preset 'paper:hinton2016'.*hinton2015"),
        ({"method": "virtual_teacher", "on": "unlabeled"}, "made from labels"),
        ({"method": "dkd", "dkd_alpha": 0, "dkd_beta": 0}, "nothing to learn"),
        ({"method": "dist", "dist_beta": 0, "dist_gamma": 0}, "nothing to learn"),
    ],
)
def test_bad_settings_are_named(told, message):
    with pytest.raises(ValidationError, match=message):
        DistillationSettings(**told)
