"""Random numbers against SplitMix64 in Python integers."""

import pytest
import torch

from noisystudent.noise.counter_rng import CounterRng
from noisystudent.random_streams import stream_key

MASK = 2**64 - 1
STEP = 0x9E3779B97F4A7C15


def mixed(word: int) -> int:
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & MASK
    return word ^ (word >> 31)


def reference(seed: int, stream: str, epoch: int, index: int, position: int) -> float:
    row = mixed((stream_key(seed, stream) + (epoch + 1) * STEP) & MASK)
    row = mixed((row + (index + 1) * STEP) & MASK)
    return (mixed((row + (position + 1) * STEP) & MASK) >> 40) / 2**24


def test_splitmix64_reference_is_the_published_one():
    # First outputs of SplitMix64 from state 1234567, as listed with the reference implementation.
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert [mixed((1234567 + n * STEP) & MASK) for n in (1, 2, 3, 4)] == expected


@pytest.mark.parametrize(("seed", "stream"), [(0, "input-noise"), (123456789, "x")])
def test_draws_are_splitmix64_of_their_address(seed, stream):
    epoch = torch.tensor([0, 0, 1, 7, 1000, 2**40])
    index = torch.tensor([0, 1, 0, 5, 10**9, 2**62])
    drawn = CounterRng(seed, stream).uniform(epoch, index, 9)
    assert drawn.dtype == torch.float32
    expected = [
        [reference(seed, stream, e, i, position) for position in range(9)]
        for e, i in zip(epoch.tolist(), index.tolist(), strict=True)
    ]
    assert drawn.tolist() == expected


def test_a_row_does_not_depend_on_the_batch_or_on_the_count():
    rng, index = CounterRng(3, "test"), torch.arange(101)
    epoch = index % 4
    whole = rng.uniform(epoch, index, 13)
    order = torch.randperm(101, generator=torch.Generator().manual_seed(0))
    assert torch.equal(rng.uniform(epoch[order], index[order], 13), whole[order])
    assert torch.equal(rng.uniform(epoch[5:6], index[5:6], 4), whole[5:6, :4])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_draws_have_the_same_bits_on_cuda():
    index = torch.arange(4097)
    here = CounterRng(3, "test").uniform(index % 5, index, 13)
    assert torch.equal(CounterRng(3, "test").uniform((index % 5).cuda(), index.cuda(), 13).cpu(), here)
