"""The network of contrastive pretraining: an encoder, and on its features a projection head that is thrown away."""

from __future__ import annotations

from types import MappingProxyType

import torch
from torch import Tensor, nn

from noisystudent.models.architectures.projected import NAME as KEPT
from noisystudent.models.architectures.projected import WEIGHT_STD, ProjectedEncoder, hidden_layers
from noisystudent.models.classifier import Arguments, Classifier
from noisystudent.models.create import create_model, size_argument
from noisystudent.models.normalization import Normalization

PARTS = 3  # of a hidden layer: linear, batch normalization, ReLU


class EncoderWithHead(nn.Module):
    """An encoder and a projection head, from normalized images to projections.

    Args:
        encoder: from [B, C, S, S] to features [B, F].
        head: from features to projections [B, D].
    """

    def __init__(self, encoder: nn.Module, head: nn.Sequential) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, images: Tensor) -> Tensor:
        """Returns projections [B, D]."""
        projections: Tensor = self.head(self.encoder(images))
        return projections


def projection_head(width: int, layers: int, size: int) -> nn.Sequential:
    """A projection head (Chen et al. 2020, section 4.2; with 3 layers Chen et al. 2020b, SimCLRv2).

    Hidden layers are as wide as the features, with batch normalization and ReLU. The last has batch normalization
    without a shift, and no ReLU.

    Args:
        width: the number of features.
        layers: at least 1; 2 in SimCLR, 3 in SimCLRv2.
        size: the dimensions of a projection.
    """
    head = hidden_layers(width, layers - 1)
    linear, norm = nn.Linear(width, size, bias=False), nn.BatchNorm1d(size)
    nn.init.normal_(linear.weight, std=WEIGHT_STD)
    norm.bias.requires_grad_(False)
    head.extend([linear, norm])
    return head


def create_projected(name: str, *, channels: int, size: int, layers: int, projection: int) -> Classifier:
    """Creates an encoder with its projection head, as a classifier without classes whose logits are projections.

    Weights are drawn from torch's random generator.

    Args:
        name: name of the model in timm.
        channels: channels of the images, 1 or 3.
        size: edge of the images in pixels.
        layers: layers of the projection head.
        projection: dimensions of a projection.

    Raises:
        ModelError: as ``create_model``.
    """
    encoder = create_model(name, classes=0, channels=channels, size=size)
    with torch.no_grad():
        width = encoder.eval()(torch.zeros(1, channels, size, size)).shape[1]
    return _wrapped(EncoderWithHead(encoder.train(), projection_head(width, layers, projection)), name, channels, size)


def encoder_of(projected: Classifier, kept: int = 0) -> Classifier:
    """The encoder alone, as a classifier without classes, whose logits are features.

    Args:
        projected: the encoder with its projection head.
        kept: how many of the head's hidden layers stay on the encoder.
    """
    assert isinstance(projected.net, EncoderWithHead)
    name, channels, size = projected.name, projected.channels, projected.size
    if kept:
        further = {"encoder": name, "layers": kept}
        net = create_model(KEPT, classes=0, channels=channels, size=size, further=further)
        assert isinstance(net, ProjectedEncoder)
        net.encoder.load_state_dict(projected.net.encoder.state_dict())
        net.hidden.load_state_dict(projected.net.head[: PARTS * kept].state_dict())
        encoder = _wrapped(net, KEPT, channels, size, further)
    else:
        encoder = _wrapped(projected.net.encoder, name, channels, size)
    encoder.renormalize(projected.normalization)
    encoder.bits, encoder.crop = projected.bits, projected.crop
    return encoder.to(projected.device)


def _wrapped(
    net: nn.Module, name: str, channels: int, size: int, further: Arguments = MappingProxyType({})
) -> Classifier:
    return Classifier(
        net,
        name=name,
        classes=(),
        channels=channels,
        size=size,
        normalization=Normalization.halves(channels),
        arguments={**further, **size_argument(name, size)},
    )
