"""Settings of pretraining: published values, what follows from the size of views, and the learning rate of a batch."""

import pytest
from pydantic import ValidationError

from noisystudent.config import resolve
from noisystudent.training.pretraining_presets import PRESETS
from noisystudent.training.pretraining_settings import PretrainingSettings

BASE = {"unlabeled": "b", "out": "c"}


def test_the_published_rates_are_one_and_the_same_for_the_published_batch():
    paper, code = (PretrainingSettings(preset=name) for name in ("paper:chen2020", "repo:simclr"))
    assert paper.peak_rate == pytest.approx(4.8)
    assert code.peak_rate == pytest.approx(4.8)
    assert (paper.loss_scale, code.loss_scale) == (1.0, 2.0)
    assert (paper.projection_layers, code.projection_layers) == (2, 3)


def test_the_command_for_cifar_is_the_released_one():
    cifar = PretrainingSettings(preset="repo:simclr-cifar10")
    assert (cifar.epochs, cifar.batch_size, cifar.temperature, cifar.color, cifar.blur) == (1000, 512, 0.5, 0.5, False)
    assert cifar.peak_rate == pytest.approx(2.0)
    assert cifar.steps(50_000) == 97_656
    assert cifar.warmup * cifar.epochs == pytest.approx(10)


def test_small_views_are_those_of_cifar_and_large_ones_those_of_imagenet():
    small, large = (PretrainingSettings().resolve_auto(size) for size in (64, 72))
    assert (small.temperature, small.color, small.blur) == (0.5, 0.5, False)
    assert (large.temperature, large.color, large.blur) == (0.1, 1.0, True)
    assert PretrainingSettings(color=0.3).resolve_auto(32).color == 0.3


@pytest.mark.parametrize("name", PRESETS)
def test_what_the_user_says_is_above_a_preset(name):
    settings = resolve({**BASE, "pretraining.preset": name, "pretraining.epochs": 7}, command="pretrain").settings
    assert settings.pretraining.epochs == 7
    assert settings.pretraining.weight_decay == PRESETS[name]["weight_decay"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"batch_size": 1}, "greater than or equal to 2"),
        ({"preset": "repo:simclar"}, r"no preset 'repo:simclar'\. Did you mean 'repo:simclr'"),
        ({"temperature": 0.0}, "greater than 0"),
    ],
)
def test_what_cannot_be_is_refused(given, message):
    with pytest.raises(ValidationError, match=message):
        PretrainingSettings(**given)
