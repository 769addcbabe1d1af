"""Cost of saving the training state from which a killed stage resumes, as a share of training time.

    python benchmarks/snapshot.py            # three models, a minute or two
    python benchmarks/snapshot.py --quick    # two models

The benchmark saves a state (weights, averages, AdamW's moments after two steps) repeatedly, as ``fit`` does: it writes
to the folder for temporary files, flushes to disk and renames. Training waits meanwhile. With the default of 60 seconds
between saves, a save of one second takes 1/61 of the time. The goal is at most 2%: a ratio of up to 1. When a save
takes more than 1.2 seconds, ``fit`` waits longer than 60 seconds before the next one, and the share stays at 2%. Ratios
are medians over the saves, with the range.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from noisystudent.losses.objectives import supervised
from noisystudent.models.classifier import create_classifier
from noisystudent.models.ema import Ema
from noisystudent.training.loop import make_optimizer
from noisystudent.training.settings import TrainSettings
from noisystudent.training.state import STATE, TrainState
from rows import ratio_row

GOAL, CLASSES, BATCH, STEPS = 0.02, 10, 8, 2
MODELS = {"tiny_resnet": 16, "efficientnet_b0": 64, "resnet50": 64}  # image edge in pixels


def make_state(name: str, size: int, settings: TrainSettings) -> TrainState:
    """The state of a training run after its first steps."""
    names = tuple(str(i) for i in range(CLASSES))
    classifier = create_classifier(name, classes=names, channels=3, size=size).train()
    ema, optimizer = Ema(classifier, settings.ema_decay), make_optimizer(classifier, settings)
    for step in range(STEPS):
        pixels = torch.randint(256, (BATCH, 3, size, size), dtype=torch.uint8)
        loss = supervised(classifier(pixels), torch.eye(CLASSES)[:BATCH]).loss
        loss.backward()
        optimizer.step()
        ema.update(step)
    return TrainState(classifier, ema, optimizer, torch.amp.GradScaler("cpu", enabled=False))


def time_saves(state: TrainState, folder: Path, saves: int) -> list[float]:
    """Seconds of each save, after a warm-up save."""
    seconds = []
    for _ in range(1 + saves):
        state.save(folder)
        seconds.append(state.saving)
    return seconds[1:]


def measure(name: str, size: int, saves: int) -> dict[str, Any]:
    settings = TrainSettings()
    state = make_state(name, size, settings)
    with tempfile.TemporaryDirectory() as folder:
        seconds = time_saves(state, Path(folder), saves)
        megabytes = (Path(folder) / STATE).stat().st_size / 1e6
    median = float(np.median(seconds))
    state.saving = median  # fit chooses its pause by this
    pause = state.pause(settings.save_every)
    shares = [save / (pause + save) for save in seconds]
    print(
        f"{name:<16} {megabytes:>6.1f} MB  {median:>6.3f} s per save, every {pause:.0f} s  "
        f"{100 * float(np.median(shares)):.3f}% of the time ({100 * min(shares):.3f} to {100 * max(shares):.3f})"
    )
    return ratio_row(
        f"saved state: {name}",
        round(100 * float(np.median(shares)), 4),
        f"% of the time, saved every {pause:.0f} s",
        versus=f"the goal of {100 * GOAL:g}%",
        ratios=[share / GOAL for share in shares],
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two models, three saves each")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    names, saves = (list(MODELS)[:2], 3) if options.quick else (list(MODELS), 15)
    rows = [measure(name, MODELS[name], saves) for name in names]
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
