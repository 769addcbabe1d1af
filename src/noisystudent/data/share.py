"""A seeded share of a source's records, as a source: for experiments with fewer unlabeled images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from noisystudent.data.source import PassedOver, Record, Source, passed_over, shard_keys, source_notes
from noisystudent.errors import DataError
from noisystudent.random_streams import stream_key

_STREAM, _KEYS = "unlabeled-share", 2**63  # stream_key is below this


def is_in_share(key: str, share: float, seed: int) -> bool:
    """Whether a record belongs to the share of a seed: by its key alone, so that a larger share has all of a smaller.

    Args:
        key: the record's key.
        share: the share, above 0, to 1.
        seed: the seed; shares of different seeds are independent.
    """
    return stream_key(seed, _STREAM, key) < share * _KEYS


class ShareSource:
    """The records of ``source`` that are in its share, in its order; shards without any are left out.

    It holds no record in memory. Raises ``DataError`` if no record is in the share.
    """

    def __init__(self, source: Source, share: float, seed: int) -> None:
        rows_by_shard = [
            [row for row, key in enumerate(shard_keys(source, shard)) if is_in_share(key, share, seed)]
            for shard in range(len(source.shard_sizes))
        ]
        self._source = source
        self._shards = [(shard, rows) for shard, rows in enumerate(rows_by_shard) if rows]
        self.name = source.name
        self.classes = source.classes
        self.fingerprint = f"{source.fingerprint}/share/{share}/{seed}"
        self.shard_sizes: tuple[int, ...] = tuple(len(rows) for _, rows in self._shards)
        self.files: Mapping[str, str] = source.files
        self.passed_over: tuple[PassedOver, ...] = passed_over(source)
        count, total = sum(self.shard_sizes), sum(source.shard_sizes)
        if not count:
            raise DataError(
                f"a share of {share} of the {total} images of {source.name!r} (data.unlabeled_share) holds none; give "
                "a larger share."
            )
        self.notes = (*source_notes(source), f"{count} of its {total} images are used (data.unlabeled_share {share:g})")

    def read(self, shard: int) -> Iterator[Record]:
        """The records of one shard that are in the share, in the source's order."""
        number, rows = self._shards[shard]
        if read_rows := getattr(self._source, "read_rows", None):
            yield from read_rows(number, rows)
            return
        chosen = set(rows)
        yield from (record for row, record in enumerate(self._source.read(number)) if row in chosen)

    def keys(self, shard: int) -> Sequence[str]:
        """The keys of one shard, in order."""
        number, rows = self._shards[shard]
        keys = shard_keys(self._source, number)
        return [keys[row] for row in rows]

    def truth(self, classes: Sequence[str]) -> dict[str, str] | None:
        """The true classes of all records of the source, not only of the share."""
        return self._source.truth(classes)
