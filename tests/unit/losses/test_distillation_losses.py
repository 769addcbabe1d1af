"""The distillation losses against NumPy formulas, and the identities between them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from loss_references import kl, softmax
from noisystudent.errors import SettingsError
from noisystudent.losses.losses import (
    arithmetic_mean,
    confidence_penalty,
    cross_entropy,
    decoupled_loss,
    decoupled_parts,
    divergence,
    geometric_mean,
    hard_target_loss,
    relational_loss,
    smoothed_one_hot,
    soft_target_loss,
    softened,
    standardized,
    virtual_teacher,
)

B, K = 12, 7


@pytest.fixture
def sample() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits of a student and a teacher, and classes, in float64."""
    random = np.random.default_rng(0)
    return random.normal(0, 3, (B, K)), random.normal(0, 3, (B, K)), random.integers(0, K, B)


def tensors(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(array) for array in arrays]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
def test_soft_targets_are_t_squared_times_the_divergence(sample, temperature):
    z, v, _ = sample
    expected = temperature**2 * kl(softmax(v, temperature), softmax(z, temperature))
    np.testing.assert_allclose(soft_target_loss(*tensors(z, v), temperature), expected, rtol=1e-9)
    np.testing.assert_allclose(softened(*tensors(v), temperature), softmax(v, temperature), rtol=1e-12)


def test_divergence_takes_targets_as_they_are_and_zeros_among_them(sample):
    z, _, classes = sample
    one_hot = np.eye(K)[classes]
    np.testing.assert_allclose(divergence(*tensors(z, one_hot)), -np.log(softmax(z)[np.arange(B), classes]), rtol=1e-9)
    losses = divergence(torch.from_numpy(z), torch.from_numpy(one_hot).float())
    assert torch.isfinite(losses).all()


def test_hot_soft_targets_match_centered_logits(sample):
    z, v, _ = sample
    centered = (z - z.mean(1, keepdims=True)) - (v - v.mean(1, keepdims=True))
    limit = (centered**2).sum(axis=1) / (2 * K)
    for temperature, bound in ((100.0, 0.1), (1000.0, 0.01), (10000.0, 0.001)):
        losses = soft_target_loss(*tensors(z, v), temperature).numpy()
        assert np.abs(losses / limit - 1).max() < bound


def test_the_gradient_of_soft_targets_is_t_times_the_difference_of_probabilities(sample):
    z, v, _ = sample
    student, teacher = tensors(z, v)
    student.requires_grad_()
    soft_target_loss(student, teacher, 4.0).sum().backward()
    np.testing.assert_allclose(student.grad, 4.0 * (softmax(z, 4.0) - softmax(v, 4.0)), atol=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_decoupled_parts_sum_to_the_divergence(sample, temperature):
    z, v, classes = sample
    p, q = softmax(z, temperature), softmax(v, temperature)
    rows = np.arange(B)
    true_p, true_q = p[rows, classes], q[rows, classes]
    target = kl(np.stack([true_q, 1 - true_q], 1), np.stack([true_p, 1 - true_p], 1))
    p_rest, q_rest = (np.stack([np.delete(x[row], classes[row]) for row in range(B)]) for x in (p, q))
    other = kl(q_rest / q_rest.sum(1, keepdims=True), p_rest / p_rest.sum(1, keepdims=True))
    target_class, other_classes = decoupled_parts(*tensors(z, v, classes), temperature)
    np.testing.assert_allclose(target_class, target, rtol=1e-8)
    np.testing.assert_allclose(other_classes, other, rtol=1e-8)
    np.testing.assert_allclose(target + (1 - true_q) * other, kl(q, p), rtol=1e-9)
    loss = decoupled_loss(*tensors(z, v, classes), alpha=1.0, beta=8.0, temperature=temperature)
    np.testing.assert_allclose(loss, temperature**2 * (target + 8 * other), rtol=1e-8)


def test_a_certain_teacher_gives_finite_losses_of_the_other_classes():
    logits, teacher = torch.zeros(2, K), torch.full((2, K), -60.0)
    teacher[:, 0] = 60.0
    target, other = decoupled_parts(logits.requires_grad_(), teacher, torch.zeros(2, dtype=torch.long), 1.0)
    (target + other).sum().backward()
    assert torch.isfinite(target).all()
    assert torch.isfinite(other).all()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_relations_are_mean_correlations_of_images_and_of_classes(sample, temperature):
    z, v, _ = sample
    p, q = softmax(z, temperature), softmax(v, temperature)
    rows = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(p, q, strict=True)])
    columns = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(p.T, q.T, strict=True)])
    loss = relational_loss(*tensors(z, v), beta=2.0, gamma=0.5, temperature=temperature)
    assert float(loss) == pytest.approx(temperature**2 * (2 * (1 - rows) + 0.5 * (1 - columns)), rel=1e-7)
    # Equal networks have correlation 1, so the loss is 0.
    assert float(relational_loss(*tensors(v, v), beta=1.0, gamma=1.0, temperature=temperature)) == pytest.approx(
        0, abs=1e-9
    )


def test_relations_of_two_classes_are_refused():
    with pytest.raises(SettingsError, match="2 classes"):
        relational_loss(torch.zeros(3, 2), torch.zeros(3, 2), beta=1.0, gamma=1.0, temperature=1.0)


def test_standardized_logits_have_mean_0_and_deviation_1(sample):
    z, _, _ = sample
    expected = (z - z.mean(1, keepdims=True)) / z.std(1, ddof=1, keepdims=True)
    np.testing.assert_allclose(standardized(*tensors(z)), expected, rtol=1e-6)
    np.testing.assert_allclose(standardized(torch.from_numpy(5 * z - 3)), expected, rtol=1e-6)


def test_the_confidence_penalty_goes_from_0_to_the_logarithm_of_the_number_of_classes(sample):
    z, _, _ = sample
    p = softmax(z)
    np.testing.assert_allclose(confidence_penalty(*tensors(z)), kl(p, np.full_like(p, 1 / K)), rtol=1e-8)
    assert float(confidence_penalty(torch.zeros(1, K))) == pytest.approx(0, abs=1e-6)
    assert float(confidence_penalty(1000 * torch.eye(K)[:1])) == pytest.approx(np.log(K))


def test_hard_targets_are_the_teachers_most_probable_class(sample):
    z, v, _ = sample
    expected = -np.log(softmax(z)[np.arange(B), v.argmax(axis=1)])
    np.testing.assert_allclose(hard_target_loss(*tensors(z, v)), expected, rtol=1e-9)


def test_a_virtual_teacher_is_label_smoothing_at_temperature_1(sample):
    """Yuan et al. 2020: (1 - a) H(q, p) + a KL(p^d || p) is cross entropy with smoothed labels, plus a constant."""
    z, _, classes = sample
    weight, probability = 0.3, 0.9
    student, labels = tensors(z, classes)
    teacher = virtual_teacher(labels, K, probability).double()
    assert torch.allclose(teacher.sum(dim=1), torch.ones(B).double())
    assert torch.allclose(teacher[torch.arange(B), labels], torch.full((B,), probability).double())
    entropy = -(teacher * teacher.log()).sum(dim=1)
    one_hot = smoothed_one_hot(labels, K, 0.0).double()
    loss = (1 - weight) * cross_entropy(student, one_hot) + weight * divergence(student, teacher)
    smoothing = weight * (1 - probability) * K / (K - 1)  # this probability mass is spread evenly over all classes
    smoothed = cross_entropy(student, smoothed_one_hot(labels, K, smoothing).double())
    torch.testing.assert_close(loss + weight * entropy, smoothed.double(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("temperature", [0.7, 1.0, 5.0])
def test_means_of_teachers(sample, temperature):
    z, v, _ = sample
    w = np.arange(z.size).reshape(z.shape) % 5 - 2.0
    weights = [1.0, 2.0, 1.0]
    p, q, r = (softmax(logits, temperature) for logits in (z, v, w))
    arithmetic = 0.25 * p + 0.5 * q + 0.25 * r
    np.testing.assert_allclose(arithmetic_mean(tensors(z, v, w), weights, temperature), arithmetic, rtol=1e-9)
    product = p**0.25 * q**0.5 * r**0.25
    geometric = product / product.sum(axis=1, keepdims=True)
    mean = softened(geometric_mean(tensors(z, v, w), weights), temperature)
    np.testing.assert_allclose(mean, geometric, rtol=1e-9)


@pytest.mark.parametrize("weights", [[0.0, 0.0], [1.0, -1.0], [2.0, -1.0]])
def test_weights_that_make_no_mean_are_refused(weights):
    with pytest.raises(SettingsError, match="weights of teachers"):
        geometric_mean([torch.zeros(1, 3)] * 2, weights)


@pytest.mark.parametrize(
    "loss",
    [
        lambda z, v, y: soft_target_loss(z, v, 4.0),
        lambda z, v, y: decoupled_loss(z, v, y, alpha=1.0, beta=8.0, temperature=4.0),
        lambda z, v, y: relational_loss(z, v, beta=1.0, gamma=1.0, temperature=4.0),
        lambda z, v, y: soft_target_loss(standardized(z), standardized(v), 2.0),
        lambda z, v, y: confidence_penalty(z),
        lambda z, v, y: hard_target_loss(z, v),
        lambda z, v, y: divergence(z, softened(v, 3.0), 3.0),
    ],
    ids=["soft", "decoupled", "relational", "standardized", "penalty", "hard", "divergence"],
)
def test_gradients_are_those_of_finite_differences(sample, loss):
    z, v, classes = sample
    teacher, labels = tensors(v, classes)
    student = torch.from_numpy(z).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, teacher, labels), (student,), eps=1e-6, atol=1e-6)


def test_half_precision_logits_are_converted_to_float32():
    half = torch.randn(4, K).bfloat16()
    for result in (soft_target_loss(half, half, 4.0), confidence_penalty(half), standardized(half)):
        assert result.dtype == torch.float32
