"""Too little memory: recognized whoever reports it, and turned into one line that says what to lower. No torch here."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from noisystudent.errors import NoisyStudentError

_TEXTS = (
    "can't allocate memory",  # torch on a CPU
    "cannot allocate memory",  # the operating system
    "out of memory",
    "not enough memory",
    "unable to allocate",  # NumPy
    "std::bad_alloc",
)
_LONGEST = 160  # characters of the original message that are shown


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory does not suffice, of Python, NumPy, torch or the operating system."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError | OSError | ImportError) and any(part in text for part in _TEXTS)


def describe_shortage(error: BaseException, advice: str) -> str:
    """One line about too little memory.

    Args:
        error: What was raised.
        advice: What to lower, such as ``train.batch_size``.
    """
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return f"there is too little memory ({first[:_LONGEST]}). Lower {advice}; finished work is kept."


@contextmanager
def memory_shortage_as_error(kind: type[NoisyStudentError], advice: str) -> Iterator[None]:
    """Turns too little memory into an error of this package; other errors pass unchanged.

    Args:
        kind: The class of the error.
        advice: What to lower.
    """
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if isinstance(error, NoisyStudentError) or not is_out_of_memory(error):
            raise
        raise kind(describe_shortage(error, advice)) from error
