"""Teachers in the step: what they are shown, what is stored of them, and that all ways give the same answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from noisystudent.errors import MismatchError
from noisystudent.losses.settings import DistillationSettings
from noisystudent.models.classifier import create_classifier
from noisystudent.models.teacher import Teacher
from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.mixing import Mixing
from noisystudent.pseudo_labels.predictions import list_parts
from noisystudent.runtime.device import seeded
from noisystudent.runtime.process_group import ProcessGroup
from noisystudent.training.loader import BatchLoader, BatchSharding
from noisystudent.training.teacher_logits import (
    CachedTeachers,
    CachedViewTeachers,
    OnlineTeachers,
    TeacherLogitsBatches,
    ViewCache,
    teacher_logits_of,
    view_keys,
)
from training_setup import make_batches

CPU = torch.device("cpu")
EVERYONE = DistillationSettings(method="kd").rows


def make_teacher(seed: int = 1, size: int = 8, classes: tuple[str, ...] = ("top", "bottom")) -> Teacher:
    with seeded(seed, CPU):
        return Teacher(create_classifier("tiny_resnet", classes=classes, channels=1, size=size))


def divided(
    batches: BatchLoader, rank: int, group: int, micro_batches: int, mixing: Mixing | None = None
) -> BatchLoader:
    return BatchLoader(
        batches.streams, batches.noise, mixing=mixing, sharding=BatchSharding(ProcessGroup(rank, group), micro_batches)
    )


def mixing() -> Mixing:
    return Mixing(mixup=1.0, cutmix=0.0, rng=CounterRng(0, "mix"))


@pytest.mark.parametrize("blend", [None, mixing()], ids=["plain", "mixed"])
def test_an_online_teacher_answers_what_the_student_is_shown(blend):
    batches = divided(make_batches(), 0, 1, 1, blend)
    one, two = make_teacher(1), make_teacher(2)
    batch = TeacherLogitsBatches(batches, OnlineTeachers([one, two], {}, EVERYONE))(3)
    plain = batches(3)
    assert torch.equal(batch.pixels, plain.pixels)
    assert torch.equal(batch.targets, plain.targets)
    assert batch.teacher_logits is not None
    for number, teacher in enumerate((one, two)):
        assert torch.equal(batch.teacher_logits[:, number], teacher(plain.pixels, torch.full((16, 2), 8)))
    assert not batch.teacher_logits.requires_grad


@pytest.mark.parametrize(("on", "rows"), [("labeled", slice(8)), ("unlabeled", slice(8, 16))])
def test_only_the_rows_that_are_taught_are_shown_to_the_teacher(on, rows):
    seen = []

    class Watching(Teacher):
        def __call__(self, pixels, sizes):
            seen.append(pixels)
            return super().__call__(pixels, sizes)

    batches = make_batches()
    teacher = Watching(create_classifier("tiny_resnet", classes=("a", "b"), channels=1, size=8))
    settings = DistillationSettings(method="kd", applies_to=on)
    batch = TeacherLogitsBatches(batches, OnlineTeachers([teacher], {}, settings.rows))(0)
    assert torch.equal(seen[0], batches(0).pixels[rows])
    assert batch.teacher_logits is not None
    assert batch.teacher_logits.shape == (8, 1, 2)


def test_a_teacher_of_another_size_sees_the_same_views_at_its_own():
    batches = make_batches()
    noise = batches.noise
    small = BatchLoader(
        batches.streams, type(noise)(noise.settings, size=4, strength=1.0, rng=noise.rng, storage_size=8)
    )
    teacher = make_teacher(size=4)
    batch = TeacherLogitsBatches(batches, OnlineTeachers([teacher], {4: small}, EVERYONE))(2)
    assert batch.teacher_logits is not None
    assert torch.equal(batch.teacher_logits[:, 0], teacher_logits_of(teacher, small(2).pixels))
    # The same crops: shrunk by half, the student's views are the teacher's, but for the order of crop and shrinking.
    halved = torch.nn.functional.avg_pool2d(batch.pixels.float(), 2)
    correlations = [
        np.corrcoef(one.flatten(), other.flatten())[0, 1]
        for one, other in zip(halved.numpy(), small(2).pixels.float().numpy(), strict=True)
    ]
    assert min(correlations) > 0.9


@pytest.mark.parametrize("blend", [None, mixing()], ids=["plain", "mixed"])
def test_replayed_answers_are_those_of_the_online_teacher(tmp_path, blend):
    whole = divided(make_batches(), 0, 1, 1, blend)
    teacher = make_teacher()
    store = ViewCache(tmp_path, whole, 2)
    assert store.missing(130) == [0, 1]
    for part in store.missing(130):
        store.write(part, teacher)
    assert store.missing(130) == []
    assert store.missing(256) == []
    assert store.missing(257) == [2]
    online = OnlineTeachers([teacher], {}, EVERYONE)
    for rank in range(2):
        for micro_batch in range(2):
            share = divided(make_batches(), rank, 2, 2, blend)
            again = CachedViewTeachers(lambda step: store.read(step)[:, None], share, EVERYONE)
            for step in (0, 129, 5):
                micro_step = 2 * step + micro_batch
                batch = share(micro_step)
                expected = torch.log_softmax(online(micro_step, batch), dim=-1)
                torch.testing.assert_close(again(micro_step, batch), expected, rtol=1e-5, atol=1e-6)


def test_a_view_store_refuses_to_speak_of_other_views(tmp_path):
    batches = make_batches()
    ViewCache(tmp_path, batches, 2).write(0, make_teacher())
    with pytest.raises(MismatchError, match=r"part-00000\.parquet holds other views"):
        ViewCache(tmp_path, make_batches(seed=1), 2).read(0)


def test_parts_of_a_view_store_name_every_view_once(tmp_path):
    batches = make_batches()
    store = ViewCache(tmp_path, batches, 2)
    store.write(0, make_teacher())
    (part,) = list_parts(tmp_path)
    assert part.name == "part-00000.parquet"
    keys = [address for step in range(128) for address in view_keys(batches, step)]
    assert len(set(keys)) == len(keys) == store.rows_per_part
    assert keys[0].split("/")[0] == "labeled"


def test_many_classes_are_kept_by_their_most_probable_ones(tmp_path):
    classes = tuple(f"{number}" for number in range(150))
    teacher = make_teacher(classes=classes)
    store = ViewCache(tmp_path, make_batches(), 150)
    store.write(0, teacher)
    found = store.read(1)
    expected = torch.log_softmax(teacher_logits_of(teacher, make_batches()(1).pixels), dim=-1)
    assert torch.equal(found.argmax(dim=1), expected.argmax(dim=1))
    kept = expected.argsort(dim=1, descending=True)[:, :128]  # the most that are kept, and an untrained teacher needs
    difference = (found.gather(1, kept).exp() - expected.gather(1, kept).exp()).abs()
    assert float(difference.max()) < 4e-4
    torch.testing.assert_close(found.exp().sum(dim=1), torch.ones(16), rtol=1e-4, atol=0)


def test_stored_answers_are_looked_up_by_position_whoever_asks():
    whole = make_batches()
    tables = [
        torch.arange(len(stream) * 2.0).view(-1, 1, 2) + 1000 * number for number, stream in enumerate(whole.streams)
    ]
    expected = torch.cat([table[views.positions] for table, views in zip(tables, whole.indices(7), strict=True)])
    found = torch.zeros(16, 1, 2)
    for rank in range(2):
        for micro_batch in range(2):
            share = divided(whole, rank, 2, 2)
            micro_step = 14 + micro_batch
            found[share.local_rows(micro_step)] = CachedTeachers(tables, share, EVERYONE)(micro_step, share(micro_step))
    assert torch.equal(found, expected)


def test_a_batch_says_its_step_and_how_many_have_labels():
    whole = make_batches()
    assert (whole(5).step, whole(5).labeled) == (5, 8)
    share = divided(whole, 1, 2, 2)
    assert (share(11).step, share(11).labeled) == (5, 2)
    unlabeled = BatchLoader(whole.streams[1:], whole.noise)
    assert (unlabeled(5).step, unlabeled(5).labeled) == (5, 0)
