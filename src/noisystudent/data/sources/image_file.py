"""A single image file as a source of one image."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from noisystudent.data.source import NO_LABEL, PassedOver, Record, printable
from noisystudent.data.sources.folder import file_digest, read_file


class ImageFileSource:
    """One image without a label; its key is the name of the file."""

    classes: tuple[str, ...] | None = None
    shard_sizes: tuple[int, ...] = (1,)
    passed_over: tuple[PassedOver, ...] = ()
    notes: tuple[str, ...] = ()

    def __init__(self, path: str | Path) -> None:
        self.name = printable(str(path))
        self.files: Mapping[str, str] = {}
        self._path = Path(path).expanduser()
        self._key = printable(self._path.name)

    @cached_property
    def fingerprint(self) -> str:
        """Changes if the image is renamed or rewritten (its size, first or last 4 KiB)."""
        return hashlib.sha256(f"image\0{self._key}\0".encode() + file_digest(self._path)).hexdigest()

    def read(self, shard: int) -> Iterator[Record]:
        """The record of the only shard, 0; an unreadable file has a ``problem``."""
        content, problem = read_file(self._path)
        yield Record(self._key, content, NO_LABEL, problem)

    def truth(self, classes: Sequence[str]) -> dict[str, str] | None:
        """None: the class is unknown."""
        return None
