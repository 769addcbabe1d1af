"""How pseudo labels are chosen for training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from noisystudent.settings import MANY_LABELS, Settings

CAREFUL_FRACTION = 0.2  # where labels are few, what a teacher is less sure of waits until it knows more


class SelectionSettings(Settings):
    """How pseudo labels are chosen for training."""

    rule: Literal["curriculum", "threshold"] = Field(
        "curriculum", description="curriculum: a growing, class-balanced fraction; threshold: the paper's rule"
    )
    fraction: Literal["auto"] | Annotated[float, Field(gt=0, le=1)] = Field(
        "auto",
        description="curriculum: this fraction of every predicted class is added each round; auto: "
        f"{CAREFUL_FRACTION}, but all from round 1 on where every class has at least {MANY_LABELS} labels",
    )
    threshold: Annotated[float, Field(ge=0, le=1)] = Field(
        0.3, description="threshold: the least confidence that a pseudo label needs"
    )
    per_class: Literal["auto", "none"] | Annotated[int, Field(ge=1)] = Field(
        "auto",
        description="threshold: images per class, filled up with copies; auto: the mean of all; none: as they come",
    )
    max_copies: Annotated[int, Field(ge=1, le=65_535)] = Field(
        10, description="threshold: no image is used more often than this to fill its class"
    )
    once: bool = Field(False, description="choose the images in round 1 only; later rounds give them new labels")

    def settled(self, labels_a_class: int) -> SelectionSettings:
        """The same with ``fraction`` a number, for classes of at least ``labels_a_class`` labels."""
        if self.fraction != "auto":
            return self
        return self.model_copy(update={"fraction": 1.0 if labels_a_class >= MANY_LABELS else CAREFUL_FRACTION})
