"""How images are read and how the labels are split."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from noisystudent.settings import Settings


class DataSettings(Settings):
    """How images are read, at which size, and how many labels are set aside to choose by."""

    size: Annotated[int, Field(ge=8)] | Literal["auto"] = Field(
        "auto",
        description="edge of the square image that the model sees, in pixels, at least 8; auto: the median "
        "short edge of the labeled images, rounded to a multiple of 8, at most 224",
    )
    channels: Literal["auto", "gray", "rgb"] = Field(
        "auto", description="colors kept: gray or rgb; auto: gray when every labeled image is gray"
    )
    validation_fraction: float = Field(
        0.2,
        ge=0,
        lt=1,
        description="share of the labels of each class set aside for validation when no validation source is "
        "given; 0: none",
    )
    few_labels: int = Field(
        25,
        ge=2,
        description="with fewer labels than this in any class, all labels train and none is set aside for validation "
        "(without a test source; see few_labels_beside_test)",
    )
    few_labels_beside_test: int = Field(
        250,
        ge=2,
        description="as few_labels, but for runs with a test source: it gives the verdict, and a small validation set, "
        "too uncertain to choose by, is worth less than its labels in training",
    )
    max_corrupt_fraction: float = Field(
        0.05,
        ge=0,
        le=1,
        description="largest share of unreadable images in a source before the run refuses it",
    )
    near_duplicates: Literal["none"] | Annotated[int, Field(ge=0, le=16, strict=True)] = Field(
        10,
        description="unlabeled images that look like a validation or test image are left out; this is the largest "
        "number of bits, of 64, in which their perceptual hashes may differ before a closer look decides; none: only "
        "identical images are left out",
    )
    streaming: Literal["auto", "always", "never"] = Field(
        "auto",
        description="whether unlabeled images are decoded anew whenever they are needed, not once and kept; auto: "
        "when they take more than memory_limit_gb",
    )
    window: Annotated[int, Field(ge=1)] = Field(
        8192,
        description="streamed images are shuffled among about this many neighbors; some three times as many are in "
        "memory",
    )
    memory_limit_gb: float = Field(
        8.0,
        gt=0,
        description="most memory that the decoded images of one source may take, in gigabytes (10^9 bytes)",
    )
