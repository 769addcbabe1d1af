"""Compilation of models by torch: checks that this machine can compile, and turns failures into one clear error."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from noisystudent.errors import SettingsError, TrainingError

_MAX_MESSAGE = 500  # characters of torch's message that are shown


def require_compiler(device: torch.device) -> None:
    """Raises ``SettingsError`` if ``device`` is a CPU and torch finds no C++ compiler to compile for it."""
    command = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++").split()
    if device.type == "cpu" and not (command and shutil.which(command[0])):
        raise SettingsError(
            f"runtime.compile needs a C++ compiler on a CPU, and {' '.join(command) or 'an empty CXX'!r} is not one "
            "that can be found here; install g++, name another in the environment's CXX, or leave out runtime.compile."
        )


def compile_model(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """Returns a compiled version of ``model``, which computes the same with the same random numbers.

    Compilation happens at the first call. The model itself and the names of its weights do not change.
    """
    # Without a reset, earlier compilations in this process would change the result.
    torch.compiler.reset()
    function: Callable[[Tensor], Tensor] = torch.compile(model, dynamic=False, options={"fallback_random": True})
    return function


@contextmanager
def compile_failure_as_error() -> Iterator[None]:
    """Turns an error of torch's compiler into a ``TrainingError``; other errors pass unchanged."""
    try:
        yield
    except RuntimeError as error:
        if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        message = " ".join(str(error).strip().partition("\n\n")[0].split())  # the rest is about torch's own settings
        raise TrainingError(
            f"torch could not compile the model ({message[:_MAX_MESSAGE]}); train it with runtime.compile false."
        ) from error
