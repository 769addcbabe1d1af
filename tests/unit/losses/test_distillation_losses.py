"""Every loss of distillation against a formula written here in NumPy, and the identities between them."""

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
def given() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits of a student and a teacher, and classes, in float64."""
    random = np.random.default_rng(0)
    return random.normal(0, 3, (B, K)), random.normal(0, 3, (B, K)), random.integers(0, K, B)


def tensors(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(array) for array in arrays]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
def test_soft_targets_are_t_squared_times_the_divergence(given, temperature):
    z, v, _ = given
    expected = temperature**2 * kl(softmax(v, temperature), softmax(z, temperature))
    np.testing.assert_allclose(soft_target_loss(*tensors(z, v), temperature), expected, rtol=1e-9)
    np.testing.assert_allclose(softened(*tensors(v), temperature), softmax(v, temperature), rtol=1e-12)


def test_divergence_takes_targets_as_they_are_and_zeros_among_them(given):
    z, _, classes = given
    one_hot = np.eye(K)[classes]
    np.testing.assert_allclose(divergence(*tensors(z, one_hot)), -np.log(softmax(z)[np.arange(B), classes]), rtol=1e-9)
    found = divergence(torch.from_numpy(z), torch.from_numpy(one_hot).float())
    assert torch.isfinite(found).all()


def test_hot_soft_targets_match_centered_logits(given):
    z, v, _ = given
    centered = (z - z.mean(1, keepdims=True)) - (v - v.mean(1, keepdims=True))
    limit = (centered**2).sum(axis=1) / (2 * K)
    for temperature, bound in ((100.0, 0.1), (1000.0, 0.01), (10000.0, 0.001)):
        found = soft_target_loss(*tensors(z, v), temperature).numpy()
        assert np.abs(found / limit - 1).max() < bound


def test_the_gradient_of_soft_targets_is_t_times_the_difference_of_probabilities(given):
    z, v, _ = given
    student, teacher = tensors(z, v)
    student.requires_grad_()
    soft_target_loss(student, teacher, 4.0).sum().backward()
    np.testing.assert_allclose(student.grad, 4.0 * (softmax(z, 4.0) - softmax(v, 4.0)), atol=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_decoupled_parts_make_up_the_divergence(given, temperature):
    z, v, classes = given
    p, q = softmax(z, temperature), softmax(v, temperature)
    rows = np.arange(B)
    true_p, true_q = p[rows, classes], q[rows, classes]
    target = kl(np.stack([true_q, 1 - true_q], 1), np.stack([true_p, 1 - true_p], 1))
    others = [np.delete(each[row], classes[row])[None] for each in (p, q) for row in range(B)]
    p_rest, q_rest = np.concatenate(others[:B]), np.concatenate(others[B:])
    other = kl(q_rest / q_rest.sum(1, keepdims=True), p_rest / p_rest.sum(1, keepdims=True))
    found = decoupled_parts(*tensors(z, v, classes), temperature)
    np.testing.assert_allclose(found[0], target, rtol=1e-8)
    np.testing.assert_allclose(found[1], other, rtol=1e-8)
    np.testing.assert_allclose(target + (1 - true_q) * other, kl(q, p), rtol=1e-9)
    loss = decoupled_loss(*tensors(z, v, classes), alpha=1.0, beta=8.0, temperature=temperature)
    np.testing.assert_allclose(loss, temperature**2 * (target + 8 * other), rtol=1e-8)


def test_a_teacher_that_is_sure_leaves_the_other_classes_finite():
    logits, teacher = torch.zeros(2, K), torch.full((2, K), -60.0)
    teacher[:, 0] = 60.0
    target, other = decoupled_parts(logits.requires_grad_(), teacher, torch.zeros(2, dtype=torch.long), 1.0)
    (target + other).sum().backward()
    assert torch.isfinite(target).all()
    assert torch.isfinite(other).all()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_relations_are_mean_correlations_of_images_and_of_classes(given, temperature):
    z, v, _ = given
    p, q = softmax(z, temperature), softmax(v, temperature)
    rows = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(p, q, strict=True)])
    columns = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(p.T, q.T, strict=True)])
    found = relational_loss(*tensors(z, v), beta=2.0, gamma=0.5, temperature=temperature)
    assert float(found) == pytest.approx(temperature**2 * (2 * (1 - rows) + 0.5 * (1 - columns)), rel=1e-7)
    # Neither shift nor stretch of a teacher's probabilities matters to the relations of an image.
    assert float(relational_loss(*tensors(v, v), beta=1.0, gamma=1.0, temperature=temperature)) == pytest.approx(
        0, abs=1e-9
    )


def test_relations_of_two_classes_are_refused():
    with pytest.raises(SettingsError, match="2 classes"):
        relational_loss(torch.zeros(3, 2), torch.zeros(3, 2), beta=1.0, gamma=1.0, temperature=1.0)


def test_standardized_logits_have_mean_0_and_deviation_1(given):
    z, _, _ = given
    expected = (z - z.mean(1, keepdims=True)) / z.std(1, ddof=1, keepdims=True)
    np.testing.assert_allclose(standardized(*tensors(z)), expected, rtol=1e-6)
    np.testing.assert_allclose(standardized(torch.from_numpy(5 * z - 3)), expected, rtol=1e-6)


def test_confidence_is_charged_from_nothing_to_the_logarithm_of_the_classes(given):
    z, _, _ = given
    p = softmax(z)
    np.testing.assert_allclose(confidence_penalty(*tensors(z)), kl(p, np.full_like(p, 1 / K)), rtol=1e-8)
    assert float(confidence_penalty(torch.zeros(1, K))) == pytest.approx(0, abs=1e-6)
    assert float(confidence_penalty(1000 * torch.eye(K)[:1])) == pytest.approx(np.log(K))


def test_hard_targets_are_the_teachers_first_choice(given):
    z, v, _ = given
    expected = -np.log(softmax(z)[np.arange(B), v.argmax(axis=1)])
    np.testing.assert_allclose(hard_target_loss(*tensors(z, v)), expected, rtol=1e-9)


def test_a_virtual_teacher_is_label_smoothing_at_temperature_1(given):
    """Yuan et al. 2020: (1 - a) H(q, p) + a KL(p^d || p) is cross entropy with smoothed labels, plus a constant."""
    z, _, classes = given
    weight, correct = 0.3, 0.9
    (student, labels) = tensors(z, classes)
    teacher = virtual_teacher(labels, K, correct).double()
    assert torch.allclose(teacher.sum(dim=1), torch.ones(B).double())
    assert torch.allclose(teacher[torch.arange(B), labels], torch.full((B,), correct).double())
    entropy = -(teacher * teacher.log()).sum(dim=1)
    one_hot = smoothed_one_hot(labels, K, 0.0).double()
    loss = (1 - weight) * cross_entropy(student, one_hot) + weight * divergence(student, teacher)
    smoothing = weight * (1 - correct) * K / (K - 1)  # that much of the mass is spread evenly over all classes
    smoothed = cross_entropy(student, smoothed_one_hot(labels, K, smoothing).double())
    torch.testing.assert_close(loss + weight * entropy, smoothed.double(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("temperature", [0.7, 1.0, 5.0])
def test_means_of_teachers(given, temperature):
    z, v, _ = given
    w = np.arange(z.size).reshape(z.shape) % 5 - 2.0
    weights = [1.0, 2.0, 1.0]
    each = [softmax(logits, temperature) for logits in (z, v, w)]
    arithmetic = 0.25 * each[0] + 0.5 * each[1] + 0.25 * each[2]
    np.testing.assert_allclose(arithmetic_mean(tensors(z, v, w), weights, temperature), arithmetic, rtol=1e-9)
    product = each[0] ** 0.25 * each[1] ** 0.5 * each[2] ** 0.25
    geometric = product / product.sum(axis=1, keepdims=True)
    found = softened(geometric_mean(tensors(z, v, w), weights), temperature)
    np.testing.assert_allclose(found, geometric, rtol=1e-9)


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
def test_gradients_are_those_of_finite_differences(given, loss):
    z, v, classes = given
    teacher, labels = tensors(v, classes)
    student = torch.from_numpy(z).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, teacher, labels), (student,), eps=1e-6, atol=1e-6)


def test_half_precision_logits_are_widened():
    half = torch.randn(4, K).bfloat16()
    for found in (soft_target_loss(half, half, 4.0), confidence_penalty(half), standardized(half)):
        assert found.dtype == torch.float32
