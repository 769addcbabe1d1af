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

from noisystudent.artifacts.folder import Inputs, State, folder_lock, prepare, state_of
from noisystudent.config import Resolved, RunSettings
from noisystudent.data.splits import DataSplits, open_splits
from noisystudent.data.unlabeled import InMemoryUnlabeled
from noisystudent.models.settings import plan_models
from noisystudent.noise.custom import BatchTransform
from noisystudent.runtime.device import Engine, open_engine
from noisystudent.runtime.env import describe_machine, versions
from noisystudent.runtime.process_group import open_process_group
from noisystudent.runtime.progress import Reporter
from noisystudent.training.loader import BatchSharding, ImageBuffer, make_buffer
from noisystudent.training.timing import ComputeMode


class IncompleteStage(Exception):
    """The first stage that a run would have to work on."""

    def __init__(self, name: str, state: State) -> None:
        super().__init__(name)
        self.name, self.state = name, state


@dataclass(frozen=True)
class RunContext:
    """A run's folder, settings, images, device and, if given, the user's own noise.

    ``dry``: only look, stop at the first stage to be worked on.
    """

    folder: Path
    settings: RunSettings
    splits: DataSplits
    buffer: ImageBuffer  # labeled images, then unlabeled ones unless those are streamed
    engine: Engine
    reporter: Reporter
    dry: bool = False
    custom_noise: BatchTransform | None = None

    @property
    def device(self) -> torch.device:
        """Where models compute."""
        return self.engine.device

    @property
    def sharding(self) -> BatchSharding:
        """How a batch is divided between the processes and the pieces in which it goes through the model."""
        return BatchSharding(self.engine.group, self.settings.train.grad_accum_steps)

    @property
    def shows_whole_batches(self) -> bool:
        """Whether every process sees a batch whole before it takes its share, since something mixes its images."""
        return bool(self.custom_noise or self.settings.noise.mixup or self.settings.noise.cutmix)

    def with_steps(self, steps: int) -> RunContext:
        """The same workshop, in which every stage trains for ``steps`` steps."""
        train = self.settings.train.model_copy(update={"steps": steps})
        return replace(self, settings=self.settings.model_copy(update={"train": train}))

    def computing(self, mode: ComputeMode) -> RunContext:
        """The same workshop, in which every stage computes in ``mode``."""
        runtime = self.settings.runtime.model_copy(update=asdict(mode))
        return replace(
            self,
            settings=self.settings.model_copy(update={"runtime": runtime}),
            engine=replace(self.engine, **asdict(mode)),
        )

    def is_done(self, name: str, inputs: Inputs) -> bool:
        """Makes the folder ``name`` ready for ``inputs``; True when its work was finished from these very inputs.

        What was made from other inputs is set aside, and the user is told what differs.
        """
        folder = self.folder / name
        if self.dry:
            state = state_of(folder, inputs)
            if state is not State.COMPLETE:
                raise IncompleteStage(name, state)
            return True
        state, changes = self.engine.group.on_main(lambda: prepare(folder, inputs))
        if changes:
            self.reporter.say(f"{name}: made again, the old one is set aside; what differs: {'; '.join(changes)}")
        if state is State.COMPLETE:
            self.reporter.say(f"{name}: done before")
        return state is State.COMPLETE


def run_lock(folder: Path) -> AbstractContextManager[None]:
    """Holds a run's folder for the processes that work together: the first one has the lock."""
    return folder_lock(folder) if open_process_group().is_main else nullcontext()


def build_context(
    settings: RunSettings,
    reporter: Reporter,
    *,
    dry: bool = False,
    custom_noise: BatchTransform | None = None,
    classes: tuple[str, ...] | None = None,
    views: Sequence[int] = (),
) -> RunContext:
    """Opens the device and reads the images that the settings name.

    ``classes`` are those that teachers know, for a run without labels; ``views`` are the edges in pixels at which
    models beyond the settings' look at images.
    """
    engine = open_engine(settings.runtime)
    reporter = reporter if engine.group.is_main else Reporter(quiet=True)
    specs = {role: getattr(settings, role) for role in ("labeled", "unlabeled", "validation", "test")}
    splits = open_splits(
        specs, settings.data, seed=settings.seed, classes=classes, stored_size=partial(_largest_view, settings, views)
    )
    for role, each in splits.summaries.items():
        lost = f", {len(each.failures)} unreadable" if each.failures else ""
        reporter.say(f"{role}: {each.images} images from {each.name}{lost}{', ' + each.note if each.note else ''}")
    settings = settled(settings, int(np.bincount(splits.labeled.labels, minlength=len(splits.classes)).min()))
    kept = [splits.unlabeled.images] if isinstance(splits.unlabeled, InMemoryUnlabeled) else []
    buffer = make_buffer([splits.labeled, *kept], engine.device)
    return RunContext(Path(settings.out), settings, splits, buffer, engine, reporter, dry, custom_noise)


def settled(settings: RunSettings, labels_a_class: int) -> RunSettings:
    """The settings with what depends on the number of labels (of the class that has the fewest) put in place."""
    selection, objective = settings.selection.settled(labels_a_class), settings.objective.settled(labels_a_class)
    return settings.model_copy(update={"selection": selection, "objective": objective})


def _largest_view(settings: RunSettings, views: Sequence[int], size: int) -> int:
    """The largest resolution that a model of the run asks for, so that each finds its view in the stored images."""
    return max(
        [size, *views, *(plan.size for plan in plan_models(settings.model, settings.rounds.count, size) if plan.size)]
    )


def describe_run(resolved: Resolved, context: RunContext, command: list[str]) -> dict[str, Any]:
    """What run.json holds: settings as settled, with origins, sources with fingerprints, versions, machine, command."""
    splits = context.splits
    sources: dict[str, Any] = {role: asdict(each) for role, each in splits.summaries.items()}
    if "unlabeled" in sources:
        sources["unlabeled"]["left_out"] = [asdict(each) for each in splits.unlabeled.left_out]
    if "labeled" in sources:
        sources["labeled"]["classes"] = list(splits.classes)
    return {
        "version": versions()["noisystudent"],
        "command": command,
        "recipe": resolved.settings.recipe,
        "format": {"size": splits.format.size, "channels": splits.format.channels},
        "settings": context.settings.model_dump(mode="json"),
        "origins": resolved.origins,
        "sources": sources,
        "versions": versions(),
        "machine": describe_machine(),
        "threads": torch.get_num_threads(),
    }
