"""How images are read and how the labels are split."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from noisystudent.settings import Settings


class DataSettings(Settings):
    """How images are read, at which size, and how many labels are set aside for validation."""

    size: Annotated[int, Field(ge=8, le=4096)] | Literal["auto"] = Field(
        "auto",
        description="edge of the model's square input in pixels, 8 to 4096; auto: what a budget chooses or a backbone "
        "was trained at, else the median short edge of the labeled images, rounded to a multiple of 8 (images of one "
        "size up to 64 px keep it), at most 224; with resize squash 128 for images of less than 96 x 96 pixels, else "
        "480 (BiT's rule)",
    )
    resize: Literal["aspect", "squash"] = Field(
        "aspect",
        description="how an image becomes square. aspect: its short edge is resized and a part of the long one is cut "
        "off; squash: both edges are resized, so that all of it is seen, out of proportion (BiT)",
    )
    channels: Literal["auto", "gray", "rgb"] = Field(
        "auto", description="color channels; auto: gray if every labeled image is gray, else rgb"
    )
    crop: Annotated[float, Field(ge=0.5, le=1)] | Literal["auto"] = Field(
        "auto",
        description="share of an image's short edge that the view without noise shows, 0.5 to 1, for a size above 64; "
        "auto: 1 with model.tune head, else that of the backbone's weights, else size / (size + 32)",
    )
    validation_fraction: float = Field(
        0.2,
        ge=0,
        lt=1,
        description="fraction of each class's labels that is set aside for validation if no validation source is "
        "given; 0: none",
    )
    few_labels: int = Field(
        25,
        ge=2,
        description="if any class has fewer labels than this, all labels train and none is set aside for validation; "
        "applies to runs without a test source",
    )
    few_labels_beside_test: int = Field(
        250,
        ge=2,
        description="the same as few_labels, for runs with a test source: the test source gives the verdict, and a "
        "small validation set is worth less than its labels in training",
    )
    max_corrupt_fraction: float = Field(
        0.05,
        ge=0,
        le=1,
        description="largest tolerated fraction of unreadable images in a source; above it, the command stops",
    )
    near_duplicates: Literal["none"] | Annotated[int, Field(ge=0, le=16, strict=True)] = Field(
        10,
        description="labeled and unlabeled images that look like a validation or test image are left out; a pair of "
        "images is compared closely if their 64-bit perceptual hashes differ in at most this many bits; none: only "
        "identical images are left out",
    )
    unlabeled_share: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0,
        description="share of the unlabeled images that the run uses, above 0, to 1, drawn by the seed and an image's "
        "name, so that a larger share has all images of a smaller one",
    )
    streaming: Literal["auto", "always", "never"] = Field(
        "auto",
        description="whether unlabeled images are decoded each time they are needed (always) or once into memory "
        "(never); auto: streamed if they need more than memory_limit_gb",
    )
    window: Annotated[int, Field(ge=1)] = Field(
        8192,
        description="shuffle window for streamed images, in images; memory holds about three times as many",
    )
    memory_limit_gb: float = Field(
        8.0,
        gt=0,
        description="largest memory for the decoded images of one source, in gigabytes (10^9 bytes)",
    )
