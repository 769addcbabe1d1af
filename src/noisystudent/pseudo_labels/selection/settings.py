"""Settings of the selection of pseudo labels."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from noisystudent.settings import MANY_LABELS, Settings

FEW_LABELS_FRACTION = 0.2  # with few labels, rows that the teacher is less sure of wait for a better teacher


class SelectionSettings(Settings):
    """How pseudo labels are selected for training."""

    rule: Literal["curriculum", "threshold"] = Field(
        "curriculum", description="curriculum: a growing, class-balanced fraction; threshold: the paper's rule"
    )
    fraction: Literal["auto"] | Annotated[float, Field(gt=0, le=1)] = Field(
        "auto",
        description="curriculum: every round adds this fraction of the images of each predicted class; auto: "
        f"{FEW_LABELS_FRACTION}, or 1 if every class has at least {MANY_LABELS} labels",
    )
    threshold: Annotated[float, Field(ge=0, le=1)] = Field(
        0.3, description="threshold: smallest confidence of a selected pseudo label"
    )
    per_class: Literal["auto", "none"] | Annotated[int, Field(ge=1)] = Field(
        "auto",
        description="threshold: target number of images per class, filled up with copies; auto: the mean over the "
        "classes; none: no balancing",
    )
    max_copies: Annotated[int, Field(ge=1, le=65_535)] = Field(
        10, description="threshold: largest number of copies of one image"
    )
    once: bool = Field(False, description="select the images in round 1 only; later rounds only relabel them")

    def resolve_auto(self, labels_per_class: int) -> SelectionSettings:
        """The same settings with a number for ``fraction``.

        Args:
            labels_per_class: the number of labels of the class with the fewest labels.
        """
        if self.fraction != "auto":
            return self
        return self.model_copy(update={"fraction": 1.0 if labels_per_class >= MANY_LABELS else FEW_LABELS_FRACTION})
