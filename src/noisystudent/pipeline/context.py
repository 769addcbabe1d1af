"""What every stage of a run works with: settings, data, device, and the folder that remembers finished stages."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import torch

from noisystudent.artifacts.archives import describe_archives, prepare
from noisystudent.artifacts.changes import in_words
from noisystudent.artifacts.damage import describe_damage, find_damage, reopen_damaged
from noisystudent.artifacts.folder import Inputs, State, commit, state_of
from noisystudent.artifacts.ownership import folder_lock
from noisystudent.artifacts.sharing import take_over
from noisystudent.data.splits import DataSplits
from noisystudent.data.unlabeled import StreamedUnlabeled
from noisystudent.losses.settings import ObjectiveSettings
from noisystudent.models.backbones import Backbone
from noisystudent.models.checkpoint import CHECKPOINT
from noisystudent.pipeline.checkpoints import GivenModel
from noisystudent.pipeline.extensions import NO_EXTENSIONS, Extensions
from noisystudent.pipeline.stage_costs import COST, StageCosts
from noisystudent.results.run import Cost, StageCost
from noisystudent.run_settings import RunSettings
from noisystudent.runtime.device import Engine
from noisystudent.runtime.process_group import open_process_group
from noisystudent.runtime.progress import Reporter
from noisystudent.training.loader import BatchSharding, ImageBuffer
from noisystudent.training.timing import ComputeMode


class IncompleteStage(Exception):
    """The first stage of a run that is not complete; raised when a run is only planned."""

    def __init__(self, name: str, state: State) -> None:
        super().__init__(name)
        self.name, self.state = name, state


@dataclass(frozen=True)
class RunContext:
    """A run's folder, settings, data, device, progress and the user's own parts.

    ``buffer`` holds the labeled images, then the unlabeled ones unless these are streamed. ``explicit`` names the
    settings that the user gave, ``over_family`` the rates of noise that take precedence over ``model.family``.
    ``dry``: nothing is written or trained; the first incomplete stage raises ``IncompleteStage``. ``verify``: every
    byte of finished stages is checked. ``renamed``: folders of stages that do not have the stage's own name, so that
    random streams, which are named after stages, never depend on what a user calls a folder. ``costs`` times the
    stages. ``backbone`` are the weights that models of its architecture start from, ``teacher_backbones`` those whose
    heads only label. ``decided``: where the values came
    from that the user left open, by dotted name. ``shared``: folders of other runs, whose finished stages are taken
    over where their inputs are the same.
    """

    folder: Path
    settings: RunSettings
    splits: DataSplits
    buffer: ImageBuffer
    engine: Engine
    reporter: Reporter
    dry: bool = False
    verify: bool = False
    extensions: Extensions = NO_EXTENSIONS
    explicit: frozenset[str] = frozenset()
    over_family: frozenset[str] = frozenset()
    renamed: Mapping[str, str] = field(default_factory=dict)
    costs: StageCosts = field(default_factory=StageCosts, repr=False, compare=False)
    backbone: Backbone | None = None
    teacher_backbones: tuple[Backbone, ...] = ()
    decided: Mapping[str, str] = field(default_factory=dict)
    shared: tuple[Path, ...] = ()
    given_teachers: Mapping[str, GivenModel] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """The device on which models compute."""
        return self.engine.device

    @property
    def sharding(self) -> BatchSharding:
        """How a batch is split between processes and micro-batches."""
        return BatchSharding(self.engine.group, self.settings.train.grad_accum_steps)

    @property
    def needs_whole_batches(self) -> bool:
        """Whether every process builds the whole batch before it takes its share, because images are mixed."""
        noise = self.settings.noise
        return bool(self.extensions.noise or noise.mixup or noise.cutmix)

    @property
    def streams(self) -> bool:
        """Whether the unlabeled images are decoded each time they are needed."""
        return isinstance(self.splits.unlabeled, StreamedUnlabeled)

    def with_steps(self, steps: int) -> RunContext:
        """The same context, with ``steps`` training steps per stage."""
        train = self.settings.train.model_copy(update={"steps": steps})
        return replace(self, settings=self.settings.model_copy(update={"train": train}))

    def with_objective(self, objective: ObjectiveSettings) -> RunContext:
        """The same context with other settings of the objective."""
        return replace(self, settings=self.settings.model_copy(update={"objective": objective}))

    def with_compute_mode(self, mode: ComputeMode) -> RunContext:
        """The same context, computing with another precision and memory layout."""
        runtime = self.settings.runtime.model_copy(update=asdict(mode))
        return replace(
            self,
            settings=self.settings.model_copy(update={"runtime": runtime}),
            engine=replace(self.engine, **asdict(mode)),
        )

    def folder_of(self, stage: str) -> Path:
        """The folder of a stage such as ``round-1/student``."""
        first, slash, rest = stage.partition("/")
        return self.folder / f"{self.renamed.get(first, first)}{slash}{rest}"

    def is_complete(self, stage: str, inputs: Inputs) -> bool:
        """Prepares the folder of ``stage`` for ``inputs``; True when its work was finished from these very inputs.

        Work from other inputs is archived, damaged work is reopened, and the user learns what differs.
        """
        folder = self.folder_of(stage)
        if self.dry:
            state = state_of(folder, inputs)
            if state is State.COMPLETE and find_damage(folder, full=self.hashed_kinds):
                state = State.PARTIAL
            if state is not State.COMPLETE:
                raise IncompleteStage(stage, state)
            return True
        others = [replace(self, folder=run).folder_of(stage) for run in self.shared]
        prepare_here = partial(_prepare, folder, inputs, self.hashed_kinds, others)
        state, changes, damage, source = self.engine.group.on_main(prepare_here)
        if changes:
            roles = {role: summary.name for role, summary in self.splits.summaries.items()}
            told = "; ".join(in_words(changes, roles))
            self.reporter.say(f"{stage}: made again; what differs: {told}; {describe_archives(folder)}")
        if damage:
            self.reporter.say(f"{stage}: made again where it is damaged: {describe_damage(damage)}")
        if state is State.COMPLETE:
            self.reporter.say(f"{stage}: taken over from {source}" if source else f"{stage}: done before")
            self.costs.found(stage, folder)
        else:
            self.costs.begin(stage, folder)
        return state is State.COMPLETE

    def commit(
        self,
        kind: str,
        inputs: Inputs,
        cost: StageCost,
        *,
        volatile: tuple[str, ...] = (),
        temporary: tuple[str, ...] = (),
        editable: tuple[str, ...] = (),
    ) -> None:
        """Closes the folder of the stage that ``cost`` names, with what it took; for the main process.

        ``cost.seconds`` are those of earlier calls. The names of files are as in ``artifacts.folder.commit``.
        """
        self.costs.finish(cost)
        commit(
            self.folder_of(cost.name), kind, inputs, volatile=(*volatile, COST), temporary=temporary, editable=editable
        )

    def total_cost(self) -> Cost:
        """What the run took until now, the same in all processes."""
        return self.engine.group.on_main(self.costs.total)

    @property
    def hashed_kinds(self) -> Collection[str] | None:
        """The kinds of finished stages of which every byte is checked: models, which teach; with ``verify`` all."""
        return None if self.verify else (CHECKPOINT,)


def _prepare(
    folder: Path, inputs: Inputs, hashed_kinds: Collection[str] | None, others: Sequence[Path]
) -> tuple[State, list[str], dict[str, str], Path | None]:
    """The state of a stage's folder, what differs from the work that was archived, what was damaged, and which of the
    folders ``others`` it was taken over from.
    """
    state, changes = prepare(folder, inputs)
    source = None if state is State.COMPLETE else take_over(folder, inputs, others)
    damage = reopen_damaged(folder, inputs, full=hashed_kinds)
    return state_of(folder, inputs), changes, damage, source


def run_lock(folder: Path) -> AbstractContextManager[None]:
    """Locks a run's folder for the processes that work together; the main process holds the lock."""
    return folder_lock(folder) if open_process_group().is_main else nullcontext()
