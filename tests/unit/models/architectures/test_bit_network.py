"""timm's BiT network against its description (Kolesnikov et al. 2020, appendix and released code), written out here."""

from __future__ import annotations

import timm
import torch
from torch import Tensor
from torch.nn import functional as F

GROUPS, EPS = 32, 1e-10


def standardized_conv(x: Tensor, weight: Tensor, stride: int = 1) -> Tensor:
    """A convolution whose filters have mean 0 and (biased) variance 1."""
    variance, mean = torch.var_mean(weight, dim=(1, 2, 3), keepdim=True, unbiased=False)
    return F.conv2d(x, (weight - mean) / torch.sqrt(variance + EPS), stride=stride, padding=weight.shape[-1] // 2)


def network(x: Tensor, state: dict[str, Tensor], blocks: tuple[int, ...]) -> Tensor:
    def activated(x: Tensor, name: str) -> Tensor:
        return F.relu(F.group_norm(x, GROUPS, state[f"{name}.weight"], state[f"{name}.bias"]))

    x = standardized_conv(x, state["stem.conv.weight"], stride=2)
    x = F.max_pool2d(F.pad(x, (1, 1, 1, 1)), 3, stride=2)  # of zeros, not of minus infinity
    for stage, count in enumerate(blocks):
        for block in range(count):
            name, stride = f"stages.{stage}.blocks.{block}", 2 if stage > 0 and block == 0 else 1
            out, shortcut = activated(x, f"{name}.norm1"), x
            if block == 0:
                shortcut = standardized_conv(out, state[f"{name}.downsample.conv.weight"], stride=stride)
            out = standardized_conv(out, state[f"{name}.conv1.weight"])
            out = standardized_conv(activated(out, f"{name}.norm2"), state[f"{name}.conv2.weight"], stride=stride)
            x = shortcut + standardized_conv(activated(out, f"{name}.norm3"), state[f"{name}.conv3.weight"])
    pooled = activated(x, "norm").mean(dim=(2, 3), keepdim=True)
    return F.conv2d(pooled, state["head.fc.weight"], state["head.fc.bias"]).flatten(1)


def test_timms_network_is_resnet_v2_with_group_norm_and_standardized_weights():
    torch.manual_seed(0)
    net = timm.create_model("resnetv2_50x1_bit", pretrained=False, num_classes=7).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = network(images, net.state_dict(), (3, 4, 6, 3))
        torch.testing.assert_close(net(images), expected, atol=1e-4 * float(expected.abs().max()), rtol=1e-4)
