"""Settings of what a student is asked to match."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from noisystudent.errors import SettingsError, nearest_name
from noisystudent.losses.presets import PRESETS
from noisystudent.settings import MANY_LABELS, Settings

Weighting = Literal["concatenated", "sum", "ratio"]
Method = Literal[
    "none",
    "kd",
    "dkd",
    "dist",
    "standardized_kd",
    "hard",
    "virtual_teacher",
    "matched_smoothing",
    "confidence_penalty",
]
NEEDS_LABELS = ("virtual_teacher", "matched_smoothing")
TEACHER_FREE = ("none", *NEEDS_LABELS, "confidence_penalty")
WHO_TEACHES = ("teachers", "students", "teacher_steps")  # the settings of the verb distill alone


class ObjectiveSettings(Settings):
    """What the student is asked to match, and how labeled and pseudo-labeled images weigh against each other."""

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
        0.1, description="on labeled images and hard pseudo labels only, never on soft ones"
    )

    def settled(self, labels_a_class: int) -> ObjectiveSettings:
        """The same with ``labels`` soft or hard, for classes of at least ``labels_a_class`` labels."""
        if self.labels != "auto":
            return self
        return self.model_copy(update={"labels": "soft" if labels_a_class >= MANY_LABELS else "hard"})


class DistillationSettings(Settings):
    """What a student is taught beyond the labels, by which teachers, and how the parts of its loss weigh.

    loss = hard_weight * mean of H(label, p) over labeled rows + soft_weight * mean of the method's term over the rows
    of ``applies_to``. Both weights are free: no alpha that means the one in one paper and the other in the next.
    """

    preset: str = Field(
        "",
        description="a published loss by name, under all that is set beside it: " + ", ".join(PRESETS),
    )
    method: Method = Field(
        "none",
        description="none: labels and pseudo labels only; kd: soft targets (Hinton 2015); dkd: decoupled (Zhao 2022); "
        "dist: rank relations (Huang 2022); standardized_kd: soft targets of standardized logits (Sun 2024); "
        "hard: the teacher's first choice (DeiT). Without a teacher: virtual_teacher (Tf-KD reg, Yuan 2020); "
        "matched_smoothing: label smoothing with the targets and the scale of that; confidence_penalty (Pereyra 2017)",
    )
    hard_weight: Annotated[float, Field(ge=0)] = Field(
        0.1, description="weight of the cross entropy with the labels, on labeled images"
    )
    soft_weight: Annotated[float, Field(ge=0)] = Field(0.9, description="weight of the method's own term")
    temperature: Annotated[float, Field(gt=0, le=1000)] = Field(
        4.0, description="T, by which the logits of teacher and student are divided in the method's term"
    )
    scale_by_t_squared: bool = Field(
        True, description="multiply the method's term by T^2, as where gradients are to keep size"
    )
    reduction: Literal["rows", "elements"] = Field(
        "rows", description="rows: KL summed over classes; elements: averaged over them, as in some released code"
    )
    applies_to: Literal["both", "labeled", "unlabeled"] = Field(
        "both", description="the images on which the method's term acts"
    )
    warmup: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="share of the steps over which soft_weight rises from 0 (dkd: 20 of 240 epochs)"
    )
    dkd_alpha: Annotated[float, Field(ge=0)] = Field(1.0, description="dkd: weight of the true class's part")
    dkd_beta: Annotated[float, Field(ge=0)] = Field(8.0, description="dkd: weight of the other classes' part")
    dist_beta: Annotated[float, Field(ge=0)] = Field(1.0, description="dist: weight of the relations within an image")
    dist_gamma: Annotated[float, Field(ge=0)] = Field(1.0, description="dist: weight of those within a class")
    true_class_probability: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.99, description="virtual_teacher: its probability of the true class"
    )
    tempering: Literal["power", "softmax", "released"] = Field(
        "power",
        description="virtual_teacher: how its probabilities p are tempered. power: p^(1/T); softmax: softmax(p/T); "
        "released: softmax(p/T) too, but the student is not tempered (the paper's code)",
    )
    teachers: tuple[str, ...] = Field(
        (),
        description="distill: checkpoint folders, or names of models to be trained on the labels first; several are an "
        "ensemble",
    )
    students: tuple[str, ...] = Field(
        ("auto",),
        min_length=1,
        description="distill: names of the students' models; the first learns from the teachers, each other from the "
        "one before it",
    )
    teacher_steps: Annotated[int, Field(ge=0)] = Field(
        0, description="distill: steps after which the training of teachers is broken off (defective ones); 0 = never"
    )
    weights: tuple[Annotated[float, Field(ge=0)], ...] = Field(
        (), description="weights of several teachers, one each; empty: equal"
    )
    mean: Literal["arithmetic", "geometric"] = Field(
        "arithmetic", description="of several teachers: the mean of their probabilities at T, or of their logits"
    )
    teacher_logits: Literal["online", "cached", "cached_views"] = Field(
        "online",
        description="online: the teacher sees the student's own view at every step; cached: its predictions for the "
        "whole images, made once; cached_views: its predictions for every view, made once and kept to be replayed",
    )
    cache: str = Field(
        "", description="folder in which teaching cached_views keeps its predictions; empty: in the run's own"
    )

    @model_validator(mode="before")
    @classmethod
    def _above_preset(cls, given: dict[str, Any]) -> dict[str, Any]:
        return {**PRESETS.get(given.get("preset", ""), {}), **given}

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.preset and self.preset not in PRESETS:
            raise ValueError(
                f"there is no preset {self.preset!r}.{nearest_name(self.preset, PRESETS)} There are "
                f"{', '.join(PRESETS)}"
            )
        if self.hard_weight + self.soft_weight == 0:
            raise ValueError(
                "hard_weight and soft_weight are both 0, so there is nothing to learn; give one of them a weight"
            )
        if self.weights and self.teachers and len(self.weights) != len(self.teachers):
            raise ValueError(f"there are {len(self.teachers)} teachers and {len(self.weights)} weights; give one each")
        if self.weights and not sum(self.weights):
            raise ValueError(f"weights of the teachers are {self.weights}; give numbers that do not sum to 0")
        if self.method == "dkd" and not self.dkd_alpha + self.dkd_beta:
            raise ValueError("dkd_alpha and dkd_beta are both 0, so there is nothing to learn; give one a weight")
        if self.method == "dist" and not self.dist_beta + self.dist_gamma:
            raise ValueError("dist_beta and dist_gamma are both 0, so there is nothing to learn; give one a weight")
        if self.method in NEEDS_LABELS and self.applies_to == "unlabeled":
            raise ValueError(f"method {self.method} is made from labels; it cannot act on unlabeled images alone")
        return self

    @property
    def taught(self) -> bool:
        """Whether the method's term needs a teacher."""
        return self.soft_weight > 0 and self.method not in TEACHER_FREE

    def require_classes(self, count: int) -> None:
        """Raises ``SettingsError`` where the method cannot work with so many classes."""
        if self.method == "dist" and count < 3:
            raise SettingsError(
                f"distillation.method dist ranks classes, and with {count} there is nothing to rank; use kd."
            )

    def rows(self, labeled: int, total: int) -> slice:
        """The rows of a batch on which the method's term acts, of ``total`` with the ``labeled`` first."""
        if self.method in NEEDS_LABELS:
            return slice(labeled)
        return {"both": slice(total), "labeled": slice(labeled), "unlabeled": slice(labeled, total)}[self.applies_to]
