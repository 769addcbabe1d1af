"""Settings of where and how the work runs; none of them changes a result beyond rounding."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from noisystudent.settings import Settings


class RuntimeSettings(Settings):
    """Settings of the device, the precision, the memory layout and the threads."""

    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$",
        description="auto, cpu, cuda, cuda:N or mps; auto prefers CUDA, then Apple's MPS, then the CPU",
    )
    precision: Literal["float32", "bfloat16", "float16", "auto"] = Field(
        "float32",
        description="bfloat16, float16 = automatic mixed precision (float16 with scaled losses); auto (run, train and "
        "distill only) times a few steps of each and keeps float32 unless another is more than 1.1 times as fast. auto "
        "is not the default, so that results do not depend on the speed of a machine",
    )
    channels_last: bool | Literal["auto"] = Field(
        True, description="store the channels of a pixel together in memory during training; auto times both layouts"
    )
    engine: Literal["torch", "onnx"] = Field(
        "torch",
        description="what computes a checkpoint's answers: torch, or on a CPU onnxruntime (pip install "
        "'noisystudent[onnx]'), twice as fast after some ten seconds; first its answers are compared with torch's",
    )
    compile: bool = Field(
        False,
        description="compile the training models with torch: a stage starts a minute or more later, and its steps may "
        "be faster; needs a C++ compiler on a CPU",
    )
    sharded: bool = Field(
        False,
        description="under torchrun, shard the training model, its gradients, its optimizer and its averaged weights "
        "over the processes, for a model that does not fit on one device; slower than full copies",
    )
    threads: Annotated[int, Field(ge=0)] = Field(0, description="CPU threads of torch; 0 = torch's default")
    label_batch_size: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(
        "auto",
        description="images per forward pass when labeling and scoring; auto: 512, but on a CPU fewer for images above "
        "32 pixels, down to 8, which is faster and needs less memory",
    )

    log: Literal["none", "tensorboard"] = Field(
        "none",
        description="also write the losses of every stage and the accuracies of the rounds for TensorBoard (pip "
        "install 'noisystudent[tensorboard]'), into the folder tensorboard of the run; changes no result",
    )

    def settled(self) -> RuntimeSettings:
        """What computes where nothing is timed: float32 and channels last in place of ``auto``."""
        open_to_timing = {"precision": "float32", "channels_last": True}
        return self.model_copy(
            update={name: value for name, value in open_to_timing.items() if getattr(self, name) == "auto"}
        )

    @model_validator(mode="after")
    def _engine_is_possible(self) -> RuntimeSettings:
        if self.engine == "onnx" and self.precision != "float32":
            raise ValueError(
                f"engine onnx computes in float32, and precision is {self.precision}; give one of the two."
            )
        if self.engine == "onnx" and self.device not in ("auto", "cpu"):
            raise ValueError(f"engine onnx computes on a CPU, and device is {self.device}; give one of the two.")
        return self

    @model_validator(mode="after")
    def _sharded_is_possible(self) -> RuntimeSettings:
        conflicts = [f"{name} auto" for name in ("precision", "channels_last") if getattr(self, name) == "auto"]
        conflicts += ["compile"] * self.compile
        if self.sharded and conflicts:
            raise ValueError(
                f"sharded is for models that do not fit on one device, but {' and '.join(conflicts)} needs a full copy "
                "of the model on one device; give a precision and a layout (channels_last), set compile to false, or "
                "leave out sharded."
            )
        return self
