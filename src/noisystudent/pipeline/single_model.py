"""One model in a folder of its own: a teacher from labels, or a student from labels and pseudo labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from noisystudent.artifacts.damage import require_whole
from noisystudent.artifacts.folder import read_manifest
from noisystudent.config import Resolved
from noisystudent.data.checks import listed
from noisystudent.data.store import fetched
from noisystudent.display.wording import compact, duration
from noisystudent.errors import MismatchError, SettingsError
from noisystudent.layers import LEARNING_RATE, PRETRAINED_RATE
from noisystudent.models.predictor import Predictor
from noisystudent.models.settings import ModelPlan, plan_models
from noisystudent.pipeline.backbones.start import announce_start
from noisystudent.pipeline.backbones.tune import only_networks
from noisystudent.pipeline.budget.strength import strength_without_search
from noisystudent.pipeline.build_context import build_context
from noisystudent.pipeline.checkpoints import Checkpoint, GivenModel, open_given, require_fit
from noisystudent.pipeline.context import RunContext, run_lock
from noisystudent.pipeline.events import log_events
from noisystudent.pipeline.extensions import Extensions
from noisystudent.pipeline.labels.pseudo_labels import select_pseudo_labels
from noisystudent.pipeline.leakage import LEAKAGE, remove_leakage
from noisystudent.pipeline.noise_search import STRENGTH, choose_strength
from noisystudent.pipeline.stages.autotune import SPEED, autotune
from noisystudent.pipeline.stages.online import online_spec
from noisystudent.pipeline.stages.online_checks import is_online
from noisystudent.pipeline.stages.train import train
from noisystudent.pipeline.stages.train_data import student_spec, supervised_spec
from noisystudent.pseudo_labels.predictions import PREDICTIONS
from noisystudent.pseudo_labels.selection.parts import SELECTION as SELECTION_KIND
from noisystudent.runtime.event_log import EVENTS
from noisystudent.runtime.process_group import open_process_group
from noisystudent.runtime.progress import Reporter

_OF_TRAINING = ("model.batch_norm_momentum",)  # settings of the model that are about its training, not its weights
TEACHER, STUDENT, SELECTION = "teacher", "student", "selection"  # stages: they name the random streams


def train_single(
    resolved: Resolved,
    *,
    reporter: Reporter,
    extensions: Extensions,
    verify: bool = False,
    predictions: str | Path | None = None,
    selection: str | Path | None = None,
    start: str | Path | Predictor | None = None,
) -> Checkpoint:
    """Trains one model into the folder ``out`` of the settings, or finds it done.

    With ``predictions`` (a folder or its URL) it is a student, on what ``selection`` or the user's own rule selects.
    With ``start``, a model from elsewhere, it goes on from the weights of that, last layer included.
    Side products are folders beside ``out`` with its name before theirs. Raises ``NoisyStudentError``.
    """
    check_student_inputs(resolved, extensions, predictions, selection)
    out = Path(resolved.settings.out)
    with run_lock(out):
        folder = _fetched(predictions) if predictions is not None else None
        classes = _classes_of(folder) if folder else None
        resolved = only_networks(resolved)
        given = None
        if start is not None:
            resolved = _for_start(resolved, extensions, reporter)
            given = GivenModel("start", open_given(start, resolved.settings.runtime))
        context = build_context(
            resolved,
            reporter,
            extensions=extensions,
            classes=classes or (given.given.classes if given else None),
            teacher_sizes=[given.given.size] if given else (),
            verify=verify,
        )
        if given:
            require_fit(context.splits, str(start), given.given)
        _check_classes(context, classes, predictions)
        renamed = {stage: f"{out.name}.{stage}" for stage in (LEAKAGE, SPEED, STRENGTH, SELECTION, EVENTS)}
        renamed |= {TEACHER: out.name, STUDENT: out.name}
        context = remove_leakage(replace(context, folder=out.parent, renamed=renamed))
        log_events(context)
        teacher_plan, student_plan = plan_models(context.settings.model, 1, context.splits.format.size)
        if given:
            teacher_plan = student_plan = ModelPlan(given.load().name, _size_from(context, given))
        plan = student_plan if folder or is_online(context.settings) else teacher_plan
        announce_start(context.backbone, [plan], context.reporter)
        online = online_spec(context) if is_online(context.settings) else None  # what it cannot do is said at once
        context = autotune(context, plan)
        strength = _strength_after(context) if given else choose_strength(context, teacher_plan)
        if online:
            checkpoint = train(context, STUDENT, student_plan, online, strength, start=given)
        elif folder is None:
            checkpoint = train(context, TEACHER, teacher_plan, supervised_spec(context), strength, start=given)
        else:
            spec = student_spec(context, folder, _selection_of(context, folder, selection), 1)
            checkpoint = train(context, STUDENT, student_plan, spec, strength, start=given)
        return _with_cost_said(context, checkpoint)


def _strength_after(context: RunContext) -> float:
    """The noise strength of a training that goes on: that of the settings, or the weakest.

    A search would train other models: from scratch, since the given weights may know the labels that it looks at.
    """
    noise = context.settings.noise
    strength = strength_without_search(noise, looks=0, tuned=True)
    if noise.strength == "auto":
        context.reporter.say(
            f"noise.strength auto: strength {strength:g}, the weakest of noise.strengths, is used without a search, "
            "because the weights that --start names may know the labels to compare by. --noise.strength gives another."
        )
    return strength


def _fetched(predictions: str | Path) -> Path:
    """The folder of the given predictions on this machine, which must be whole."""
    folder = open_process_group().on_main(lambda: fetched(predictions, PREDICTIONS))
    require_whole(folder, PREDICTIONS)
    return folder


def _selection_of(context: RunContext, predictions: Path, selection: str | Path | None) -> Path:
    """The folder of the given selection, else of what the user's own rule selects."""
    if selection is None:
        return select_pseudo_labels(context, SELECTION, predictions, 1)
    require_whole(Path(selection), SELECTION_KIND)
    return Path(selection)


def _for_start(resolved: Resolved, extensions: Extensions, reporter: Reporter) -> Resolved:
    """The settings of a model that goes on from trained weights; raises ``SettingsError`` for those of another."""
    others = [name for name in sorted(resolved.explicit) if name.startswith("model.") and name not in _OF_TRAINING]
    if extensions.model:
        others.append("your own model")
    if others:
        raise SettingsError(
            f"--start brings its model, and {others[0]} is about another one; leave one of the two out."
        )
    if resolved.origins[LEARNING_RATE] != "default":
        return resolved
    reporter.say(f"note: {LEARNING_RATE} is {PRETRAINED_RATE:g}, because the model starts from trained weights")
    train_settings = resolved.settings.train.model_copy(update={"learning_rate": PRETRAINED_RATE})
    settings = resolved.settings.model_copy(update={"train": train_settings})
    return replace(resolved, settings=settings, origins=resolved.origins | {LEARNING_RATE: "start"})


def _size_from(context: RunContext, start: GivenModel) -> int:
    """The input edge of a model that goes on from trained weights: the ``data.size`` that was given, else its own."""
    size, own = context.settings.data.size, start.given.size
    if "data.size" not in context.explicit or size == "auto" or size == own:
        return own
    context.reporter.say(f"note: {start.model} was trained at {own} px and goes on at {size} px (data.size)")
    return size


def _with_cost_said(context: RunContext, checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint, once the user knows what everything took; its own numbers leave out the search for its noise."""
    cost = context.total_cost()
    context.reporter.say(
        f"all stages took {duration(cost.seconds)} and {compact(cost.samples_seen)} samples seen, from reading the "
        "images to the checkpoint"
    )
    return checkpoint


def _classes_of(predictions: Path) -> tuple[str, ...] | None:
    """The classes of predictions; None for those that do not name them, made by an earlier version."""
    classes = read_manifest(predictions, PREDICTIONS).inputs.get("classes")
    return None if classes is None else tuple(classes)


def _check_classes(context: RunContext, classes: tuple[str, ...] | None, predictions: str | Path | None) -> None:
    """Raises ``MismatchError`` for predictions of other classes than the labels have; their order may differ."""
    if classes not in (None, context.splits.classes):
        raise MismatchError(
            f"{predictions} was made for the classes {listed(classes)}, and the labeled images are of "
            f"{listed(context.splits.classes)}; give labels of these classes, or predictions of a teacher of those."
        )


def check_student_inputs(
    resolved: Resolved, extensions: Extensions, predictions: str | Path | None, selection: str | Path | None
) -> None:
    """Raises ``SettingsError`` for a student without all that it needs, or a teacher with what only students use."""
    chosen_by = [part for part in (selection, extensions.select) if part is not None]
    if is_online(resolved.settings):
        if predictions is not None or chosen_by:
            raise SettingsError(
                f"online.method {resolved.settings.online.method} labels the unlabeled images itself; leave out "
                "--predictions and --selection (in Python, select=)."
            )
        return
    given = [resolved.settings.unlabeled is not None, predictions is not None, bool(chosen_by)]
    if any(given) and not all(given):
        raise SettingsError(
            "a student needs all of --unlabeled, --predictions and --selection (or, in Python, select=); a teacher "
            "none of them."
        )
    if len(chosen_by) > 1:
        raise SettingsError("selection= and select= both say which pseudo labels train; give one of them.")
