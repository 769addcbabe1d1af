"""Teacher logits: the views that teachers see, the cached logits, and that all ways give the same logits."""

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
ALL_ROWS = DistillationSettings(method="kd").rows


def make_teacher(seed: int = 1, size: int = 8, classes: tuple[str, ...] = ("top", "bottom")) -> Teacher:
    with seeded(seed, CPU):
        return Teacher(create_classifier("tiny_resnet", classes=classes, channels=1, size=size))


def shard_batches(
    batches: BatchLoader, rank: int, group: int, micro_batches: int, mixing: Mixing | None = None
) -> BatchLoader:
    return BatchLoader(
        batches.streams, batches.noise, mixing=mixing, sharding=BatchSharding(ProcessGroup(rank, group), micro_batches)
    )


def mixing() -> Mixing:
    return Mixing(mixup=1.0, cutmix=0.0, rng=CounterRng(0, "mix"))


@pytest.mark.parametrize("blend", [None, mixing()], ids=["plain", "mixed"])
def test_an_online_teacher_sees_the_views_of_the_student(blend):
    batches = shard_batches(make_batches(), 0, 1, 1, blend)
    teachers = [make_teacher(1), make_teacher(2)]
    batch = TeacherLogitsBatches(batches, OnlineTeachers(teachers, {}, ALL_ROWS))(3)
    plain = batches(3)
    assert torch.equal(batch.pixels, plain.pixels)
    assert torch.equal(batch.targets, plain.targets)
    assert batch.teacher_logits is not None
    for number, teacher in enumerate(teachers):
        assert torch.equal(batch.teacher_logits[:, number], teacher(plain.pixels, torch.full((16, 2), 8)))
    assert not batch.teacher_logits.requires_grad


@pytest.mark.parametrize(("applies_to", "rows"), [("labeled", slice(8)), ("unlabeled", slice(8, 16))])
def test_a_teacher_sees_only_the_rows_that_need_its_logits(applies_to, rows):
    seen = []

    class RecordingTeacher(Teacher):
        def __call__(self, pixels, sizes):
            seen.append(pixels)
            return super().__call__(pixels, sizes)

    batches = make_batches()
    teacher = RecordingTeacher(create_classifier("tiny_resnet", classes=("a", "b"), channels=1, size=8))
    settings = DistillationSettings(method="kd", applies_to=applies_to)
    batch = TeacherLogitsBatches(batches, OnlineTeachers([teacher], {}, settings.rows))(0)
    assert torch.equal(seen[0], batches(0).pixels[rows])
    assert batch.teacher_logits is not None
    assert batch.teacher_logits.shape == (8, 1, 2)


def test_a_teacher_of_another_size_sees_the_same_views_at_its_own_size():
    batches = make_batches()
    noise = batches.noise
    small = BatchLoader(
        batches.streams, type(noise)(noise.settings, size=4, strength=1.0, rng=noise.rng, storage_size=8)
    )
    teacher = make_teacher(size=4)
    batch = TeacherLogitsBatches(batches, OnlineTeachers([teacher], {4: small}, ALL_ROWS))(2)
    assert batch.teacher_logits is not None
    assert torch.equal(batch.teacher_logits[:, 0], teacher_logits_of(teacher, small(2).pixels))
    # The same crops: halved, the views of the student equal those of the teacher up to the order of crop and resize.
    halved = torch.nn.functional.avg_pool2d(batch.pixels.float(), 2)
    correlations = [
        np.corrcoef(student_view.flatten(), teacher_view.flatten())[0, 1]
        for student_view, teacher_view in zip(halved.numpy(), small(2).pixels.float().numpy(), strict=True)
    ]
    assert min(correlations) > 0.9


@pytest.mark.parametrize("blend", [None, mixing()], ids=["plain", "mixed"])
def test_logits_cached_per_view_equal_those_of_the_online_teacher(tmp_path, monkeypatch, blend):
    monkeypatch.setattr("noisystudent.training.teacher_logits._ROWS", 16 * 16)  # 16 steps per part
    whole = shard_batches(make_batches(), 0, 1, 1, blend)
    teacher = make_teacher()
    cache = ViewCache(tmp_path, whole, 2)
    assert cache.missing(18) == [0, 1]
    for part in cache.missing(18):
        cache.write(part, teacher)
    assert cache.missing(18) == []
    assert cache.missing(32) == []
    assert cache.missing(33) == [2]
    online = OnlineTeachers([teacher], {}, ALL_ROWS)
    for rank in range(2):
        for micro_batch in range(2):
            share = shard_batches(make_batches(), rank, 2, 2, blend)
            cached = CachedViewTeachers(lambda step: cache.read(step)[:, None], share, ALL_ROWS)
            for step in (0, 17, 5):
                micro_step = 2 * step + micro_batch
                batch = share(micro_step)
                expected = torch.log_softmax(online(micro_step, batch), dim=-1)
                torch.testing.assert_close(cached(micro_step, batch), expected, rtol=1e-5, atol=1e-6)


def test_a_view_cache_refuses_other_views(tmp_path):
    batches = make_batches()
    ViewCache(tmp_path, batches, 2).write(0, make_teacher())
    with pytest.raises(MismatchError, match=r"part-00000\.parquet holds other views"):
        ViewCache(tmp_path, make_batches(seed=1), 2).read(0)


def test_a_part_of_a_view_cache_names_every_view_once(tmp_path):
    batches = make_batches()
    cache = ViewCache(tmp_path, batches, 2)
    cache.write(0, make_teacher())
    (part,) = list_parts(tmp_path)
    assert part.name == "part-00000.parquet"
    keys = [key for step in range(128) for key in view_keys(batches, step)]
    assert len(set(keys)) == len(keys) == cache.rows_per_part
    assert keys[0].split("/")[0] == "labeled"


def test_of_many_classes_the_most_probable_are_cached(tmp_path):
    classes = tuple(f"{number}" for number in range(150))
    teacher = make_teacher(classes=classes)
    cache = ViewCache(tmp_path, make_batches(), 150)
    cache.write(0, teacher)
    restored = cache.read(1)
    expected = torch.log_softmax(teacher_logits_of(teacher, make_batches()(1).pixels), dim=-1)
    assert torch.equal(restored.argmax(dim=1), expected.argmax(dim=1))
    kept = expected.argsort(dim=1, descending=True)[:, :128]  # the largest number, which an untrained teacher needs
    difference = (restored.gather(1, kept).exp() - expected.gather(1, kept).exp()).abs()
    assert float(difference.max()) < 4e-4
    torch.testing.assert_close(restored.exp().sum(dim=1), torch.ones(16), rtol=1e-4, atol=0)


def test_logits_cached_per_image_are_looked_up_by_position_in_every_process():
    whole = make_batches()
    tables = [
        torch.arange(len(stream) * 2.0).view(-1, 1, 2) + 1000 * number for number, stream in enumerate(whole.streams)
    ]
    expected = torch.cat([table[indices.positions] for table, indices in zip(tables, whole.indices(7), strict=True)])
    result = torch.zeros(16, 1, 2)
    for rank in range(2):
        for micro_batch in range(2):
            share = shard_batches(whole, rank, 2, 2)
            micro_step = 14 + micro_batch
            teachers = CachedTeachers(tables, share, ALL_ROWS)
            result[share.local_rows(micro_step)] = teachers(micro_step, share(micro_step))
    assert torch.equal(result, expected)


def test_a_batch_has_its_step_and_its_number_of_labeled_rows():
    whole = make_batches()
    assert (whole(5).step, whole(5).labeled) == (5, 8)
    share = shard_batches(whole, 1, 2, 2)
    assert (share(11).step, share(11).labeled) == (5, 2)
    unlabeled = BatchLoader(whole.streams[1:], whole.noise)
    assert (unlabeled(5).step, unlabeled(5).labeled) == (5, 0)
