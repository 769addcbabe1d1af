"""Compiled models: whether this machine can make them, and what is said when one cannot be made."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from noisystudent.errors import SettingsError, TrainingError

_LONGEST = 500  # characters of what torch says that are shown


def require_compiler(device: torch.device) -> None:
    """Raises ``SettingsError`` where the C++ compiler is not there that torch needs to compile for a CPU."""
    words = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++").split()
    if device.type == "cpu" and not (words and shutil.which(words[0])):
        raise SettingsError(
            f"runtime.compile needs a C++ compiler on a CPU, and {' '.join(words) or 'an empty CXX'!r} is not one that "
            "can be found here; install g++, name another in the environment's CXX, or leave out runtime.compile."
        )


def compiled(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """What computes as ``model`` does, and draws the same noise, but is compiled when it is first called.

    The model itself, with the names of its weights, stays as it is. What was compiled before is forgotten, so that a
    result does not hang on what else the process has trained.
    """
    torch.compiler.reset()
    function: Callable[[Tensor], Tensor] = torch.compile(model, dynamic=False, options={"fallback_random": True})
    return function


@contextmanager
def naming_failed_compilation() -> Iterator[None]:
    """Turns the many errors of a compilation that failed into a ``TrainingError`` that says so; others pass."""
    try:
        yield
    except RuntimeError as error:
        if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        said = " ".join(str(error).strip().partition("\n\n")[0].split())  # the rest is about torch's own settings
        raise TrainingError(
            f"torch could not compile the model ({said[:_LONGEST]}); train it with runtime.compile false."
        ) from error
