"""Everything that the loop needs to go on where it was killed, saved whole and restored exactly."""

from __future__ import annotations

import pickle
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from noisystudent.artifacts.folder import atomic_write
from noisystudent.errors import ArtifactError
from noisystudent.models.ema import Ema
from noisystudent.runtime.process_group import SINGLE, ProcessGroup
from noisystudent.runtime.sharded_state import put_together, split_like

STATE = "training-state.pt"
MOST_FOR_SAVING = 0.02  # of the time


class TrainState:
    """The loop's state: step (number of finished steps), weights, averaged weights, optimizer, scale of the losses.

    Order of images, noise, dropout and learning rate are functions of the step, so there is nothing else to save.
    """

    def __init__(
        self, model: nn.Module, ema: Ema, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler
    ) -> None:
        self.model, self.ema, self.optimizer, self.scaler = model, ema, optimizer, scaler
        self.step = 0
        self.seconds = 0.0
        self.saving = 0.0  # seconds that the last save took

    def save(self, folder: Path, group: ProcessGroup = SINGLE) -> None:
        """Writes the state atomically; a kill while writing leaves the state before.

        All processes of ``group`` must call it at once. The first one writes, the same file whatever their number,
        and whether they hold a share of the state or all of it.
        """
        started = time.monotonic()
        state: dict[str, Any] = {
            "step": self.step,
            "seconds": self.seconds,
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        state = put_together(state, keep=group.is_main)
        if group.is_main:
            with atomic_write(folder / STATE) as temporary:
                torch.save(state, temporary)
        self.saving = time.monotonic() - started

    def pause(self, every: float) -> float:
        """Seconds from a save to the next: ``every``, or more so that saving takes at most a fiftieth of the time."""
        return max(every, self.saving / MOST_FOR_SAVING - self.saving)

    def restore(self, folder: Path) -> bool:
        """Loads the saved state if there is one; returns whether there was."""
        path = folder / STATE
        if not path.exists():
            return False
        parameter = next(self.model.parameters())
        split = isinstance(parameter, DTensor)  # then each process takes its share from the file
        device = torch.device("cpu") if split else parameter.device
        try:
            state = torch.load(path, map_location=device, weights_only=True, mmap=split)
            self.model.load_state_dict(split_like(state["model"], self.model.state_dict()))
            self.ema.load_state_dict(split_like(state["ema"], self.ema.state_dict()))
            self.optimizer.load_state_dict(self._split_optimizer(state["optimizer"]))
            self.scaler.load_state_dict(state["scaler"])
        except (RuntimeError, KeyError, EOFError, ValueError, pickle.UnpicklingError) as error:
            raise ArtifactError(
                f"{path} is damaged ({str(error).splitlines()[0]}); delete it to train this stage from its start."
            ) from error
        self.step, self.seconds = state["step"], state["seconds"]
        return True

    def _split_optimizer(self, state: dict[str, Any]) -> dict[str, Any]:
        """A whole saved state of the optimizer, with what has a parameter's shape split as the parameter is."""
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        kept = {}
        for number, values in state["state"].items():
            like = parameters[number]
            alike = {name: like for name, value in values.items() if getattr(value, "shape", None) == like.shape}
            kept[number] = split_like(values, alike)
        return {**state, "state": kept}
