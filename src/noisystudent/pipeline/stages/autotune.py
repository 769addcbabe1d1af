"""Precision and memory layout of training where the settings say ``auto``: timed once per run folder, then kept.

Every mode is timed with the run's own first model and batch size. The first mode wins that needs at most 1.1 times the
seconds of the fastest, in the order float32, bfloat16, float16, and channels last before first. A resumed run keeps
the choice, so that it ends with the same bits; it times again only for another model, batch, kind of device or version.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from noisystudent.artifacts.folder import read_json, write_json
from noisystudent.models.settings import ModelPlan
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.stages.noise import input_size
from noisystudent.pipeline.stages.train import new_classifier
from noisystudent.results.run import StageCost
from noisystudent.runtime.device import seeded
from noisystudent.runtime.env import versions
from noisystudent.runtime.settings import RuntimeSettings
from noisystudent.training.timing import ComputeMode, time_modes

SPEED = "speed"  # the kind in a manifest, and the name of the stage
TOLERANCE = 1.1


def autotune(context: RunContext, plan: ModelPlan) -> RunContext:
    """The context with precision and memory layout as the settings say, or as timed where they say ``auto``.

    Writes ``speed/summary.json``. Several processes use what the main process times.
    """
    modes = possible_modes(context.settings.runtime)
    if len(modes) == 1:
        return context
    settings, splits, group = context.settings.train, context.splits, context.engine.group
    model = {
        "name": plan.name,
        "size": input_size(context, plan),
        "channels": splits.format.channels,
        "classes": len(splits.classes),
    }
    inputs: dict[str, Any] = {
        "ways": [asdict(mode) for mode in modes],
        "model": model,
        "batch": {"size": settings.batch_size, "pieces": settings.grad_accum_steps},
        "device": context.device.type,
        "versions": {package: versions()[package] for package in ("torch", "timm")},
    }
    folder = context.folder_of(SPEED)
    if not context.is_complete(SPEED, inputs):

        def write() -> None:
            chosen, seconds = choose_mode(context, plan)
            timed = [{**asdict(mode), "seconds": value} for mode, value in seconds.items()]
            write_json(folder / "summary.json", {"chosen": asdict(chosen), "modes": timed})
            context.commit(SPEED, inputs, StageCost(name=SPEED))

        group.on_main(write)
    chosen = ComputeMode(**read_json(folder / "summary.json")["chosen"])
    context.reporter.say(f"training computes in {chosen} ({len(modes)} modes timed: {folder / 'summary.json'})")
    return context.with_compute_mode(chosen)


def choose_mode(context: RunContext, plan: ModelPlan) -> tuple[ComputeMode, dict[ComputeMode, float]]:
    """Times the possible modes on this machine now; the chosen one, and the seconds of each."""
    settings, group = context.settings.train, context.engine.group
    share = settings.batch_size // (group.world_size * settings.grad_accum_steps)
    with seeded(0, context.device):
        classifier = new_classifier(context, plan, 0, None).to(context.device)
        modes = possible_modes(context.settings.runtime)
        seconds = time_modes(classifier, modes, max(2, share))  # one image has no batch statistics
    return fastest_within_tolerance(seconds), seconds


def possible_modes(runtime: RuntimeSettings) -> list[ComputeMode]:
    """The modes that the settings leave open, in the order of preference."""
    precisions = ("float32", "bfloat16", "float16") if runtime.precision == "auto" else (runtime.precision,)
    layouts = (True, False) if runtime.channels_last == "auto" else (runtime.channels_last,)
    return [ComputeMode(precision, layout) for precision, layout in itertools.product(precisions, layouts)]


def fastest_within_tolerance(seconds: Mapping[ComputeMode, float]) -> ComputeMode:
    """The first mode that takes at most 1.1 times as long as the fastest."""
    limit = TOLERANCE * min(seconds.values())
    return next(mode for mode, value in seconds.items() if value <= limit)
