"""Images in tar shards of the WebDataset layout, here or behind a URL, read a few megabytes at a time."""

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
from noisystudent.data.shards.catalog import Catalog, read_catalog
from noisystudent.data.shards.index import NO_IMAGE, Facts, Index, load_index
from noisystudent.data.source import NO_LABEL, SHARD_ROWS, Record, cut_shards, says_too_large
from noisystudent.data.sources.labels import classes_beside, classes_of, numbering
from noisystudent.errors import DataError

_OPENERS = 8  # shards whose indexes are read at the same time
_KEPT_INDEXES = 4
_BLOCK_BYTES = 2**23  # read at once: worth a request to a store, and little memory
_LARGEST_GAP = 2**18  # bytes between two images that are read for nothing rather than asked for anew


class ShardSource:
    """The images in tar files; a shard is a run of at most 1024 rows of one of them.

    ``spec`` is a ``.tar`` file, a folder of them, or a pattern with braces or wildcards, as a path or a URL. Keys are
    those of the tar files (names up to the first dot after the last slash) and must be unique over all of them. Class
    names come from ``classes.json`` or ``classes.txt`` beside the first, or are the labels themselves. A key with a
    label but no image is a record with a ``problem``. ``ignored_members`` counts what is no part of an image.
    Raises ``DataError`` for shards that are missing, damaged or empty, and, when labeled, for an image without label.
    """

    def __init__(self, spec: str, *, labeled: bool) -> None:
        self.name = spec
        self._files = list_files(spec, ".tar")
        self._known_classes = classes_beside(self._files[0])
        catalog = read_catalog(self._files)
        self._facts = self._look_into_all(labeled) if catalog is None else self._trusted(catalog, labeled)
        self.ignored_members: int = sum(facts.ignored for facts in self._facts)
        if not sum(facts.rows for facts in self._facts):
            raise DataError(
                f"The {len(self._files)} tar files of {spec!r} hold no images (passed over: {self.ignored_members} "
                "members that are no images). Their names must end in .jpg, .jpeg, .png, .webp, .bmp or .gif."
            )
        self.classes: tuple[str, ...] | None = self._known_classes if labeled else None
        # Of each shard: the number of its tar file, its first row there, and its rows.
        self._runs = [
            (number, first, rows)
            for number, facts in enumerate(self._facts)
            for first, rows in zip(itertools.count(0, SHARD_ROWS), cut_shards(facts.rows), strict=False)
        ]
        self.shard_sizes: tuple[int, ...] = tuple(rows for _, _, rows in self._runs)
        self._index = lru_cache(_KEPT_INDEXES)(self._load)

    @cached_property
    def fingerprint(self) -> str:
        """Changes when a key, an image (its size, first or last 4 KiB), their order, a label or a class changes.

        So it does when the same images are dealt out to other tar files, since predictions go by shard.
        """
        told = [[facts.rows, facts.content, facts.labels if self.classes else None] for facts in self._facts]
        return hashlib.sha256(json.dumps(["shards", self.classes, told]).encode()).hexdigest()

    @property
    def files(self) -> dict[str, str]:
        """What identifies the content of each tar file, by its name."""
        return {
            name: f"{facts.content} {facts.labels}" if self.classes else facts.content
            for name, facts in zip(short_names(self._files), self._facts, strict=True)
        }

    def read(self, shard: int) -> Iterator[Record]:
        """The records of one shard, in order."""
        return self.read_rows(shard, range(self.shard_sizes[shard]))

    def read_rows(self, shard: int, rows: Iterable[int]) -> Iterator[Record]:
        """Some records of one shard, by their numbers in it, in that order; only they and what lies close are read.

        Raises ``DataError``, naming tar file and key, for an image that is not the one that was indexed.
        """
        number, first, _ = self._runs[shard]
        file, table = self._files[number], self._index(number).table
        chosen = [first + row for row in rows]
        picked = table.take(pa.array(chosen, pa.int64()))
        starts, sizes = picked["start"].to_numpy(), picked["size"].to_numpy()
        keys, samples = picked["key"].to_pylist(), picked["sample"].to_pylist()
        labels = [NO_LABEL] * len(chosen)
        if self.classes is not None:
            labels = [self._number(file, *each) for each in zip(keys, picked["label"].to_pylist(), strict=True)]
        for part in _blocks(starts, sizes):
            present = [row for row in part if _problem(int(starts[row]), int(sizes[row])) == ""]
            begin = int(starts[present[0]]) if present else 0
            end = int(starts[present[-1]] + sizes[present[-1]]) if present else 0
            block = memoryview(file.read(begin, end - begin))
            for row in part:
                problem = _problem(int(starts[row]), int(sizes[row]))
                if problem:
                    yield Record(keys[row], b"", labels[row], problem)
                    continue
                place = int(starts[row]) - begin
                content = bytes(block[place : place + int(sizes[row])])
                if content_digest(content) != samples[row]:
                    raise DataError(_says_changed(file, keys[row]))
                yield Record(keys[row], content, labels[row])

    def truth(self, classes: Sequence[str]) -> dict[str, str] | None:
        """The class name of each key, for reports only, or None unless every one is labeled with one of ``classes``."""
        if self._known_classes is None:
            return None
        rows, known = numbering(self._known_classes), self._known_classes
        told: dict[str, str] = {}
        for number in range(len(self._files)):
            table = self._load(number).table
            for key, text in zip(table["key"].to_pylist(), table["label"].to_pylist(), strict=True):
                if text not in rows:
                    return None
                told[key] = known[rows[text]]
        return told if set(told.values()) <= set(classes) else None

    def _trusted(self, catalog: Catalog, labeled: bool) -> list[Facts]:
        """What the catalog that ``pack`` wrote says of each tar file: it has seen that no key is there twice."""
        if labeled and not catalog.labeled:
            raise DataError(
                f"{self.name!r} is given as labeled but was packed without labels. Give it as unlabeled, or pack it "
                "again with --labeled."
            )
        return catalog.facts

    def _look_into_all(self, labeled: bool) -> list[Facts]:
        """The facts of each tar file from its index, once keys are seen to be unique and labels to be there."""
        keys: list[pa.Array] = []
        texts: set[str] = set()
        facts: list[Facts] = []
        with ThreadPoolExecutor(_OPENERS) as pool:
            for file, index in zip(self._files, pool.map(load_index, self._files), strict=True):
                column = index.table["label"]
                if labeled and column.null_count:
                    row = pc.index(pc.is_null(column), value=True).as_py()
                    raise DataError(
                        f"{self.name!r} is given as labeled, but {column.null_count} of the {len(column)} images of "
                        f"{file.name!r} have no label, for example {index.table['key'][row].as_py()!r}. Put a .cls "
                        "member (a number) or a .json member with the field label beside each, or give the source as "
                        "unlabeled."
                    )
                texts.update(text for text in pc.unique(column).to_pylist() if text is not None)
                keys += index.table["key"].chunks
                facts.append(index.facts)
        _check_unique(self._files, facts, pa.chunked_array(keys, pa.string()))
        self._settle_classes(texts, labeled)
        return facts

    def _settle_classes(self, texts: set[str], labeled: bool) -> None:
        """Names the classes after the labels where no file names them; an unlabeled source need not make sense."""
        try:
            if self._known_classes is None and texts:
                self._known_classes = classes_of(self.name, texts)
        except DataError:
            if labeled:
                raise

    def _load(self, number: int) -> Index:
        """The index of a tar file, which must say what the one did that the source was opened with."""
        file, index = self._files[number], load_index(self._files[number])
        if index.facts != self._facts[number]:
            raise DataError(
                f"{file.name!r} was changed while it was in use, or its index is not of this file. Run the same "
                "command again, or pack it again."
            )
        return index

    def _number(self, file: File, key: str, text: str | None) -> int:
        rows = self._rows_of_classes
        if text is None or text not in rows:
            raise DataError(
                f"The label {text!r} of {key!r} in {file.name!r} is none of the {len(rows)} names and numbers of the "
                "classes in classes.json or classes.txt beside it. Correct the label or the file."
            )
        return rows[text]

    @cached_property
    def _rows_of_classes(self) -> dict[str, int]:
        return numbering(self._known_classes or ())


def _problem(start: int, size: int) -> str:
    """Why a row has no bytes to decode, or nothing."""
    if start == NO_IMAGE:
        return "its tar file has a label for it, but no image"
    return says_too_large(size)


def _blocks(starts: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]) -> Iterator[list[int]]:
    """Rows in their order, in groups that lie one behind another and close together in the file."""
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


def _check_unique(files: list[File], facts: list[Facts], keys: pa.ChunkedArray) -> None:
    """Raises ``DataError``, naming both tar files, for a key that two of them have."""
    if pc.count_distinct(keys).as_py() == len(keys):
        return
    owner: dict[str, int] = {}
    numbers = np.repeat(np.arange(len(files)), [each.rows for each in facts])
    for key, number in zip(keys.to_pylist(), numbers.tolist(), strict=True):
        first = owner.setdefault(key, number)
        if first != number:
            raise DataError(
                f"The key {key!r} is in both {files[first].name!r} and {files[number].name!r}. Give every image its "
                "own key, or name each tar file once."
            )
    raise AssertionError("an index holds a key twice")


def _says_changed(file: File, key: str) -> str:
    return (
        f"The image {key!r} in {file.name!r} is not the one that was indexed: the tar file was replaced. Run the "
        "same command again; if this comes again, delete the index beside the tar file."
    )
