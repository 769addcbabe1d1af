"""The state that the training loop needs to resume after a kill, saved completely and restored exactly."""

from __future__ import annotations

import pickle
import time
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from noisystudent.artifacts.folder import atomic_write
from noisystudent.errors import ArtifactError
from noisystudent.models.ema import Ema
from noisystudent.runtime.process_group import SINGLE, ProcessGroup
from noisystudent.runtime.sharded_state import gather_state, shard_like

STATE = "training-state.pt"
MAX_SAVING_FRACTION = 0.02  # of the training time


@runtime_checkable
class Remembering(Protocol):
    """An objective that remembers something from step to step, in the buffers of ``memory``."""

    @property
    def memory(self) -> nn.Module:
        """The module, whose state is saved with the training's."""


def memory_of(objective: object) -> nn.Module | None:
    """What an objective remembers; None where it remembers nothing."""
    return objective.memory if isinstance(objective, Remembering) else None


class TrainState:
    """The state of the loop: the number of finished steps, weights, averaged weights, optimizer, loss scale,
    and what an objective remembers.

    The order of the samples, noise, dropout and learning rate are functions of the step, so they need no state.
    """

    def __init__(
        self,
        model: nn.Module,
        ema: Ema,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        memory: nn.Module | None = None,
    ) -> None:
        """``memory`` holds what an objective remembers, in its buffers."""
        self.model, self.ema, self.optimizer, self.scaler = model, ema, optimizer, scaler
        self.memory = memory
        self.step = 0
        self.seconds = 0.0
        self.saving = 0.0  # seconds of the last save

    def save(self, folder: Path, group: ProcessGroup = SINGLE) -> None:
        """Writes the state atomically; a kill during writing leaves the previous state.

        All processes of ``group`` must call it together. The first process writes; the file does not depend on the
        number of processes or on whether each holds a shard of the state or all of it.
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
        if self.memory:
            state["memory"] = self.memory.state_dict()
        state = gather_state(state, keep=group.is_main)
        if group.is_main:
            with atomic_write(folder / STATE) as temporary:
                torch.save(state, temporary)
        self.saving = time.monotonic() - started

    def pause(self, every: float) -> float:
        """Seconds from one save to the next: ``every``, or longer so that saving takes at most 2% of the time."""
        return max(every, self.saving / MAX_SAVING_FRACTION - self.saving)

    def restore(self, folder: Path) -> bool:
        """Loads the saved state, if there is one.

        Returns:
            Whether there was a saved state.

        Raises:
            ArtifactError: the saved state is damaged.
        """
        path = folder / STATE
        if not path.exists():
            return False
        parameter = next(self.model.parameters())
        sharded = isinstance(parameter, DTensor)  # then each process reads its shard from the file
        device = torch.device("cpu") if sharded else parameter.device
        try:
            state = torch.load(path, map_location=device, weights_only=True, mmap=sharded)
            self.model.load_state_dict(shard_like(state["model"], self.model.state_dict()))
            self.ema.load_state_dict(shard_like(state["ema"], self.ema.state_dict()))
            self.optimizer.load_state_dict(self._shard_optimizer(state["optimizer"]))
            self.scaler.load_state_dict(state["scaler"])
            if self.memory:
                self.memory.load_state_dict(state["memory"])
        except (RuntimeError, KeyError, EOFError, ValueError, pickle.UnpicklingError) as error:
            raise ArtifactError(
                f"{path} is damaged ({str(error).splitlines()[0]}); delete it to restart this stage."
            ) from error
        self.step, self.seconds = state["step"], state["seconds"]
        return True

    def _shard_optimizer(self, state: dict[str, Any]) -> dict[str, Any]:
        """The saved state of the optimizer, with every tensor of a parameter's shape sharded like the parameter."""
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        sharded = {}
        for number, values in state["state"].items():
            shape = parameters[number].shape
            like = {
                name: parameters[number] for name, value in values.items() if getattr(value, "shape", None) == shape
            }
            sharded[number] = shard_like(values, like)
        return {**state, "state": sharded}
