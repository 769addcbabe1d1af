"""Settings of the training loop."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from noisystudent.settings import Settings


class TrainSettings(Settings):
    """How long, how fast and with what optimizer every stage trains."""

    steps: Annotated[int, Field(ge=1)] = Field(
        1200, description="optimizer steps of every stage (teacher, students, control)"
    )
    stop_after: Annotated[int, Field(ge=0)] = Field(
        0, description="steps after which a stage is broken off, its schedule being that of all steps; 0 = never"
    )
    batch_size: Annotated[int, Field(ge=2)] = Field(
        128, description="images per step; a student's are shared between labeled and pseudo-labeled by train.ratio"
    )
    ratio: Annotated[float, Field(gt=0)] = Field(
        3.0, description="pseudo-labeled images per labeled one in a student's batch"
    )
    grad_accum_steps: Annotated[int, Field(ge=1)] = Field(
        1,
        description="pieces that a batch goes through the model in, for one that does not fit on the device; "
        "batch normalization sees a piece at a time",
    )
    optimizer: Literal["adamw", "sgd", "rmsproptf"] = Field(
        "adamw",
        description="sgd has momentum 0.9 and Nesterov; rmsproptf is the paper's (decay 0.9, momentum 0.9, eps 1e-3)",
    )
    learning_rate: Annotated[float, Field(gt=0)] = Field(2e-3, description="peak learning rate")
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.02, description="not applied to biases and normalization")
    schedule: Literal["cosine", "staircase"] = Field(
        "cosine", description="cosine: down to 0 at the last step; staircase: the paper's x0.97, 146 times in all"
    )
    warmup: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.05, description="fraction of the steps with linearly rising rate"
    )
    clip: Annotated[float, Field(gt=0)] = Field(1.0, description="largest norm of the gradient")
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.99,
        description="decay of the averaged weights that teachers and scores use, with the official warm-up; 0 = none",
    )
    warm_start: bool = Field(
        False, description="students start from their teacher's weights (same model only), not from scratch"
    )
    evaluate_every: Annotated[int, Field(ge=0)] = Field(
        0, description="steps between validation scores in metrics.jsonl; 0 = never"
    )
    save_every: Annotated[float, Field(gt=0)] = Field(
        60.0,
        description="seconds between saved states, from which a killed stage goes on; more where saving would "
        "otherwise take over 2% of the time",
    )

    @property
    def last(self) -> int:
        """The number of steps that a stage takes."""
        return min(self.stop_after, self.steps) if self.stop_after else self.steps
