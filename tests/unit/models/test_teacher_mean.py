"""The mean of several teachers is that of their probabilities, whatever the size of their views."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from noisystudent.evaluation.metrics.ensemble import mean_log_probabilities
from noisystudent.models.classifier import create_classifier
from noisystudent.models.teacher import Teacher
from noisystudent.models.teacher_mean import MeanTeacher


def teacher(seed: int, size: int = 8, model: str = "tiny_resnet"):
    torch.manual_seed(seed)
    return Teacher(create_classifier(model, classes=("a", "b", "c"), channels=1, size=size))


def test_it_is_the_weighted_mean_of_the_probabilities():
    members = [teacher(0), teacher(1, size=16), teacher(2)]
    weights = (0.5, 0.2, 0.3)
    pixels = torch.randint(0, 256, (5, 1, 16, 16), dtype=torch.uint8)
    sizes = torch.full((5, 2), 16)
    mean = MeanTeacher(members, weights)
    found = mean(pixels, sizes)
    separate = [member(pixels, sizes).log_softmax(1).numpy() for member in members]
    expected = mean_log_probabilities(separate, weights)  # in NumPy
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
    assert found.exp().sum(1).numpy() == pytest.approx(1.0)
    assert (mean.size, mean.channels, mean.classes) == (16, 1, ("a", "b", "c"))
    assert mean.format == members[1].format


def test_a_weight_of_zero_leaves_a_member_out():
    members = [teacher(0), teacher(1)]
    pixels, sizes = torch.randint(0, 256, (3, 1, 8, 8), dtype=torch.uint8), torch.full((3, 2), 8)
    alone = members[0](pixels, sizes).log_softmax(1)
    torch.testing.assert_close(MeanTeacher(members, (1.0, 0.0))(pixels, sizes), alone)
