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
from noisystudent.pipeline.context import Workshop
from noisystudent.pipeline.train_stage import new_classifier
from noisystudent.runtime.device import seeded
from noisystudent.runtime.env import versions
from noisystudent.runtime.settings import RuntimeSettings
from noisystudent.training.timing import Way, time_ways

SPEED = "speed"
CLEAR_GAIN = 1.1


def settle_speed(workshop: Workshop, plan: ModelPlan, name: str = SPEED) -> Workshop:
    """The workshop with precision and memory layout as the settings say, or as timed where they say ``auto``.

    Writes ``summary.json`` into the folder ``name``. Several processes take what the first one times.
    """
    ways = possible_ways(workshop.settings.runtime)
    if len(ways) == 1:
        return workshop
    train, roles = workshop.settings.train, workshop.roles
    inputs: dict[str, Any] = {
        "ways": [asdict(way) for way in ways],
        "model": {"name": plan.name, "size": plan.size or roles.format.size, "channels": roles.format.channels,
                  "classes": len(roles.classes)},
        "batch": {"size": train.batch_size, "pieces": train.accumulate},
        "device": workshop.device.type,
        "versions": {package: versions()[package] for package in ("torch", "timm")},
    }  # fmt: skip
    folder = workshop.folder / name
    if not workshop.is_done(name, inputs):
        ranks = workshop.engine.ranks
        share = max(2, train.batch_size // (ranks.count * train.accumulate))  # one picture has no batch statistics

        def write() -> None:
            with seeded(0, workshop.device):
                seconds = time_ways(new_classifier(workshop, plan, 0, None).to(workshop.device), ways, share)
            timed = [{**asdict(way), "seconds": each} for way, each in seconds.items()]
            write_json(folder / "summary.json", {"chosen": asdict(plainest_as_quick(seconds)), "ways": timed})
            commit(folder, SPEED, inputs)

        ranks.first_says(write)
    summary = read_json(folder / "summary.json")
    chosen = Way(**summary["chosen"])
    workshop.reporter.say(f"training computes in {chosen} ({len(ways)} ways timed: {folder / 'summary.json'})")
    return workshop.computing(chosen)


def possible_ways(runtime: RuntimeSettings) -> list[Way]:
    """The ways that the settings leave open, the plainest first."""
    precisions = ("float32", "bfloat16", "float16") if runtime.precision == "auto" else (runtime.precision,)
    layouts = (True, False) if runtime.channels_last == "auto" else (runtime.channels_last,)
    return [Way(precision, layout) for precision, layout in itertools.product(precisions, layouts)]


def plainest_as_quick(seconds: Mapping[Way, float]) -> Way:
    """The first of the ways that takes at most 1.1 times as long as the quickest."""
    return next(way for way, each in seconds.items() if each <= CLEAR_GAIN * min(seconds.values()))
