"""Settings of the training loop."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from noisystudent.settings import Settings

PRETRAINED_LAYER_DECAY = 0.85  # NOTEBOOK.md has the trials
TRANSFER_RECIPE = "bit"
RATE_IMAGES = 256  # labeled images of a step that ``rate_per_256`` is for

Ratio = Annotated[float, Field(gt=0)]


class TrainSettings(Settings):
    """Steps, batch size, learning rate and optimizer of every training stage."""

    steps: Annotated[int, Field(ge=1)] = Field(
        1200, description="optimizer steps of every training stage (teacher, students, control)"
    )
    epochs: Annotated[float, Field(ge=0)] = Field(
        0.0,
        description="instead of steps: how often every training stage shows each labeled image, as the paper counts "
        "its 350 or 700 epochs; 0: steps says how long",
    )
    stop_after: Annotated[int, Field(ge=0)] = Field(
        0, description="stop every stage early after this many steps; the schedule is unchanged; 0 = never"
    )
    batch_size: Annotated[int, Field(ge=2)] = Field(128, description="images per step; batch says which of them")
    batch: Literal["total", "labeled"] = Field(
        "total",
        description="what batch_size counts. total: all images of a step, which ratio splits into labeled and "
        "pseudo-labeled ones; labeled: the labeled ones, as many for teacher and control as for a student, which has "
        "batch_size times ratio pseudo-labeled ones on top (the paper)",
    )
    ratio: Ratio | Annotated[tuple[Ratio, ...], Field(min_length=1)] = Field(
        3.0,
        description="pseudo-labeled images per labeled image in a student's batch; or one such number per round, such "
        "as 14,14,28 (the paper's for EfficientNet-L2)",
    )
    grad_accum_steps: Annotated[int, Field(ge=1)] = Field(
        1,
        description="number of micro-batches that a batch is split into, if it does not fit on the device; batch "
        "normalization sees one micro-batch at a time",
    )
    optimizer: Literal["adamw", "sgd", "momentum", "rmsproptf", "lars"] = Field(
        "adamw",
        description="sgd: momentum 0.9 with Nesterov; momentum: without it; rmsproptf: the paper's (decay 0.9, "
        "momentum 0.9, eps 1e-3); lars: steps in proportion to each layer's weights, SimCLR's",
    )
    learning_rate: Annotated[float, Field(gt=0)] = Field(2e-3, description="peak learning rate")
    rule: Literal["none", "bit"] = Field(
        "none",
        description="bit: the number of labels says steps, warmup, drops and mixup where you leave them open (BiT-"
        "HyperRule, Kolesnikov et al. 2020, section 3.3)",
    )
    rate_per_256: bool = Field(
        False,
        description="learning_rate is that of 256 labeled images per step, and changes in proportion to those of a "
        "step; pseudo-labeled images do not count (the paper: 0.016)",
    )
    layer_decay: Literal["auto"] | Annotated[float, Field(gt=0, le=1)] = Field(
        "auto",
        description="the learning rate of models that start from trained weights falls by this factor per block from "
        "the last layer down to the input, so that the most general weights move least; 1 = one rate; auto: 0.85 "
        "beside pretrained weights, else 1",
    )
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.02, description="not applied to biases and normalization")
    schedule: Literal["cosine", "staircase", "steps"] = Field(
        "cosine",
        description="cosine: falls to 0 at the last step; staircase: the paper's x0.97, 146 times in total; steps: a "
        "tenth after each of drops (BiT)",
    )
    drops: tuple[Annotated[float, Field(ge=0, lt=1)], ...] = Field(
        (0.4, 0.6, 0.8),
        description="the fractions of the steps after which schedule steps divides the rate by 10; empty: never",
    )
    warmup: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.05, description="fraction of the steps in which the learning rate rises linearly"
    )
    clip: Annotated[float, Field(ge=0)] = Field(
        1.0, description="largest norm of the gradient; larger gradients are scaled down to it; 0: as they are"
    )
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.99,
        description="decay of the averaged weights (EMA) that teachers and scores use, with the official warm-up; "
        "0 = no average",
    )
    head_start: Literal["random", "zero", "fitted"] = Field(
        "random",
        description="the last layer that models start with beside a backbone. random: drawn small; zero: all zeros, so "
        "that the first answers are even (BiT); fitted: a linear "
        "head that is fitted to the labels on the backbone's frozen features first (Kumar et al. 2022)",
    )
    batch_norm: Literal["auto", "batch", "frozen"] = Field(
        "auto",
        description="statistics by which batch normalization of models that start from trained weights works in "
        "training. batch: those of the batch, averaged for later; frozen: those of the weights, which stay; auto: "
        "frozen beside pretrained weights, else batch",
    )
    warm_start: bool = Field(
        False, description="students start from the weights of their teacher (same model only) instead of from scratch"
    )
    evaluate_every: Annotated[int, Field(ge=0)] = Field(
        0,
        description="write validation scores to metrics.jsonl at multiples of this many steps that are multiples of "
        "20 as well, and at the end; 0 = never",
    )
    save_every: Annotated[float, Field(gt=0)] = Field(
        60.0,
        description="seconds between saved states, from which a killed stage resumes; longer if saving would take "
        "more than 2% of the time",
    )

    @field_validator("drops")
    @classmethod
    def _increasing(cls, drops: tuple[float, ...]) -> tuple[float, ...]:
        if list(drops) != sorted(set(drops)):
            raise ValueError(f"drops are {drops}; give fractions that increase, such as 0.4,0.6,0.8")
        return drops

    def resolve_auto(self, *, pretrained: bool) -> TrainSettings:
        """The settings of one model's training, ``pretrained`` if it starts from pretrained weights."""
        decay, norm = (PRETRAINED_LAYER_DECAY, "frozen") if pretrained else (1.0, "batch")
        chosen = {"layer_decay": decay, "batch_norm": norm}
        return self.model_copy(update={name: value for name, value in chosen.items() if getattr(self, name) == "auto"})

    @property
    def rate_per_block(self) -> float:
        """By what the learning rate falls per block; 1 where that is undecided."""
        return 1.0 if self.layer_decay == "auto" else self.layer_decay

    @property
    def last(self) -> int:
        """The number of steps of a stage."""
        return min(self.stop_after, self.steps) if self.stop_after else self.steps

    def ratio_of(self, round_number: int) -> float:
        """Pseudo-labeled images per labeled one in the student's batches of a round, from 1."""
        return self.ratio[round_number - 1] if isinstance(self.ratio, tuple) else self.ratio

    def student_counts(self, round_number: int) -> tuple[int, int]:
        """Labeled and pseudo-labeled images per step of the student of a round, at least one of each."""
        ratio = self.ratio_of(round_number)
        if self.batch == "labeled":
            return self.batch_size, max(1, round(self.batch_size * ratio))
        pseudo = min(max(round(self.batch_size * ratio / (1 + ratio)), 1), self.batch_size - 1)
        return self.batch_size - pseudo, pseudo

    def images_behind(self, round_number: int) -> int:
        """Images per step, summed over the stages that the weights of the student of a round went through."""
        if not self.warm_start:
            return sum(self.student_counts(round_number))
        return self.batch_size + sum(sum(self.student_counts(number)) for number in range(1, round_number + 1))

    def with_epochs(self, labeled: int) -> TrainSettings:
        """The same settings with the steps that ``epochs`` of ``labeled`` images take, if it is given."""
        if not self.epochs or not labeled:
            return self
        return self.model_copy(update={"steps": max(1, round(self.epochs * labeled / self.batch_size))})

    def with_rate(self, labeled: int) -> TrainSettings:
        """The same settings with the learning rate of steps that have ``labeled`` labeled images."""
        if not self.rate_per_256:
            return self
        rate = self.learning_rate * labeled / RATE_IMAGES
        return self.model_copy(update={"learning_rate": rate, "rate_per_256": False})

    def for_samples(self, samples: int) -> TrainSettings:
        """The same settings for one stage on labels that trains on ``samples``, rounded up to whole steps."""
        last = -(-samples // self.batch_size)
        steps, stop_after = (round(count * last / self.last) for count in (self.steps, self.stop_after))
        return self.model_copy(update={"steps": steps, "stop_after": stop_after})


class HeadSettings(Settings):
    """Heads on the features of a frozen backbone, with ``model.tune head``."""

    views: Annotated[int, Field(ge=0, le=64)] = Field(
        3, description="noised views of every image that heads learn from, beside the plain one"
    )
    penalty: Literal["auto"] | Annotated[float, Field(gt=0)] = Field(
        "auto",
        description="weight decay of labels-only heads, for standardized features; auto: the one under which labels "
        "are most likely to heads that did not see them",
    )
    teacher_backbones: tuple[str, ...] = Field(
        (),
        description="further backbones whose teachers label the unlabeled images, too, named like model.backbone; the "
        "student has the run's own alone",
    )
    student_penalty: Annotated[float, Field(gt=0)] = Field(
        0.1, description="weight decay of students' heads, which learn from more images"
    )
    student: str = Field(
        "",
        description="name of a small network, such as resnet18, that learns at the end what the delivered head answers "
        "to all images; it is kept beside it, in small-student/ (docs/backbones.md); empty: none",
    )
