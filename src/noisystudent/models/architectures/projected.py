"""An encoder with the first layers of its projection head below the last layer, registered with timm.

    projected_encoder       ``encoder``: its name in timm; ``layers``: how many of them stay

SimCLRv2 fine-tunes from such a middle layer (Chen et al. 2020b, section 4.1).
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import timm
import torch.nn.functional as F
from timm.models import build_model_with_cfg, generate_default_cfgs, group_parameters, register_model
from torch import Tensor, nn

from noisystudent.models.architectures.small import default_cfg

NAME = "projected_encoder"
WEIGHT_STD = 0.01  # of the layers at first, as in the released code


def hidden_layers(width: int, count: int) -> nn.Sequential:
    """``count`` hidden layers of a projection head, each as wide as the features: linear, batch normalization, ReLU."""
    layers = nn.Sequential()
    for _ in range(count):
        linear = nn.Linear(width, width, bias=False)
        nn.init.normal_(linear.weight, std=WEIGHT_STD)
        layers.extend([linear, nn.BatchNorm1d(width), nn.ReLU()])
    return layers


class ProjectedEncoder(nn.Module):
    """A network of timm, hidden layers on its features and a last layer, with timm's interface.

    Args:
        encoder: the network's name in timm; one of any input size.
        layers: the number of hidden layers.
        num_classes: classes; 0: no last layer.
        in_chans: channels of the images.
        drop_rate: dropout rate before the last layer.
        drop_path_rate: above 0, the encoder is built with stochastic depth of this rate.
    """

    def __init__(
        self,
        encoder: str,
        layers: int = 1,
        num_classes: int = 10,
        in_chans: int = 3,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        noise: dict[str, Any] = {"drop_path_rate": drop_path_rate} if drop_path_rate else {}
        self.encoder: nn.Module = timm.create_model(encoder, num_classes=0, in_chans=in_chans, **noise)
        self.in_chans, self.drop_rate = in_chans, drop_rate
        self.num_features = self.head_hidden_size = int(self.encoder.head_hidden_size)  # type: ignore[arg-type]
        self.hidden = hidden_layers(self.num_features, layers)
        self.classifier: nn.Module
        self.reset_classifier(num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        """The encoder's unpooled features of normalized images [B, in_chans, H, W]."""
        features: Tensor = self.encoder.forward_features(x)  # type: ignore[operator]  # every network of timm has it
        return features

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits [B, num_classes] of unpooled features, or what the last layer sees with ``pre_logits``."""
        pooled: Tensor = self.hidden(self.encoder.forward_head(x))  # type: ignore[operator]
        pooled = F.dropout(pooled, self.drop_rate, self.training)
        logits: Tensor = pooled if pre_logits else self.classifier(pooled)
        return logits

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, num_classes] of normalized images [B, in_chans, H, W]."""
        return self.forward_head(self.forward_features(x))

    def group_matcher(self, coarse: bool = False) -> Callable[[str], tuple[float]]:
        """The block of a parameter by its name: those of the encoder, the last of which has the hidden layers."""
        matcher = self.encoder.group_matcher(coarse)  # type: ignore[operator]
        blocks = group_parameters(self.encoder, matcher, reverse=True)
        last = max(blocks.values())

        def block_of(name: str) -> tuple[float]:
            if name.startswith("encoder."):
                return (blocks[name.removeprefix("encoder.")],)
            return (last,) if name.startswith("hidden.") else (inf,)

        return block_of

    def get_classifier(self) -> nn.Module:
        """The last layer."""
        return self.classifier

    def reset_classifier(self, num_classes: int) -> None:
        """Replaces the last layer; 0 classes omit it."""
        self.num_classes = num_classes
        self.classifier = nn.Linear(self.head_hidden_size, num_classes) if num_classes else nn.Identity()


default_cfgs = generate_default_cfgs({NAME: default_cfg(224, "")})


def _register() -> None:
    def projected_encoder(pretrained: bool = False, **kwargs: Any) -> nn.Module:  # noqa: ANN401  (timm's signature)
        net: Any = build_model_with_cfg(ProjectedEncoder, NAME, pretrained, **kwargs)
        first = net.encoder.pretrained_cfg["first_conv"]
        net.pretrained_cfg = {**net.pretrained_cfg, "first_conv": f"encoder.{first}"}
        built: nn.Module = net
        return built

    register_model(projected_encoder)


_register()
