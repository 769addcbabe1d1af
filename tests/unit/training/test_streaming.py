"""A shard stream: its samples depend on the step alone, and few windows are in memory."""

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
COPIES = [np.array(copies, np.int64) for copies in ([1, 2, 0, 1], [], [0, 0], [3, 1, 1], [1] * 6, [2, 2], [1])]
COUNTS = np.array([copies.sum() for copies in COPIES])
SHARDS = np.repeat(np.arange(len(COPIES)), COUNTS)
ROWS = np.concatenate([np.repeat(np.arange(len(copies)), copies) for copies in COPIES])


class Shards:
    """Loads images that encode their shard and row; the canvas differs from shard to shard."""

    def __init__(self) -> None:
        self.loads: list[int] = []

    def __call__(self, shard: int, positions: np.ndarray) -> Loaded:
        self.loads.append(shard)
        image_rows = np.repeat(np.arange(len(COPIES[shard])), COPIES[shard])
        rows, index = np.unique(image_rows[positions], return_inverse=True)
        pixels = torch.zeros((len(rows), 1, 8, 8 + shard), dtype=torch.uint8)
        pixels[:, 0, 0, 0], pixels[:, 0, 0, 1] = shard, torch.from_numpy(rows).to(torch.uint8)
        sizes = torch.tensor([[8, 8 + shard]]).expand(len(rows), 2)
        targets = torch.stack([torch.full((len(rows),), float(shard)), torch.from_numpy(rows).float()], dim=1)
        return Loaded(RawBatch(pixels, sizes, targets), index)


def make_stream(count: int, *, window: int = 6, sharding: BatchSharding = UNSHARDED, load=None) -> ShardStream:
    sampler = WindowedSampler(COUNTS, window=window, seed=3, stream="pseudo")
    return ShardStream("pseudo", sampler, load or Shards(), count, CPU, sharding=sharding)


@pytest.mark.parametrize("window", [1, 6, 100])
@pytest.mark.parametrize("count", [4, 7, 40])
def test_every_position_has_its_image_and_targets(count, window):
    stream = make_stream(count, window=window)
    for step in (0, 1, 2, 3, 9, 2):  # across windows and epochs, and back
        indices = stream.indices(step)
        raw = stream.fetch(indices)
        expected = np.stack([SHARDS[indices.positions], ROWS[indices.positions]], axis=1)
        assert np.array_equal(raw.pixels[:, 0, 0, :2].numpy(), expected)
        assert np.array_equal(raw.targets.numpy(), expected)
        assert np.array_equal(raw.sizes[:, 1].numpy(), 8 + expected[:, 0])
        assert raw.pixels.shape[3] == 8 + expected[:, 0].max()


def test_processes_decode_only_their_own_samples_and_make_up_the_batch():
    whole = make_stream(8)
    decoded = np.zeros(4, np.int64)

    class Counting(Shards):
        def __init__(self, rank: int) -> None:
            super().__init__()
            self.rank = rank

        def __call__(self, shard: int, positions: np.ndarray) -> Loaded:
            decoded[self.rank] += len(positions)
            return super().__call__(shard, positions)

    shardings = [BatchSharding(ProcessGroup(rank, 2), 2) for rank in range(2)]
    shares = [
        make_stream(8, window=1, sharding=sharding, load=Counting(rank)) for rank, sharding in enumerate(shardings)
    ]
    unsharded = make_stream(8, window=1)
    for step in range(4):
        indices = unsharded.indices(step)
        expected = unsharded.fetch(indices)
        for share, sharding in zip(shares, shardings, strict=True):
            for micro_batch in range(2):
                rows = sharding.local_rows(8, micro_batch)
                assert torch.equal(share.fetch(indices.take(rows)).targets, expected.targets[torch.from_numpy(rows)])
    assert whole.count == 8
    assert decoded.sum() <= 2 * len(SHARDS) + 8  # at most two epochs have started, and every position is decoded once


def test_at_most_three_windows_are_in_memory_and_the_next_is_decoded_ahead():
    load = Shards()
    stream = make_stream(2, window=1, load=load)
    stream.fetch(stream.indices(0))
    stream._loader.submit(lambda: None).result()  # waits for all earlier work
    assert len(load.loads) > len({SHARDS[position] for position in stream.indices(0).positions})
    for step in range(40):
        stream.fetch(stream.indices(step))
        assert len(stream._windows) <= 3


def test_noise_does_not_depend_on_the_kind_of_stream():
    """Both streams give the same samples for the same indices, so their batches are equal, bit for bit."""
    noise = InputNoise(NoiseSettings(), size=8, strength=1.0, rng=CounterRng(0, "test"))
    loaded = [Shards()(shard, np.arange(COUNTS[shard])) for shard in range(len(COPIES)) if COUNTS[shard]]
    pixels = torch.zeros((len(SHARDS), 1, 8, 8 + len(COPIES)), dtype=torch.uint8)
    for row, (shard, image) in enumerate(zip(SHARDS, ROWS, strict=True)):
        pixels[row, 0, 0, :2] = torch.tensor([shard, image])
    sizes = torch.tensor([[8, 8 + int(shard)] for shard in SHARDS])
    targets = torch.tensor(np.stack([SHARDS, ROWS], axis=1)).float()
    in_memory = InMemoryStream("pseudo", ImageBuffer(pixels, sizes), targets, np.arange(len(SHARDS)), 7, seed=3)
    stream = make_stream(7)
    assert sum(len(shard.rows) for shard in loaded) == len(in_memory) == len(stream)
    for step in (0, 5):
        indices = [stream.indices(step)]
        batches = [BatchLoader([source], noise).augment(indices) for source in (in_memory, stream)]
        for first, second in zip(*batches, strict=True):
            assert torch.equal(first, second)


def test_an_error_while_decoding_reaches_the_training_loop():
    def load(shard: int, positions: np.ndarray) -> Loaded:
        raise DataError(f"shard {shard} is gone")

    stream = make_stream(4, load=load)
    with pytest.raises(DataError, match="is gone"):
        stream.fetch(stream.indices(0))


def test_decoding_ends_with_the_stream():
    started, resume, loads = threading.Event(), threading.Event(), []

    def load(shard: int, positions: np.ndarray) -> Loaded:
        loads.append(shard)
        started.set()
        resume.wait(10)
        return Shards()(shard, positions)

    stream = make_stream(4, window=100, load=load)
    stream._open(stream._sampler.window(0, 0))
    assert started.wait(10)
    loader = stream._loader
    del stream
    gc.collect()
    resume.set()
    loader.shutdown(wait=True)
    assert len(loads) == 1
