"""A view is its draw: seen again anywhere, by anyone, at any size."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from noisystudent.data.images import Images
from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.input import InputNoise
from noisystudent.noise.settings import NoiseSettings
from noisystudent.noise.views import noised
from noisystudent.training.loader import BatchLoader, ImageBuffer, InMemoryStream


def images(count: int, size: int = 16, channels: int = 3) -> Images:
    pixels = np.random.default_rng(0).integers(0, 256, (count, channels, size, size), dtype=np.uint8)
    sizes, labels = np.full((count, 2), size, np.int32), np.zeros(count, np.int64)
    keys = tuple(f"{number}.png" for number in range(count))
    return Images(keys, pixels, sizes, labels, keys, (), ("only",))


def strong(size: int = 16) -> InputNoise:
    return InputNoise(NoiseSettings(flip=True), size=size, strength=1.0, rng=CounterRng(3, "views"))


@pytest.mark.parametrize("channels", [1, 3])
def test_what_a_student_saw_in_a_batch_is_seen_again_from_the_stored_draws(channels):
    known, noise = images(40, channels=channels), strong()
    pool = ImageBuffer(torch.from_numpy(known.pixels), torch.from_numpy(known.sizes.astype(np.int64)))
    rows = np.repeat(np.arange(40), 2)
    batches = BatchLoader([InMemoryStream("labeled", pool, torch.ones(40, 1), rows, 24, seed=5)], noise)
    for step in (0, 7):  # step 7 lies in a later epoch
        (views,), batch = batches.indices(step), batches(step)
        assert torch.equal(batches.augment([views])[0], batch.pixels)
        for epoch in np.unique(views.epochs).tolist():
            chosen = views.epochs == epoch
            stored = known.take(rows[views.positions[chosen]])
            again = noised(stored, strong(), epoch=epoch, index=torch.from_numpy(views.positions[chosen]))
            np.testing.assert_array_equal(again.pixels, batch.pixels[torch.from_numpy(chosen)].numpy())
            assert not np.array_equal(again.pixels, stored.pixels)


def test_views_do_not_depend_on_how_many_are_made_at_once():
    known = images(300, size=8)
    whole = noised(known, strong(8), epoch=1)
    last = noised(known.take(np.arange(290, 300)), strong(8), epoch=1, index=torch.arange(290, 300))
    np.testing.assert_array_equal(whole.pixels[290:], last.pixels)
    assert whole.keys == known.keys
    assert not np.array_equal(whole.pixels, noised(known, strong(8), epoch=2).pixels)


def test_views_say_their_size_and_none_are_none():
    known = replace(images(2, size=24), sizes=np.array([[24, 20], [18, 24]], np.int32))
    seen = noised(known, strong(16), epoch=0)
    assert seen.pixels.shape == (2, 3, 16, 16)
    assert seen.sizes.tolist() == [[16, 16], [16, 16]]
    assert noised(known.take(np.arange(0)), strong(16), epoch=0).pixels.shape == (0, 3, 16, 16)
