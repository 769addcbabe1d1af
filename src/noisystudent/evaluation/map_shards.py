"""A source gone through once, shard by shard, by processes that work as a group: each shard is one of theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from noisystudent.data.images import Failure, ImageFormat, Images, check_failures, decode_shard
from noisystudent.data.source import Source
from noisystudent.runtime.process_group import ProcessGroup

Answer = TypeVar("Answer")


def map_shards(
    source: Source,
    format: ImageFormat,
    answer: Callable[[Images], Answer],
    *,
    max_corrupt_fraction: float,
    group: ProcessGroup,
) -> Iterator[tuple[Answer, tuple[Failure, ...]]]:
    """What ``answer`` makes of each shard's images, in order, beside those that could not be read.

    All processes get all answers, which are the same however many there are; each holds one shard's images at a time.
    Raises ``DataError``, in all of them, as soon as more images than ``max_corrupt_fraction`` could not be read.
    """

    def work(shard: int) -> tuple[Answer, tuple[Failure, ...]]:
        images = decode_shard(source, shard, format)
        return answer(images), images.failures

    rows = sum(source.shard_sizes)
    failures: list[Failure] = []
    for answered, failed in group.map_sharded(len(source.shard_sizes), work):
        failures += failed
        check_failures(source, failures, rows, max_corrupt_fraction)
        yield answered, failed
