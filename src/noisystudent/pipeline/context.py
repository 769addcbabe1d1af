"""What every stage of a run works with: settings, data, device, and the folder that remembers finished stages."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from noisystudent.artifacts.archives import describe_archives, prepare
from noisystudent.artifacts.changes import in_words
from noisystudent.artifacts.damage import describe_damage, find_damage, reopen_damaged
from noisystudent.artifacts.folder import Inputs, State, commit, state_of
from noisystudent.artifacts.ownership import folder_lock
from noisystudent.config import Resolved, RunSettings
from noisystudent.data.images import infer_format, is_cropped
from noisystudent.data.source import Source
from noisystudent.data.sources.open import open_source
from noisystudent.data.splits import DataSplits, open_splits
from noisystudent.data.unlabeled import InMemoryUnlabeled, StreamedUnlabeled
from noisystudent.display.sources import source_lines
from noisystudent.errors import SettingsError
from noisystudent.models.backbones import Backbone
from noisystudent.models.checkpoint import CHECKPOINT
from noisystudent.models.settings import plan_models
from noisystudent.pipeline.auto_backbone import settle_backbone
from noisystudent.pipeline.backbone import (
    decide_with_backbone,
    decided_by_backbone,
    open_teacher_backbones,
    require_channels,
    start_facts,
)
from noisystudent.pipeline.budget.decide import BudgetRequest, decide_budget
from noisystudent.pipeline.budget.workload import Workload
from noisystudent.pipeline.extensions import NO_EXTENSIONS, Extensions
from noisystudent.pipeline.online_checks import check_online, students_of
from noisystudent.pipeline.stage_costs import COST, StageCosts
from noisystudent.pipeline.tune import decide_tune, decided_by_tune
from noisystudent.results.facts import RunFacts, SourceFacts, StoredFormat, source_facts
from noisystudent.results.run import Cost, StageCost
from noisystudent.runtime.device import Engine, open_engine
from noisystudent.runtime.env import describe_machine, versions
from noisystudent.runtime.precision import warn_of_emulation
from noisystudent.runtime.process_group import open_process_group
from noisystudent.runtime.progress import Reporter
from noisystudent.training.loader import BatchSharding, ImageBuffer, make_buffer
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
    from that the user left open, by dotted name.
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
        state, changes, damage = self.engine.group.on_main(partial(_prepare, folder, inputs, self.hashed_kinds))
        if changes:
            roles = {role: summary.name for role, summary in self.splits.summaries.items()}
            told = "; ".join(in_words(changes, roles))
            self.reporter.say(f"{stage}: made again; what differs: {told}; {describe_archives(folder)}")
        if damage:
            self.reporter.say(f"{stage}: made again where it is damaged: {describe_damage(damage)}")
        if state is State.COMPLETE:
            self.reporter.say(f"{stage}: done before")
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
    folder: Path, inputs: Inputs, hashed_kinds: Collection[str] | None
) -> tuple[State, list[str], dict[str, str]]:
    """The state of a stage's folder, what differs from the work that was archived, and what was damaged."""
    _, changes = prepare(folder, inputs)
    damage = reopen_damaged(folder, inputs, full=hashed_kinds)
    return state_of(folder, inputs), changes, damage


def run_lock(folder: Path) -> AbstractContextManager[None]:
    """Locks a run's folder for the processes that work together; the main process holds the lock."""
    return folder_lock(folder) if open_process_group().is_main else nullcontext()


@dataclass(frozen=True)
class Decided:
    """A run before its images are read: all settings, decided by backbone, ``model.tune`` and budget.

    ``origins``: where the values came from that the user left open, by dotted name.
    """

    resolved: Resolved
    settings: RunSettings
    engine: Engine
    sources: Mapping[str, Source]
    backbone: Backbone | None
    teacher_backbones: tuple[Backbone, ...]
    extensions: Extensions
    reporter: Reporter
    origins: Mapping[str, str]
    costs: StageCosts = field(repr=False, compare=False)


def decide_settings(
    resolved: Resolved,
    reporter: Reporter,
    *,
    dry: bool = False,
    budgeted: bool = False,
    extensions: Extensions | None = None,
) -> Decided:
    """Opens the device and the sources, and decides what the user left open; reads the headers of images at most.

    ``budgeted``: the budget chooses, too.
    """
    costs = StageCosts()  # before the images are read
    engine = open_engine(resolved.settings.runtime)
    reporter = reporter if engine.group.is_main else Reporter(quiet=True)
    warn_of_emulation(resolved.settings.runtime, reporter)
    extensions = extensions or NO_EXTENSIONS
    extensions.check(resolved)
    for note in resolved.notes:
        reporter.say(f"note: {note}")
    sources = _open_sources(resolved.settings, extensions)
    settings, backbone, origins = _decide(resolved, engine, extensions, sources, reporter)
    check_online(settings, extensions)
    others = open_teacher_backbones(settings)
    if budgeted:
        request = BudgetRequest(resolved, settings, backbone, others, engine, dry)
        settings, chosen = decide_budget(request, partial(Workload.of, sources, settings.data), reporter)
        origins |= chosen
    return Decided(resolved, settings, engine, sources, backbone, others, extensions, reporter, origins, costs)


def build_context(
    resolved: Resolved,
    reporter: Reporter,
    *,
    dry: bool = False,
    verify: bool = False,
    budgeted: bool = False,
    extensions: Extensions | None = None,
    classes: tuple[str, ...] | None = None,
    teacher_sizes: Sequence[int] = (),
) -> RunContext:
    """Opens the device and reads the data that the settings name.

    ``budgeted``: the budget chooses what the user left open. ``classes`` are those of given teachers, for a run without
    labels; ``teacher_sizes`` are input sizes in pixels of models beyond those that the settings name.
    """
    decided = decide_settings(resolved, reporter, dry=dry, budgeted=budgeted, extensions=extensions)
    return read_data(decided, dry=dry, verify=verify, classes=classes, teacher_sizes=teacher_sizes)


def read_data(
    decided: Decided,
    *,
    dry: bool = False,
    verify: bool = False,
    classes: tuple[str, ...] | None = None,
    teacher_sizes: Sequence[int] = (),
) -> RunContext:
    """Reads the images of a run; the arguments are those of ``build_context``."""
    settings, backbone, reporter = decided.settings, decided.backbone, decided.reporter
    resolved, engine = decided.resolved, decided.engine
    splits = open_splits(
        decided.sources,
        settings.data,
        seed=settings.seed,
        classes=classes,
        stored_size=partial(_largest_input_size, settings, teacher_sizes),
        crop=_crop(settings, backbone),
    )
    for needing in (backbone, *decided.teacher_backbones):
        require_channels(needing, splits.format.channels)
    if "data.crop" in resolved.explicit and not is_cropped(splits.format.size):
        raise SettingsError(
            f"data.crop {settings.data.crop} has no effect: images of {splits.format.size} px are shown whole. Leave "
            "it out, or give a data.size above 64."
        )
    _say_sources(splits, reporter)
    settings = resolve_auto(settings, int(np.bincount(splits.labeled.labels, minlength=len(splits.classes)).min()))
    unlabeled = [splits.unlabeled.images] if isinstance(splits.unlabeled, InMemoryUnlabeled) else []
    buffer = make_buffer([splits.labeled, *unlabeled], engine.device)
    return RunContext(
        Path(settings.out),
        settings,
        splits,
        buffer,
        engine,
        reporter,
        dry=dry,
        verify=verify,
        extensions=decided.extensions,
        explicit=resolved.explicit,
        over_family=resolved.over_family,
        costs=decided.costs,
        backbone=backbone,
        teacher_backbones=decided.teacher_backbones,
        decided=decided.origins,
    )


def _decide(
    resolved: Resolved, engine: Engine, extensions: Extensions, sources: Mapping[str, Source], reporter: Reporter
) -> tuple[RunSettings, Backbone | None, dict[str, str]]:
    """The settings as backbone and ``model.tune`` decide them, the backbone, and where these values came from."""

    def edge() -> int:
        return infer_format(sources["labeled"], resolved.settings.data).size

    settings = settle_backbone(resolved, extensions, engine, edge, reporter)
    settings, backbone = decide_with_backbone(settings, reporter)
    settings = decide_tune(settings, resolved.explicit, extensions, engine.device, reporter)
    decided = decided_by_backbone(resolved.settings, settings, backbone)
    return settings, backbone, decided | decided_by_tune(resolved.settings, settings, resolved.explicit)


def _crop(settings: RunSettings, backbone: Backbone | None) -> float | None:
    """The share of an image's short edge that the plain view shows; None: the official one."""
    if settings.data.crop != "auto":
        return settings.data.crop
    return backbone.crop if backbone else None


def _open_sources(settings: RunSettings, extensions: Extensions) -> dict[str, Source]:
    """The sources that are given, by role."""
    roles = ("labeled", "unlabeled", "validation", "test")
    given = {role: extensions.sources.get(role, getattr(settings, role)) for role in roles}
    return {role: open_source(spec, labeled=role != "unlabeled") for role, spec in given.items() if spec}


def _say_sources(splits: DataSplits, reporter: Reporter) -> None:
    for role, source in splits.summaries.items():
        for line in source_lines(role, source):
            reporter.say(line)
    if splits.format.bits is not None:
        reporter.say(
            f"16-bit images: {splits.format.bits} of their 16 bits are in use; values from 0 to "
            f"{2**splits.format.bits - 1} become 0 to 255"
        )


def resolve_auto(settings: RunSettings, labels_per_class: int) -> RunSettings:
    """The settings with ``auto`` replaced where it depends on the labels of the class that has the fewest."""
    selection = settings.selection.resolve_auto(labels_per_class)
    objective = settings.objective.resolve_auto(labels_per_class)
    return settings.model_copy(update={"selection": selection, "objective": objective})


def _largest_input_size(settings: RunSettings, teacher_sizes: Sequence[int], size: int) -> int:
    """The largest input size of any model in the run, so that each finds its view in the stored images."""
    plans = plan_models(settings.model, students_of(settings), size)
    return max([size, *teacher_sizes, *(plan.size for plan in plans if plan.size)])


def describe_run(resolved: Resolved, context: RunContext, command: Sequence[str]) -> RunFacts:
    """The content of run.json: command to repeat it, settings with origins, own parts, sources, versions, machine."""
    splits = context.splits
    found = {**splits.summaries}
    if "unlabeled" in found:  # of a streamed set, a stage has found these since
        found["unlabeled"] = replace(found["unlabeled"], left_out=tuple(splits.unlabeled.left_out))
    sources: dict[str, SourceFacts | None] = {
        role: source_facts(source, splits.classes if role == "labeled" else None) for role, source in found.items()
    }
    return RunFacts(
        version=versions()["noisystudent"],
        command=tuple(command),
        recipe=resolved.settings.recipe,
        format=StoredFormat(size=splits.format.size, channels=splits.format.channels),
        settings=context.settings.model_dump(mode="json"),
        origins={**resolved.origins, **context.decided},
        start=start_facts(resolved.settings, context.backbone),
        extensions=context.extensions.described(),
        sources=sources,
        versions=versions(),
        machine=describe_machine(),
        threads=torch.get_num_threads(),
    )
