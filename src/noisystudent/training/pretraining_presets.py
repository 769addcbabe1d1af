"""Published settings of contrastive pretraining by name: those of a paper, or of its released code where that differs.

They do not set the network and the size of the images: ResNet-50 at 224 px, and for CIFAR-10 ResNet-18 at 32 px.
"""

from __future__ import annotations

from typing import Any

_IMAGENET: dict[str, Any] = {
    "epochs": 100.0,
    "batch_size": 4096,
    "warmup": 0.1,
    "optimizer": "lars",
    "temperature": 0.1,
    "projection_size": 128,
    "crop_area": 0.08,
    "color": 1.0,
    "blur": True,
}
PRESETS: dict[str, dict[str, Any]] = {
    # Chen et al. 2020, SimCLR, section 2.2; the released code called these values those of the paper.
    "paper:chen2020": {
        **_IMAGENET,
        "learning_rate": 0.3,
        "rate_scaling": "linear",
        "weight_decay": 1e-6,
        "projection_layers": 2,
        "loss": "mean",
    },
    # The released code since SimCLRv2: 0.3 x 4096 / 256 is 0.075 x sqrt(4096).
    "repo:simclr": {
        **_IMAGENET,
        "learning_rate": 0.075,
        "rate_scaling": "sqrt",
        "weight_decay": 1e-4,
        "projection_layers": 3,
        "loss": "sum",
    },
    # Its command for CIFAR-10, which a linear classifier on the features turns into about 91%.
    "repo:simclr-cifar10": {
        **_IMAGENET,
        "epochs": 1000.0,
        "batch_size": 512,
        "warmup": 0.01,
        "learning_rate": 1.0,
        "rate_scaling": "linear",
        "weight_decay": 1e-4,
        "temperature": 0.5,
        "projection_layers": 3,
        "loss": "sum",
        "color": 0.5,
        "blur": False,
    },
}
