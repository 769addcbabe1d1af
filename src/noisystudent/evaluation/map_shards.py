"""A source gone through once, shard by shard, by processes that work as a group: each shard is one of theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from noisystudent.data.images import Failure, PictureFormat, Pictures, check_failures, decode_shard
from noisystudent.data.source import Source
from noisystudent.runtime.process_group import Ranks

Answer = TypeVar("Answer")


def by_turns(
    source: Source,
    format: PictureFormat,
    answer: Callable[[Pictures], Answer],
    *,
    max_corrupt_fraction: float,
    ranks: Ranks,
) -> Iterator[tuple[Answer, tuple[Failure, ...]]]:
    """What ``answer`` makes of each shard's pictures, in order, beside those that could not be read.

    All processes get all answers, which are the same however many there are; each holds one shard's pictures at a time.
    Raises ``DataError``, in all of them, as soon as more pictures than ``max_corrupt_fraction`` could not be read.
    """

    def work(shard: int) -> tuple[Answer, tuple[Failure, ...]]:
        pictures = decode_shard(source, shard, format)
        return answer(pictures), pictures.failures

    rows = sum(source.shard_sizes)
    failures: list[Failure] = []
    for answered, failed in ranks.in_turns(len(source.shard_sizes), work):
        failures += failed
        check_failures(source, failures, rows, max_corrupt_fraction)
        yield answered, failed
