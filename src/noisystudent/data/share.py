"""A seeded share of a source's records, as a source: for experiments with fewer unlabeled images."""

from __future__ import annotations

from noisystudent.data.rows import RowsSource
from noisystudent.data.source import Source, shard_keys
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


class ShareSource(RowsSource):
    """The records of ``source`` that are in its share. Raises ``DataError`` if there is none."""

    def __init__(self, source: Source, share: float, seed: int) -> None:
        rows = [
            [row for row, key in enumerate(shard_keys(source, shard)) if is_in_share(key, share, seed)]
            for shard in range(len(source.shard_sizes))
        ]
        count, total = sum(map(len, rows)), sum(source.shard_sizes)
        if not count:
            raise DataError(
                f"a share of {share} of the {total} images of {source.name!r} (data.unlabeled_share) holds none; give "
                "a larger share."
            )
        note = f"{count} of its {total} images are used (data.unlabeled_share {share:g})"
        super().__init__(source, rows, fingerprint=f"share/{share}/{seed}", notes=[note])
