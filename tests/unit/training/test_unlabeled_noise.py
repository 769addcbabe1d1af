"""Input noise of the unlabeled rows of a batch: their own, the same draws, and none of it on the labeled rows."""

import torch

from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.input import InputNoise
from noisystudent.noise.settings import NoiseSettings
from noisystudent.training.loader import BatchLoader, BatchSharding
from training_setup import make_batches


def noise(strength: float, **settings) -> InputNoise:
    return InputNoise(NoiseSettings(**settings), size=8, strength=strength, rng=CounterRng(0, "test"))


def test_each_part_has_its_own_noise():
    streams = make_batches().streams
    strong, plain = noise(1.0, magnitude=9.0), noise(0.0)
    parted = BatchLoader(streams, strong, unlabeled_noise=plain)
    all_strong, all_plain = BatchLoader(streams, strong), BatchLoader(streams, plain)
    for step in range(3):
        labeled = parted(step).labeled
        assert torch.equal(parted(step).pixels[:labeled], all_strong(step).pixels[:labeled])
        assert torch.equal(parted(step).pixels[labeled:], all_plain(step).pixels[labeled:])
        assert torch.equal(parted(step).targets, all_strong(step).targets)


def test_micro_batches_see_what_the_whole_batch_sees():
    streams = make_batches().streams
    whole = BatchLoader(streams, noise(1.0), unlabeled_noise=noise(0.25))(1)
    loader = BatchLoader(streams, noise(1.0), unlabeled_noise=noise(0.25), sharding=BatchSharding(micro_batches=2))
    for micro_step in (2, 3):
        rows = torch.from_numpy(loader.local_rows(micro_step))
        assert torch.equal(loader(micro_step).pixels, whole.pixels[rows])


def test_settings_that_are_the_same_are_those_of_the_labeled_images():
    settings = NoiseSettings(magnitude=9.0, flip=True)
    assert settings.of_unlabeled() == settings
    assert not settings.unlabeled.changes_images
    assert not settings.unlabeled.changes_model
    own = NoiseSettings(magnitude=9.0, flip=True, unlabeled={"randaugment": False, "crop": "none", "dropout": 0.0})
    assert own.of_unlabeled() == own.model_copy(update={"randaugment": False, "crop": "none"})
    assert own.unlabeled.changes_images
    assert own.unlabeled.changes_model
