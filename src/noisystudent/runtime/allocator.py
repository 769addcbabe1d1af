"""The process's memory: glibc keeps what is freed, instead of giving it back and fetching it again. No torch here."""

from __future__ import annotations

import ctypes
import os
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_KEPT = 2**31 - 1  # bytes that are freed at the end of the heap and kept; the most that glibc's function takes
_LARGEST = 2**30  # bytes; larger blocks go back to the system when they are freed, as without this


def keep_freed_memory() -> None:
    """Makes malloc keep the memory that a forward pass frees for the next one, where the C library is glibc.

    By default glibc takes every block above 32 MiB from the system and gives it back, and the system fills each page
    with zeros again: half of the CPU time of labeling images of 128 px with an EfficientNet. The user's own variables,
    ``MALLOC_*`` and ``GLIBC_TUNABLES``, take precedence. Elsewhere nothing happens.
    """
    if sys.platform != "linux" or _is_set_by_user():
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        library.mallopt(_MMAP_THRESHOLD, _LARGEST)
        library.mallopt(_TRIM_THRESHOLD, _KEPT)


def _is_set_by_user() -> bool:
    names = (name for name in os.environ if name.startswith("MALLOC_"))
    return any(names) or "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", "")
