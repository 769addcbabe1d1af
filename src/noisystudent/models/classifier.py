"""The classifier: a network with its normalization, image size and class names."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from noisystudent.data.images import ImageFormat, stored_edge
from noisystudent.errors import ModelError
from noisystudent.models.create import create_model, size_argument
from noisystudent.models.normalization import Normalization, Normalize

Arguments = Mapping[str, Any]  # further arguments of timm's constructor, as JSON values


class Classifier(nn.Module):
    """A network with its normalization, class names, image size and channels: the content of a checkpoint.

    The noise of the network (dropout, stochastic depth) acts in training mode only, as everywhere in torch.

    Args:
        net: the network, from normalized float32 [B, channels, size, size] to logits [B, K].
        name: name of the architecture in timm's registry.
        classes: class names, in the order of the logits.
        channels: channels of the images, 1 or 3.
        size: edge of the square images in pixels.
        normalization: mean and standard deviation per channel.
        arguments: the further constructor arguments that timm needs to build the same network.
        bits: how many of their bits the 16-bit images that trained it use; None if there were none.
        crop: the share of an image's short edge that its view shows; None: size of size + 32 pixels.
        squash: whether both edges of an image are resized to the view's, out of proportion; set after creation.
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
        bits: int | None = None,
        crop: float | None = None,
    ) -> None:
        super().__init__()
        assert len(normalization.mean) == channels
        self.net = net
        # Makes training steps 7 to 29% faster on a CPU (measured with ResNets and EfficientNet).
        self.lay_out(channels_last=True)
        self.name = name
        self.classes = tuple(classes)
        self.channels = channels
        self.size = size
        self.normalization = normalization
        self.arguments = dict(arguments)
        self.bits = bits
        self.crop = crop
        # The smallest share of an image that its training cropped; 1: its crops do not change sizes; None: unknown.
        self.trained_area: float | None = None
        # Names of the modules that are in training mode while it trains; None: all (see ``models/fixing.py``).
        self.trained_modules: tuple[str, ...] | None = None
        self.squash = False
        self.normalize = Normalize(normalization)

    def forward(self, pixels: Tensor) -> Tensor:
        """Returns logits [B, K] for uint8 pixels [B, C, size, size]."""
        logits: Tensor = self.net(self.normalize(pixels).contiguous(memory_format=self.memory_format))
        return logits

    def lay_out(self, *, channels_last: bool) -> None:
        """Sets the memory layout: channels last stores the channels of a pixel together."""
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.net.to(memory_format=self.memory_format)

    def renormalize(self, normalization: Normalization) -> None:
        """Sets the mean and standard deviation per channel, such as those of weights that were loaded."""
        assert len(normalization.mean) == self.channels
        self.normalization = normalization
        self.normalize = Normalize(normalization).to(self.device)

    def take_format(self, format: ImageFormat) -> None:
        """Sets how its images are read, as those of its training are."""
        self.bits, self.crop, self.squash = format.bits, format.crop, format.squash

    @property
    def crop_share(self) -> float:
        """The share of an image's short edge that the view shows, as timm's ``crop_pct`` says it."""
        if self.squash:
            return 1.0
        shown = self.size / stored_edge(self.size, self.crop)
        return shown if self.crop is None or shown == 1.0 else self.crop

    @property
    def device(self) -> torch.device:
        """The device of the classifier."""
        return self.normalize.device


class UnitPixels(nn.Module):
    """A classifier for float pixels in 0..1, differentiable with respect to them, as adversarial attacks need it.

    It holds the classifier itself, not a copy, and takes over its mode. For pixels that are uint8 values / 255, its
    logits equal those of the classifier up to rounding.
    """

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier
        self.training = classifier.training

    def forward(self, pixels: Tensor) -> Tensor:
        """Returns logits [B, K] for float pixels [B, C, size, size] in 0..1.

        Raises:
            ModelError: the pixels have another shape.
        """
        channels, size = self.classifier.channels, self.classifier.size
        if tuple(pixels.shape[1:]) != (channels, size, size):
            # torch would broadcast one channel to three, and most networks accept any size but then predict otherwise.
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
    dropout: float = 0.0,
    stochastic_depth: float = 0.0,
    further: Arguments = MappingProxyType({}),
) -> Classifier:
    """Creates a classifier around the model ``name``.

    Args:
        name: name of the model in timm.
        classes: class names, in the order of the logits.
        channels: channels of the images, 1 or 3.
        size: edge of the square images in pixels.
        dropout: dropout rate before the last layer.
        stochastic_depth: drop rate of the last residual block.
        further: further arguments of timm's constructor, which the checkpoint keeps.

    Raises:
        ModelError: as ``create_model``.
    """
    net = create_model(
        name,
        classes=len(classes),
        channels=channels,
        size=size,
        dropout=dropout,
        stochastic_depth=stochastic_depth,
        further=further,
    )
    return Classifier(
        net,
        name=name,
        classes=classes,
        channels=channels,
        size=size,
        normalization=Normalization.halves(channels),
        arguments={**further, **size_argument(name, size)},
    )
