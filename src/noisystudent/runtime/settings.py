"""Settings of where and how the work runs; none of them is meant to change a result beyond rounding."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from noisystudent.settings import Settings


class RuntimeSettings(Settings):
    """Where and how the work runs."""

    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$", description="auto, cpu, cuda, cuda:1, mps")
    precision: Literal["float32", "bfloat16", "float16", "auto"] = Field(
        "float32",
        description="bfloat16, float16 = automatic mixed precision (float16 with scaled losses); auto, for run and "
        "train only, times a few steps of each and leaves float32 for a clear gain (a step takes 1.1 times as long). "
        "Not the default, since results should not hang on the speed of a machine",
    )
    channels_last: bool | Literal["auto"] = Field(
        True, description="training keeps the channels of a pixel together in memory; auto times both ways"
    )
    compile: bool = Field(
        False,
        description="training models are compiled, which takes a minute or more once and makes later steps faster; "
        "needs a C++ compiler on a CPU",
    )
    threads: Annotated[int, Field(ge=0)] = Field(0, description="CPU threads for torch; 0 = as torch decides")
    label_batch_size: Annotated[int, Field(ge=1)] = Field(
        512, description="pictures per forward pass when labeling and scoring"
    )
