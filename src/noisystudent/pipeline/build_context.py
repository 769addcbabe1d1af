"""How a run begins: device, sources and settings are decided, then the images are read into its context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from noisystudent.config import Resolved
from noisystudent.data.images import infer_format, is_cropped
from noisystudent.data.share import ShareSource
from noisystudent.data.source import Source
from noisystudent.data.sources.open import open_source
from noisystudent.data.splits import DataSplits, open_splits
from noisystudent.data.unlabeled import InMemoryUnlabeled
from noisystudent.display.sources import source_lines
from noisystudent.errors import SettingsError
from noisystudent.models.backbones import Backbone
from noisystudent.models.settings import plan_models
from noisystudent.pipeline.backbones.auto import settle_backbone
from noisystudent.pipeline.backbones.start import (
    announce_size,
    decide_with_backbone,
    decided_by_backbone,
    open_teacher_backbones,
    require_channels,
    start_facts,
)
from noisystudent.pipeline.backbones.transfer import (
    decided_by_rule,
    require_upstream,
    say_transfer_length,
    with_transfer_length,
)
from noisystudent.pipeline.backbones.tune import decide_tune, decided_by_tune
from noisystudent.pipeline.budget.decide import BudgetRequest, decide_budget
from noisystudent.pipeline.budget.workload import Workload
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.extensions import NO_EXTENSIONS, Extensions
from noisystudent.pipeline.labels.neighbor_checks import settle_neighbors
from noisystudent.pipeline.pretraining.checks import check_pretraining
from noisystudent.pipeline.stage_costs import StageCosts
from noisystudent.pipeline.stages.online_checks import check_online, students_of
from noisystudent.results.facts import RunFacts, SourceFacts, StoredFormat, source_facts
from noisystudent.run_settings import RunSettings
from noisystudent.runtime.device import Engine, open_engine
from noisystudent.runtime.env import describe_machine, versions
from noisystudent.runtime.event_log import require_event_log
from noisystudent.runtime.precision import warn_of_emulation
from noisystudent.runtime.progress import Reporter
from noisystudent.training.loader import make_buffer


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
    if resolved.settings.runtime.log != "none":
        require_event_log()
    extensions = extensions or NO_EXTENSIONS
    extensions.check(resolved)
    for note in resolved.notes:
        reporter.say(f"note: {note}")
    check_pretraining(resolved.settings, extensions)
    sources = open_sources(resolved.settings, extensions)
    settings, backbone, origins = _decide(resolved, engine, extensions, sources, reporter)
    engine = replace(engine, precision=settings.runtime.precision, channels_last=settings.runtime.channels_last)
    check_online(settings, extensions)
    others = open_teacher_backbones(settings)
    if budgeted:
        own_batches = extensions.objective is not None or extensions.noise is not None
        request = BudgetRequest(
            resolved, settings, backbone, others, engine.settled(), dry, extensions.select is not None, own_batches
        )
        settings, chosen = decide_budget(request, partial(Workload.of, sources, settings.data), reporter)
        origins |= chosen
    announce_size(settings, backbone, origins, reporter)
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
    sample: int | None = None,
) -> RunContext:
    """Reads the images of a run; the arguments are those of ``build_context``, ``sample`` that of ``open_splits``."""
    settings, backbone, reporter = decided.settings, decided.backbone, decided.reporter
    resolved, engine = decided.resolved, decided.engine
    splits = open_splits(
        decided.sources,
        settings.data,
        seed=settings.seed,
        classes=classes,
        stored_size=partial(_largest_input_size, settings, teacher_sizes),
        crop=_crop(settings, backbone),
        sample=sample,
    )
    for needing in (backbone, *decided.teacher_backbones):
        require_channels(needing, splits.format.channels)
    if "data.crop" in resolved.decided and not is_cropped(splits.format.size):
        raise SettingsError(
            f"data.crop {settings.data.crop} has no effect: images of {splits.format.size} px are shown whole. Leave "
            "it out, or give a data.size above 64."
        )
    _say_sources(splits, reporter)
    before, labels = settings, len(splits.labeled)
    taken = resolved.decided | decided.origins.keys()
    settings = with_transfer_length(settings, taken, labels)
    of_rule = decided_by_rule(before, settings, taken, labels)
    settings = resolve_auto(settings, np.bincount(splits.labeled.labels, minlength=len(splits.classes)).tolist())
    settings = settle_neighbors(settings, splits, decided.extensions, resolved.decided, reporter)
    say_transfer_length(settings, labels, reporter)
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
        explicit=resolved.decided,
        over_family=resolved.over_family,
        costs=decided.costs,
        backbone=backbone,
        teacher_backbones=decided.teacher_backbones,
        decided={**decided.origins, **of_rule},
    )


def _decide(
    resolved: Resolved, engine: Engine, extensions: Extensions, sources: Mapping[str, Source], reporter: Reporter
) -> tuple[RunSettings, Backbone | None, dict[str, str]]:
    """The settings as backbone and ``model.tune`` decide them, the backbone, and where these values came from."""

    def edge() -> int:
        return infer_format(sources["labeled"], resolved.settings.data).size

    settings = settle_backbone(resolved, extensions, engine, edge, reporter)
    require_upstream(settings)
    settings, backbone = decide_with_backbone(settings, reporter)
    settings = decide_tune(settings, resolved.decided, extensions, engine.device, reporter)
    decided = decided_by_backbone(resolved.settings, settings, backbone)
    return settings, backbone, decided | decided_by_tune(resolved.settings, settings, resolved.decided)


def _crop(settings: RunSettings, backbone: Backbone | None) -> float | None:
    """The share of an image's short edge that the plain view shows; None: the official one."""
    if settings.data.resize == "squash":
        return 1.0
    if settings.data.crop != "auto":
        return settings.data.crop
    return backbone.crop if backbone else None


def open_sources(settings: RunSettings, extensions: Extensions) -> dict[str, Source]:
    """The sources that are given, by role."""
    roles = ("labeled", "unlabeled", "validation", "test")
    given = {role: extensions.sources.get(role, getattr(settings, role)) for role in roles}
    opened = {role: open_source(spec, labeled=role != "unlabeled") for role, spec in given.items() if spec}
    if (share := settings.data.unlabeled_share) < 1 and "unlabeled" in opened:
        opened["unlabeled"] = ShareSource(opened["unlabeled"], share, settings.seed)
    return opened


def _say_sources(splits: DataSplits, reporter: Reporter) -> None:
    for role, source in splits.summaries.items():
        for line in source_lines(role, source):
            reporter.say(line)
    if splits.format.bits is not None:
        reporter.say(
            f"16-bit images: {splits.format.bits} of their 16 bits are in use; values from 0 to "
            f"{2**splits.format.bits - 1} become 0 to 255"
        )


def resolve_auto(settings: RunSettings, labels: Sequence[int]) -> RunSettings:
    """The settings with ``auto`` and epochs replaced where they depend on the number of labels per class."""
    selection, objective = (
        part.resolve_auto(min(labels, default=0)) for part in (settings.selection, settings.objective)
    )
    train = settings.train.with_epochs(sum(labels))
    return settings.model_copy(update={"selection": selection, "objective": objective, "train": train})


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
