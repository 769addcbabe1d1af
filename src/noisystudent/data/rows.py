"""Some records of a source, as a source of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from noisystudent.data.source import PassedOver, Record, Source, passed_over, shard_keys, source_notes


class RowsSource:
    """The records of ``source`` at some rows of each shard, in its order; shards without any are left out.

    It holds no record in memory. Where the source has a method ``read_rows``, no other record is read, such as no other
    file of a folder.

    Args:
        source: The source.
        rows: The rows of each of its shards, ascending.
        fingerprint: What is added to that of the source.
        notes: What is added to its notes.
    """

    def __init__(
        self, source: Source, rows: Sequence[Sequence[int]], *, fingerprint: str, notes: Sequence[str] = ()
    ) -> None:
        self._source = source
        self._shards = [(shard, chosen) for shard, chosen in enumerate(rows) if len(chosen)]
        self.name = source.name
        self.classes = source.classes
        self.fingerprint = f"{source.fingerprint}/{fingerprint}"
        self.shard_sizes: tuple[int, ...] = tuple(len(chosen) for _, chosen in self._shards)
        self.files: Mapping[str, str] = source.files
        self.passed_over: tuple[PassedOver, ...] = passed_over(source)
        self.notes = (*source_notes(source), *notes)

    def read(self, shard: int) -> Iterator[Record]:
        """The chosen records of one shard, in the source's order."""
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
        """The true classes of all records of the source, not only of the chosen ones."""
        return self._source.truth(classes)
