"""Whether a run starts from a frozen backbone or trains a network from scratch: tried on the labels themselves.

Weights that were trained on photographs help with photographs, and little with hand signs or scanned letters, which a
small network learns better on its own (docs/results.md). Nothing but the labels says which kind a user has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from noisystudent.artifacts.typed_json import read_result, write_result
from noisystudent.config import Resolved
from noisystudent.data.images import content_fingerprint
from noisystudent.data.splits import HeldOut
from noisystudent.data.stratified import cross_fit_folds, draw_at_most, single_labels
from noisystudent.display.wording import duration, percent
from noisystudent.layers import BACKBONE
from noisystudent.models.load import RUN_FACTS
from noisystudent.models.settings import AUTO_BACKBONE, plan_models
from noisystudent.pipeline.auto_backbone import from_scratch
from noisystudent.pipeline.budget.decide import budget_seconds, kept_choice
from noisystudent.pipeline.budget.networks import FEWEST_STEPS, choose_for_trainings
from noisystudent.pipeline.budget.workload import Workload
from noisystudent.pipeline.build_context import Decided, decide_settings, open_sources, read_data
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.extensions import NO_EXTENSIONS, Extensions
from noisystudent.pipeline.heads.cross_fit import Fold, choose_penalty
from noisystudent.pipeline.heads.features import labeled_features
from noisystudent.pipeline.heads.teachers import FeatureTeachers
from noisystudent.pipeline.score_stage import predict
from noisystudent.pipeline.stage_costs import StageCosts
from noisystudent.pipeline.train_data import supervised_spec
from noisystudent.pipeline.train_stage import train
from noisystudent.pipeline.tune import HEAD, with_setting
from noisystudent.results.facts import StartTrial
from noisystudent.results.run import StageCost
from noisystudent.runtime.progress import Reporter

START = "start"
CHOICE = f"{START}/choice"  # the stage
SHARE = 0.12  # of the budget, which its reserve holds
FOLDS = 3
MOST_LABELS = 500  # that are tried; more make a clear answer no clearer

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class _Starts:
    """Both starts of a run, and the seconds that its budget gives their trial."""

    frozen: Decided
    scratch: Decided
    seconds: float


def choose_start(resolved: Resolved, reporter: Reporter, extensions: Extensions | None = None) -> Resolved:
    """The settings of a run, from scratch where its labels show that to be better than the backbone that ``auto`` took.

    Both starts learn from some of the labels and predict the others. The network from scratch has a small part of the
    time that a run would give it, so it is taken where it is as good already. Nothing is tried where the user names a
    backbone, for a run without a budget, for a run that began without a trial, or where a class has a single label.

    Raises what ``decide_settings`` raises.
    """
    if not _is_open(resolved):
        return resolved
    trial = _kept_trial(resolved) if _has_begun(resolved) else _new_trial(resolved, reporter, extensions)
    if trial is None:
        return resolved
    reporter.say(f"start: {_in_words(trial)}")
    return from_scratch(resolved, _in_words(trial)) if trial.prefers_scratch else resolved


def finished_start(resolved: Resolved, extensions: Extensions | None = None) -> tuple[Resolved, float]:
    """What ``choose_start`` has decided, without trying anything, and the seconds of a trial that is still to come."""
    if not _is_open(resolved):
        return resolved, 0.0
    if trial := _kept_trial(resolved):
        return (from_scratch(resolved, _in_words(trial)) if trial.prefers_scratch else resolved), 0.0
    starts = None if _has_begun(resolved) else _open_starts(resolved, extensions)
    return resolved, starts.seconds if starts else 0.0


def count_trial(folder: Path, costs: StageCosts) -> None:
    """Adds what the trial took, if there was one, to the costs of a run."""
    for stage in (*_training_stages(), CHOICE):
        if (folder / stage).is_dir():
            costs.found(stage, folder / stage)


def _in_words(trial: StartTrial) -> str:
    """What was tried, and what follows."""
    taken = "the run trains from scratch" if trial.prefers_scratch else "the run starts from the backbone"
    return (
        f"cross-fitting on {trial.labels} labels: {percent(trial.frozen)} right on frozen features, "
        f"{percent(trial.scratch)} by a network from scratch ({trial.steps} steps at {trial.size} px; standard error "
        f"of the difference {percent(trial.standard_error)}), so {taken}"
    )


def _is_open(resolved: Resolved) -> bool:
    """Whether the user left the start open; foreign images are found in the features of a backbone alone."""
    settings = resolved.settings
    is_given = BACKBONE in resolved.explicit or settings.selection.foreign == "drop"
    return settings.model.backbone == AUTO_BACKBONE and not is_given


def _has_begun(resolved: Resolved) -> bool:
    return (Path(resolved.settings.out) / RUN_FACTS).is_file()


def _kept_trial(resolved: Resolved) -> StartTrial | None:
    """The trial that the run's folder keeps."""
    summary = Path(resolved.settings.out) / CHOICE / "summary.json"
    return read_result(StartTrial, summary) if summary.is_file() else None


def _open_starts(resolved: Resolved, extensions: Extensions | None) -> _Starts | None:
    """Both starts of a run that has a budget, and would take a frozen backbone; only the labeled source is opened."""
    alone = dict.fromkeys(("unlabeled", "validation", "test"))
    resolved = replace(resolved, settings=resolved.settings.model_copy(update=alone))
    decide = partial(decide_settings, reporter=Reporter(quiet=True), dry=True, extensions=extensions)
    frozen = decide(resolved)
    budget = budget_seconds(resolved, frozen.engine)
    if budget is None or frozen.settings.model.tune != HEAD:
        return None
    return _Starts(frozen, decide(from_scratch(resolved, "")), SHARE * budget)


def _new_trial(resolved: Resolved, reporter: Reporter, extensions: Extensions | None) -> StartTrial | None:
    """The trial; None where nothing is tried, or a training would be too short to say anything."""
    starts = _open_starts(resolved, extensions)
    if starts is None:
        return None
    frozen = _labeled_alone(starts.frozen)
    labels = frozen.splits.labeled.labels
    if single_labels(labels):
        return None
    tried = draw_at_most(labels, MOST_LABELS, frozen.settings.seed)
    inputs: dict[str, Any] = {
        "labeled": content_fingerprint(frozen.splits.labeled.take(tried)),
        "backbone": frozen.backbone.fingerprint if frozen.backbone else None,
        "seconds": starts.seconds,
        "seed": frozen.settings.seed,
    }
    scratch = _for_trial(starts, inputs)
    if scratch is None:
        reporter.say(
            f"start: {duration(starts.seconds)} of the budget are too little to try a network from scratch, so the run "
            "starts from the backbone"
        )
        return None
    open_sources(resolved.settings, extensions or NO_EXTENSIONS)  # a misspelled one is said before the trial's minutes
    folder = frozen.folder_of(CHOICE)
    if not frozen.is_complete(CHOICE, inputs):
        trial = _compare(frozen, replace(_labeled_alone(scratch), reporter=reporter), tried)

        def write() -> None:
            write_result(folder / "summary.json", trial)
            frozen.commit(START, inputs, StageCost(name=CHOICE, images_predicted=len(tried)))

        frozen.engine.group.on_main(write)
    return read_result(StartTrial, folder / "summary.json")


def _labeled_alone(decided: Decided) -> RunContext:
    """The context of a run without its unlabeled and held-out images."""
    return read_data(replace(decided, sources={"labeled": decided.sources["labeled"]}, reporter=Reporter(quiet=True)))


def _for_trial(starts: _Starts, inputs: dict[str, Any]) -> Decided | None:
    """The start from scratch with the image size and the steps that fit into the trial; None where too few fit."""
    scratch = starts.scratch
    load = Workload.of({"labeled": scratch.sources["labeled"]}, scratch.settings.data)
    folder = Path(scratch.settings.out) / START / "budget"
    measure = partial(choose_for_trainings, scratch.settings, load, scratch.engine, starts.seconds, FOLDS)
    choice = scratch.engine.group.on_main(lambda: kept_choice(folder, inputs, measure))
    settings = scratch.settings
    for name, value in choice.values.items():
        settings = with_setting(settings, name, value)
    return replace(scratch, settings=settings) if settings.train.steps >= FEWEST_STEPS else None


def _compare(frozen: RunContext, scratch: RunContext, tried: Ints) -> StartTrial:
    labels = frozen.splits.labeled.labels[tried]
    dealt = cross_fit_folds(labels, FOLDS, frozen.settings.seed)
    folds = [Fold(fold, np.setdiff1d(np.arange(len(tried)), fold)) for fold in dealt]
    by_head = _by_heads(frozen, tried, folds)
    by_network = np.concatenate(
        [_by_network(scratch, stage, tried, fold) for stage, fold in zip(_training_stages(), folds, strict=True)]
    )
    differences = by_network.astype(float) - by_head
    return StartTrial(
        frozen=float(by_head.mean()),
        scratch=float(by_network.mean()),
        standard_error=float(differences.std(ddof=1) / np.sqrt(len(differences))),
        labels=len(tried),
        size=scratch.splits.format.size,
        steps=scratch.settings.train.steps,
    )


def _by_heads(context: RunContext, tried: Ints, folds: Sequence[Fold]) -> Flags:
    """Whether heads on the frozen backbone predict each label that they did not see, fold after fold: [N]."""
    images = context.splits.labeled.take(tried)
    plan = plan_models(context.settings.model, 1, context.splits.format.size)[0]
    features = labeled_features(context, plan, images)
    teachers = FeatureTeachers(features, images.labels, len(context.splits.classes), context.device)
    penalty = choose_penalty(teachers, folds)
    correct = []
    for fold in folds:
        answers = teachers.fit(fold.rest, penalty).log_probabilities(features.labeled[0][fold.held_out])
        correct.append(answers.argmax(axis=1) == images.labels[fold.held_out])
    return np.concatenate(correct)


def _by_network(context: RunContext, stage: str, tried: Ints, fold: Fold) -> Flags:
    """Whether a network that learned from the other folds from scratch predicts each label of a fold: [M]."""
    plan = plan_models(context.settings.model, 1, context.splits.format.size)[0]
    strength = min(context.settings.noise.strengths)
    trained = train(context, stage, plan, supervised_spec(context, tried[fold.rest]), strength)
    teacher = trained.teacher(context.device)
    held_out = HeldOut(context.splits.labeled.take(tried[fold.held_out]))
    held = held_out.predict_and_join(lambda images: predict(context, teacher, images))
    correct: Flags = held.log_probabilities.argmax(axis=1) == held.labels
    return correct


def _training_stages() -> tuple[str, ...]:
    return tuple(f"{START}/fold-{number}" for number in range(1, FOLDS + 1))
