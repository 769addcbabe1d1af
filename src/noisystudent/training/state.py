"""Everything that the loop needs to go on where it was killed, saved whole and restored exactly."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from noisystudent.artifacts import replacing
from noisystudent.errors import ArtifactError
from noisystudent.models.ema import Ema

STATE = "training-state.pt"


class TrainState:
    """The loop's state: step (number of finished steps), weights, averaged weights, optimizer, scale of the losses.

    Order of pictures, noise, dropout and learning rate are functions of the step, so there is nothing else to save.
    """

    def __init__(
        self, model: nn.Module, ema: Ema, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler
    ) -> None:
        self.model, self.ema, self.optimizer, self.scaler = model, ema, optimizer, scaler
        self.step = 0
        self.seconds = 0.0

    def save(self, folder: Path) -> None:
        """Writes the state atomically; a kill while writing leaves the state before."""
        state: dict[str, Any] = {
            "step": self.step,
            "seconds": self.seconds,
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        with replacing(folder / STATE) as temporary:
            torch.save(state, temporary)

    def restore(self, folder: Path) -> bool:
        """Loads the saved state if there is one; returns whether there was."""
        path = folder / STATE
        if not path.exists():
            return False
        device = next(self.model.parameters()).device
        try:
            state = torch.load(path, map_location=device, weights_only=True)
            self.model.load_state_dict(state["model"])
            self.ema.load_state_dict(state["ema"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.scaler.load_state_dict(state["scaler"])
        except (RuntimeError, KeyError, EOFError, ValueError, pickle.UnpicklingError) as error:
            raise ArtifactError(
                f"{path} is damaged ({str(error).splitlines()[0]}); delete it to train this stage from its start."
            ) from error
        self.step, self.seconds = state["step"], state["seconds"]
        return True
