"""A teacher over a source, shard by shard, to stored predictions; finished shards are never labeled again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from noisystudent.data.pictures import Pictures
from noisystudent.evaluation.predict import log_probabilities
from noisystudent.models.teacher import Teacher
from noisystudent.predictions import part_path, write_part
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

    A part appears whole or not at all, and a part that is there is not made again. Pictures that cannot be decoded
    have no row; the shard's ``failures`` name them. ``seed`` matters to a noised teacher only.
    """
    for shard in shards:
        path = part_path(folder, shard)
        if path.exists():
            continue
        pictures = read_shard(shard)
        with seeded(stream_key(seed, "labeling", shard), teacher.device):
            values = log_probabilities(teacher, pictures, batch_size=batch_size, precision=precision, bar=bar)
        write_part(path, pictures.keys, values)
