"""Settings of what a student is asked to match."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from noisystudent.settings import MANY_LABELS, Settings

Weighting = Literal["concatenated", "sum", "ratio"]


class ObjectiveSettings(Settings):
    """What the student is asked to match, and how labeled and pseudo-labeled pictures weigh against each other."""

    labels: Literal["auto", "soft", "hard"] = Field(
        "auto",
        description="pseudo labels as the teacher's probabilities (soft) or its first choice (hard); auto: soft where "
        f"every class has at least {MANY_LABELS} labels, else hard",
    )
    temperature: Annotated[float, Field(gt=0, le=100)] = Field(
        1.0, description="soft labels are re-tempered as p^(1/T): below 1 sharper, above 1 softer"
    )
    weighting: Weighting = Field(
        "concatenated",
        description="concatenated: (Ll + r Lu)/(1 + r), the mean over the batch; sum: Ll + Lu; ratio: Ll + r Lu",
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.1, description="on labeled pictures and hard pseudo labels only, never on soft ones"
    )

    def settled(self, labels_a_class: int) -> ObjectiveSettings:
        """The same with ``labels`` soft or hard, for classes of at least ``labels_a_class`` labels."""
        if self.labels != "auto":
            return self
        return self.model_copy(update={"labels": "soft" if labels_a_class >= MANY_LABELS else "hard"})
