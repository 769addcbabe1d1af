"""Images in local or remote tar shards in the WebDataset layout, read a few megabytes at a time."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from noisystudent.data.files import File, content_digest, list_files, short_names
from noisystudent.data.formats import readable_suffixes
from noisystudent.data.shards.catalog import Catalog, read_catalog
from noisystudent.data.shards.index import NO_IMAGE, Index, ShardInfo, load_index
from noisystudent.data.source import (
    NO_LABEL,
    SHARD_ROWS,
    PassedOver,
    Record,
    count_labels,
    cut_shards,
    printable,
    size_problem,
)
from noisystudent.data.sources.labels import UNLABELED, class_indices, classes_beside, is_missing
from noisystudent.data.sources.tables import MARKED_UNLABELED, WITHOUT_LABEL, check_any_labels, tell_unused
from noisystudent.data.tally import Tally, described
from noisystudent.errors import DataError

_OPENERS = 8  # threads that read indexes
_CACHED_INDEXES = 4
_BLOCK_BYTES = 2**23  # per read: large enough to be worth a request to a store, small enough for memory
_LARGEST_GAP = 2**18  # bytes between two images up to which one read is cheaper than a second request


class ShardSource:
    """The images in tar files; a shard is up to 1024 consecutive rows of one file.

    ``spec`` is a ``.tar`` file, a folder of them, or a pattern with braces or wildcards, as a path or URL. Keys are
    those of the tar files (names up to the first dot after the last slash) and must be unique across all files. Class
    names come from ``classes.json`` or ``classes.txt`` beside the first file, or else are the labels themselves. A key
    with a label but no image gives a record with a ``problem``. Members that belong to no image are passed over and, if
    labeled, images without a label. Raises ``DataError`` for shards that are missing, damaged or empty, and, if
    labeled, without any label.
    """

    def __init__(self, spec: str, *, labeled: bool) -> None:
        self.name = printable(spec)
        self._files = list_files(spec, ".tar")
        self._known_classes = classes_beside(self._files[0])
        self._index_of: dict[str, int] | None = None  # of each label; None: the catalog's labels are class numbers
        self._kept: dict[int, npt.NDArray[np.int64]] = {}  # per tar file, the rows with a label if some have none
        self.classes: tuple[str, ...] | None = None
        catalog = read_catalog(self._files)
        tally = Tally()
        self._infos = self._scan_files(labeled, tally) if catalog is None else self._from_catalog(catalog, labeled)
        for each in (each for info in self._infos for each in info.passed_over):
            tally.add_all(each.what, each.count, each.names)
        self.passed_over: tuple[PassedOver, ...] = tally.passed_over
        self.notes: tuple[str, ...] = ()
        if not sum(info.rows for info in self._infos):
            raise DataError(
                f"The {len(self._files)} tar files of {spec!r} hold no images{described(self.passed_over)}. Names must "
                f"end in {', '.join(readable_suffixes())}, with no other dot after the last slash: 'pack' writes other "
                "dots as %2E."
            )
        # Per shard: the number of its tar file, its first row among those that are kept, and its number of rows.
        self._shards = [
            (number, first, rows)
            for number in range(len(self._infos))
            for first, rows in zip(itertools.count(0, SHARD_ROWS), cut_shards(self._kept_rows(number)), strict=False)
        ]
        self.shard_sizes: tuple[int, ...] = tuple(rows for _, _, rows in self._shards)
        self._index = lru_cache(_CACHED_INDEXES)(self._load)

    @cached_property
    def fingerprint(self) -> str:
        """Changes with the keys, the images (size, first or last 4 KiB), their order, the labels and the classes.

        It also changes if the same images are distributed over other tar files, because predictions are per shard.
        """
        contents = [[info.rows, info.content, info.labels if self.classes else None] for info in self._infos]
        return hashlib.sha256(json.dumps(["shards", self.classes, contents]).encode()).hexdigest()

    @property
    def files(self) -> dict[str, str]:
        """A digest of the content of each tar file, by file name."""
        return {
            name: f"{info.content} {info.labels}" if self.classes else info.content
            for name, info in zip(short_names(self._files), self._infos, strict=True)
        }

    def read(self, shard: int) -> Iterator[Record]:
        """The records of one shard, in order."""
        return self.read_rows(shard, range(self.shard_sizes[shard]))

    def read_rows(self, shard: int, rows: Iterable[int]) -> Iterator[Record]:
        """Yields the given rows of one shard, in that order; reads only these images and small gaps between them.

        Raises ``DataError``, naming tar file and key, for an image that differs from the indexed one.
        """
        number, _, _ = self._shards[shard]
        file, table = self._files[number], self._index(number).table
        file_rows = self._file_rows(shard, rows)
        entries = table.take(pa.array(file_rows, pa.int64()))
        starts, sizes = entries["start"].to_numpy(), entries["size"].to_numpy()
        keys, digests = entries["key"].to_pylist(), entries["sample"].to_pylist()
        labels = [NO_LABEL] * len(file_rows)
        if self.classes is not None:
            texts = entries["label"].to_pylist()
            labels = [self._class_index(file, key, text) for key, text in zip(keys, texts, strict=True)]
        for group in _group_adjacent(starts, sizes):
            present = [row for row in group if _problem(int(starts[row]), int(sizes[row])) == ""]
            begin = int(starts[present[0]]) if present else 0
            end = int(starts[present[-1]] + sizes[present[-1]]) if present else 0
            block = memoryview(file.read(begin, end - begin))
            for row in group:
                problem = _problem(int(starts[row]), int(sizes[row]))
                if problem:
                    yield Record(keys[row], b"", labels[row], problem)
                    continue
                offset = int(starts[row]) - begin
                content = bytes(block[offset : offset + int(sizes[row])])
                if content_digest(content) != digests[row]:
                    raise DataError(_changed_message(file, keys[row]))
                yield Record(keys[row], content, labels[row])

    def keys(self, shard: int) -> Sequence[str]:
        """The keys of one shard, in order."""
        rows = self._file_rows(shard, range(self.shard_sizes[shard]))
        keys: list[str] = self._index(self._shards[shard][0]).table["key"].take(pa.array(rows, pa.int64())).to_pylist()
        return keys

    def _file_rows(self, shard: int, rows: Iterable[int]) -> list[int]:
        """The rows of a tar file's index that are the given rows of a shard."""
        number, first, _ = self._shards[shard]
        kept = self._kept.get(number)
        return [first + row if kept is None else int(kept[first + row]) for row in rows]

    def count_labels(self) -> list[int]:
        """The number of images per class, in the order of ``classes``; reads the indexes of all tar files."""
        labels: list[int] = []
        for number in range(len(self._files)):
            texts = self._load(number).table["label"].to_pylist()
            labels += [NO_LABEL if text is None else self._numbering.get(text, NO_LABEL) for text in texts]
        return count_labels(labels, len(self.classes or ()))

    def truth(self, classes: Sequence[str]) -> dict[str, str] | None:
        """The class name of each key, for reports only, or None unless every label is one of ``classes``."""
        names = self.classes or self._known_classes
        if names is None:
            return None
        index_of = self._numbering
        class_of: dict[str, str] = {}
        for number in range(len(self._files)):
            table = self._load(number).table
            for key, text in zip(table["key"].to_pylist(), table["label"].to_pylist(), strict=True):
                if text not in index_of:
                    return None
                class_of[key] = names[index_of[text]]
        return class_of if set(class_of.values()) <= set(classes) else None

    def _from_catalog(self, catalog: Catalog, labeled: bool) -> list[ShardInfo]:
        """The summaries in the catalog that ``pack`` wrote; ``pack`` has already checked that keys are unique."""
        if labeled and not catalog.labeled:
            raise DataError(
                f"{self.name!r} is given as labeled but was packed without labels. Give it as unlabeled, or pack it "
                "again with --labeled."
            )
        self.classes = self._known_classes if labeled else None
        return catalog.shards

    def _scan_files(self, labeled: bool, tally: Tally) -> list[ShardInfo]:
        """The summary of each tar file from its index, after checking that keys are unique, and the labels."""
        keys: list[pa.Array] = []
        labels: list[pa.ChunkedArray] = []
        infos: list[ShardInfo] = []
        with ThreadPoolExecutor(_OPENERS) as pool:
            for index in pool.map(load_index, self._files):
                keys += index.table["key"].chunks
                labels.append(index.table["label"].combine_chunks().dictionary_encode())
                infos.append(index.info)
        _check_unique(self._files, infos, pa.chunked_array(keys, pa.string()))
        if any(info.rows for info in infos):
            self._resolve_classes(labels, pa.chunked_array(keys, pa.string()), labeled, tally)
        return infos

    def _resolve_classes(
        self, labels: list[pa.DictionaryArray], keys: pa.ChunkedArray, labeled: bool, tally: Tally
    ) -> None:
        """Numbers the labels by the class names beside the files, or names the classes after the labels.

        In a labeled source, images without a label are left out, and bad labels are an error.
        """
        texts = [column.dictionary.to_pylist() for column in labels]
        try:
            names, index_of = class_indices(
                self.name, {text for each in texts for text in each}, self._known_classes, numbers_first=True
            )
        except DataError:
            if labeled:
                raise
            return
        self._known_classes, self._index_of = names, index_of
        if not labeled:
            return
        by_file = list(self._labels_by_file(labels, keys, index_of, tally))
        used = np.unique(np.concatenate(by_file))
        used = used[used >= 0]
        check_any_labels(self.name, len(keys), [names[index] for index in used], tally)
        self._kept = {
            number: np.flatnonzero(by_row >= 0) for number, by_row in enumerate(by_file) if (by_row < 0).any()
        }
        tell_unused(names, used, tally)
        self.classes = names

    def _labels_by_file(
        self, labels: list[pa.DictionaryArray], keys: pa.ChunkedArray, index_of: dict[str, int], tally: Tally
    ) -> Iterator[npt.NDArray[np.int64]]:
        """The class index of each row of each tar file, -1 for an image without a label."""
        first = 0
        for file, column in zip(self._files, labels, strict=True):
            texts = [*column.dictionary.to_pylist(), None]
            codes = column.indices.fill_null(len(texts) - 1).to_numpy()
            by_row = np.array([NO_LABEL if text is None else index_of.get(text, NO_LABEL) for text in texts])[codes]
            for row in np.flatnonzero(by_row < 0):
                key, text = keys[first + int(row)].as_py(), texts[codes[row]]
                if not is_missing(text):
                    raise DataError(self._unknown_label(file, key, text))
                tally.add(MARKED_UNLABELED if text == UNLABELED else WITHOUT_LABEL, key)
            first += len(column)
            yield by_row.astype(np.int64)

    def _kept_rows(self, number: int) -> int:
        return len(self._kept[number]) if number in self._kept else self._infos[number].rows

    def _load(self, number: int) -> Index:
        """The index of a tar file; ``DataError`` if it differs from the index with which the source was opened."""
        file, index = self._files[number], load_index(self._files[number])
        if index.info != self._infos[number]:
            raise DataError(
                f"{file.name!r} changed while it was in use, or its index belongs to another file. Run the same "
                "command again, or pack it again."
            )
        return index

    def _class_index(self, file: File, key: str, text: str | None) -> int:
        index = None if text is None else self._numbering.get(text)
        if index is None:
            raise DataError(self._unknown_label(file, key, text))
        return index

    def _unknown_label(self, file: File, key: str, text: str | None) -> str:
        return (
            f"The label {text!r} of {key!r} in {file.name!r} is none of the {len(self._known_classes or ())} names and "
            "numbers of the classes in classes.json or classes.txt beside it. Correct the label or the file."
        )

    @cached_property
    def _numbering(self) -> dict[str, int]:
        if self._index_of is not None:
            return self._index_of
        return {str(index): index for index in range(len(self._known_classes or ()))}


def _problem(start: int, size: int) -> str:
    """Why a row has no bytes to decode; empty if it has."""
    if start == NO_IMAGE:
        return "its tar file has a label for it, but no image"
    return size_problem(size)


def _group_adjacent(starts: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]) -> Iterator[list[int]]:
    """Groups the rows, in their order, so that one read of the file covers each group."""
    group: list[int] = []
    begin = end = 0
    for row, (start, size) in enumerate(zip(starts.tolist(), sizes.tolist(), strict=True)):
        if _problem(start, size):
            group.append(row)
            continue
        follows = end <= start <= end + _LARGEST_GAP and start + size - begin <= _BLOCK_BYTES
        if end and not follows:
            yield group
            group, end = [], 0
        begin = begin if end else start
        end = start + size
        group.append(row)
    if group:
        yield group


def _check_unique(files: list[File], infos: list[ShardInfo], keys: pa.ChunkedArray) -> None:
    """Raises ``DataError``, naming both tar files, for a key that occurs in two of them."""
    if pc.count_distinct(keys).as_py() == len(keys):
        return
    file_of_key: dict[str, int] = {}
    numbers = np.repeat(np.arange(len(files)), [info.rows for info in infos])
    for key, number in zip(keys.to_pylist(), numbers.tolist(), strict=True):
        first = file_of_key.setdefault(key, number)
        if first != number:
            raise DataError(
                f"The key {key!r} is in both {files[first].name!r} and {files[number].name!r}. Give every image its "
                "own key, or name each tar file once."
            )
    raise AssertionError("an index holds a key twice")


def _changed_message(file: File, key: str) -> str:
    return (
        f"The image {key!r} in {file.name!r} is not the one that was indexed: the tar file was replaced. Run the "
        "same command again; if the error returns, delete the index beside the tar file."
    )
