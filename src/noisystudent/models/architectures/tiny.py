"""A very small residual network for very small images (8 to 32 pixels), registered with timm.

    tiny_resnet       3 blocks of widths 32, 64, 128 with pooling between them: trains in seconds on a laptop

Its head uses a 2 x 2 grid of features, not their mean over the whole image, because the position of the strokes matters
for a digit of 8 x 8 pixels.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from noisystudent.models.architectures.small import BasicBlock, default_cfg

WIDTHS = (32, 64, 128)
GRID = 2


class TinyResNet(nn.Module):
    """Three residual blocks with max pooling between them, with timm's interface; ``num_classes`` 0: no last layer."""

    def __init__(
        self, num_classes: int = 10, in_chans: int = 3, drop_rate: float = 0.0, drop_path_rate: float = 0.0
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.drop_rate = drop_rate
        self.num_features = WIDTHS[-1]
        self.head_hidden_size = WIDTHS[-1] * GRID**2
        self.blocks = nn.Sequential()
        self.feature_info = []
        channels = in_chans
        for number, width in enumerate(WIDTHS):
            shortcut = nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width))
            self.blocks.append(BasicBlock(channels, width, 1, drop_path_rate * number / len(WIDTHS), shortcut))
            self.feature_info.append({"num_chs": width, "reduction": 2**number, "module": f"blocks.{number}"})
            channels = width
        self.classifier: nn.Module
        self.reset_classifier(num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward_features(self, x: Tensor) -> Tensor:
        """Features [B, 128, H / 4, W / 4] of normalized images [B, in_chans, H, W], before pooling."""
        for number, block in enumerate(self.blocks):
            x = block(x if number == 0 else F.max_pool2d(x, 2))
        return x

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits [B, num_classes] of unpooled features, or the 512 pooled features with ``pre_logits``."""
        pooled = F.adaptive_avg_pool2d(x, GRID).flatten(1)
        pooled = F.dropout(pooled, self.drop_rate, self.training)
        logits: Tensor = pooled if pre_logits else self.classifier(pooled)
        return logits

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, num_classes] of normalized images [B, in_chans, H, W]."""
        return self.forward_head(self.forward_features(x))

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Which parameters are of the same block, as timm asks for it; ``coarse`` changes nothing."""
        return {"blocks": r"^blocks\.(\d+)"}

    def get_classifier(self) -> nn.Module:
        """The last layer."""
        return self.classifier

    def reset_classifier(self, num_classes: int) -> None:
        """Replaces the last layer; 0 classes omit it."""
        self.num_classes = num_classes
        self.classifier = nn.Linear(self.head_hidden_size, num_classes) if num_classes else nn.Identity()


default_cfgs = generate_default_cfgs({"tiny_resnet": default_cfg(28, "blocks.0.conv1")})


def _register() -> None:
    def tiny_resnet(pretrained: bool = False, **kwargs: Any) -> nn.Module:  # noqa: ANN401  (timm's signature)
        net: nn.Module = build_model_with_cfg(TinyResNet, "tiny_resnet", pretrained, **kwargs)
        return net

    register_model(tiny_resnet)


_register()
