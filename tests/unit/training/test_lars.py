"""LARS against the released code's formula written out, and timm's version where both are the same."""

import numpy as np
import pytest
import torch
from timm.optim.lars import Lars as TimmLars
from torch import nn

from noisystudent.training.lars import Lars, lars_groups
from noisystudent.training.loop import make_optimizer
from noisystudent.training.settings import TrainSettings
from training_setup import make_classifier


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)).double()


def gradients(net: nn.Module, step: int) -> None:
    random = np.random.default_rng(step)
    for parameter in net.parameters():
        parameter.grad = torch.from_numpy(random.normal(size=tuple(parameter.shape)))


def test_steps_are_those_of_the_released_code():
    net, rates = network(), [0.5, 1.0, 0.2, 0.7]
    optimizer = Lars([{"params": list(net.parameters()), "weight_decay": 0.1}], lr=1.0, momentum=0.9)
    weights = [parameter.detach().numpy().copy() for parameter in net.parameters()]
    velocities = [np.zeros_like(weight) for weight in weights]
    for step, rate in enumerate(rates):
        gradients(net, step)
        random = np.random.default_rng(step)
        for number, weight in enumerate(weights):
            gradient = random.normal(size=weight.shape) + 0.1 * weight
            trust = 0.001 * np.linalg.norm(weight) / np.linalg.norm(gradient) if weight.ndim > 1 else 1.0
            velocities[number] = 0.9 * velocities[number] + rate * trust * gradient
            weights[number] = weight - velocities[number]
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
    for parameter, weight in zip(net.parameters(), weights, strict=True):
        np.testing.assert_allclose(parameter.detach().numpy(), weight, rtol=1e-12)


def test_without_weight_decay_and_at_one_rate_it_is_timms_lars():
    ours, theirs = network(), network()
    matrices = [[parameter for parameter in net.parameters() if parameter.ndim > 1] for net in (ours, theirs)]
    own = Lars([{"params": matrices[0]}], lr=0.3, momentum=0.9)
    other = TimmLars(matrices[1], lr=0.3, momentum=0.9, trust_coeff=0.001, eps=0.0, always_adapt=True)
    for step in range(5):
        for net, optimizer in ((ours, own), (theirs, other)):
            gradients(net, step)
            optimizer.step()
    for left, right in zip(*matrices, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-12)


def test_a_weight_or_gradient_of_0_has_a_factor_of_1():
    weight = nn.Parameter(torch.zeros(2, 2))
    weight.grad = torch.ones(2, 2)
    Lars([{"params": [weight]}], lr=0.5, momentum=0.9).step()
    assert torch.equal(weight.detach(), torch.full((2, 2), -0.5))
    weight.grad = torch.zeros(2, 2)
    before = weight.detach().clone()
    Lars([{"params": [weight]}], lr=0.5, momentum=0.9).step()
    assert torch.equal(weight.detach(), before)


@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
def test_the_last_layer_neither_adapts_nor_decays(layer_decay):
    classifier = make_classifier()
    settings = TrainSettings(optimizer="lars", weight_decay=0.1, layer_decay=layer_decay)
    optimizer = make_optimizer(classifier, settings)
    assert isinstance(optimizer, Lars)
    last = {id(parameter) for parameter in classifier.net.get_classifier().parameters()}
    seen = set()
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            is_last = id(parameter) in last
            assert group["adapts"] != is_last
            assert group["weight_decay"] == (0.1 if parameter.ndim > 1 and not is_last else 0.0)
            seen.add(id(parameter))
    assert seen == {id(parameter) for parameter in classifier.parameters()}


def test_a_network_that_is_not_timms_has_no_last_layer_to_leave_out():
    (group,) = lars_groups(network(), [{"params": list(network().parameters()), "weight_decay": 0.1}])
    assert group["weight_decay"] == 0.1
    assert "adapts" not in group
