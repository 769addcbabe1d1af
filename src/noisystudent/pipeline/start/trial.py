"""The trial of the starts of a run: heads on a frozen backbone and whole networks, cross-fitted on labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from noisystudent.data.splits import HeldOut
from noisystudent.data.stratified import cross_fit_folds
from noisystudent.models.settings import plan_teacher
from noisystudent.pipeline.backbones.tune import with_values
from noisystudent.pipeline.budget.costs import NetworkCosts
from noisystudent.pipeline.budget.decide import kept_choice
from noisystudent.pipeline.budget.lengths import FEWEST_STEPS, FEWEST_TUNED_STEPS, is_tuned
from noisystudent.pipeline.budget.networks import choose_for_trainings
from noisystudent.pipeline.budget.strength import strength_without_search
from noisystudent.pipeline.budget.workload import Workload
from noisystudent.pipeline.build_context import Decided, read_data
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.features.cross_fit import Fold, choose_penalty
from noisystudent.pipeline.features.stage import labeled_features
from noisystudent.pipeline.features.teachers import FeatureTeachers
from noisystudent.pipeline.score_stage import predict
from noisystudent.pipeline.stages.train import train
from noisystudent.pipeline.stages.train_data import supervised_spec
from noisystudent.results.facts import NetworkTrial, StartTrial
from noisystudent.runtime.progress import Reporter

START = "start"
SCRATCH, TUNED = "", "tuned-"  # begin the names of what the trial of a network keeps
FOLDS = 3
MOST_LABELS = 500  # that are tried; more make a clear answer no clearer

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class NetworkStart:
    """A start whose whole network trains, and the seconds of its trial."""

    decided: Decided
    seconds: float

    @cached_property
    def costs(self) -> NetworkCosts:
        """What the network costs at each size, which is timed once; of the labeled images alone."""
        decided = self.decided
        load = Workload.of({"labeled": decided.sources["labeled"]}, decided.settings.data)
        explicit = decided.resolved.decided
        return NetworkCosts(decided.settings, decided.backbone, load, decided.engine, explicit)


def training_stages(prefix: str) -> tuple[str, ...]:
    """The stages of the folds of a network."""
    return tuple(f"{START}/{prefix}fold-{number}" for number in range(1, FOLDS + 1))


def labeled_alone(decided: Decided) -> RunContext:
    """The context of a run without its unlabeled and held-out images."""
    return read_data(replace(decided, sources={"labeled": decided.sources["labeled"]}, reporter=Reporter(quiet=True)))


def with_trial_length(
    start: NetworkStart, prefix: str, inputs: dict[str, Any], labels: int, spare: float
) -> Decided | None:
    """The settings of a start with the image size and the steps that fit into its seconds; None where too few fit.

    Args:
        start: The start.
        prefix: That of its stages.
        inputs: What the choice depends on, but for the speed of the machine.
        labels: How many labels are tried.
        spare: Seconds that it has besides, because another start does not use them.
    """
    decided = start.decided
    load = replace(start.costs.workload, labeled=labels * (FOLDS - 1) // FOLDS)
    folder = Path(decided.settings.out) / START / f"{prefix}budget"
    costs = replace(start.costs, workload=load)
    measure = partial(choose_for_trainings, costs, decided.resolved.decided, start.seconds + spare, FOLDS)
    choice = decided.engine.group.on_main(lambda: kept_choice(folder, inputs, measure))
    settings = with_values(decided.settings, choice.values)
    fewest = FEWEST_TUNED_STEPS if prefix == TUNED else FEWEST_STEPS
    return replace(decided, settings=settings) if settings.train.steps >= fewest else None


def compare_starts(tried: Ints, contexts: Mapping[str, tuple[RunContext, RunContext]]) -> StartTrial:
    """Which share of the ``tried`` labels each start predicts when it learned from the others.

    Args:
        tried: Rows of the labeled images.
        contexts: By the prefix of its stages, the run of a whole network, and the run on frozen features that it is
            compared with.
    """
    trials = {prefix: _compare(network, frozen, prefix, tried) for prefix, (network, frozen) in contexts.items()}
    return StartTrial(labels=len(tried), scratch=trials.get(SCRATCH), tuned=trials.get(TUNED))


def _compare(network: RunContext, frozen: RunContext, prefix: str, tried: Ints) -> NetworkTrial:
    dealt = cross_fit_folds(frozen.splits.labeled.labels[tried], FOLDS, frozen.settings.seed)
    folds = [Fold(fold, np.setdiff1d(np.arange(len(tried)), fold)) for fold in dealt]
    by_head = _by_heads(frozen, tried, folds)
    stages = zip(training_stages(prefix), folds, strict=True)
    by_network = np.concatenate([_by_network(network, stage, tried, fold) for stage, fold in stages])
    differences = by_network.astype(float) - by_head
    return NetworkTrial(
        top1=float(by_network.mean()),
        frozen=float(by_head.mean()),
        standard_error=float(differences.std(ddof=1) / np.sqrt(len(differences))),
        size=network.splits.format.size,
        steps=network.settings.train.steps,
    )


def _by_heads(context: RunContext, tried: Ints, folds: Sequence[Fold]) -> Flags:
    """Whether heads on the frozen backbone predict each label that they did not see, fold after fold: [N]."""
    images = context.splits.labeled.take(tried)
    plan = plan_teacher(context.settings.model, context.splits.format.size)
    features = labeled_features(context, plan, images)
    teachers = FeatureTeachers(features, images.labels, len(context.splits.classes), context.device)
    penalty = choose_penalty(teachers, folds)
    correct = []
    for fold in folds:
        answers = teachers.fit(fold.rest, penalty).log_probabilities(features.labeled[0][fold.held_out])
        correct.append(answers.argmax(axis=1) == images.labels[fold.held_out])
    return np.concatenate(correct)


def _by_network(context: RunContext, stage: str, tried: Ints, fold: Fold) -> Flags:
    """Whether a network that learned from the other folds predicts each label of a fold: [M]."""
    plan = plan_teacher(context.settings.model, context.splits.format.size)
    settings, learned = context.settings, tried[fold.rest]
    looks = settings.train.steps * settings.train.batch_size / len(learned)
    strength = strength_without_search(settings.noise, looks=looks, tuned=is_tuned(context.backbone, plan))
    trained = train(context, stage, plan, supervised_spec(context, learned), strength)
    teacher = trained.teacher(context.device)
    held_out = HeldOut(context.splits.labeled.take(tried[fold.held_out]))
    held = held_out.predict_and_join(lambda images: predict(context, teacher, images))
    correct: Flags = held.log_probabilities.argmax(axis=1) == held.labels
    return correct
