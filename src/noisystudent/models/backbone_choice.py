"""What ``--backbone auto`` takes: the first of a short list that is on this machine. Nothing is downloaded for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from huggingface_hub import try_to_load_from_cache
from timm.models import get_pretrained_cfg

from noisystudent.models.create import WEIGHTS
from noisystudent.models.settings import NO_BACKBONE, PUBLISHED
from noisystudent.models.weights_package import LITE0


@dataclass(frozen=True, slots=True)
class Candidate:
    """Weights that timm publishes under a license without conditions on the use, and the size to use them at.

    Attributes:
        model: Name in timm, with the tag of the weights.
        size: Edge of the images in pixels: that of the weights, but 224 for DINOv2, whose 518 cost seven times as much.
    """

    model: str
    size: int

    @property
    def architecture(self) -> str:
        """Name of the model without the tag."""
        return self.model.partition(".")[0]


# All under Apache-2.0; docs/backbones.md lists them. Best first, by published accuracy for what a device can afford:
# on a CPU that is about a billion multiply-adds per image.
ON_CPU = (
    Candidate("efficientnet_b0.ra4_e3600_r224_in1k", 224),
    Candidate("tf_efficientnet_b0.ns_jft_in1k", 224),
    Candidate("efficientnet_b0.ra_in1k", 224),
    Candidate("tf_efficientnet_lite0.in1k", 224),
    Candidate("convnext_nano.in12k_ft_in1k", 224),
    Candidate("convnext_atto.d2_in1k", 224),
    Candidate("vit_small_patch14_reg4_dinov2.lvd142m", 224),
    Candidate("vit_small_patch14_dinov2.lvd142m", 224),
)
ON_ACCELERATOR = (
    Candidate("vit_base_patch14_reg4_dinov2.lvd142m", 224),
    Candidate("vit_base_patch14_dinov2.lvd142m", 224),
    Candidate("vit_small_patch14_reg4_dinov2.lvd142m", 224),
    Candidate("vit_small_patch14_dinov2.lvd142m", 224),
    Candidate("vit_base_patch16_siglip_224.v2_webli", 224),
    Candidate("vit_base_patch16_siglip_224.webli", 224),
    Candidate("convnext_base.fb_in22k_ft_in1k", 224),
    Candidate("convnext_tiny.in12k_ft_in1k", 224),
    Candidate("convnext_tiny.fb_in22k_ft_in1k", 224),
    *(candidate for candidate in ON_CPU if not candidate.model.startswith("vit")),
)


def choose_backbone(device: str, fits: Callable[[str], bool]) -> str:
    """Returns the name of a backbone that is on this machine.

    Args:
        device: Kind of the device: ``cpu``, ``cuda`` or ``mps``.
        fits: Whether a model of the run could start from weights of an architecture, by its name in timm.

    Returns:
        The first of the list for the device that the hub's cache holds; else EfficientNet-Lite0, where its package is
        installed; else ``none``.
    """
    for candidate in ON_CPU if device == "cpu" else ON_ACCELERATOR:
        if fits(candidate.architecture) and _is_cached(candidate.model):
            return f"{PUBLISHED}{candidate.model}"
    return LITE0.name if fits(LITE0.architecture) and LITE0.is_installed() else NO_BACKBONE


def size_of_choice(name: str) -> int | None:
    """The size in pixels at which ``auto`` uses a backbone of its list; None for others."""
    sizes = {f"{PUBLISHED}{candidate.model}": candidate.size for candidate in (*ON_CPU, *ON_ACCELERATOR)}
    return sizes.get(name)


def _is_cached(model: str) -> bool:
    config = get_pretrained_cfg(model)
    hub_name = config.hf_hub_id if config else None
    return hub_name is not None and isinstance(try_to_load_from_cache(hub_name, WEIGHTS), str)
