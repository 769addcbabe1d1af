"""The noise settings: one strength for the input noise, and a switch for every kind of noise."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from noisystudent.errors import nearest_name
from noisystudent.settings import PresetSettings, Settings

Strength = Annotated[float, Field(ge=0.0, le=2.0)]
Rate = Annotated[float, Field(ge=0.0, lt=1.0)]
CropKind = Literal["resized", "pad", "window", "none"]
Interpolation = Literal["bilinear", "bicubic"]
RandAugmentPolicy = Literal["graded", "paper", "released", "timm", "torchvision"]
PolicyName = Literal[RandAugmentPolicy, "augmix"]

LARGEST_MAGNITUDE = 30.0
_OF_UNLABELED = ("crop", "flip", "randaugment", "magnitude")  # settings that unlabeled images may have on their own
_LATE = ("crop_last", "mixing")


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
"""RandAugment's operations, in the order of the paper's code."""

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

_OF_TIMM = tuple(name for name in OPERATIONS if name != "Cutout")
_OF_TORCHVISION = ("Identity", *(name for name in _OF_TIMM if name not in ("Invert", "SolarizeAdd")))
OPERATIONS_OF = {
    **dict.fromkeys(("paper", "released", "graded"), OPERATIONS),
    "timm": _OF_TIMM,
    "torchvision": _OF_TORCHVISION,
    "augmix": AUGMIX_OPERATIONS,
}
"""The operations that each policy draws from, unless some are given."""

SMALL_IMAGE_SIZE = 64
"""Edge in pixels; up to it, images are cropped after padding, and above it by a random resized box."""


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
    """The noise of the released training script for one EfficientNet; magnitude 0 means no RandAugment."""
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
        "crop_last": True,
    },
    "timm": {"strength": 1.0, "policy": "timm", "layers": 2, "magnitude": 9.0},
    "torchvision": {"strength": 1.0, "policy": "torchvision", "layers": 2, "magnitude": 9.0},
    "augmix": {"strength": 1.0, "policy": "augmix", "layers": 3, "magnitude": 3.0},
    "none": {"strength": 0.0, "crop": "none", "randaugment": False, "dropout": 0.0, "stochastic_depth": 0.0},
}
"""Values of the settings by preset: those of the official scripts (train.sh, svhn) and defaults of the libraries."""


class UnlabeledNoiseSettings(Settings):
    """The noise of the unlabeled images in a student's batches, where it is not that of the labeled ones (same)."""

    strength: Literal["same"] | Strength = Field(
        "same",
        description="Strength of the input noise of unlabeled images, 0 to 2; 0 switches crop and RandAugment off.",
    )
    crop: Literal["same"] | CropKind = Field("same", description="Random crop of unlabeled images.")
    flip: Literal["same"] | bool = Field("same", description="Flip unlabeled images with probability 0.5.")
    randaugment: Literal["same"] | bool = Field("same", description="Distort unlabeled images with RandAugment.")
    magnitude: Literal["same"] | Annotated[float, Field(ge=0.0, le=LARGEST_MAGNITUDE)] = Field(
        "same", description="RandAugment's magnitude at strength 1 for unlabeled images, 0 to 30."
    )
    dropout: Literal["same"] | Rate = Field(
        "same", description="Dropout before the classifier for unlabeled images, 0 to below 1."
    )
    stochastic_depth: Literal["same"] | Rate = Field(
        "same", description="Stochastic depth for unlabeled images, 0 to below 1."
    )

    @property
    def changes_images(self) -> bool:
        """Whether the input noise of unlabeled images is their own."""
        return any(getattr(self, name) != "same" for name in ("strength", *_OF_UNLABELED))

    @property
    def changes_model(self) -> bool:
        """Whether dropout or stochastic depth of unlabeled images is their own."""
        return self.dropout != "same" or self.stochastic_depth != "same"


class NoiseSettings(PresetSettings):
    """Settings of the student's noise, on its images and in its network (Xie et al., 2020, section 2)."""

    presets = PRESETS

    preset: Literal["", PresetName] = Field(
        default="",
        description="A published noise by name; settings that you give take precedence over it: paper-b0 to paper-b7 "
        "and paper-l2 (Xie et al. 2020, ImageNet), svhn (its recipe for small images), timm and torchvision (their "
        "RandAugment), augmix, none.",
    )
    strength: Literal["auto"] | Strength = Field(
        default="auto",
        description="Strength of the input noise, 0 to 2. It multiplies RandAugment's magnitude and the crop's reach; "
        "it does not change flip, dropout and stochastic depth. 0 switches crop and RandAugment off. 'auto' is what "
        "a budget chooses; without one it tries the values of 'strengths' on the labels and uses the weakest that is "
        "as good as the best.",
    )
    strengths: tuple[Strength, ...] = Field(
        default=(0.25, 0.5, 1.0),
        min_length=1,
        description="The strengths that 'auto' tries, each from 0 to 2.",
    )
    crop: Literal["auto"] | CropKind = Field(
        default="auto",
        description="Random crop: 'pad' shifts the image and reflects its border, 'resized' crops a random box and "
        "resizes it, 'window' takes a random square of four fifths of the edge or more (BiT: 128 of 160, 480 of 512 "
        f"pixels), 'none' crops the center; 'auto' is 'pad' up to {SMALL_IMAGE_SIZE} pixels and 'resized' above.",
    )
    pad: float = Field(
        default=0.125,
        ge=0.0,
        le=0.5,
        description="Largest shift of the 'pad' crop at strength 1, as a fraction of the image's edge (0 to 0.5).",
    )
    resized_area: float = Field(
        default=0.08,
        gt=0.0,
        le=1.0,
        description="Smallest area of a 'resized' crop at strength 1, as a fraction of the image (above 0, to 1).",
    )
    interpolation: Interpolation = Field(
        default="bilinear", description="Interpolation of a 'resized' crop; the official code uses bicubic."
    )
    flip: bool = Field(
        default=False,
        description="Flip an image left to right with probability 0.5. Off by default because it changes the meaning "
        "of digits, letters and traffic signs; switch it on for natural images.",
    )
    randaugment: bool = Field(default=True, description="Distort the images with RandAugment.")
    policy: PolicyName = Field(
        default="graded",
        description="How RandAugment's operations depend on the magnitude. 'paper' is the published code, in which "
        "Posterize, Solarize and the enhancements are strong at small magnitudes too, but with Pillow's Contrast; "
        "'released' has the Contrast that the code really computes, which blends with a gray that grows with the "
        "image's area (4 at 32 pixels, 255 from 256 on); with 'graded', every operation "
        "is weak at small magnitudes, as a strength below 1 intends. 'timm' and 'torchvision' use the operations, "
        "scales and probabilities of those libraries. 'augmix' is AugMix instead of RandAugment: blends of 3 chains of "
        "up to 'layers' operations, with levels up to the magnitude (at most 10).",
    )
    layers: int = Field(
        default=2,
        ge=1,
        le=16,
        description="Number of RandAugment operations per image, applied one after another (1 to 16).",
    )
    magnitude: float = Field(
        default=10.0,
        ge=0.0,
        le=30.0,
        description="RandAugment's magnitude at strength 1, 0 to 30 (the paper: 27 for EfficientNet-B7 and L2). With "
        "policy 'paper', Posterize and Solarize are weaker at larger magnitudes, as published.",
    )
    operations: tuple[str, ...] = Field(
        default=(),
        description="Names of RandAugment's operations to draw from; empty: all of the policy's. A name given twice is "
        "drawn twice as often.",
    )
    translation: float = Field(
        default=100.0, ge=0.0, description="RandAugment: translation of an image at magnitude 10, in pixels."
    )
    cutout: float = Field(
        default=40.0, ge=0.0, description="RandAugment: half the edge of Cutout's square at magnitude 10, in pixels."
    )
    pixel_reference: int = Field(
        default=224,
        ge=0,
        description="Edge in pixels of the images for which 'translation' and 'cutout' are given; both scale with the "
        "image. 0: they are not scaled, as in the official code.",
    )
    hole: int = Field(
        default=0,
        ge=0,
        multiple_of=2,
        description="Edge in pixels (an even number) of a gray square on every image, after RandAugment (Cutout of the "
        "official SVHN recipe: 16 of 32 pixels); 0 = none.",
    )
    crop_last: bool = Field(
        default=False,
        description="Crop after RandAugment and the hole instead of before, as the official SVHN recipe does; for crop "
        "'pad'.",
    )
    erasing: float = Field(
        default=0.0,
        ge=0.0,
        le=1.0,
        description="Random erasing: fraction of images in which a box of 2 to 40% of the area is filled with gray.",
    )
    mixup: float = Field(
        default=0.0,
        ge=0.0,
        description="Mixup: blends every image and its target with another of the batch, with a share from "
        "Beta(mixup, mixup); 0 = off.",
    )
    cutmix: float = Field(
        default=0.0,
        ge=0.0,
        description="CutMix: pastes a box of another image of the batch, with a share from Beta(cutmix, cutmix); "
        "0 = off. If mixup is on too, every image gets one of the two at random.",
    )
    mixing: Literal["image", "step"] = Field(
        default="image",
        description="What one share of mixup and CutMix is drawn for: every image, or a whole step, for all its images "
        "(BiT).",
    )
    dropout: float = Field(
        default=0.2,
        ge=0.0,
        lt=1.0,
        description="Dropout before the classifier: fraction of features dropped (0 to below 1; the paper: 0.5).",
    )
    stochastic_depth: float = Field(
        default=0.2,
        ge=0.0,
        lt=1.0,
        description="Stochastic depth: drop rate that the blocks approach linearly from 0 (0 to below 1; the paper's "
        "survival probability of 0.8 is 0.2 here).",
    )

    teacher: bool = Field(
        default=False,
        description="Also apply noise while the teacher labels (an ablation in the paper; leave off otherwise).",
    )
    unlabeled: UnlabeledNoiseSettings = Field(
        default=UnlabeledNoiseSettings(), description="The noise of unlabeled images where it is their own."
    )

    @model_validator(mode="after")
    def _known_operations(self) -> Self:
        known = OPERATIONS_OF[self.policy]
        for name in self.operations:
            if name not in known:
                raise ValueError(
                    f"operations: {name!r} is not an operation of policy {self.policy}.{nearest_name(name, known)} "
                    f"Known: {', '.join(known)}"
                )
        return self

    @field_validator("strengths")
    @classmethod
    def _distinct(cls, strengths: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(strengths)) < len(strengths):
            raise ValueError(f"strengths holds a value twice: {strengths}; give every value once")
        return strengths

    def of_unlabeled(self) -> NoiseSettings:
        """The input noise of the unlabeled images in a student's batches."""
        own = {name: value for name in _OF_UNLABELED if (value := getattr(self.unlabeled, name)) != "same"}
        return self.model_copy(update=own)

    def deciding(self, *without: str) -> dict[str, Any]:
        """All settings but those of unlabeled images and those ``without``, to identify what they were used for.

        Settings that came later are left out at their defaults: what was made before they existed stays valid.
        """
        late = [name for name in _LATE if getattr(self, name) == NoiseSettings.model_fields[name].default]
        return self.model_dump(exclude={"unlabeled", *late, *without})

    def crop_at(self, size: int) -> CropKind:
        """Returns the kind of crop for images of edge ``size`` in pixels, with 'auto' resolved."""
        if self.crop != "auto":
            return self.crop
        return "pad" if size <= SMALL_IMAGE_SIZE else "resized"
