"""Cross entropy, label smoothing and the Noisy Student objective against torch's functions and formulas."""

import math

import pytest
import torch
import torch.nn.functional as F

from noisystudent.losses.losses import apply_temperature, cross_entropy, logit_adjustment, smoothed_one_hot
from noisystudent.losses.objectives import noisy_student, supervised


def test_smoothed_targets_match_torch():
    logits, classes = torch.randn(16, 7), torch.randint(7, (16,))
    ours = cross_entropy(logits, smoothed_one_hot(classes, 7, 0.1)).mean()
    torch.testing.assert_close(ours, F.cross_entropy(logits, classes, label_smoothing=0.1))


def test_cross_entropy_with_soft_targets_matches_torch():
    logits, targets = torch.randn(16, 7), torch.softmax(torch.randn(16, 7), dim=1)
    torch.testing.assert_close(cross_entropy(logits, targets).mean(), F.cross_entropy(logits, targets))


def test_cross_entropy_by_hand():
    logits = torch.tensor([[math.log(3.0), 0.0]])
    assert cross_entropy(logits, torch.tensor([[1.0, 0.0]])).item() == pytest.approx(math.log(4 / 3))


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_applying_a_temperature_gives_the_softmax_at_that_temperature(temperature):
    logits = torch.randn(5, 9) * 3
    torch.testing.assert_close(
        apply_temperature(torch.log_softmax(logits, dim=1), temperature), torch.softmax(logits / temperature, dim=1)
    )


def test_a_low_temperature_gives_one_hot_and_a_high_one_even_probabilities():
    stored = torch.log(torch.tensor([[0.5, 0.3, 0.2]]))
    torch.testing.assert_close(apply_temperature(stored, 0.01), torch.tensor([[1.0, 0.0, 0.0]]), atol=1e-6, rtol=0)
    torch.testing.assert_close(apply_temperature(stored, 1e6), torch.full((1, 3), 1 / 3), atol=1e-5, rtol=0)


def test_the_three_weightings_against_their_formulas():
    torch.manual_seed(0)
    logits, targets = torch.randn(8, 5), torch.softmax(torch.randn(8, 5), dim=1)
    labeled = 2
    on_labeled = F.cross_entropy(logits[:2], targets[:2])
    on_pseudo = F.cross_entropy(logits[2:], targets[2:])
    ratio = 3
    expected = {
        "concatenated": (on_labeled + ratio * on_pseudo) / (1 + ratio),
        "sum": on_labeled + on_pseudo,
        "ratio": on_labeled + ratio * on_pseudo,
    }
    for name, value in expected.items():
        terms = noisy_student(logits, targets, labeled, name)
        torch.testing.assert_close(terms.loss, value)
        torch.testing.assert_close(terms.named["labeled"], on_labeled)
        torch.testing.assert_close(terms.named["pseudo"], on_pseudo)
    whole = supervised(logits, targets).loss
    torch.testing.assert_close(noisy_student(logits, targets, labeled, "concatenated").loss, whole)


def test_the_gradient_is_probability_minus_target():
    logits = torch.randn(4, 6, requires_grad=True)
    targets = torch.softmax(torch.randn(4, 6), dim=1)
    supervised(logits, targets).loss.backward()
    torch.testing.assert_close(logits.grad, (torch.softmax(logits.detach(), dim=1) - targets) / 4)


def test_losses_of_half_precision_logits_are_in_float32():
    logits = (torch.randn(4, 6) * 30).to(torch.bfloat16)
    targets = smoothed_one_hot(torch.tensor([0, 1, 2, 3]), 6, 0.0)
    assert cross_entropy(logits, targets).dtype == torch.float32


def test_logit_adjustment_moves_a_posterior_to_equal_shares_by_bayes_rule():
    torch.manual_seed(0)
    shares = torch.tensor([0.7, 0.2, 0.1])
    likelihood = torch.rand(6, 3)
    under_shares, under_equal = (likelihood * prior for prior in (shares, torch.ones(3)))
    posterior = under_shares / under_shares.sum(dim=1, keepdim=True)
    # Logits whose adjusted softmax is the posterior under the shares have the posterior under equal ones.
    logits = posterior.log() - logit_adjustment(shares, 1.0)
    expected = under_equal / under_equal.sum(dim=1, keepdim=True)
    torch.testing.assert_close(torch.softmax(logits, dim=1), expected)
    torch.testing.assert_close(logit_adjustment(shares, 0.5), 0.5 * shares.log())
    assert torch.isfinite(logit_adjustment(torch.tensor([1.0, 0.0]), 1.0)).all()
