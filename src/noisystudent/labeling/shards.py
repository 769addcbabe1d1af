"""A teacher over decoded pictures, shard by shard, to stored predictions; finished shards are never labeled again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from noisystudent.data.pictures import Failure, Pictures, check_failures
from noisystudent.data.source import Source
from noisystudent.evaluation.predict import log_probabilities
from noisystudent.models.teacher import Teacher
from noisystudent.predictions import account_for, part_path, write_failed, write_part
from noisystudent.randomness import stream_key
from noisystudent.runtime.device import seeded
from noisystudent.runtime.progress import Bar


def label(
    teacher: Teacher,
    read_shard: Callable[[int], Pictures],
    shards: Iterable[int],
    folder: Path,
    *,
    batch_size: int,
    precision: str = "float32",
    seed: int = 0,
    bar: Bar | None = None,
) -> None:
    """Labels ``shards``, one part each, in ``folder``; holds one shard's pictures at a time.

    A part appears whole or not at all, and a part that is there is not made again. ``seed`` matters to a noised
    teacher only.
    """
    for shard in shards:
        path = part_path(folder, shard)
        if path.exists():
            continue
        pictures = read_shard(shard)
        labels = label_shard(
            teacher, pictures, shard, batch_size=batch_size, precision=precision, seed=seed, bar=bar
        )  # fmt: skip
        write_part(path, pictures.keys, labels, [(each.key, each.reason) for each in pictures.failures])
        if bar:
            bar.advance(len(pictures.failures))


def gather_failures(folder: Path, source: Source, max_corrupt_fraction: float) -> None:
    """Lists the pictures that could not be read in ``failed.parquet``, from the parts of all shards of ``source``.

    Raises ``DataError`` when they are more than ``max_corrupt_fraction`` of the source.
    """
    failed = [
        (shard, key, reason)
        for shard in range(len(source.shard_sizes))
        for key, reason in account_for(part_path(folder, shard))[1]
    ]
    failures = [Failure(key, reason) for _, key, reason in failed]
    check_failures(source, failures, sum(source.shard_sizes), max_corrupt_fraction)
    write_failed(folder, failed)


def label_shard(
    teacher: Teacher,
    pictures: Pictures,
    shard: int,
    *,
    batch_size: int,
    precision: str,
    seed: int,
    bar: Bar | None = None,
) -> npt.NDArray[np.float32]:
    """Log-probabilities [N, K] of a shard's pictures; the same whoever labels it, and whatever was labeled before."""
    with seeded(stream_key(seed, "labeling", shard), teacher.device):
        return log_probabilities(teacher, pictures, batch_size=batch_size, precision=precision, bar=bar)
