"""Reads the tensors of a file of weights: ``.safetensors``, or torch's ``.pth`` without anything that could run."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from noisystudent.errors import ModelError

SAFETENSORS, TORCH = ".safetensors", (".pth", ".pt")
WEIGHTS_FILES = (SAFETENSORS, *TORCH)
# Where training scripts keep the weights among other things; of several, averaged weights come first, as in timm.
_NESTED = ("state_dict_ema", "model_ema", "ema", "state_dict", "model")
_WRAPPERS = ("module.", "_orig_mod.")  # before every name: of DistributedDataParallel and of torch.compile


def read_weights_file(path: Path) -> dict[str, Tensor]:
    """Returns the named tensors of a file.

    Args:
        path: A ``.safetensors`` file, or a ``.pth`` or ``.pt`` file that torch wrote, of tensors only.

    Raises:
        ModelError: The file is missing or damaged, needs code to be opened, or holds no named tensors.
    """
    if not path.is_file():
        raise ModelError(f"{path} does not exist, or is no file; give a file of weights ({', '.join(WEIGHTS_FILES)}).")
    content = _read_safetensors(path) if path.suffix.lower() == SAFETENSORS else _read_torch(path)
    return _unwrapped(_named_tensors(content, path))


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{path} is damaged or no safetensors file: {error}. Copy it again from its source."
        ) from error


def _read_torch(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path} is refused: it is damaged, or holds more than tensors, and such a file can run any code when "
            "it is opened. If you trust it, convert it where it was made: "
            "safetensors.torch.save_file(model.state_dict(), 'model.safetensors')."
        ) from error
    except Exception as error:  # a damaged file fails in any way
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise ModelError(f"{path} is damaged or no file of torch: {reason}. Copy it again from its source.") from error


def _named_tensors(content: object, path: Path) -> dict[str, Tensor]:
    """The tensors by name, from where training scripts keep them."""
    named = _mapping(content)
    nested = next((named[name] for name in _NESTED if _mapping(named.get(name))), None)
    tensors = _mapping(nested) if nested is not None else named
    others = [name for name, value in tensors.items() if not isinstance(value, Tensor)]
    if not tensors or others:
        what = f"{others[0]!r} is none" if others else "there are none"
        raise ModelError(
            f"{path} must hold named tensors only, or such under one of {', '.join(_NESTED)}, and {what}; save "
            "model.state_dict()."
        )
    return {str(name): tensor for name, tensor in tensors.items()}


def _mapping(content: object) -> Mapping[Any, Any]:
    return content if isinstance(content, Mapping) else {}


def _unwrapped(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in _WRAPPERS:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors
