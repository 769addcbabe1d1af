"""A teacher over decoded images, shard by shard, to stored predictions; finished parts are never made again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from noisystudent.data.images import Failure, Images, check_failures
from noisystudent.data.source import Source
from noisystudent.evaluation.predict import log_probabilities
from noisystudent.models.teacher import Teacher
from noisystudent.pseudo_labels.predictions import (
    PartStats,
    ShardLabels,
    cut_parts,
    part_path,
    write_failed,
    write_part,
)
from noisystudent.random_streams import stream_key
from noisystudent.runtime.device import seeded
from noisystudent.runtime.progress import Bar


def label(
    teacher: Teacher,
    read_shard: Callable[[int], Images],
    parts: Iterable[tuple[int, Sequence[int]]],
    folder: Path,
    *,
    batch_size: int,
    precision: str = "float32",
    seed: int = 0,
    bar: Bar | None = None,
) -> None:
    """Makes ``parts``, given by their numbers and shards, in ``folder``; holds one shard's images at a time.

    A part appears whole or not at all, and a part that is there is not made again. ``seed`` matters to a noised
    teacher only.
    """
    for part, shards in parts:
        path = part_path(folder, part)
        if path.exists():
            continue
        labels = [
            label_shard(
                teacher, read_shard(shard), shard, batch_size=batch_size, precision=precision, seed=seed, bar=bar
            )
            for shard in shards
        ]
        write_part(path, labels)


def gather_failures(folder: Path, source: Source, stats: Sequence[PartStats], max_corrupt_fraction: float) -> None:
    """Lists the images that could not be read in ``failed.parquet``, from the ``stats`` of all parts in order.

    Raises ``DataError`` when they are more than ``max_corrupt_fraction`` of the source.
    """
    failed = [
        (shards[place], key, reason)
        for shards, stats in zip(cut_parts(len(source.shard_sizes)), stats, strict=True)
        for place, key, reason in stats.failed
    ]
    failures = [Failure(key, reason) for _, key, reason in failed]
    check_failures(source, failures, sum(source.shard_sizes), max_corrupt_fraction)
    write_failed(folder, failed)


def label_shard(
    teacher: Teacher,
    images: Images,
    shard: int,
    *,
    batch_size: int,
    precision: str,
    seed: int,
    bar: Bar | None = None,
) -> ShardLabels:
    """The labels of a shard's images; the same whoever labels it, and whatever was labeled before.

    ``bar`` also counts the images that could not be decoded.
    """
    with seeded(stream_key(seed, "labeling", shard), teacher.device):
        values = log_probabilities(teacher, images, batch_size=batch_size, precision=precision, bar=bar)
    if bar:
        bar.advance(len(images.failures))
    return ShardLabels.of(images.keys, values, [(each.key, each.reason) for each in images.failures])
