"""How a user's callable is identified among the inputs of a stage: by its name, its source and its parameters."""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable
from functools import partial
from typing import Any


def describe(function: Callable[..., Any]) -> str:
    """A line that identifies a callable: its name, and a digest of its definition.

    The definition is the source of a function or method; of an object it is the source of its class. What an object
    shows of its parameters in its ``repr`` (torchvision's transforms, torch's modules and dataclasses do) belongs to
    it, and so does the function of a ``functools.partial``. Values that a function reads from elsewhere do not.
    """
    is_function = inspect.isfunction(function) or inspect.ismethod(function) or inspect.isbuiltin(function)
    definition = function if is_function else type(function)
    content = _source_of(definition) + _parameters_of(function)
    if isinstance(function, partial):
        content += describe(function.func)
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    return f"{definition.__module__}.{definition.__qualname__}#{digest}"


def without_addresses(text: str) -> str:
    """The text without addresses in memory, which are others in every process."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)


def _source_of(definition: Any) -> str:  # noqa: ANN401
    try:
        return inspect.getsource(definition)
    except (OSError, TypeError):
        return ""


def _parameters_of(function: Callable[..., Any]) -> str:
    """What an object, or that of a method, shows of its parameters; empty for a function."""
    shown: object = function.__self__ if inspect.ismethod(function) else function
    shows_parameters = not inspect.isroutine(shown) and not isinstance(shown, type)
    text = without_addresses(repr(shown)) if shows_parameters else ""
    return "" if text == without_addresses(object.__repr__(shown)) else text
