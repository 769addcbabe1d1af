"""Settings of where and how the work runs; none of them is meant to change a result beyond rounding."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from noisystudent.settings import Settings


class RuntimeSettings(Settings):
    """Where and how the work runs."""

    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$", description="auto, cpu, cuda, cuda:1, mps")
    precision: Literal["float32", "bfloat16", "float16", "auto"] = Field(
        "float32",
        description="bfloat16, float16 = automatic mixed precision (float16 with scaled losses); auto, for run and "
        "train only, times a few steps of each and keeps float32 unless its step takes over 1.1 times as long as "
        "another's. Not the default: results should not hang on the speed of a machine",
    )
    channels_last: bool | Literal["auto"] = Field(
        True, description="training keeps the channels of a pixel together in memory; auto times both ways"
    )
    compile: bool = Field(
        False,
        description="torch compiles the training models, a minute or more at a stage's start, so that steps may take "
        "less time; needs a C++ compiler on a CPU",
    )
    sharded: bool = Field(
        False,
        description="under torchrun every process keeps its share of a training model only, with gradients, optimizer "
        "and averages, for models that do not fit on a device otherwise; slower than keeping all",
    )
    threads: Annotated[int, Field(ge=0)] = Field(0, description="CPU threads for torch; 0 = as torch decides")
    label_batch_size: Annotated[int, Field(ge=1)] = Field(
        512, description="images per forward pass when labeling and scoring"
    )

    @model_validator(mode="after")
    def _whole_models(self) -> RuntimeSettings:
        asked = [name for name in ("precision", "channels_last") if getattr(self, name) == "auto"]
        asked += ["compile"] * self.compile
        if self.sharded and asked:
            raise ValueError(
                f"sharded is for models that do not fit on a device whole, which {' and '.join(asked)} needs; name a "
                "precision and a layout (channels_last), leave compile false, or leave out sharded."
            )
        return self
