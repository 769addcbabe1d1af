"""Residual networks for small images (16 to 64 pixels), registered with timm.

    resnet_small_20   He et al. 2016 (arXiv 1512.03385), section 4.2: shortcuts without parameters; 8 to 110 layers
    resnet_small_18   ResNet-18 with a 3x3 stem of stride 1 and no pooling after it
    wrn_16_2 ...      Wide ResNets (arXiv 1605.07146) as used in the semi-supervised literature:
                      LeakyReLU 0.1 before each convolution, 1x1 shortcuts

``timm.create_model`` creates them with timm's usual arguments: ``num_classes``, ``in_chans``, ``drop_rate``
(dropout before the last layer) and ``drop_path_rate`` (stochastic depth by the linear rule: block i of n,
counted from 0, drops a sample's residual branch at rate * i / n). Batch normalization has torch's momentum of
0.1 everywhere; with the 0.001 of some Wide ResNet code, running statistics lag behind by thousands of steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from timm.layers.classifier import create_classifier
from timm.layers.drop import DropPath
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

BlockMaker = Callable[[int, int, int, float], nn.Module]  # channels in, channels out, stride, drop rate


@dataclass(frozen=True, slots=True)
class Design:
    """A network's shape: channels of the stem, then width and number of blocks of each stage.

    Every stage but the first halves the image. ``image`` is the usual edge of its images in pixels.
    """

    block: BlockMaker
    stem: int
    widths: tuple[int, ...]
    depths: tuple[int, ...]
    image: int = 32


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, with the activation after the sum (He et al. 2016)."""

    def __init__(self, channels: int, width: int, stride: int, drop_rate: float, shortcut: nn.Module) -> None:
        super().__init__()
        self.conv1 = _conv3x3(channels, width, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv3x3(width, width)
        self.bn2 = nn.BatchNorm2d(width)
        self.drop_path = DropPath(drop_rate)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Features [B, width, H / stride, W / stride] of [B, channels, H, W]."""
        residual = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(self.shortcut(x) + self.drop_path(residual))


class PreActivationBlock(nn.Module):
    """Two 3x3 convolutions, each after normalization and LeakyReLU 0.1, and a shortcut (Wide ResNet)."""

    def __init__(self, channels: int, width: int, stride: int, drop_rate: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = _conv3x3(channels, width, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = _conv3x3(width, width)
        self.drop_path = DropPath(drop_rate)
        self.shortcut = nn.Conv2d(channels, width, 1, stride, bias=False) if channels != width else None

    def forward(self, x: Tensor) -> Tensor:
        """Features [B, width, H / stride, W / stride] of [B, channels, H, W]."""
        active = F.leaky_relu(self.bn1(x), 0.1)
        residual = self.conv2(F.leaky_relu(self.bn2(self.conv1(active)), 0.1))
        shortcut = x if self.shortcut is None else self.shortcut(active)
        features: Tensor = shortcut + self.drop_path(residual)
        return features


class PaddedShortcut(nn.Module):
    """A shortcut without parameters: every ``stride``-th pixel, zeros in new channels (He et al., option A)."""

    def __init__(self, new_channels: int, stride: int) -> None:
        super().__init__()
        self.new_channels = new_channels
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Features [B, C + new_channels, H / stride, W / stride] of [B, C, H, W]."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))


class SmallResNet(nn.Module):
    """A residual network with timm's interface, whose 3x3 stem keeps the size of the image.

    ``num_classes`` 0 omits the last layer; ``global_pool`` is ``"avg"``, or ``""`` for none.
    """

    def __init__(
        self,
        design: Design,
        num_classes: int = 10,
        in_chans: int = 3,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        global_pool: str = "avg",
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.drop_rate = drop_rate
        self.num_features = self.head_hidden_size = design.widths[-1]
        pre_activation = design.block is PreActivationBlock
        self.conv_stem = _conv3x3(in_chans, design.stem)
        self.norm_stem = nn.Identity() if pre_activation else _norm_relu(design.stem)
        self.blocks, self.feature_info = _make_stages(design, drop_path_rate)
        self.norm_head = _norm_leaky_relu(self.num_features) if pre_activation else nn.Identity()
        self.global_pool, self.classifier = create_classifier(self.num_features, num_classes, pool_type=global_pool)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward_features(self, x: Tensor) -> Tensor:
        """Features [B, num_features, H', W'] of normalized images [B, in_chans, H, W], before pooling."""
        features: Tensor = self.norm_head(self.blocks(self.norm_stem(self.conv_stem(x))))
        return features

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits [B, num_classes] of unpooled features, or the pooled features with ``pre_logits``."""
        pooled = F.dropout(self.global_pool(x), self.drop_rate, self.training)
        logits: Tensor = pooled if pre_logits else self.classifier(pooled)
        return logits

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, num_classes] of normalized images [B, in_chans, H, W]."""
        return self.forward_head(self.forward_features(x))

    def group_matcher(self, coarse: bool = False) -> dict[str, object]:
        """Which parameters are of the same block (``coarse``: of the same stage), as timm asks for it."""
        blocks = r"^blocks\.(\d+)" if coarse else r"^blocks\.(\d+)\.(\d+)"
        return {"stem": r"^(?:conv|norm)_stem", "blocks": [(blocks, None), (r"^norm_head", (99999,))]}

    def get_classifier(self) -> nn.Module:
        """The last layer."""
        classifier: nn.Module = self.classifier
        return classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replaces the last layer; ``global_pool`` ``None`` keeps the pooling."""
        self.num_classes = num_classes
        pool_type = self.global_pool.pool_type if global_pool is None else global_pool
        self.global_pool, self.classifier = create_classifier(self.num_features, num_classes, pool_type=pool_type)


def _conv3x3(channels: int, width: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)


def _norm_relu(width: int) -> nn.Module:
    return nn.Sequential(nn.BatchNorm2d(width), nn.ReLU())


def _norm_leaky_relu(width: int) -> nn.Module:
    return nn.Sequential(nn.BatchNorm2d(width), nn.LeakyReLU(0.1))


def _padded_block(channels: int, width: int, stride: int, drop_rate: float) -> BasicBlock:
    changes = channels != width or stride != 1
    shortcut = PaddedShortcut(width - channels, stride) if changes else nn.Identity()
    return BasicBlock(channels, width, stride, drop_rate, shortcut)


def _projected_block(channels: int, width: int, stride: int, drop_rate: float) -> BasicBlock:
    shortcut: nn.Module = nn.Identity()
    if channels != width or stride != 1:
        shortcut = nn.Sequential(nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width))
    return BasicBlock(channels, width, stride, drop_rate, shortcut)


def _make_stages(design: Design, drop_path_rate: float) -> tuple[nn.Sequential, list[dict[str, Any]]]:
    stages = nn.Sequential()
    feature_info = []
    channels, built, total = design.stem, 0, sum(design.depths)
    for number, (width, depth) in enumerate(zip(design.widths, design.depths, strict=True)):
        stage = nn.Sequential()
        for position in range(depth):
            stride = 2 if number > 0 and position == 0 else 1
            stage.append(design.block(channels, width, stride, drop_path_rate * built / total))
            channels, built = width, built + 1
        stages.append(stage)
        feature_info.append({"num_chs": width, "reduction": 2**number, "module": f"blocks.{number}"})
    return stages, feature_info


def _wide(depth: int, factor: int) -> Design:
    widths = (16 * factor, 32 * factor, 64 * factor)
    return Design(PreActivationBlock, 16, widths, ((depth - 4) // 6,) * 3)


def _plain(depth: int) -> Design:
    return Design(_padded_block, 16, (16, 32, 64), ((depth - 2) // 6,) * 3)


DESIGNS: dict[str, Design] = {
    "resnet_small_8": _plain(8),
    "resnet_small_20": _plain(20),
    "resnet_small_32": _plain(32),
    "resnet_small_56": _plain(56),
    "resnet_small_110": _plain(110),
    "resnet_small_18": Design(_projected_block, 64, (64, 128, 256, 512), (2, 2, 2, 2)),
    "wrn_16_2": _wide(16, 2),
    "wrn_28_2": _wide(28, 2),
    "wrn_28_8": _wide(28, 8),
}


def default_cfg(image: int, first_conv: str) -> dict[str, Any]:
    """Returns timm's configuration of a model without weights; ``image`` is the usual edge of its images in pixels."""
    return {
        "input_size": (3, image, image),
        "num_classes": 10,
        "crop_pct": 1.0,
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
        "first_conv": first_conv,
        "classifier": "classifier",
    }


default_cfgs = generate_default_cfgs({name: default_cfg(design.image, "conv_stem") for name, design in DESIGNS.items()})


def _register(name: str, design: Design) -> None:
    def entrypoint(pretrained: bool = False, **kwargs: Any) -> nn.Module:  # noqa: ANN401  (timm's signature)
        net: nn.Module = build_model_with_cfg(SmallResNet, name, pretrained, design=design, **kwargs)
        return net

    entrypoint.__name__ = name
    register_model(entrypoint)


for _name, _design in DESIGNS.items():
    _register(_name, _design)
