"""Freed memory stays with the process where glibc can keep it, unless the user's environment says otherwise."""

import os
import platform
import subprocess
import sys

import pytest

from noisystudent.runtime import allocator
from noisystudent.runtime.allocator import keep_freed_memory

FAULTS = """
import resource, sys
from noisystudent.runtime.allocator import keep_freed_memory
keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    b"x" * 2**26
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) * resource.getpagesize() / 2**26)
"""
needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")


def blocks_fetched(**environment):
    """How many of 20 blocks of 64 MiB, each freed before the next, the system had to give, counted by page faults."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
    words = [sys.executable, "-c", FAULTS]
    return float(subprocess.run(words, env=own | environment, check=True, capture_output=True, text=True).stdout)


@needs_glibc
def test_a_freed_block_is_used_again():
    assert blocks_fetched() < 2


@needs_glibc
@pytest.mark.parametrize(
    "environment", [{"MALLOC_MMAP_THRESHOLD_": "131072"}, {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=131072"}]
)
def test_the_users_environment_takes_precedence(environment):
    assert blocks_fetched(**environment) > 10


def test_another_system_or_library_is_left_alone(monkeypatch):
    class Other:
        """A C library without glibc's name."""

    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: Other())
    keep_freed_memory()
    monkeypatch.setattr(allocator.sys, "platform", "darwin")
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: pytest.fail("it was opened"))
    keep_freed_memory()
