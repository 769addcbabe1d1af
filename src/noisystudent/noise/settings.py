"""The noise settings: one strength for the pictures, and a switch of its own for each single noise."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from noisystudent.settings import Settings

Strength = Annotated[float, Field(ge=0.0, le=2.0)]
CropKind = Literal["resized", "pad", "none"]
Policy = Literal["graded", "paper"]

SMALL_PICTURE_SIZE = 64
"""Up to this edge in pixels pictures are cropped by padding; above it, by a random resized box."""


class NoiseSettings(Settings):
    """The student's noise (Xie et al., 2020, section 2): input noise on pictures, model noise inside the
    network.

    Each noise can be switched off alone: ``crop=none``, ``flip=false``, ``randaugment=false``, ``dropout=0``,
    ``stochastic_depth=0``.
    """

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
        description="Random crop: 'pad' shifts the picture and mirrors its border in, 'resized' cuts a "
        "random box and resizes it, 'none' cuts the center; 'auto' is 'pad' up to "
        f"{SMALL_PICTURE_SIZE} pixels and 'resized' above.",
    )
    pad: float = Field(
        default=0.125,
        ge=0.0,
        le=0.5,
        description="Reach of the 'pad' crop at strength 1, as a fraction of the picture's edge (0 to 0.5).",
    )
    resized_area: float = Field(
        default=0.08,
        gt=0.0,
        le=1.0,
        description="Smallest area of a 'resized' crop at strength 1, as a fraction of the picture (above 0, to 1).",
    )
    flip: bool = Field(
        default=False,
        description="Mirror every second picture left to right. Off by default because it changes the "
        "meaning of digits, letters and traffic signs; switch it on for natural pictures.",
    )
    randaugment: bool = Field(default=True, description="Distort the pictures with RandAugment.")
    policy: Policy = Field(
        default="graded",
        description="How a RandAugment operation grows with the magnitude. 'paper' is the published code, in which "
        "Posterize, Solarize and the enhancements are not weak at small magnitudes; 'graded' makes every operation "
        "weak there, which is what a strength below 1 is for.",
    )
    layers: int = Field(
        default=2,
        ge=1,
        le=16,
        description="RandAugment operations on each picture, one after the other (1 to 16).",
    )
    magnitude: float = Field(
        default=10.0,
        ge=0.0,
        le=30.0,
        description="RandAugment's magnitude at strength 1, 0 to 30 (the paper: 27 for EfficientNet-B7 and "
        "L2). Posterize and Solarize are weaker at larger magnitudes, as published.",
    )
    pixel_reference: int = Field(
        default=224,
        ge=0,
        description="Edge in pixels for which RandAugment's distances (translation 100, cutout 40) are "
        "meant; they shrink and grow with the picture. 0 takes them as plain pixels, as the official code "
        "does.",
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

    @field_validator("strengths")
    @classmethod
    def _distinct(cls, strengths: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(strengths)) < len(strengths):
            raise ValueError(f"strengths holds a value twice: {strengths}; give each value once")
        return strengths

    def crop_at(self, size: int) -> CropKind:
        """The kind of crop for pictures of edge ``size`` in pixels: the setting itself, or what 'auto'
        means there.
        """
        if self.crop != "auto":
            return self.crop
        return "pad" if size <= SMALL_PICTURE_SIZE else "resized"
