"""Goes through a source once, shard by shard; the processes of a group share the shards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from noisystudent.data.images import Failure, ImageFormat, Images, check_failures, decode_shard
from noisystudent.data.source import Source
from noisystudent.runtime.process_group import ProcessGroup

Result = TypeVar("Result")


def map_shards(
    source: Source,
    format: ImageFormat,
    function: Callable[[Images], Result],
    *,
    max_corrupt_fraction: float,
    group: ProcessGroup,
) -> Iterator[tuple[Result, tuple[Failure, ...]]]:
    """Applies a function to the images of each shard, in order.

    All processes get all results, which do not depend on their number. Each holds one shard's images at a time.

    Args:
        source: the images.
        format: size and channels of the decoded images.
        function: what is computed of the decoded images of a shard.
        max_corrupt_fraction: largest tolerated fraction of unreadable images, 0 to 1.
        group: the processes that share the shards.

    Yields:
        For each shard: the result, and the images that could not be read.

    Raises:
        DataError: too many images are unreadable; raised in all processes as soon as this is certain.
    """

    def work(shard: int) -> tuple[Result, tuple[Failure, ...]]:
        images = decode_shard(source, shard, format)
        return function(images), images.failures

    rows = sum(source.shard_sizes)
    failures: list[Failure] = []
    for result, failed in group.map_sharded(len(source.shard_sizes), work):
        failures += failed
        check_failures(source, failures, rows, max_corrupt_fraction)
        yield result, failed
