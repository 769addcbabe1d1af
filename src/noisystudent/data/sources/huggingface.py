"""Images in data sets of the Hugging Face package ``datasets``, by name or from a folder of ``save_to_disk``."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from noisystudent.data.files import content_digest
from noisystudent.data.source import NO_LABEL, PassedOver, Record, count_labels, cut_shards, printable, shard_slice
from noisystudent.data.sources.columns import NO_BYTES, Columns, find_columns
from noisystudent.data.sources.tables import RowKeys, check_keys, known_truth, label_texts, resolve_labels
from noisystudent.errors import DataError

PREFIX = "hf:"

_BATCH_ROWS = 32

Dataset = Any  # datasets.Dataset; the package is an extra


class HuggingFaceSource:
    """The rows of a data set, memory-mapped, with the same columns as in Parquet; default keys are ``row:<number>``.

    ``spec`` is ``hf:NAME``, ``hf:NAME:SPLIT`` or a folder that ``Dataset.save_to_disk`` wrote. Raises ``DataError``; if
    ``datasets`` is not installed, the message has the command that installs it.
    """

    def __init__(self, spec: str, *, labeled: bool) -> None:
        self.name = printable(spec)
        data = _load(spec)
        if not len(data):
            raise DataError(f"{spec!r} has no rows. Give a data set with images.")
        self._columns: Columns = find_columns(spec, data.features.arrow_schema)
        self._data: Dataset = _undecoded(data, self._columns)
        self.passed_over: tuple[PassedOver, ...] = ()
        self.notes: tuple[str, ...] = ()
        self.files: Mapping[str, str] = {}
        key = self._columns.key
        self._keys: Sequence[str] = check_keys(spec, list(data[key])) if key else RowKeys(["row"], [len(data)])
        self._rows: Sequence[int] = range(len(data))  # without those that are left out because they have no label
        self.classes: tuple[str, ...] | None = None
        self._labels: list[int] | None = None
        if labeled:
            if self._columns.label(spec) is None:
                raise DataError(
                    f"{spec!r} is given as labeled but has no column 'label'. Give the column of labels this name, or "
                    "give the source as unlabeled."
                )
            labels = resolve_labels(
                spec, self._keys, self._label_texts, self._columns.classes, numbers_first=self._columns.numbers
            )
            self.classes, self._labels, self.passed_over = labels.classes, labels.by_row.tolist(), labels.passed_over
            self._rows = labels.kept.tolist()
        self.shard_sizes: tuple[int, ...] = cut_shards(len(self._rows))

    @cached_property
    def fingerprint(self) -> str:
        """Changes with the keys, the labels, the classes, and the size, first or last 4 KiB of each image."""
        keys = list(self._keys) if self._columns.key else len(self._keys)
        total = hashlib.sha256(json.dumps(["hf", self.classes, keys, self._labels]).encode())
        for content in self._contents(self._rows):
            total.update(content_digest(content))
        return total.hexdigest()

    def read(self, shard: int) -> Iterator[Record]:
        """The records of one shard, in order."""
        return self.read_rows(shard, range(self.shard_sizes[shard]))

    def read_rows(self, shard: int, rows: Sequence[int]) -> Iterator[Record]:
        """The given rows of one shard, in that order."""
        source_rows = [self._rows[shard_slice(shard).start + row] for row in rows]
        for row, content in zip(source_rows, self._contents(source_rows), strict=True):
            label = NO_LABEL if self._labels is None else self._labels[row]
            yield Record(self._keys[row], content, label, "" if content else NO_BYTES)

    def keys(self, shard: int) -> Sequence[str]:
        """The keys of one shard, in order."""
        return [self._keys[row] for row in self._rows[shard_slice(shard)]]

    def count_labels(self) -> list[int]:
        """The number of images per class, in the order of ``classes``."""
        return count_labels(self._labels, len(self.classes or ()))

    def truth(self, classes: Sequence[str]) -> dict[str, str] | None:
        """The class name of each key, for reports only, or None unless every label is one of ``classes``."""
        if len(self._columns.labels) != 1:
            return None
        try:
            texts = self._label_texts
        except DataError:  # labels that are none matter only where they are needed
            return None
        return known_truth(self._keys, texts, self._columns.classes, classes, numbers_first=self._columns.numbers)

    @cached_property
    def _label_texts(self) -> list[str | None]:
        label = self._columns.label(self.name)
        return label_texts(self.name, self._data[label] if label else ())

    def _contents(self, rows: Sequence[int]) -> Iterator[bytes]:
        for start in range(0, len(rows), _BATCH_ROWS):
            batch = list(rows[start : start + _BATCH_ROWS])
            for value in self._data[batch][self._columns.image]:
                yield ((value or {}).get("bytes") if self._columns.nested else value) or b""


def _load(spec: str) -> Dataset:
    try:
        import datasets  # an extra, and slow to import
    except ImportError as error:
        raise DataError(f"{spec!r} needs the package datasets: pip install 'noisystudent[hf]' ({error}).") from error
    name, _, split = spec.removeprefix(PREFIX).partition(":")
    try:
        from_hub = spec.startswith(PREFIX)
        data = datasets.load_dataset(name) if from_hub else datasets.load_from_disk(os.path.expanduser(spec))
    except Exception as error:  # a hub, a cache and a dozen file formats may fail
        raise DataError(f"{spec!r} cannot be loaded by datasets ({type(error).__name__}: {error}).") from error
    if isinstance(data, datasets.DatasetDict):
        return _choose_split(spec, dict(data), split if from_hub else "")
    return data


def _choose_split(spec: str, splits: dict[str, Dataset], name: str) -> Dataset:
    name = name or (next(iter(splits)) if len(splits) == 1 else "")
    if name not in splits:
        problem = f"has no split {name!r}" if name else "does not say which split to use"
        raise DataError(
            f"{spec!r} {problem}. The splits are {', '.join(map(repr, splits))}: write hf:NAME:SPLIT, or give the "
            "folder of the split."
        )
    return splits[name]


def _undecoded(data: Dataset, columns: Columns) -> Dataset:
    """The data set with only the image and label columns, and images as their stored bytes."""
    import datasets

    data = data.select_columns([columns.image, *columns.labels]).with_format(None)
    feature = data.features[columns.image]
    if isinstance(feature, datasets.Image):
        return data.cast_column(columns.image, datasets.Image(decode=False))
    return data
