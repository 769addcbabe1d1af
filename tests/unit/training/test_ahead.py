"""Batches made several steps at a time are those that are made one by one."""

from dataclasses import fields

import pytest
import torch

from contrastive_setup import make_batches as make_pairs
from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.custom import CustomAugmentation
from noisystudent.noise.input import InputNoise
from noisystudent.noise.mixing import build_mixing
from noisystudent.noise.settings import NoiseSettings
from noisystudent.runtime.process_group import ProcessGroup
from noisystudent.training.ahead import MOST_BYTES, AheadBatches, made_ahead
from noisystudent.training.loader import BatchLoader, BatchSharding
from noisystudent.training.online import TwoViewBatches
from training_setup import make_batches

STEPS = range(2, 9)  # across epochs


def strong_noise(strength=1.0):
    return InputNoise(NoiseSettings(), size=8, strength=strength, rng=CounterRng(0, "strong"))


def loader(**options) -> BatchLoader:
    plain = make_batches()
    return BatchLoader(plain.streams, plain.noise, **options)


def mixing():
    return build_mixing(NoiseSettings(mixup=0.4, cutmix=1.0), CounterRng(0, "mixing"))


KINDS = {
    "plain": loader,
    "two noises": lambda: loader(unlabeled_noise=strong_noise()),
    "micro-batches": lambda: loader(sharding=BatchSharding(micro_batches=4)),
    "one of two processes": lambda: loader(sharding=BatchSharding(ProcessGroup(1, 2))),
    "mixed": lambda: loader(mixing=mixing()),
    "mixed in micro-batches": lambda: loader(mixing=mixing(), sharding=BatchSharding(micro_batches=2)),
    "custom noise": lambda: loader(custom_noise=CustomAugmentation(lambda pixels: pixels.flip(3), seed=0)),
    "two views": lambda: TwoViewBatches(loader(), strong_noise(), asks_average=False),
    "views for the average": lambda: TwoViewBatches(loader(), strong_noise(), asks_average=True),
    "shared views": lambda: TwoViewBatches(loader(sharding=BatchSharding(micro_batches=2)), strong_noise(), False),
    "pairs": make_pairs,
}


def same(first, second) -> bool:
    for field in fields(first):
        left, right = getattr(first, field.name), getattr(second, field.name)
        if not (torch.equal(left, right) if isinstance(left, torch.Tensor) else left == right):
            return False
    return True


@pytest.mark.parametrize("kind", KINDS)
def test_several_batches_at_once_are_those_one_by_one(kind):
    batches = KINDS[kind]()
    at_once, one_by_one = batches.several(STEPS), [batches(step) for step in STEPS]
    assert len(at_once) == len(STEPS)
    assert all(map(same, at_once, one_by_one))
    assert not same(one_by_one[0], one_by_one[1])


class Noted:
    """Batches that note what they are asked for."""

    def __init__(self) -> None:
        self.batches, self.asked = loader(), []

    def __call__(self, micro_step):
        return self.several([micro_step])[0]

    def several(self, micro_steps):
        self.asked.append(list(micro_steps))
        return self.batches.several(micro_steps)


def test_batches_are_made_once_and_none_beyond_the_last():
    noted, plain = Noted(), loader()
    ahead = AheadBatches(noted, 4, last=7)
    assert all(same(ahead(step), plain(step)) for step in (1, 1, 2, 3, 4, 5, 6))  # a training may begin anywhere
    assert noted.asked == [[1, 2, 3, 4], [5, 6]]


@pytest.mark.parametrize(
    ("device", "bytes_per_step", "count"),
    [("cuda", MOST_BYTES // 5, 5), ("mps", MOST_BYTES // 2, 2), ("cuda", MOST_BYTES, 1), ("cpu", 1, 1)],
)
def test_an_accelerator_makes_as_many_at_once_as_their_pixels_allow(device, bytes_per_step, count):
    noted = Noted()
    batches = made_ahead(noted, torch.device(device), bytes_per_step, last=100)
    batches(0)
    assert noted.asked == [list(range(count))]
