"""A streamed feed shows what lies in its shards, by step alone, and holds few windows."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest
import torch

from noisystudent.errors import DataError
from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.input import InputNoise
from noisystudent.noise.settings import NoiseSettings
from noisystudent.runtime.process_group import ProcessGroup
from noisystudent.training.loader import UNSHARDED, BatchLoader, BatchSharding, ImageBuffer, InMemoryStream, RawBatch
from noisystudent.training.sampler import WindowedSampler
from noisystudent.training.streaming import Loaded, ShardStream

CPU = torch.device("cpu")
COPIES = [np.array(each, np.int64) for each in ([1, 2, 0, 1], [], [0, 0], [3, 1, 1], [1] * 6, [2, 2], [1])]
COUNTS = np.array([each.sum() for each in COPIES])
SHARDS = np.repeat(np.arange(len(COPIES)), COUNTS)
ROWS = np.concatenate([np.repeat(np.arange(len(each)), each) for each in COPIES])


class Shards:
    """Images that say which shard and row they are; the canvas differs from shard to shard."""

    def __init__(self) -> None:
        self.loads: list[int] = []

    def __call__(self, shard: int, places: np.ndarray) -> Loaded:
        self.loads.append(shard)
        rows, index = np.unique(np.repeat(np.arange(len(COPIES[shard])), COPIES[shard])[places], return_inverse=True)
        pixels = torch.zeros((len(rows), 1, 8, 8 + shard), dtype=torch.uint8)
        pixels[:, 0, 0, 0], pixels[:, 0, 0, 1] = shard, torch.from_numpy(rows).to(torch.uint8)
        sizes = torch.tensor([[8, 8 + shard]]).expand(len(rows), 2)
        targets = torch.stack([torch.full((len(rows),), float(shard)), torch.from_numpy(rows).float()], dim=1)
        return Loaded(RawBatch(pixels, sizes, targets), index)


def make_stream(count: int, *, window: int = 6, sharding: BatchSharding = UNSHARDED, load=None) -> ShardStream:
    order = WindowedSampler(COUNTS, window=window, seed=3, stream="pseudo")
    return ShardStream("pseudo", order, load or Shards(), count, CPU, sharding=sharding)


@pytest.mark.parametrize("window", [1, 6, 100])
@pytest.mark.parametrize("count", [4, 7, 40])
def test_every_position_shows_its_own_image_and_targets(count, window):
    stream = make_stream(count, window=window)
    for step in (0, 1, 2, 3, 9, 2):  # across windows and epochs, and back
        views = stream.indices(step)
        raw = stream.fetch(views)
        shown = np.stack([SHARDS[views.positions], ROWS[views.positions]], axis=1)
        assert np.array_equal(raw.pixels[:, 0, 0, :2].numpy(), shown)
        assert np.array_equal(raw.targets.numpy(), shown)
        assert np.array_equal(raw.sizes[:, 1].numpy(), 8 + shown[:, 0])
        assert raw.pixels.shape[3] == 8 + shown[:, 0].max()


def test_shares_decode_only_what_they_show_and_make_up_the_batch():
    whole = make_stream(8)
    decoded = np.zeros(4, np.int64)

    class Counting(Shards):
        def __init__(self, rank: int) -> None:
            super().__init__()
            self.rank = rank

        def __call__(self, shard: int, places: np.ndarray) -> Loaded:
            decoded[self.rank] += len(places)
            return super().__call__(shard, places)

    divisions = [BatchSharding(ProcessGroup(rank, 2), 2) for rank in range(2)]
    shares = [make_stream(8, window=1, sharding=each, load=Counting(rank)) for rank, each in enumerate(divisions)]
    order = make_stream(8, window=1)
    for step in range(4):
        views = order.indices(step)
        expected = order.fetch(views)
        for share, sharding in zip(shares, divisions, strict=True):
            for micro_batch in range(2):
                places = sharding.local_rows(8, micro_batch)
                assert torch.equal(share.fetch(views.take(places)).targets, expected.targets[torch.from_numpy(places)])
    assert whole.count == 8
    assert decoded.sum() <= 2 * len(SHARDS) + 8  # two epochs at most have begun, and each position is decoded once


def test_three_windows_are_kept_at_most_and_the_next_is_decoded_ahead():
    load = Shards()
    stream = make_stream(2, window=1, load=load)
    stream.fetch(stream.indices(0))
    stream._loader.submit(lambda: None).result()  # all that was begun before is done
    assert len(load.loads) > len({SHARDS[position] for position in stream.indices(0).positions})
    for step in range(40):
        stream.fetch(stream.indices(step))
        assert len(stream._windows) <= 3


def test_noise_does_not_depend_on_the_feed():
    """Both feeds show the same positions when told the same views, so a batch of them is the same, bit for bit."""
    noise = InputNoise(NoiseSettings(), size=8, strength=1.0, rng=CounterRng(0, "test"))
    loaded = [Shards()(shard, np.arange(COUNTS[shard])) for shard in range(len(COPIES)) if COUNTS[shard]]
    pixels = torch.zeros((len(SHARDS), 1, 8, 8 + len(COPIES)), dtype=torch.uint8)
    for row, (shard, image) in enumerate(zip(SHARDS, ROWS, strict=True)):
        pixels[row, 0, 0, :2] = torch.tensor([shard, image])
    sizes = torch.tensor([[8, 8 + int(shard)] for shard in SHARDS])
    targets = torch.tensor(np.stack([SHARDS, ROWS], axis=1)).float()
    kept = InMemoryStream("pseudo", ImageBuffer(pixels, sizes), targets, np.arange(len(SHARDS)), 7, seed=3)
    stream = make_stream(7)
    assert sum(len(each.rows) for each in loaded) == len(kept) == len(stream)
    for step in (0, 5):
        views = [stream.indices(step)]
        for one, other in zip(
            BatchLoader([kept], noise).augment(views), BatchLoader([stream], noise).augment(views), strict=True
        ):
            assert torch.equal(one, other)


def test_an_error_while_decoding_reaches_the_training_loop():
    def load(shard: int, places: np.ndarray) -> Loaded:
        raise DataError(f"shard {shard} is gone")

    stream = make_stream(4, load=load)
    with pytest.raises(DataError, match="is gone"):
        stream.fetch(stream.indices(0))


def test_decoding_ends_with_the_feed():
    started, go_on, loads = threading.Event(), threading.Event(), []

    def load(shard: int, places: np.ndarray) -> Loaded:
        loads.append(shard)
        started.set()
        go_on.wait(10)
        return Shards()(shard, places)

    stream = make_stream(4, window=100, load=load)
    stream._opened(stream._order.window(0, 0))
    assert started.wait(10)
    loader = stream._loader
    del stream
    gc.collect()
    go_on.set()
    loader.shutdown(wait=True)
    assert len(loads) == 1
