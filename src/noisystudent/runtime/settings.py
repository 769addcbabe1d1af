"""Settings of where and how the work runs; none of them is meant to change a result beyond rounding."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from noisystudent.settings import Settings


class RuntimeSettings(Settings):
    """Where and how the work runs."""

    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$", description="auto, cpu, cuda, cuda:1, mps")
    precision: Literal["float32", "bfloat16"] = Field("float32", description="bfloat16 = automatic mixed precision")
    threads: Annotated[int, Field(ge=0)] = Field(0, description="CPU threads for torch; 0 = as torch decides")
    label_batch_size: Annotated[int, Field(ge=1)] = Field(
        512, description="pictures per forward pass when labeling and scoring"
    )
