"""The network of contrastive pretraining: an encoder, and on its features a projection head that is thrown away."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from noisystudent.models.classifier import Classifier
from noisystudent.models.create import create_model, size_argument
from noisystudent.models.normalization import Normalization

HEAD_STD = 0.01  # of its weights at first, as in the released code


class ProjectedEncoder(nn.Module):
    """An encoder and a projection head, from normalized images to projections.

    Args:
        encoder: from [B, C, S, S] to features [B, F].
        head: from features to projections [B, D].
    """

    def __init__(self, encoder: nn.Module, head: nn.Module) -> None:
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
    head = nn.Sequential()
    for number in range(1, layers + 1):
        is_last = number == layers
        linear = nn.Linear(width, size if is_last else width, bias=False)
        nn.init.normal_(linear.weight, std=HEAD_STD)
        norm = nn.BatchNorm1d(linear.out_features)
        norm.bias.requires_grad_(not is_last)
        head.extend([linear, norm] if is_last else [linear, norm, nn.ReLU()])
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
    return _wrapped(ProjectedEncoder(encoder.train(), projection_head(width, layers, projection)), name, channels, size)


def encoder_of(projected: Classifier) -> Classifier:
    """The encoder alone, as a classifier without classes, whose logits are features."""
    assert isinstance(projected.net, ProjectedEncoder)
    encoder = _wrapped(projected.net.encoder, projected.name, projected.channels, projected.size)
    encoder.renormalize(projected.normalization)
    encoder.bits, encoder.crop = projected.bits, projected.crop
    return encoder.to(projected.device)


def _wrapped(net: nn.Module, name: str, channels: int, size: int) -> Classifier:
    return Classifier(
        net,
        name=name,
        classes=(),
        channels=channels,
        size=size,
        normalization=Normalization.halves(channels),
        arguments=size_argument(name, size),
    )
