"""The classifier: a network with all that turns images into its input and its output into names."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from noisystudent.errors import ModelError
from noisystudent.models.create import create_model, normalization_of, size_argument
from noisystudent.models.normalization import Normalization, Normalize

Arguments = Mapping[str, Any]  # JSON values that timm's constructor takes, beside classes, channels and noise


class Classifier(nn.Module):
    """A network, its normalization, class names, image size and channels: what a checkpoint holds.

    ``name`` is the architecture in timm's registry; ``arguments`` are further constructor arguments without
    which timm would build another network. The noise of the network (dropout, stochastic depth) is on only
    after ``train()``, as everywhere in torch.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        name: str,
        classes: tuple[str, ...],
        channels: int,
        size: int,
        normalization: Normalization,
        arguments: Arguments = MappingProxyType({}),
    ) -> None:
        super().__init__()
        assert len(normalization.mean) == channels
        self.net = net
        # Training steps measured 7 to 29% faster on a CPU (ResNets, EfficientNet).
        self.lay_out(channels_last=True)
        self.name = name
        self.classes = tuple(classes)
        self.channels = channels
        self.size = size
        self.normalization = normalization
        self.arguments = dict(arguments)
        self.normalize = Normalize(normalization)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits [B, K] of uint8 pixels [B, C, size, size]."""
        logits: Tensor = self.net(self.normalize(pixels).contiguous(memory_format=self.memory_format))
        return logits

    def lay_out(self, *, channels_last: bool) -> None:
        """Keeps the channels of a pixel together in memory from now on, or each channel for itself."""
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.net.to(memory_format=self.memory_format)

    @property
    def device(self) -> torch.device:
        """Where the classifier computes."""
        return self.normalize.device


class UnitPixels(nn.Module):
    """A classifier for float pixels in 0..1, differentiable by them: what attacks, and libraries of attacks, take.

    It holds the classifier itself, in the mode in which that is. Of pixels that are uint8 values / 255, its logits are
    the classifier's to rounding.
    """

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier
        self.training = classifier.training

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits [B, K] of float pixels [B, C, size, size] in 0..1; raises ``ModelError`` for another shape."""
        channels, size = self.classifier.channels, self.classifier.size
        if tuple(pixels.shape[1:]) != (channels, size, size):
            # One channel would be spread over three, and most networks take any size, with other answers.
            raise ModelError(
                f"The classifier takes images [B, {channels}, {size}, {size}] and was given {tuple(pixels.shape)}. "
                "Give images of its channels and size."
            )
        logits: Tensor = self.classifier(pixels * 255)
        return logits


def create_classifier(
    name: str,
    *,
    classes: tuple[str, ...],
    channels: int,
    size: int,
    pretrained: bool = False,
    dropout: float = 0.0,
    stochastic_depth: float = 0.0,
) -> Classifier:
    """A new classifier around the model ``name``; arguments and errors are those of ``create_model``."""
    net = create_model(
        name,
        classes=len(classes),
        channels=channels,
        size=size,
        pretrained=pretrained,
        dropout=dropout,
        stochastic_depth=stochastic_depth,
    )
    normalization = normalization_of(net, channels) if pretrained else Normalization.halves(channels)
    return Classifier(
        net,
        name=name,
        classes=classes,
        channels=channels,
        size=size,
        normalization=normalization,
        arguments=size_argument(name, size),
    )
