"""What every stage of a run works with: settings, data, device, and the folder that remembers finished stages."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from noisystudent.artifacts.folder import Inputs, State, exclusive, prepare, state_of
from noisystudent.config import Resolved, RunSettings
from noisystudent.data.splits import Roles, open_roles
from noisystudent.data.unlabeled import KeptPile
from noisystudent.models.settings import plan_models
from noisystudent.noise.custom import BatchNoise
from noisystudent.runtime.device import Engine, open_engine
from noisystudent.runtime.env import describe_machine, versions
from noisystudent.runtime.process_group import open_ranks
from noisystudent.runtime.progress import Reporter
from noisystudent.training.loader import Division, Pool, make_pool
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


def exclusive_for_all(folder: Path) -> AbstractContextManager[None]:
    """Holds a run's folder for the processes that work together: the first one has the lock."""
    return exclusive(folder) if open_ranks().first else nullcontext()


def open_workshop(
    settings: RunSettings,
    reporter: Reporter,
    *,
    dry: bool = False,
    own_noise: BatchNoise | None = None,
    classes: tuple[str, ...] | None = None,
    views: Sequence[int] = (),
) -> Workshop:
    """Opens the device and reads the pictures that the settings name.

    ``classes`` are those that teachers know, for a run without labels; ``views`` are the edges in pixels at which
    models beyond the settings' look at pictures.
    """
    engine = open_engine(settings.runtime)
    reporter = reporter if engine.ranks.first else Reporter(quiet=True)
    specs = {role: getattr(settings, role) for role in ("labeled", "unlabeled", "validation", "test")}
    roles = open_roles(
        specs, settings.data, seed=settings.seed, classes=classes, stored_size=partial(_largest_view, settings, views)
    )
    for role, each in roles.described.items():
        lost = f", {len(each.failures)} unreadable" if each.failures else ""
        reporter.say(f"{role}: {each.pictures} pictures from {each.name}{lost}{', ' + each.note if each.note else ''}")
    settings = settled(settings, int(np.bincount(roles.labeled.labels, minlength=len(roles.classes)).min()))
    kept = [roles.unlabeled.pictures] if isinstance(roles.unlabeled, KeptPile) else []
    pool = make_pool([roles.labeled, *kept], engine.device)
    return Workshop(Path(settings.out), settings, roles, pool, engine, reporter, dry, own_noise)


def settled(settings: RunSettings, labels_a_class: int) -> RunSettings:
    """The settings with what depends on the number of labels (of the class that has the fewest) put in place."""
    selection, objective = settings.selection.settled(labels_a_class), settings.objective.settled(labels_a_class)
    return settings.model_copy(update={"selection": selection, "objective": objective})


def _largest_view(settings: RunSettings, views: Sequence[int], size: int) -> int:
    """The largest resolution that a model of the run asks for, so that each finds its view in the stored pictures."""
    return max(
        [size, *views, *(plan.size for plan in plan_models(settings.model, settings.rounds.count, size) if plan.size)]
    )


def describe_run(resolved: Resolved, workshop: Workshop, command: list[str]) -> dict[str, Any]:
    """What run.json holds: settings as settled, with origins, sources with fingerprints, versions, machine, command."""
    roles = workshop.roles
    sources: dict[str, Any] = {role: asdict(each) for role, each in roles.described.items()}
    if "unlabeled" in sources:
        sources["unlabeled"]["left_out"] = [asdict(each) for each in roles.unlabeled.left_out]
    if "labeled" in sources:
        sources["labeled"]["classes"] = list(roles.classes)
    return {
        "version": versions()["noisystudent"],
        "command": command,
        "recipe": resolved.settings.recipe,
        "format": {"size": roles.format.size, "channels": roles.format.channels},
        "settings": workshop.settings.model_dump(mode="json"),
        "origins": resolved.origins,
        "sources": sources,
        "versions": versions(),
        "machine": describe_machine(),
        "threads": torch.get_num_threads(),
    }
