"""The peak memory of noise: at most three float32 copies of the batch beside the batch itself."""

import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.policies import PUBLISHED_DISTANCES, apply_operation
from noisystudent.noise.randaugment import RandAugment
from noisystudent.noise.settings import OPERATIONS

IMAGES, SIZE = 16, 224


def storages(tree) -> list[torch.UntypedStorage]:
    return [leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the results of torch's calls until they are freed; ``peak`` is the most at one time.

    It counts the results of all calls on any device, but not memory that a kernel allocates for itself.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        # Views and results that are written in place or to out= have the storage of an argument.
        known = {storage.data_ptr() or id(storage) for storage in storages((args, kwargs))}
        for storage in storages(result):
            if (storage.data_ptr() or id(storage)) not in known:
                self._change(storage.nbytes())
                weakref.finalize(storage, self._change, -storage.nbytes())
        return result

    def _change(self, count: int) -> None:
        self.live += count
        self.peak = max(self.peak, self.live)


def copies(pixels: torch.Tensor, work) -> float:
    """The peak memory of ``work``, its result included, in float32 copies of ``pixels``."""
    with LiveBytes() as memory:
        result = work()
    assert memory.live >= result.nbytes  # the result is still counted
    return memory.peak / (pixels.numel() * 4)


# Images on "meta" hold no values: they are processed in large groups as on an accelerator.
@pytest.fixture(params=["cpu", "meta"])
def pixels(request) -> torch.Tensor:
    return torch.randint(
        0, 256, (IMAGES, 3, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    ).to(request.param)


def uniforms(augment: RandAugment) -> torch.Tensor:
    return CounterRng(0, "test").uniform(torch.zeros(IMAGES, dtype=torch.int64), torch.arange(IMAGES), augment.draws)


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_makes_at_most_three_float_copies(name, pixels):
    draws = torch.rand(IMAGES, 3, generator=torch.Generator().manual_seed(0))
    assert copies(pixels, lambda: apply_operation(name, pixels, 9.0, draws, PUBLISHED_DISTANCES)) <= 3.0
    augment = RandAugment(layers=2, magnitude=9.0, operations=(name,))
    assert copies(pixels, lambda: augment(pixels, uniforms(augment))) <= 3.0


@pytest.mark.parametrize("policy", ["paper", "graded", "timm", "torchvision"])
def test_randaugment_makes_at_most_three_float_copies(policy, pixels):
    augment = RandAugment(layers=2, magnitude=9.0, policy=policy)
    assert copies(pixels, lambda: augment(pixels, uniforms(augment))) <= 3.0


def test_the_meter_counts_simultaneous_memory(pixels):
    assert copies(pixels, lambda: pixels.float().add_(1.0)[:, :1].clone()) == pytest.approx(1.0 + 1.0 / 3.0)
    assert copies(pixels, lambda: (pixels.float() + 1.0) * 2.0) == pytest.approx(2.0)
    assert copies(pixels, lambda: torch.stack([pixels.float() for _ in range(2)])) == pytest.approx(4.0)
