"""Settings of the objective: the targets that a student matches."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from noisystudent.errors import SettingsError, nearest_name
from noisystudent.losses.presets import PRESETS
from noisystudent.settings import MANY_LABELS, PresetSettings, Settings

Weighting = Literal["concatenated", "sum", "ratio"]
LogitMethod = Literal["kd", "dkd", "dist", "standardized_kd"]  # methods that compare the logits of two networks
TermMethod = Literal[LogitMethod, "hard", "virtual_teacher", "matched_smoothing", "confidence_penalty"]
Method = Literal["none", TermMethod]
NEEDS_LABELS = ("virtual_teacher", "matched_smoothing")
TEACHER_FREE = ("none", *NEEDS_LABELS, "confidence_penalty")
NOT_OF_A_STAGE = ("teachers", "students", "teacher_steps")  # who learns from whom, which no single stage depends on


class ObjectiveSettings(Settings):
    """The targets of the student, and the weight of pseudo-labeled images against labeled ones."""

    labels: Literal["auto", "soft", "hard"] = Field(
        "auto",
        description="pseudo labels: soft = the teacher's probabilities, hard = its most probable class, auto = soft if "
        f"every class has at least {MANY_LABELS} labels, else hard",
    )
    temperature: Annotated[float, Field(gt=0, le=100)] = Field(
        1.0, description="temperature T of soft pseudo labels, p^(1/T): below 1 sharper, above 1 softer"
    )
    weighting: Weighting = Field(
        "concatenated",
        description="weight of the labeled loss Ll and the unlabeled loss Lu, with r unlabeled images per labeled one; "
        "concatenated: (Ll + r Lu)/(1 + r), the mean over the batch; sum: Ll + Lu; ratio: Ll + r Lu",
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.1, description="label smoothing of labels and hard pseudo labels; soft pseudo labels are never smoothed"
    )
    logit_adjustment: Annotated[float, Field(ge=0, le=10)] = Field(
        0.0,
        description="tau: adds tau times the log of the class shares of the training images to the logits in the loss "
        "(Menon 2021), so that rare classes are predicted more often; 0 = off, 1 = as if all classes were equally "
        "frequent",
    )

    def deciding(self) -> dict[str, Any]:
        """The settings that decide what a student learns, for its inputs; an adjustment of 0 is left out."""
        return self.model_dump(exclude=set() if self.logit_adjustment else {"logit_adjustment"})

    def resolve_auto(self, labels_per_class: int) -> ObjectiveSettings:
        """Returns these settings with ``labels`` as soft or hard instead of auto.

        Args:
            labels_per_class: number of labels of the class that has the fewest.
        """
        if self.labels != "auto":
            return self
        return self.model_copy(update={"labels": "soft" if labels_per_class >= MANY_LABELS else "hard"})


class DistillationSettings(PresetSettings):
    """Settings of knowledge distillation: the method, its teachers, and the weights of the terms of its loss."""

    presets = PRESETS

    preset: str = Field(
        "",
        description="a published loss by name; settings that you give take precedence over it: " + ", ".join(PRESETS),
    )
    method: Method = Field(
        "none",
        description="none: labels and pseudo labels only; kd: soft targets (Hinton 2015); dkd: decoupled (Zhao 2022); "
        "dist: rank relations (Huang 2022); standardized_kd: soft targets of standardized logits (Sun 2024); "
        "hard: the teacher's most probable class (DeiT). Without a teacher: virtual_teacher (Tf-KD reg, Yuan 2020); "
        "matched_smoothing: label smoothing with the targets and the loss scale of virtual_teacher; "
        "confidence_penalty (Pereyra 2017)",
    )
    # Two independent weights, because alpha weights the hard term in some papers and the soft term in others.
    hard_weight: Annotated[float, Field(ge=0)] = Field(
        0.1, description="weight of the cross entropy with the labels, on labeled images"
    )
    soft_weight: Annotated[float, Field(ge=0)] = Field(0.9, description="weight of the method's term")
    temperature: Annotated[float, Field(gt=0, le=1000)] = Field(
        4.0, description="temperature T of teacher and student in the method's term"
    )
    scale_by_t_squared: bool = Field(
        True, description="multiply the method's term by T^2, so that its gradient keeps its size as T changes"
    )
    reduction: Literal["rows", "elements"] = Field(
        "rows", description="rows: sum the KL divergence over classes; elements: average it, as some released code does"
    )
    applies_to: Literal["both", "labeled", "unlabeled"] = Field(
        "both", description="images on which the method's term acts"
    )
    warmup: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="fraction of the steps over which soft_weight rises from 0 (the dkd paper: 20 of 240 epochs)"
    )
    dkd_alpha: Annotated[float, Field(ge=0)] = Field(1.0, description="dkd: weight of the true class's term")
    dkd_beta: Annotated[float, Field(ge=0)] = Field(8.0, description="dkd: weight of the other classes' term")
    dist_beta: Annotated[float, Field(ge=0)] = Field(1.0, description="dist: weight of the relations within an image")
    dist_gamma: Annotated[float, Field(ge=0)] = Field(1.0, description="dist: weight of the relations within a class")
    true_class_probability: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.99, description="virtual_teacher: probability that it gives to the true class"
    )
    tempering: Literal["power", "softmax", "released"] = Field(
        "power",
        description="virtual_teacher: how T acts on its probabilities p. power: p^(1/T); softmax: softmax(p/T); "
        "released: softmax(p/T) with the student at T = 1, as in the paper's code",
    )
    teachers: tuple[str, ...] = Field(
        (),
        description="distill: checkpoint folders, or names of models that are first trained on the labels; several "
        "teachers form an ensemble",
    )
    students: tuple[str, ...] = Field(
        ("auto",),
        min_length=1,
        description="distill: names of the students' models; the first student learns from the teachers, every later "
        "one from the student before it",
    )
    teacher_steps: Annotated[int, Field(ge=0)] = Field(
        0, description="distill: stop the training of teachers after this many steps (defective teachers); 0 = never"
    )
    weights: tuple[Annotated[float, Field(ge=0)], ...] = Field(
        (), description="weights of several teachers, one per teacher; empty: equal weights"
    )
    mean: Literal["arithmetic", "geometric"] = Field(
        "arithmetic",
        description="mean of several teachers; arithmetic: of their probabilities at T, geometric: of their logits",
    )
    teacher_logits: Literal["online", "cached", "cached_views"] = Field(
        "online",
        description="online: the teacher predicts the student's noised view at every step; cached: it predicts every "
        "image once, without noise; cached_views: it predicts every noised view once, and stored views are replayed",
    )
    cache: str = Field(
        "", description="folder for the predictions of teacher_logits cached_views; empty: a folder of the run"
    )

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.preset and self.preset not in PRESETS:
            raise ValueError(
                f"there is no preset {self.preset!r}.{nearest_name(self.preset, PRESETS)} Known: {', '.join(PRESETS)}"
            )
        if self.hard_weight + self.soft_weight == 0:
            raise ValueError(
                "hard_weight and soft_weight are both 0, so there is nothing to learn; give one of them a weight"
            )
        if self.weights and self.teachers and len(self.weights) != len(self.teachers):
            raise ValueError(
                f"there are {len(self.teachers)} teachers and {len(self.weights)} weights; give one weight per teacher"
            )
        if self.weights and not sum(self.weights):
            raise ValueError(f"weights of the teachers are {self.weights}; give numbers that do not sum to 0")
        if self.method == "dkd" and not self.dkd_alpha + self.dkd_beta:
            raise ValueError("dkd_alpha and dkd_beta are both 0, so there is nothing to learn; give one a weight")
        if self.method == "dist" and not self.dist_beta + self.dist_gamma:
            raise ValueError("dist_beta and dist_gamma are both 0, so there is nothing to learn; give one a weight")
        if self.method in NEEDS_LABELS and self.applies_to == "unlabeled":
            raise ValueError(
                f"method {self.method} needs labels and applies_to is unlabeled; set applies_to to both or labeled"
            )
        return self

    @property
    def needs_teacher(self) -> bool:
        """Whether the method's term needs a teacher."""
        return self.soft_weight > 0 and self.method not in TEACHER_FREE

    def require_classes(self, count: int) -> None:
        """Raises ``SettingsError`` if the method cannot work with ``count`` classes."""
        if self.method == "dist" and count < 3:
            raise SettingsError(
                f"distillation.method dist ranks classes, and with {count} there is nothing to rank; use kd."
            )

    def rows(self, labeled: int, total: int) -> slice:
        """Returns the rows of a batch on which the method's term acts.

        Args:
            labeled: number of labeled rows; they come first in the batch.
            total: number of rows of the batch.
        """
        if self.method in NEEDS_LABELS:
            return slice(labeled)
        return {"both": slice(total), "labeled": slice(labeled), "unlabeled": slice(labeled, total)}[self.applies_to]


OnlineMethod = Literal["none", "fixmatch", "flexmatch", "freematch", "softmatch", "mean_teacher"]
WITH_MEMORY = ("flexmatch", "freematch", "softmatch")  # methods that remember more than the weights from step to step
METHODS_WITH = {
    "threshold": ("fixmatch", "flexmatch"),
    "threshold_warmup": ("flexmatch",),
    "labels": ("fixmatch", "flexmatch", "freematch", "softmatch"),
    "alignment": ("fixmatch", "flexmatch", "softmatch"),
    "deviations": ("softmatch",),
    "fairness": ("freematch",),
    "ramp": ("mean_teacher",),
}
"""The methods that use a setting, where not all do."""
MEAN_TEACHER_WEIGHT = 50.0  # of the released code's settings for CIFAR-10


class OnlineSettings(Settings):
    """An online student: it learns strong views of unlabeled images from its or its average's answers to weak ones."""

    method: OnlineMethod = Field(
        "none",
        description="in run, the student after the last round (with rounds.count 0 the only one), in train the model, "
        "learns online. fixmatch: images above a threshold (Sohn 2020); flexmatch: thresholds per class (Zhang 2021); "
        "freematch: free thresholds (Wang 2023); softmatch: weights (Chen 2023); mean_teacher: all images, by the "
        "squared difference (Tarvainen 2017)",
    )
    teacher: Literal["auto", "student", "average"] = Field(
        "auto",
        description="who answers to weak views. student: the student itself; average: its averaged weights "
        "(train.ema_decay); auto: average for mean_teacher, else student, as published",
    )
    weak_teacher: Literal["online", "round"] = Field(
        "online",
        description="what the student of a run without rounds learns from where its teacher answers fewer than "
        "three quarters of the unlabeled images with a confidence of threshold. online: its own answers all the same; "
        "round: stored soft labels of all images, in one round, as a budget chooses",
    )
    weight: Literal["auto"] | Annotated[float, Field(ge=0)] = Field(
        "auto",
        description=f"weight of the unlabeled loss against the labeled one; auto: {MEAN_TEACHER_WEIGHT:g} for "
        "mean_teacher, else 1",
    )
    threshold: Annotated[float, Field(ge=0, le=1)] = Field(
        0.95, description="fixmatch, flexmatch: confidence from which an image counts"
    )
    threshold_warmup: bool = Field(
        True, description="flexmatch: thresholds rise slowly while most images have not reached the threshold"
    )
    labels: Literal["hard", "soft"] = Field(
        "hard", description="targets of strong views: hard = the most probable class, soft = the probabilities"
    )
    temperature: Annotated[float, Field(gt=0, le=100)] = Field(
        0.5, description="temperature T of soft targets, p^(1/T)"
    )
    alignment: Literal["auto", "none", "uniform", "labeled"] = Field(
        "auto",
        description="distribution alignment of the answers to weak views. uniform: to equal classes; labeled: to the "
        "mean prediction for labeled images; auto: uniform for softmatch, else none",
    )
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.999, description="freematch, softmatch and alignment: momentum of their running means"
    )
    deviations: Annotated[float, Field(gt=0)] = Field(
        2.0, description="softmatch: the larger, the faster weights fall below the mean confidence"
    )
    fairness: Annotated[float, Field(ge=0)] = Field(0.01, description="freematch: weight of the fairness term")
    ramp: Annotated[float, Field(ge=0, le=1)] = Field(
        0.4, description="mean_teacher: fraction of the steps over which the weight rises from 0"
    )

    @property
    def asks_average(self) -> bool:
        """Whether the averaged weights answer to weak views."""
        return self.teacher == "average" or (self.teacher == "auto" and self.method == "mean_teacher")

    @property
    def unlabeled_weight(self) -> float:
        """The weight of the unlabeled loss."""
        if self.weight != "auto":
            return self.weight
        return MEAN_TEACHER_WEIGHT if self.method == "mean_teacher" else 1.0

    @property
    def aligned_to(self) -> Literal["none", "uniform", "labeled"]:
        """What the answers to weak views are aligned to."""
        if self.alignment != "auto":
            return self.alignment
        return "uniform" if self.method == "softmatch" else "none"

    @property
    def has_memory(self) -> bool:
        """Whether the method keeps averages over batches, which several shares of a batch would each keep apart."""
        return self.method in WITH_MEMORY or self.aligned_to != "none"
