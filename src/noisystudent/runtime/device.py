"""The device of a computation, its precision, its random state, and the processes that share the work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import torch

from noisystudent.errors import SettingsError
from noisystudent.runtime.compiling import require_compiler
from noisystudent.runtime.env import local_rank
from noisystudent.runtime.process_group import SINGLE, ProcessGroup, open_process_group
from noisystudent.runtime.settings import RuntimeSettings


@dataclass(frozen=True)
class Engine:
    """The device, the group of processes, and how training computes.

    ``precision`` and ``channels_last`` are ``auto`` until a run has timed the choices.
    """

    device: torch.device
    precision: str = "float32"
    group: ProcessGroup = SINGLE
    channels_last: bool | Literal["auto"] = True
    compile: bool = False
    sharded: bool = False

    def settled(self) -> Engine:
        """The engine before a run has timed the choices: float32 and channels last in place of ``auto``."""
        precision = "float32" if self.precision == "auto" else self.precision
        return replace(self, precision=precision, channels_last=self.channels_last is not False)


_MOST_IMAGES, _FEWEST_IMAGES = 512, 8  # per forward pass
_PIXELS_ON_CPU = 2**19  # per forward pass

ON_CPU = Engine(torch.device("cpu"))


def open_engine(settings: RuntimeSettings) -> Engine:
    """Returns the engine that the settings describe, and joins the processes that torchrun started.

    Raises:
        SettingsError: the device is missing, or ``compile`` is set and there is no compiler.
    """
    group = open_process_group()
    device = open_device(settings)
    if group.world_size > 1 and device.type == "cuda":
        torch.cuda.set_device(device)
    if settings.compile:
        require_compiler(device)
    sharded = settings.sharded and group.world_size > 1
    return Engine(device, settings.precision, group, settings.channels_last, settings.compile, sharded)


def open_device(settings: RuntimeSettings) -> torch.device:
    """Returns the device that the settings name, and sets the number of torch's threads.

    ``auto`` prefers CUDA, then Apple's MPS, then the CPU. Without a device number, the processes of a machine are
    spread over its CUDA devices.

    Raises:
        SettingsError: the device is missing.
    """
    if settings.threads:
        torch.set_num_threads(settings.threads)
    name = settings.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    device = torch.device(name)
    missing = (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()) or (
        device.type == "mps" and not torch.backends.mps.is_available()
    )
    if missing:
        raise SettingsError(
            f"runtime.device is {settings.device!r}, but torch sees {torch.cuda.device_count()} CUDA devices here; "
            "use 'auto' or 'cpu'."
        )
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", local_rank() % torch.cuda.device_count())
    return device


def images_per_pass(settings: RuntimeSettings, device: torch.device, size: int) -> int:
    """Returns how many images of ``size`` x ``size`` pixels enter a forward pass when labeling and scoring.

    ``auto`` is 512 on an accelerator. On a CPU it is 2**19 pixels, but at least 8 images: with EfficientNet-Lite0 at
    128 pixels, passes of 32 images take 0.8 of the time of 512 and a third of the memory; NOTEBOOK.md has 224 pixels.
    """
    if settings.label_batch_size != "auto":
        return settings.label_batch_size
    if device.type != "cpu":
        return _MOST_IMAGES
    return min(_MOST_IMAGES, max(_FEWEST_IMAGES, _PIXELS_ON_CPU // size**2))


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Returns the context of forward passes: bfloat16 or float16 mixed precision, or no change for float32."""
    lower = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}[precision]
    return torch.autocast(device.type, dtype=lower, enabled=lower is not None)


@contextmanager
def fastest_convolutions() -> Iterator[None]:
    """Lets CUDA time its algorithms for each shape of a convolution once, and take the fastest, within the block.

    That is for training, whose shapes are the same in all steps. It has no effect elsewhere, and none where the caller
    asked torch for deterministic algorithms.
    """
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark
    cudnn.benchmark = not (cudnn.deterministic or torch.are_deterministic_algorithms_enabled())
    try:
        yield
    finally:
        cudnn.benchmark = before


@contextmanager
def seeded(key: int, device: torch.device) -> Iterator[None]:
    """Seeds torch's generators with ``key`` for the block, and restores the caller's random state afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(key)
        yield
