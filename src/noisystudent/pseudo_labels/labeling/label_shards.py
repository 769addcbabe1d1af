"""Labels decoded images shard by shard and stores the predictions; finished parts are never made again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from noisystudent.data.images import Failure, Images, check_failures
from noisystudent.data.source import Source
from noisystudent.models.teacher import TeacherModel, log_probabilities
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

Floats = npt.NDArray[np.float32]


def label(
    teacher: TeacherModel,
    read_shard: Callable[[int], Images],
    parts: Iterable[tuple[int, Sequence[int]]],
    folder: Path,
    *,
    batch_size: int,
    precision: str = "float32",
    seed: int = 0,
    typicality: Callable[[Images], Floats] | None = None,
    bar: Bar | None = None,
) -> None:
    """Makes the parts of predictions that do not exist yet; a part appears whole or not at all.

    Only one shard's images are in memory at a time.

    Args:
        teacher: the model that labels, such as a ``Predictor``.
        read_shard: gives the images of a shard, decoded in the teacher's format.
        parts: number and shards of each part.
        folder: where the parts are written.
        batch_size: images per forward pass.
        precision: ``float32``, ``bfloat16`` or ``float16``.
        seed: seed of a noised teacher's model noise; other teachers do not use it.
        typicality: how close images are to labeled ones, float32 [N], to be stored too.
        bar: advances by the images of each batch.
    """
    for part, shards in parts:
        path = part_path(folder, part)
        if path.exists():
            continue
        labels = [
            label_shard(
                teacher, read_shard(shard), shard,
                batch_size=batch_size, precision=precision, seed=seed, typicality=typicality, bar=bar,
            )
            for shard in shards
        ]  # fmt: skip
        write_part(path, labels)


def gather_failures(folder: Path, source: Source, stats: Sequence[PartStats], max_corrupt_fraction: float) -> None:
    """Lists the images that could not be read in ``failed.parquet``, from the ``stats`` of all parts in order.

    Raises ``DataError`` if they are more than ``max_corrupt_fraction`` of the source.
    """
    failed = [
        (shards[index], key, reason)
        for shards, part in zip(cut_parts(len(source.shard_sizes)), stats, strict=True)
        for index, key, reason in part.failed
    ]
    failures = [Failure(key, reason) for _, key, reason in failed]
    check_failures(source, failures, sum(source.shard_sizes), max_corrupt_fraction)
    write_failed(folder, failed)


def label_shard(
    teacher: TeacherModel,
    images: Images,
    shard: int,
    *,
    batch_size: int,
    precision: str,
    seed: int,
    typicality: Callable[[Images], Floats] | None = None,
    bar: Bar | None = None,
) -> ShardLabels:
    """The labels of a shard's images; they do not depend on the process or on the shards that it labeled before.

    ``bar`` also counts the images that could not be decoded. Raises ``ModelError`` if an answer is NaN.
    """
    with seeded(stream_key(seed, "labeling", shard), teacher.device):
        values = log_probabilities(teacher, images, batch_size=batch_size, precision=precision, bar=bar)
    if bar:
        bar.advance(len(images.failures))
    failed = [(failure.key, failure.reason) for failure in images.failures]
    return ShardLabels.of(images.keys, values, failed, typicality(images) if typicality else None)
