"""Asking again where a store that is reached over a network fails now and then."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal, TypeVar

from noisystudent.errors import DataError

WAITS = (0.1, 0.4, 1.6, 6.4)  # seconds before each further attempt: a busy store asks for about as much

# What asking again does not change.
_FINAL = (PermissionError, IsADirectoryError, NotADirectoryError, ImportError, NotImplementedError)

Answer = TypeVar("Answer")


def persistently(action: Callable[[], Answer], name: str, *, doing: Literal["read", "written"] = "read") -> Answer:
    """What ``action`` returns, tried up to five times with growing pauses; ``name`` is the URL that it reads or writes.

    Raises ``FileNotFoundError`` and ``DataError`` as they come, at once, and everything else as a ``DataError`` that
    names the URL and the last reason.
    """
    for wait in (*WAITS, None):
        try:
            return action()
        except (FileNotFoundError, DataError):
            raise
        except _FINAL as error:
            raise DataError(
                f"{name!r} cannot be {doing} ({_reason(error)}). Check the address and your rights."
            ) from error
        except Exception as error:  # each store raises errors of its own, and few of them are OSErrors
            if wait is None:
                raise DataError(
                    f"{name!r} cannot be {doing}: {len(WAITS) + 1} attempts failed, the last with {_reason(error)}. "
                    "Check the address and the network, and run the same command again; all finished work is kept."
                ) from error
            time.sleep(wait)
    raise AssertionError("the last attempt returns or raises")


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
