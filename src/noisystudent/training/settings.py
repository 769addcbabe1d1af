"""Settings of the training loop."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from noisystudent.settings import Settings

PRETRAINED_LAYER_DECAY = 0.85  # NOTEBOOK.md has the trials


class TrainSettings(Settings):
    """Steps, batch size, learning rate and optimizer of every training stage."""

    steps: Annotated[int, Field(ge=1)] = Field(
        1200, description="optimizer steps of every training stage (teacher, students, control)"
    )
    stop_after: Annotated[int, Field(ge=0)] = Field(
        0, description="stop every stage early after this many steps; the schedule is unchanged; 0 = never"
    )
    batch_size: Annotated[int, Field(ge=2)] = Field(
        128, description="images per step; train.ratio splits those of a student into labeled and pseudo-labeled"
    )
    ratio: Annotated[float, Field(gt=0)] = Field(
        3.0, description="pseudo-labeled images per labeled image in a student's batch"
    )
    grad_accum_steps: Annotated[int, Field(ge=1)] = Field(
        1,
        description="number of micro-batches that a batch is split into, if it does not fit on the device; batch "
        "normalization sees one micro-batch at a time",
    )
    optimizer: Literal["adamw", "sgd", "rmsproptf"] = Field(
        "adamw",
        description="sgd: momentum 0.9 with Nesterov; rmsproptf: the paper's (decay 0.9, momentum 0.9, eps 1e-3)",
    )
    learning_rate: Annotated[float, Field(gt=0)] = Field(2e-3, description="peak learning rate")
    layer_decay: Literal["auto"] | Annotated[float, Field(gt=0, le=1)] = Field(
        "auto",
        description="the learning rate of models that start from trained weights falls by this factor per block from "
        "the last layer down to the input, so that the most general weights move least; 1 = one rate; auto: 0.85 "
        "beside pretrained weights, else 1",
    )
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.02, description="not applied to biases and normalization")
    schedule: Literal["cosine", "staircase"] = Field(
        "cosine", description="cosine: falls to 0 at the last step; staircase: the paper's x0.97, 146 times in total"
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
    head_start: Literal["random", "fitted"] = Field(
        "random",
        description="the last layer that models start with beside a backbone. random: drawn small; fitted: a linear "
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

    def for_samples(self, samples: int) -> TrainSettings:
        """The same settings for one stage that trains on ``samples``, a multiple of the samples of a stage."""
        stages, rest = divmod(samples, self.last * self.batch_size)
        assert stages
        assert not rest
        return self.model_copy(update={"steps": self.steps * stages, "stop_after": self.stop_after * stages})


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
