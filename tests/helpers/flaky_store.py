"""A file system whose requests sometimes fail; importing this module registers it for ``flaky://`` URLs."""

from __future__ import annotations

import itertools

import fsspec
from fsspec.implementations.memory import MemoryFileSystem


class FlakyFileSystem(MemoryFileSystem):
    """A separate store in which every ``period``-th request fails."""

    protocol = "flaky"
    store: dict = {}  # noqa: RUF012
    pseudo_dirs = [""]  # noqa: RUF012
    requests = itertools.count(1)
    period = 10
    failures = 0

    @classmethod
    def _strip_protocol(cls, path):
        return MemoryFileSystem._strip_protocol(path.replace("flaky://", "memory://"))

    @classmethod
    def answer(cls):
        if next(cls.requests) % cls.period == 0:
            cls.failures += 1
            raise ConnectionResetError("the store hung up")

    def cat_file(self, path, start=None, end=None, **options):
        self.answer()
        return super().cat_file(path, start, end, **options)

    def info(self, path, **options):
        self.answer()
        return super().info(path, **options)

    def ls(self, path, detail=True, **options):
        self.answer()
        return super().ls(path, detail, **options)


fsspec.register_implementation(FlakyFileSystem.protocol, FlakyFileSystem, clobber=True)
