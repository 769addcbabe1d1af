"""EfficientNets for small images, registered with timm: the models of Noisy Student's SVHN experiments.

The official code (``small_image_model``) sets the strides of stages 2 and 3 to 1 and changes nothing else; the stem
keeps its stride of 2. An image of 32 pixels ends as 4 x 4 features, not as 1 x 1. Weights have the same shapes as those
of the large-image models. Width and depth factors: EfficientNet (arXiv 1905.11946); L2: the official code
(google-research/noisystudent).
"""

from __future__ import annotations

from functools import partial
from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models._efficientnet_builder import BN_EPS_TF_DEFAULT, decode_arch_def, round_channels
from timm.models.efficientnet import EfficientNet
from torch import nn

from noisystudent.models.architectures.small import default_cfg

# type _ repeats _ kernel _ stride _ expansion _ channels _ squeeze and excitation
STAGES = [
    ["ds_r1_k3_s1_e1_c16_se0.25"],
    ["ir_r2_k3_s1_e6_c24_se0.25"],
    ["ir_r2_k5_s1_e6_c40_se0.25"],
    ["ir_r3_k3_s2_e6_c80_se0.25"],
    ["ir_r3_k5_s1_e6_c112_se0.25"],
    ["ir_r4_k5_s2_e6_c192_se0.25"],
    ["ir_r1_k3_s1_e6_c320_se0.25"],
]
FACTORS: dict[str, tuple[float, float]] = {  # width, depth
    "efficientnet_small_b0": (1.0, 1.0),
    "efficientnet_small_b1": (1.0, 1.1),
    "efficientnet_small_b2": (1.1, 1.2),
    "efficientnet_small_b3": (1.2, 1.4),
    "efficientnet_small_b4": (1.4, 1.8),
    "efficientnet_small_b5": (1.6, 2.2),
    "efficientnet_small_b6": (1.8, 2.6),
    "efficientnet_small_b7": (2.0, 3.1),
    "efficientnet_small_l2": (4.3, 5.3),
}

default_cfgs = generate_default_cfgs({name: default_cfg(32, "conv_stem") for name in FACTORS})


def _register(name: str, width: float, depth: float) -> None:
    def entrypoint(pretrained: bool = False, **kwargs: Any) -> nn.Module:  # noqa: ANN401  (timm's signature)
        rounded = partial(round_channels, multiplier=width)
        net: nn.Module = build_model_with_cfg(
            EfficientNet,
            name,
            pretrained,
            block_args=decode_arch_def(STAGES, depth),  # type: ignore[no-untyped-call]
            num_features=rounded(1280),
            round_chs_fn=rounded,
            act_layer=nn.SiLU,
            norm_layer=partial(nn.BatchNorm2d, eps=BN_EPS_TF_DEFAULT),
            pad_type="same",
            **kwargs,
        )
        return net

    entrypoint.__name__ = name
    register_model(entrypoint)


for _name, (_width, _depth) in FACTORS.items():
    _register(_name, _width, _depth)
