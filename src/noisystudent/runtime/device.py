"""The device, its precision and its random state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from noisystudent.errors import SettingsError
from noisystudent.runtime.settings import RuntimeSettings


def open_device(settings: RuntimeSettings) -> torch.device:
    """The device that the settings name; ``auto`` takes CUDA, then Apple's MPS, then the CPU. Sets torch's threads.

    Raises ``SettingsError`` when the named device is not there.
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
    return device


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context in which forward passes run: bfloat16 mixed precision, or nothing for float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")


@contextmanager
def seeded(key: int, device: torch.device) -> Iterator[None]:
    """Seeds torch's generators with ``key`` for the block and gives the caller's random state back after it."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(key)
        yield
