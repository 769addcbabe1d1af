"""Settings of the selection of pseudo labels."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from noisystudent.pseudo_labels.selection.share_text import parse_shares
from noisystudent.settings import MANY_LABELS, Settings

PUBLISHED_THRESHOLD = 0.3  # Xie et al. 2020, section 4.1
NAMED_PRIORS = ("auto", "uniform", "labels", "estimated")
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
    threshold: Literal["auto"] | Annotated[float, Field(ge=0, le=1)] = Field(
        "auto",
        description="smallest confidence of a selected pseudo label; auto: "
        f"{PUBLISHED_THRESHOLD} with rule threshold, no bound with curriculum",
    )
    below: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="only pseudo labels with a confidence below this are selected; 1: no bound"
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
    prior: str = Field(
        "auto",
        description="share of each class among the pseudo labels: uniform; labels (as among them); estimated (as in "
        "the unlabeled set, by labels that the teacher did not see); CLASS=SHARE,...; or auto: the rule's own, which "
        "is as predicted for curriculum and equal for threshold and for heads",
    )
    align: Literal["none", "prior"] = Field(
        "none",
        description="prior: before selection, correct the teacher's predictions, which expect the shares of the "
        "labels, for the shares of selection.prior (Saerens 2002)",
    )
    neighbors: Literal["none", "mean"] = Field(
        "none",
        description="mean: before selection, average the predictions of a network with the labels that spread from the "
        "labeled images over nearest neighbors in its features, of up to 50,000 images in memory",
    )
    foreign: Literal["keep", "drop"] = Field(
        "keep",
        description="drop: leave out images that are farther from all labeled ones, in the features of a frozen "
        "backbone, than labeled images are from each other; in those of a network that is trained, than validation "
        "images are",
    )

    @field_validator("prior")
    @classmethod
    def _is_a_prior(cls, text: str) -> str:
        if text not in NAMED_PRIORS:
            parse_shares(text)
        return text

    @model_validator(mode="after")
    def _aligns_to_other_shares(self) -> Self:
        if self.align == "prior" and self.prior in ("auto", "labels"):
            raise ValueError(
                f"align prior has no effect with prior {self.prior}, because predictions expect the shares of the "
                "labels; give prior uniform, estimated or CLASS=SHARE,..., or leave align out"
            )
        return self

    @model_validator(mode="after")
    def _estimates_shares_of_one_model(self) -> Self:
        if self.neighbors == "mean" and (self.align == "prior" or self.prior == "estimated"):
            raise ValueError(
                "neighbors mean changes the predictions, and prior estimated or align prior needs those of the model "
                "that held-out labels were asked of; leave one of them out"
            )
        return self

    @model_validator(mode="after")
    def _some_confidence_is_left(self) -> SelectionSettings:
        if self.below <= self.lowest:
            raise ValueError(
                f"below is {self.below:g} and threshold {self.lowest:g}, so no confidence is allowed; give a larger "
                "below, or a smaller threshold"
            )
        return self

    @property
    def lowest(self) -> float:
        """The smallest confidence of a selected pseudo label, 0 to 1."""
        if self.threshold != "auto":
            return self.threshold
        return PUBLISHED_THRESHOLD if self.rule == "threshold" else 0.0

    def deciding(self) -> dict[str, Any]:
        """The settings that decide a selection; what later versions have brought is left out at its default."""
        fields = type(self).model_fields
        later = {
            name for name in ("prior", "align", "neighbors", "foreign") if getattr(self, name) == fields[name].default
        }
        values = self.model_dump(exclude={"below", *later}) | {"threshold": self.lowest}
        if self.rule == "curriculum":
            values["threshold"] = PUBLISHED_THRESHOLD  # once had no effect there
            values |= {"lowest": self.lowest} if self.lowest else {}
        return values | ({"below": self.below} if self.below < 1 else {})

    def resolve_auto(self, labels_per_class: int) -> SelectionSettings:
        """The same settings with a number for ``fraction``.

        Args:
            labels_per_class: the number of labels of the class with the fewest labels.
        """
        if self.fraction != "auto":
            return self
        return self.model_copy(update={"fraction": 1.0 if labels_per_class >= MANY_LABELS else FEW_LABELS_FRACTION})
