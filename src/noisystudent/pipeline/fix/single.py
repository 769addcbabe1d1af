"""The command ``fix``: one model from elsewhere, fixed into a folder of its own."""

from __future__ import annotations

from pathlib import Path

import timm

from noisystudent.config import Resolved, require_precision
from noisystudent.data.source import Source
from noisystudent.data.sources.open import open_source
from noisystudent.data.splits import DataSplits, open_splits
from noisystudent.errors import ModelError, SettingsError
from noisystudent.models.checkpoint import is_frozen_head
from noisystudent.models.load import short_name
from noisystudent.models.predictor import Predictor
from noisystudent.models.resolution import at_size
from noisystudent.pipeline.checkpoints import GivenModel, open_given
from noisystudent.pipeline.context import RunContext, run_lock
from noisystudent.pipeline.extensions import NO_EXTENSIONS
from noisystudent.pipeline.fix.report import FIX, measure_fix
from noisystudent.pipeline.fix.size import FixSize, choose_size
from noisystudent.pipeline.fix.stage import fix_checkpoint
from noisystudent.pipeline.score_stage import SCORES
from noisystudent.results.fix import FixResult
from noisystudent.run_settings import RunSettings
from noisystudent.runtime.device import open_engine
from noisystudent.runtime.precision import warn_of_emulation
from noisystudent.runtime.progress import Reporter
from noisystudent.training.loader import make_buffer


def fix_single(
    resolved: Resolved,
    checkpoint: str | Path | Predictor,
    *,
    reporter: Reporter,
    sources: dict[str, Source],
    verify: bool = False,
) -> FixResult:
    """Fixes one model into the folder ``out`` of the settings, or finds it done; scores stand beside it.

    Args:
        resolved: the settings.
        checkpoint: the model.
        reporter: says what happens.
        sources: the user's own sources by role, in the place of those that the settings name.
        verify: every byte of finished stages is checked.

    Raises:
        NoisyStudentError: there is nothing to fix, or the model cannot be fixed.
    """
    settings = resolved.settings
    if settings.fix.size == "none":
        raise SettingsError("fix.size is none, and fix has nothing else to do; give --size auto or a number of pixels.")
    require_precision(settings.runtime)
    given = GivenModel("given", open_given(checkpoint, settings.runtime))
    if given.given.classifier is None:
        raise ModelError(
            f"{given.given!r} is a module, and a checkpoint of a fixed one could not be built again. Give a "
            "checkpoint's folder, the folder of a run, or timm:NAME."
        )
    if not timm.is_model(given.given.classifier.name.partition(".")[0]):
        raise ModelError(
            f"{given.model} is an architecture of your own, which a checkpoint of this command could not name. Give "
            "fix.size to the run that trains it."
        )
    name = given.given.name if isinstance(checkpoint, Predictor) else short_name(checkpoint)
    if given.given.origin and is_frozen_head(Path(given.given.origin)):
        raise SettingsError(
            f"{name} is a head on a frozen backbone, whose last layer was not trained step by step but solved, in "
            "seconds. Solve it at the larger size instead: run with --tune head and --data.size N."
        )
    chosen = choose_size(given.given.classifier, settings.fix, name)
    if isinstance(chosen, str):
        raise SettingsError(f"{chosen}.")
    out = Path(settings.out)
    with run_lock(out):
        opened = _open_sources(settings, sources)
        context = _context(resolved, given, chosen, opened, reporter, verify)
        fixed = fix_checkpoint(context, FIX, given, context.splits.format, lambda: context)
        return measure_fix(context, given, fixed, chosen, opened.get("validation"))


def _open_sources(settings: RunSettings, sources: dict[str, Source]) -> dict[str, Source]:
    """The sources that are given, by role."""
    specs = {role: sources.get(role, getattr(settings, role)) for role in ("labeled", "validation")}
    return {role: open_source(spec, labeled=True) for role, spec in specs.items() if spec}


def _context(
    resolved: Resolved,
    given: GivenModel,
    chosen: FixSize,
    sources: dict[str, Source],
    reporter: Reporter,
    verify: bool,
) -> RunContext:
    """The folder, the images at the new size, and the training of the fix."""
    settings, out = resolved.settings, Path(resolved.settings.out)
    engine = open_engine(settings.runtime)
    reporter = reporter if engine.group.is_main else Reporter(quiet=True)
    warn_of_emulation(settings.runtime, reporter)
    splits = _splits(settings, given, chosen.size, sources)
    return RunContext(
        out.parent,
        settings,
        splits,
        make_buffer([splits.labeled], engine.device),
        engine,
        reporter,
        verify=verify,
        extensions=NO_EXTENSIONS,
        explicit=resolved.explicit,
        renamed={FIX: out.name, SCORES: f"{out.name}.{SCORES}"},
    )


def _splits(settings: RunSettings, given: GivenModel, size: int, sources: dict[str, Source]) -> DataSplits:
    """The labeled images, all of which train, and the validation images, in the format of the model at a new size."""
    classifier = given.given.classifier
    assert classifier
    resized = at_size(classifier, size)
    data = settings.data.model_copy(
        update={
            "size": size,
            "channels": "gray" if classifier.channels == 1 else "rgb",
            "resize": "squash" if classifier.squash else "aspect",
            "validation_fraction": 0.0,
        }
    )
    splits = open_splits(sources, data, seed=settings.seed, classes=classifier.classes, crop=resized.crop)
    if splits.classes != classifier.classes:
        raise ModelError(
            f"{given.model} has the classes {', '.join(classifier.classes[:20])} ({len(classifier.classes)}), and the "
            f"labeled images those of {', '.join(splits.classes[:20])} ({len(splits.classes)}). The fix keeps the "
            "classes of the model: give images of each of them."
        )
    return splits
