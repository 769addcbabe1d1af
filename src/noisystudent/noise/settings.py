"""The noise settings: one strength for the images, and a switch of its own for each single noise."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from noisystudent.errors import nearest_name
from noisystudent.settings import Settings

Strength = Annotated[float, Field(ge=0.0, le=2.0)]
CropKind = Literal["resized", "pad", "none"]
Interpolation = Literal["bilinear", "bicubic"]
RandAugmentPolicy = Literal["graded", "paper", "timm", "torchvision"]
PolicyName = Literal[RandAugmentPolicy, "augmix"]

LARGEST_MAGNITUDE = 30.0


OPERATIONS = (
    "AutoContrast",
    "Equalize",
    "Invert",
    "Rotate",
    "Posterize",
    "Solarize",
    "Color",
    "Contrast",
    "Brightness",
    "Sharpness",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
    "SolarizeAdd",
    "Cutout",
)
"""The paper's operations, in the order of its code."""

AUGMIX_OPERATIONS = (
    "AutoContrast",
    "Equalize",
    "Posterize",
    "Rotate",
    "Solarize",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
)
"""AugMix's operations, in the order of its code."""

SMALL_IMAGE_SIZE = 64
"""Up to this edge in pixels images are cropped by padding; above it, by a random resized box."""


PresetName = Literal[
    "paper-b0",
    "paper-b1",
    "paper-b2",
    "paper-b3",
    "paper-b4",
    "paper-b5",
    "paper-b6",
    "paper-b7",
    "paper-l2",
    "svhn",
    "timm",
    "torchvision",
    "augmix",
    "none",
]


def _paper(magnitude: float, dropout: float) -> dict[str, Any]:
    """The noise of the released training script for one EfficientNet; magnitude 0 stands for no RandAugment at all."""
    return {
        "strength": 1.0,
        "crop": "resized",
        "resized_area": 0.08,
        "flip": True,
        "randaugment": magnitude > 0,
        "interpolation": "bicubic",
        "policy": "paper",
        "layers": 2,
        "magnitude": magnitude,
        "pixel_reference": 0,
        "dropout": dropout,
        "stochastic_depth": 0.2,
    }


PRESETS: dict[str, dict[str, Any]] = {
    "paper-b0": _paper(0, 0.2),
    "paper-b1": _paper(0, 0.2),
    "paper-b2": _paper(6, 0.3),
    "paper-b3": _paper(12, 0.3),
    "paper-b4": _paper(15, 0.4),
    "paper-b5": _paper(18, 0.4),
    "paper-b6": _paper(24, 0.5),
    "paper-b7": _paper(27, 0.5),
    "paper-l2": _paper(27, 0.5),
    "svhn": {
        **_paper(5, 0.2),
        "crop": "pad",
        "pad": 0.125,
        "flip": False,
        "translation": 4.0,
        "cutout": 4.0,
        "hole": 16,
    },
    "timm": {"strength": 1.0, "policy": "timm", "layers": 2, "magnitude": 9.0},
    "torchvision": {"strength": 1.0, "policy": "torchvision", "layers": 2, "magnitude": 9.0},
    "augmix": {"strength": 1.0, "policy": "augmix", "layers": 3, "magnitude": 3.0},
    "none": {"strength": 0.0, "crop": "none", "randaugment": False, "dropout": 0.0, "stochastic_depth": 0.0},
}
"""Values of the settings by preset: the official scripts (train.sh, svhn) and the libraries' own defaults."""


class NoiseSettings(Settings):
    """The student's noise (Xie et al., 2020, section 2): input noise on images, model noise inside the
    network.

    Each noise can be switched off alone: ``crop=none``, ``flip=false``, ``randaugment=false``, ``dropout=0``,
    ``stochastic_depth=0``.
    """

    preset: Literal["", PresetName] = Field(
        default="",
        description="A published noise by name, under all that is set beside it: paper-b0 to paper-b7 and paper-l2 "
        "(Xie et al. 2020, for ImageNet), svhn (its small-image recipe), timm and torchvision (their RandAugment), "
        "augmix, none.",
    )
    strength: Literal["auto"] | Strength = Field(
        default="auto",
        description="How strong the input noise is, 0 to 2: one number that multiplies RandAugment's "
        "magnitude and the crop's reach (flip, dropout and stochastic depth are not scaled; 0 leaves crop "
        "and RandAugment out). 'auto' tries the values of 'strengths' on the labels and keeps the best.",
    )
    strengths: tuple[Strength, ...] = Field(
        default=(0.25, 0.5, 1.0),
        min_length=1,
        description="The strengths that 'auto' chooses from, each 0 to 2.",
    )
    crop: Literal["auto"] | CropKind = Field(
        default="auto",
        description="Random crop: 'pad' shifts the image and mirrors its border in, 'resized' cuts a "
        "random box and resizes it, 'none' cuts the center; 'auto' is 'pad' up to "
        f"{SMALL_IMAGE_SIZE} pixels and 'resized' above.",
    )
    pad: float = Field(
        default=0.125,
        ge=0.0,
        le=0.5,
        description="Reach of the 'pad' crop at strength 1, as a fraction of the image's edge (0 to 0.5).",
    )
    resized_area: float = Field(
        default=0.08,
        gt=0.0,
        le=1.0,
        description="Smallest area of a 'resized' crop at strength 1, as a fraction of the image (above 0, to 1).",
    )
    interpolation: Interpolation = Field(
        default="bilinear", description="How a 'resized' crop is resized; the official code has bicubic."
    )
    flip: bool = Field(
        default=False,
        description="Mirror every second image left to right. Off by default because it changes the "
        "meaning of digits, letters and traffic signs; switch it on for natural images.",
    )
    randaugment: bool = Field(default=True, description="Distort the images with RandAugment.")
    policy: PolicyName = Field(
        default="graded",
        description="How a RandAugment operation grows with the magnitude. 'paper' is the published code, in which "
        "Posterize, Solarize and the enhancements are not weak at small magnitudes; 'graded' makes every operation "
        "weak there, which is what a strength below 1 is for. 'timm' and 'torchvision' have those libraries' "
        "operations, scales and probabilities. 'augmix' is not RandAugment but AugMix: blends of 3 chains of up to "
        "'layers' operations, levels up to the magnitude (at most 10).",
    )
    layers: int = Field(
        default=2,
        ge=1,
        le=16,
        description="RandAugment operations on each image, one after the other (1 to 16).",
    )
    magnitude: float = Field(
        default=10.0,
        ge=0.0,
        le=30.0,
        description="RandAugment's magnitude at strength 1, 0 to 30 (the paper: 27 for EfficientNet-B7 and "
        "L2). Posterize and Solarize are weaker at larger magnitudes, as published.",
    )
    operations: tuple[str, ...] = Field(
        default=(),
        description="RandAugment's operations by name, to draw from instead of all of the policy's; one that is named "
        "twice is drawn twice as often.",
    )
    translation: float = Field(
        default=100.0, ge=0.0, description="RandAugment: pixels that an image is translated by at magnitude 10."
    )
    cutout: float = Field(
        default=40.0, ge=0.0, description="RandAugment: pixels of half the edge of Cutout's hole at magnitude 10."
    )
    pixel_reference: int = Field(
        default=224,
        ge=0,
        description="Edge in pixels for which 'translation' and 'cutout' are meant; they shrink and grow with the "
        "image. 0 takes them as plain pixels, as the official code does.",
    )
    hole: int = Field(
        default=0,
        ge=0,
        multiple_of=2,
        description="Edge in pixels, even, of a gray square on every image, after RandAugment (Cutout as the "
        "official SVHN recipe has it: 16 of 32); 0 = none.",
    )
    erasing: float = Field(
        default=0.0,
        ge=0.0,
        le=1.0,
        description="Random erasing: the share of images on which a box of 2 to 40% of the image is grayed out.",
    )
    mixup: float = Field(
        default=0.0,
        ge=0.0,
        description="Mixup: each image is blended with another of the batch, targets too, with a share from "
        "Beta(mixup, mixup); 0 = off.",
    )
    cutmix: float = Field(
        default=0.0,
        ge=0.0,
        description="CutMix: a box of another image of the batch is pasted in, with a share from Beta(cutmix, "
        "cutmix); 0 = off. With mixup too, each image gets one of the two at random.",
    )
    dropout: float = Field(
        default=0.2,
        ge=0.0,
        lt=1.0,
        description="Dropout before the classifier: the share of features dropped (0 to below 1; the paper: 0.5).",
    )
    stochastic_depth: float = Field(
        default=0.2,
        ge=0.0,
        lt=1.0,
        description="Stochastic depth: the drop rate that the blocks approach linearly from 0 (0 to below 1; "
        "the paper's survival probability of 0.8 is 0.2 here).",
    )

    teacher: bool = Field(
        default=False,
        description="Keep the noise on while the teacher labels: for the paper's ablation, not for use.",
    )

    @model_validator(mode="before")
    @classmethod
    def _above_preset(cls, given: dict[str, Any]) -> dict[str, Any]:
        return {**PRESETS.get(given.get("preset", ""), {}), **given}

    @model_validator(mode="after")
    def _known_operations(self) -> Self:
        known, kind = (AUGMIX_OPERATIONS, "AugMix") if self.policy == "augmix" else (OPERATIONS, "RandAugment")
        for name in self.operations:
            if name not in known:
                raise ValueError(
                    f"operations: {name!r} is not an operation of {kind}.{nearest_name(name, known)} "
                    f"There are {', '.join(known)}"
                )
        return self

    @field_validator("strengths")
    @classmethod
    def _distinct(cls, strengths: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(strengths)) < len(strengths):
            raise ValueError(f"strengths holds a value twice: {strengths}; give each value once")
        return strengths

    def crop_at(self, size: int) -> CropKind:
        """The kind of crop for images of edge ``size`` in pixels: the setting itself, or what 'auto'
        means there.
        """
        if self.crop != "auto":
            return self.crop
        return "pad" if size <= SMALL_IMAGE_SIZE else "resized"
