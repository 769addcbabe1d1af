"""Images listed in a table: a CSV or Parquet file with a column of paths and, if labeled, one of labels."""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

from noisystudent.data.files import SAMPLE_BYTES, File, file_at, is_url, sample_digest
from noisystudent.data.source import (
    NO_LABEL,
    PassedOver,
    Record,
    count_labels,
    cut_shards,
    printable,
    shard_slice,
    size_problem,
)
from noisystudent.data.sources.labels import classes_for, label_text
from noisystudent.data.sources.table_files import read_table
from noisystudent.data.sources.tables import known_truth, label_texts, resolve_labels
from noisystudent.data.tally import Tally, described
from noisystudent.errors import DataError

# A table from elsewhere may point to stores, but never to local files outside its folder.
ALLOWED_SCHEMES = ("s3", "gs", "gcs", "az", "abfs", "abfss", "http", "https", "hf")

_READERS = 16  # threads that read images
_CHUNK = 4 * _READERS  # most images in memory
_DRIVE = re.compile(r"[A-Za-z]:(?:[/\\]|$)")  # of Windows, at the beginning of an absolute path


class PathTableSource:
    """The images that a table lists, in its order; the paths in the table are the keys.

    ``spec`` is the path or URL of a ``.csv``, ``.tsv`` or ``.parquet`` file with a column ``path`` and, if labeled,
    ``label``, or columns of similar names (``table_files.py``). Paths are relative to the table's folder and must stay
    inside it: absolute paths and ``..`` are errors, and a symbolic link that leads out of it gives a record with a
    ``problem``. A path may also be a URL of a store (s3, gs, gcs, az, abfs, abfss, http, https, hf), or with the same
    scheme as the table's own URL. Rows without a path, repeated rows and, if labeled, rows without a label are passed
    over. Raises ``DataError``.
    """

    def __init__(self, spec: str, *, labeled: bool) -> None:
        self.name = printable(spec)
        table = file_at(spec)
        if table is None:
            raise DataError(f"There is no file {spec!r}. Check the name.")
        self._folder = table.folder
        rows = read_table(table)
        self._known_classes = rows.classes
        self._numbers_first = rows.classes is not None
        tally = Tally()
        tally.add_all("rows without a path", len(rows.empty), rows.empty)
        keys, values = _distinct_rows(spec, [self._key(path) for path in rows.paths], rows.labels, labeled, tally)
        if not keys:
            raise DataError(f"{spec!r} names no images{described(tally.passed_over)}. Write one path per row.")
        self.classes: tuple[str, ...] | None = None
        self._labels: list[int] | None = None
        self._values = values
        self.notes: tuple[str, ...] = ()
        if rows.classes is None and values is not None:
            self._known_classes, notes = classes_for(table, map(label_text, values))
            self.notes = notes if labeled else ()
        if labeled:
            if values is None:
                raise DataError(
                    f"{spec!r} is given as labeled but has no column 'label'. Add it, or give it as unlabeled."
                )
            labels = resolve_labels(
                spec, keys, label_texts(spec, values), self._known_classes, numbers_first=self._numbers_first
            )
            keys = [keys[row] for row in labels.kept]
            self.classes, self._labels = labels.classes, labels.by_row[labels.kept].tolist()
            for each in labels.passed_over:
                tally.add_all(each.what, each.count, each.names)
        self._keys = tuple(keys)
        self.shard_sizes: tuple[int, ...] = cut_shards(len(self._keys))
        self.passed_over: tuple[PassedOver, ...] = tally.passed_over
        self.files: Mapping[str, str] = {}

    @cached_property
    def fingerprint(self) -> str:
        """Changes with the keys, the labels, the classes, and the size, first or last 4 KiB of each image."""
        total = hashlib.sha256(json.dumps(["manifest", self.classes, self._keys, self._labels]).encode())
        with ThreadPoolExecutor(_READERS) as pool:
            for digest in pool.map(self._digest, self._keys):
                total.update(digest)
        return total.hexdigest()

    def read(self, shard: int) -> Iterator[Record]:
        """The records of one shard; an unreadable image has a ``problem``."""
        return self.read_rows(shard, range(self.shard_sizes[shard]))

    def read_rows(self, shard: int, rows: Sequence[int]) -> Iterator[Record]:
        """The given rows of one shard, in that order; several images are read at the same time."""
        first = shard_slice(shard).start
        with ThreadPoolExecutor(_READERS) as pool:
            for start in range(0, len(rows), _CHUNK):
                chunk = rows[start : start + _CHUNK]
                contents = pool.map(self._content, [self._keys[first + row] for row in chunk])
                for row, (content, problem) in zip(chunk, contents, strict=True):
                    label = NO_LABEL if self._labels is None else self._labels[first + row]
                    yield Record(self._keys[first + row], content, label, problem)

    def keys(self, shard: int) -> Sequence[str]:
        """The keys of one shard, in order."""
        return self._keys[shard_slice(shard)]

    def count_labels(self) -> list[int]:
        """The number of images per class, in the order of ``classes``."""
        return count_labels(self._labels, len(self.classes or ()))

    def truth(self, classes: Sequence[str]) -> dict[str, str] | None:
        """The class name of each key, for reports only, or None unless every label is one of ``classes``."""
        if self._values is None or self._labels is not None:
            return self._labeled_truth(classes)
        try:
            texts = label_texts(self.name, self._values)
        except DataError:  # labels that are none matter only where they are needed
            return None
        return known_truth(self._keys, texts, self._known_classes, classes, numbers_first=self._numbers_first)

    def _labeled_truth(self, classes: Sequence[str]) -> dict[str, str] | None:
        if self._labels is None or self.classes is None:
            return None
        names = [self.classes[label] for label in self._labels]
        return dict(zip(self._keys, names, strict=True)) if set(names) <= set(classes) else None

    def _key(self, path: str) -> str:
        """The path of an image, checked; backslashes of Windows become slashes unless the file has them in its name."""
        if "\\" in path and not is_url(path) and (is_url(self._folder) or not Path(self._folder, path).exists()):
            path = path.replace("\\", "/")
        _check_path(self.name, path)
        return path

    def _content(self, key: str) -> tuple[bytes, str]:
        """The bytes of an image and an empty string, or no bytes and the reason."""
        try:
            return self._file(key).read(), ""
        except DataError as error:
            return b"", str(error)

    def _digest(self, key: str) -> bytes:
        try:
            file = self._file(key)
            length = min(SAMPLE_BYTES, file.size)
            return sample_digest(file.size, file.read(0, length), file.read(file.size - length, length))
        except DataError:
            return b"unreadable"

    def _file(self, key: str) -> File:
        location = key if is_url(key) else f"{self._folder}/{key}"
        if not is_url(location) and not Path(location).resolve().is_relative_to(Path(self._folder).resolve()):
            raise DataError(f"{key!r} is a link that leads out of {self._folder!r}")
        file = file_at(location)
        if file is None:
            raise DataError(f"there is no file {location!r}")
        if problem := size_problem(file.size):
            raise DataError(problem)
        return file


def _check_path(spec: str, key: str) -> None:
    """Raises ``DataError`` for a path that leads neither below the table's folder nor to a store."""
    if is_url(key):
        scheme = key.split("://", 1)[0]
        table_scheme = spec.split("://", 1)[0] if is_url(spec) else None
        if scheme not in ALLOWED_SCHEMES and scheme != table_scheme:
            raise DataError(
                f"{spec!r} names {key!r}, and URLs in a table may begin with {', '.join(ALLOWED_SCHEMES)}"
                f"{f' or {table_scheme}' if table_scheme else ''} only. Write a path relative to the table's folder."
            )
    elif posixpath.isabs(key) or _DRIVE.match(key) or ".." in key.split("/") or "\0" in key:
        raise DataError(
            f"{spec!r} names {key!r}, and paths in a table are relative to its folder and stay inside, without '..'. "
            "Put the table into a folder above the images and write paths relative to it."
        )


def _distinct_rows(
    spec: str, keys: list[str], values: list[object] | None, labeled: bool, tally: Tally
) -> tuple[list[str], list[object] | None]:
    """The rows without those that repeat an earlier one; ``DataError`` for an image with two labels, if labeled."""
    first: dict[str, int] = {}
    for row, key in enumerate(keys):
        earlier = first.setdefault(key, row)
        if earlier == row:
            continue
        if labeled and values is not None and label_text(values[earlier]) != label_text(values[row]):
            raise DataError(
                f"{spec!r} names {key!r} twice, with the labels {str(values[earlier])!r} and "
                f"{str(values[row])!r}. Give every image one label."
            )
        tally.add("rows that repeat an earlier one", key)
    kept = list(first.values())
    return list(first), None if values is None else [values[row] for row in kept]
