"""An encoder in a folder of its own, pretrained without labels, and how good its features are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from noisystudent.config import Resolved
from noisystudent.data.source import Source
from noisystudent.data.sources.open import open_source
from noisystudent.display.wording import compact, duration
from noisystudent.errors import SettingsError
from noisystudent.models.settings import plan_teacher
from noisystudent.pipeline.build_context import build_context
from noisystudent.pipeline.checkpoints import Checkpoint
from noisystudent.pipeline.context import run_lock
from noisystudent.pipeline.events import log_events
from noisystudent.pipeline.extensions import Extensions
from noisystudent.pipeline.leakage import LEAKAGE, remove_leakage
from noisystudent.pipeline.pretraining.probe import PROBE, ProbeResult, probe
from noisystudent.pipeline.pretraining.stage import PRETRAIN, pretrain
from noisystudent.pipeline.stages.autotune import possible_modes
from noisystudent.run_settings import RunSettings
from noisystudent.runtime.event_log import EVENTS
from noisystudent.runtime.progress import Reporter


@dataclass(frozen=True)
class Pretrained:
    """A pretrained encoder, and how well classifiers on its frozen features do; None where labels are missing."""

    checkpoint: Checkpoint
    probe: ProbeResult | None

    @property
    def folder(self) -> Path:
        """The folder of the encoder, which ``start`` and ``model.backbone`` take."""
        return self.checkpoint.folder


def pretrain_single(
    resolved: Resolved, *, reporter: Reporter, extensions: Extensions, verify: bool = False
) -> Pretrained:
    """Pretrains an encoder into the folder ``out`` of the settings, or finds it done, and scores it where it can.

    Side products are folders beside ``out`` with its name before theirs. Raises ``NoisyStudentError``.
    """
    _check(resolved)
    settings = resolved.settings
    method = settings.pretraining.model_copy(update={"method": "simclr"})
    resolved = replace(resolved, settings=settings.model_copy(update={"pretraining": method}))
    out = Path(settings.out)
    with run_lock(out):
        classes = None if settings.labeled else _classes_of_held_out(settings, extensions.sources)
        context = build_context(resolved, reporter, extensions=extensions, classes=classes, verify=verify)
        beside = {stage: f"{out.name}.{stage}" for stage in (LEAKAGE, PROBE, EVENTS)}
        context = remove_leakage(replace(context, folder=out.parent, renamed={**beside, PRETRAIN: out.name}))
        log_events(context)
        plan = plan_teacher(context.settings.model, context.splits.format.size)
        checkpoint = pretrain(context, PRETRAIN, plan)
        scored = probe(context, checkpoint)
        cost = context.total_cost()
        context.reporter.say(
            f"all stages took {duration(cost.seconds)} and {compact(cost.samples_seen)} samples seen, two per image"
        )
        return Pretrained(checkpoint, scored)


def _check(resolved: Resolved) -> None:
    """Raises ``SettingsError`` for what a pretraining of one model cannot do."""
    settings = resolved.settings
    if "pretraining.method" in resolved.explicit and settings.pretraining.method == "none":
        raise SettingsError("pretraining.method is none, and pretrain has nothing else to do; give simclr.")
    if not settings.labeled and settings.unlabeled is None:
        raise SettingsError("pretrain needs images: give --unlabeled, --labeled or both.")
    if len(possible_modes(settings.runtime)) > 1:
        raise SettingsError(
            "runtime.precision auto and runtime.channels_last auto time the training on labels; give pretrain a "
            "precision (float32, bfloat16 or float16) and a layout (true or false)."
        )


def _classes_of_held_out(settings: RunSettings, sources: Mapping[str, Source]) -> tuple[str, ...]:
    """The classes of a run without labels: those of its held-out images, which are only kept out of the training."""
    for role in ("test", "validation"):
        if (given := sources.get(role, getattr(settings, role))) is not None:
            return open_source(given, labeled=True).classes or ()
    return ()
