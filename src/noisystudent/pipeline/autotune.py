"""How training computes, where the settings leave that open: timed once in a run's folder, and kept there.

Every way is timed with the run's own first model and batch size. The plainest is taken that needs at most 1.1 times the
seconds of the quickest: float32 before bfloat16 before float16, and channels last before first. A resumed run takes
what was chosen, so that it ends with the same bits, and times again only for another model, batch, kind of device or
version.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from noisystudent.artifacts.folder import commit, read_json, write_json
from noisystudent.models.settings import ModelPlan
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.train_stage import new_classifier
from noisystudent.runtime.device import seeded
from noisystudent.runtime.env import versions
from noisystudent.runtime.settings import RuntimeSettings
from noisystudent.training.timing import ComputeMode, time_modes

SPEED = "speed"
CLEAR_GAIN = 1.1


def autotune(context: RunContext, plan: ModelPlan, name: str = SPEED) -> RunContext:
    """The workshop with precision and memory layout as the settings say, or as timed where they say ``auto``.

    Writes ``summary.json`` into the folder ``name``. Several processes take what the first one times.
    """
    modes = possible_modes(context.settings.runtime)
    if len(modes) == 1:
        return context
    train, splits = context.settings.train, context.splits
    inputs: dict[str, Any] = {
        "ways": [asdict(mode) for mode in modes],
        "model": {"name": plan.name, "size": plan.size or splits.format.size, "channels": splits.format.channels,
                  "classes": len(splits.classes)},
        "batch": {"size": train.batch_size, "pieces": train.grad_accum_steps},
        "device": context.device.type,
        "versions": {package: versions()[package] for package in ("torch", "timm")},
    }  # fmt: skip
    folder = context.folder / name
    if not context.is_done(name, inputs):
        group = context.engine.group
        share = max(
            2, train.batch_size // (group.world_size * train.grad_accum_steps)
        )  # one image has no batch statistics

        def write() -> None:
            with seeded(0, context.device):
                seconds = time_modes(new_classifier(context, plan, 0, None).to(context.device), modes, share)
            timed = [{**asdict(mode), "seconds": each} for mode, each in seconds.items()]
            write_json(folder / "summary.json", {"chosen": asdict(fastest_within_tolerance(seconds)), "ways": timed})
            commit(folder, SPEED, inputs)

        group.on_main(write)
    summary = read_json(folder / "summary.json")
    chosen = ComputeMode(**summary["chosen"])
    context.reporter.say(f"training computes in {chosen} ({len(modes)} ways timed: {folder / 'summary.json'})")
    return context.computing(chosen)


def possible_modes(runtime: RuntimeSettings) -> list[ComputeMode]:
    """The ways that the settings leave open, the plainest first."""
    precisions = ("float32", "bfloat16", "float16") if runtime.precision == "auto" else (runtime.precision,)
    layouts = (True, False) if runtime.channels_last == "auto" else (runtime.channels_last,)
    return [ComputeMode(precision, layout) for precision, layout in itertools.product(precisions, layouts)]


def fastest_within_tolerance(seconds: Mapping[ComputeMode, float]) -> ComputeMode:
    """The first of the ways that takes at most 1.1 times as long as the quickest."""
    return next(mode for mode, each in seconds.items() if each <= CLEAR_GAIN * min(seconds.values()))
