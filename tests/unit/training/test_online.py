"""Batches of two views, and the answers of the averaged weights to weak ones."""

import numpy as np
import pytest
import torch

from noisystudent.models.ema import Ema
from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.input import InputNoise
from noisystudent.noise.settings import NoiseSettings
from noisystudent.runtime.device import ON_CPU
from noisystudent.runtime.process_group import ProcessGroup
from noisystudent.training.loader import UNSHARDED, BatchLoader, BatchSharding, ImageBuffer, InMemoryStream
from noisystudent.training.loop import with_answers_of_average
from noisystudent.training.online import TwoViewBatches
from training_setup import make_classifier

LABELED, UNLABELED = 4, 6


def two_views(*, asks_average: bool = False, sharding: BatchSharding = UNSHARDED, strength: float = 1.0):
    random = np.random.default_rng(0)
    pixels = torch.from_numpy(random.integers(0, 256, (50, 1, 8, 8)).astype(np.uint8))
    buffer, targets = ImageBuffer(pixels, torch.full((50, 2), 8)), torch.eye(2)[torch.arange(50) % 2]
    streams = (
        InMemoryStream("labeled", buffer, targets, np.arange(20), LABELED, seed=0),
        InMemoryStream("unlabeled", buffer, targets, np.arange(20, 50), UNLABELED, seed=0),
    )
    weak = InputNoise(NoiseSettings(randaugment=False), size=8, strength=1.0, rng=CounterRng(0, "weak"))
    strong = InputNoise(NoiseSettings(), size=8, strength=strength, rng=CounterRng(0, "strong"))
    return TwoViewBatches(BatchLoader(streams, weak, sharding=sharding), strong, asks_average), pixels


def test_a_batch_has_labeled_images_then_both_views_of_the_same_unlabeled_ones():
    batches, pixels = two_views(strength=0.0)
    batch = batches(3)
    assert batch.pixels.shape == (LABELED + 2 * UNLABELED, 1, 8, 8)
    assert (batch.labeled, batch.step, batch.for_average) == (LABELED, 3, None)
    assert batch.targets.shape == (LABELED, 2)
    strong = batch.pixels[-UNLABELED:]
    assert torch.equal(strong, pixels[20 + batch.positions])  # at strength 0 the view is the image
    weak = batch.pixels[LABELED:-UNLABELED]
    assert not torch.equal(weak, strong)
    for seen, image in zip(weak, strong, strict=True):  # a shift with reflected borders shows no new value
        assert set(seen.unique().tolist()) <= set(image.unique().tolist())


def test_views_have_random_numbers_of_their_own_and_differ_in_every_epoch():
    batches, _ = two_views()
    epoch = 30 // UNLABELED
    first = dict(views_of(batches, range(epoch)))
    second = dict(views_of(batches, range(epoch, 2 * epoch)))
    assert sorted(first) == sorted(second) == list(range(30))
    assert sum(torch.equal(first[position], second[position]) for position in first) < 5


def views_of(batches: TwoViewBatches, steps: range):
    for step in steps:
        batch = batches(step)
        yield from zip(batch.positions.tolist(), batch.pixels[-UNLABELED:], strict=True)


def test_equal_steps_give_equal_batches_in_any_order():
    (first, _), (second, _) = two_views(), two_views()
    wanted = first(7)
    second(2)
    assert torch.equal(second(7).pixels, wanted.pixels)


def test_weak_views_for_the_average_are_no_rows_of_the_students_batch():
    (with_average, _), (without, _) = two_views(asks_average=True), two_views()
    batch, other = with_average(1), without(1)
    assert torch.equal(batch.for_average, other.pixels[LABELED:-UNLABELED])
    assert torch.equal(batch.pixels[:LABELED], other.pixels[:LABELED])
    assert torch.equal(batch.pixels[LABELED:], other.pixels[-UNLABELED:])


@pytest.mark.parametrize(("world_size", "micro_batches"), [(2, 1), (1, 2)])
def test_shares_of_a_batch_make_up_the_whole(world_size, micro_batches):
    whole = two_views()[0](1)
    parts = [
        two_views(sharding=BatchSharding(ProcessGroup(rank, world_size), micro_batches))[0](micro_batches + micro_step)
        for rank in range(world_size)
        for micro_step in range(micro_batches)
    ]
    for rows, of_part in (
        (slice(LABELED), slice(LABELED // 2)),
        (slice(LABELED, LABELED + UNLABELED), slice(LABELED // 2, (LABELED + UNLABELED) // 2)),
        (slice(-UNLABELED, None), slice(-UNLABELED // 2, None)),
    ):
        joined = torch.stack([part.pixels[of_part] for part in parts], dim=1).flatten(0, 1)
        assert torch.equal(joined, whole.pixels[rows])
    assert torch.equal(torch.stack([part.positions for part in parts], dim=1).flatten(), whole.positions)


def test_the_averaged_weights_answer_in_evaluation_mode_without_gradients():
    classifier = make_classifier()
    ema = Ema(classifier, 0.9)
    batch = two_views(asks_average=True)[0](0)
    answered = with_answers_of_average(batch, ema, ON_CPU)
    assert not answered.teacher_logits.requires_grad
    torch.testing.assert_close(answered.teacher_logits[:, 0], classifier.eval()(batch.for_average).detach())
    assert with_answers_of_average(two_views()[0](0), ema, ON_CPU).teacher_logits is None
