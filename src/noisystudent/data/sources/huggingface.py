"""Images in data sets of Hugging Face's ``datasets`` package, by name or from a folder of ``save_to_disk``."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from noisystudent.data.files import content_digest
from noisystudent.data.source import NO_LABEL, Record, cut_shards, shard_slice
from noisystudent.data.sources.columns import Columns, find_columns
from noisystudent.data.sources.labels import label_text
from noisystudent.data.sources.tables import RowKeys, check_keys, known_truth, settle_labels
from noisystudent.errors import DataError

PREFIX = "hf:"

_BATCH_ROWS = 32
_NO_BYTES = "the row holds no bytes of an image (one that is only named by a path is not opened)"

Dataset = Any  # datasets.Dataset; the package is an extra


class HuggingFaceSource:
    """The rows of a data set, memory-mapped; columns are found as in Parquet, and keys are ``row:<number>`` else.

    ``spec`` is ``hf:NAME``, ``hf:NAME:SPLIT`` or a folder that ``Dataset.save_to_disk`` wrote. Raises ``DataError``,
    with the command that installs ``datasets`` where it is missing.
    """

    def __init__(self, spec: str, *, labeled: bool) -> None:
        self.name = spec
        data = _load(spec)
        if not len(data):
            raise DataError(f"{spec!r} has no rows.")
        self._columns: Columns = find_columns(spec, data.features.arrow_schema)
        self._data: Dataset = _undecoded(data, self._columns)
        self.shard_sizes: tuple[int, ...] = cut_shards(len(data))
        self.files: Mapping[str, str] = {}
        key = self._columns.key
        self._keys: Sequence[str] = check_keys(spec, list(data[key])) if key else RowKeys(["row"], [len(data)])
        self.classes: tuple[str, ...] | None = None
        self._labels: list[int] | None = None
        if labeled:
            if self._columns.label(spec) is None:
                raise DataError(f"{spec!r} is given as labeled but has no column 'label'. Name the labels so.")
            self.classes, self._labels = settle_labels(spec, self._keys, self._label_texts, self._columns.classes)

    @cached_property
    def fingerprint(self) -> str:
        """Changes with keys, labels, classes, and each image's size, first or last 4 KiB."""
        keys = list(self._keys) if self._columns.key else len(self._keys)
        total = hashlib.sha256(json.dumps(["hf", self.classes, keys, self._labels]).encode())
        for content in self._contents(range(len(self._keys))):
            total.update(content_digest(content))
        return total.hexdigest()

    def read(self, shard: int) -> Iterator[Record]:
        """The records of one shard, in order."""
        return self.read_rows(shard, range(self.shard_sizes[shard]))

    def read_rows(self, shard: int, rows: Sequence[int]) -> Iterator[Record]:
        """Some records of one shard, by their numbers in it, in that order."""
        chosen = [shard_slice(shard).start + row for row in rows]
        for row, content in zip(chosen, self._contents(chosen), strict=True):
            label = NO_LABEL if self._labels is None else self._labels[row]
            yield Record(self._keys[row], content, label, "" if content else _NO_BYTES)

    def truth(self, classes: Sequence[str]) -> dict[str, str] | None:
        """The class name of each key, for reports only, or None unless every one is labeled with one of ``classes``."""
        if len(self._columns.labels) != 1:
            return None
        return known_truth(self._keys, self._label_texts, self._columns.classes, classes)

    @cached_property
    def _label_texts(self) -> list[str | None]:
        label = self._columns.label(self.name)
        return [label_text(value) for value in self._data[label]] if label else []

    def _contents(self, rows: Sequence[int]) -> Iterator[bytes]:
        for start in range(0, len(rows), _BATCH_ROWS):
            some = list(rows[start : start + _BATCH_ROWS])
            for value in self._data[some][self._columns.image]:
                yield ((value or {}).get("bytes") if self._columns.nested else value) or b""


def _load(spec: str) -> Dataset:
    try:
        import datasets  # an extra, and slow to import
    except ImportError as error:
        raise DataError(f"{spec!r} needs the package datasets: pip install 'noisystudent[hf]' ({error}).") from error
    name, _, split = spec.removeprefix(PREFIX).partition(":")
    try:
        hub = spec.startswith(PREFIX)
        found = datasets.load_dataset(name) if hub else datasets.load_from_disk(os.path.expanduser(spec))
    except Exception as error:  # a hub, a cache and a dozen file formats lie below
        raise DataError(f"{spec!r} cannot be loaded by datasets ({type(error).__name__}: {error}).") from error
    if isinstance(found, datasets.DatasetDict):
        return _one_split(spec, dict(found), split if hub else "")
    return found


def _one_split(spec: str, splits: dict[str, Dataset], wanted: str) -> Dataset:
    wanted = wanted or (next(iter(splits)) if len(splits) == 1 else "")
    if wanted not in splits:
        raise DataError(
            f"{spec!r} does not say which split to take, or one that is not there ({wanted!r}). It has "
            f"{', '.join(map(repr, splits))}: write hf:NAME:SPLIT, or give the folder of the split."
        )
    return splits[wanted]


def _undecoded(data: Dataset, columns: Columns) -> Dataset:
    """The data set with images as the bytes that they are stored as, and nothing else."""
    import datasets

    kept = [name for name in (columns.image, *columns.labels) if name]
    data = data.select_columns(kept).with_format(None)
    feature = data.features[columns.image]
    if isinstance(feature, datasets.Image):
        return data.cast_column(columns.image, datasets.Image(decode=False))
    return data
