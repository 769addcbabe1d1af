"""A file system that fails now and then."""

from __future__ import annotations

import itertools

from fsspec.implementations.memory import MemoryFileSystem


class FlakyFileSystem(MemoryFileSystem):
    """A store of its own, that fails at every ``period``-th request."""

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
