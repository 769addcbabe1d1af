"""A view depends on epoch and index alone, so it can be computed again at any time and at any size."""

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
def test_the_views_of_a_students_batch_are_computed_again_from_their_indices(channels):
    originals, noise = images(40, channels=channels), strong()
    pool = ImageBuffer(torch.from_numpy(originals.pixels), torch.from_numpy(originals.sizes.astype(np.int64)))
    rows = np.repeat(np.arange(40), 2)
    batches = BatchLoader([InMemoryStream("labeled", pool, torch.ones(40, 1), rows, 24, seed=5)], noise)
    for step in (0, 7):  # step 7 is in a later epoch
        (views,), batch = batches.indices(step), batches(step)
        assert torch.equal(batches.augment([views])[0], batch.pixels)
        for epoch in np.unique(views.epochs).tolist():
            chosen = views.epochs == epoch
            stored = originals.take(rows[views.positions[chosen]])
            again = noised(stored, strong(), epoch=epoch, index=torch.from_numpy(views.positions[chosen]))
            np.testing.assert_array_equal(again.pixels, batch.pixels[torch.from_numpy(chosen)].numpy())
            assert not np.array_equal(again.pixels, stored.pixels)


def test_views_do_not_depend_on_the_batch_size():
    originals = images(300, size=8)
    whole = noised(originals, strong(8), epoch=1)
    last = noised(originals.take(np.arange(290, 300)), strong(8), epoch=1, index=torch.arange(290, 300))
    np.testing.assert_array_equal(whole.pixels[290:], last.pixels)
    assert whole.keys == originals.keys
    assert not np.array_equal(whole.pixels, noised(originals, strong(8), epoch=2).pixels)


def test_views_have_their_size_also_without_images():
    originals = replace(images(2, size=24), sizes=np.array([[24, 20], [18, 24]], np.int32))
    views = noised(originals, strong(16), epoch=0)
    assert views.pixels.shape == (2, 3, 16, 16)
    assert views.sizes.tolist() == [[16, 16], [16, 16]]
    assert noised(originals.take(np.arange(0)), strong(16), epoch=0).pixels.shape == (0, 3, 16, 16)
