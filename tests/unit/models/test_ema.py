"""The moving average of weights against its formula, in double precision."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from noisystudent.models.classifier import Classifier, create_classifier
from noisystudent.models.ema import Ema


def small() -> Classifier:
    return create_classifier("tiny_resnet", classes=("a", "b"), channels=1, size=8, dropout=0.5)


def train_step(classifier: Classifier, optimizer: torch.optim.Optimizer) -> None:
    pixels = torch.randint(0, 256, (8, 1, 8, 8), dtype=torch.uint8)
    F.cross_entropy(classifier.train()(pixels), torch.randint(0, 2, (8,))).backward()
    optimizer.step()
    optimizer.zero_grad()


@pytest.mark.parametrize("decay", [0.9999, 0.3])
def test_weights_and_statistics_follow_the_closed_form(decay):
    classifier = small()
    ema = Ema(classifier, decay)
    optimizer = torch.optim.SGD(classifier.parameters(), lr=0.5)
    expected = {name: value.double().numpy().copy() for name, value in classifier.state_dict().items()}
    for step in range(12):
        train_step(classifier, optimizer)
        ema.update(step)
        weight = min(decay, (1 + step) / (10 + step))
        for name, value in classifier.state_dict().items():
            if value.is_floating_point():
                expected[name] = weight * expected[name] + (1 - weight) * value.double().numpy()
            else:
                expected[name] = value.numpy().copy()
    moved = 0
    for name, value in ema.classifier.state_dict().items():
        np.testing.assert_allclose(value.numpy(), expected[name], rtol=1e-5, atol=1e-6, err_msg=name)
        moved += "running" in name and not torch.equal(value, classifier.state_dict()[name])
    assert moved > 0
    assert ema.state_dict()["net.blocks.0.bn1.num_batches_tracked"] == 12


def test_decay_0_is_a_copy():
    classifier = small()
    ema = Ema(classifier, 0.0)
    train_step(classifier, torch.optim.SGD(classifier.parameters(), lr=0.5))
    ema.update(0)
    assert all(torch.equal(ema.state_dict()[name], value) for name, value in classifier.state_dict().items())


def test_the_average_is_evaluated_and_not_trained():
    classifier = small().train()
    ema = Ema(classifier, 0.9)
    assert classifier.training
    assert all(parameter.requires_grad for parameter in classifier.parameters())
    assert not any(module.training for module in ema.classifier.modules())
    assert not any(parameter.requires_grad for parameter in ema.classifier.parameters())
    pixels = torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8)
    assert torch.equal(ema.classifier(pixels), ema.classifier(pixels))


def test_a_saved_average_continues_exactly():
    classifier = small()
    optimizer = torch.optim.SGD(classifier.parameters(), lr=0.5)
    ema = Ema(classifier, 0.9)
    train_step(classifier, optimizer)
    ema.update(0)
    resumed = Ema(classifier, 0.9)
    resumed.load_state_dict({name: value.clone() for name, value in ema.state_dict().items()})
    train_step(classifier, optimizer)
    for average in (ema, resumed):
        average.update(1)
    assert all(torch.equal(resumed.state_dict()[name], value) for name, value in ema.state_dict().items())


def test_weights_loaded_into_the_classifier_are_followed():
    classifier = small()
    ema = Ema(classifier, 0.0)
    classifier.load_state_dict(small().state_dict())
    ema.update(0)
    assert all(torch.equal(ema.state_dict()[name], value) for name, value in classifier.state_dict().items())
