"""What every stage of a run works with, and how a stage finds out whether its work is already done."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from noisystudent.artifacts.folder import Inputs, State, prepare, state_of
from noisystudent.config import RunSettings
from noisystudent.data.splits import Roles
from noisystudent.noise.custom import BatchNoise
from noisystudent.runtime.device import Engine
from noisystudent.runtime.progress import Reporter
from noisystudent.training.feeds import Pool
from noisystudent.training.loader import Division
from noisystudent.training.timing import Way


class Unfinished(Exception):
    """The first stage that a run would have to work on."""

    def __init__(self, name: str, state: State) -> None:
        super().__init__(name)
        self.name, self.state = name, state


@dataclass(frozen=True)
class Workshop:
    """A run's folder, settings, pictures, device and, if given, the user's own noise.

    ``dry``: only look, stop at the first stage to be worked on.
    """

    folder: Path
    settings: RunSettings
    roles: Roles
    pool: Pool  # labeled pictures, then unlabeled ones unless those are streamed
    engine: Engine
    reporter: Reporter
    dry: bool = False
    own_noise: BatchNoise | None = None

    @property
    def device(self) -> torch.device:
        """Where models compute."""
        return self.engine.device

    @property
    def division(self) -> Division:
        """How a batch is divided between the processes and the pieces in which it goes through the model."""
        return Division(self.engine.ranks, self.settings.train.accumulate)

    @property
    def shows_whole_batches(self) -> bool:
        """Whether every process sees a batch whole before it takes its share, since something mixes its pictures."""
        return bool(self.own_noise or self.settings.noise.mixup or self.settings.noise.cutmix)

    def with_steps(self, steps: int) -> Workshop:
        """The same workshop, in which every stage trains for ``steps`` steps."""
        train = self.settings.train.model_copy(update={"steps": steps})
        return replace(self, settings=self.settings.model_copy(update={"train": train}))

    def computing(self, way: Way) -> Workshop:
        """The same workshop, in which every stage computes in ``way``."""
        runtime = self.settings.runtime.model_copy(update=asdict(way))
        return replace(
            self,
            settings=self.settings.model_copy(update={"runtime": runtime}),
            engine=replace(self.engine, **asdict(way)),
        )

    def is_done(self, name: str, inputs: Inputs) -> bool:
        """Makes the folder ``name`` ready for ``inputs``; True when its work was finished from these very inputs.

        What was made from other inputs is set aside, and the user is told what differs.
        """
        folder = self.folder / name
        if self.dry:
            state = state_of(folder, inputs)
            if state is not State.COMPLETE:
                raise Unfinished(name, state)
            return True
        state, changes = self.engine.ranks.first_says(lambda: prepare(folder, inputs))
        if changes:
            self.reporter.say(f"{name}: made again, the old one is set aside; what differs: {'; '.join(changes)}")
        if state is State.COMPLETE:
            self.reporter.say(f"{name}: done before")
        return state is State.COMPLETE
