"""What a run would do, what of it is done, and about how long the rest takes; nothing is written or trained."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from noisystudent.artifacts.folder import State
from noisystudent.config import RunSettings
from noisystudent.models.settings import ModelPlan, plan_models
from noisystudent.noise.custom import BatchTransform
from noisystudent.pipeline.autotune import SPEED, possible_modes
from noisystudent.pipeline.context import IncompleteStage, RunContext, build_context
from noisystudent.pipeline.leakage import SCREEN, needs_leakage_stage, remove_leakage
from noisystudent.pipeline.noise_search import FOLDS, fold_steps
from noisystudent.pipeline.noisy_student import tell
from noisystudent.pipeline.robustness import STAGE, check_measurable, measure_robustness
from noisystudent.pipeline.train_data import supervised_spec
from noisystudent.pipeline.train_stage import input_noise, new_classifier, objective_of
from noisystudent.runtime.progress import Reporter
from noisystudent.training.loader import BatchLoader

TIMED_STEPS = 4


@dataclass(frozen=True)
class PlannedStage:
    """A stage of the run: ``samples_seen`` images go through training in it; ``seconds`` is an estimate."""

    name: str
    state: State
    samples_seen: int
    seconds: float


def plan(
    settings: RunSettings, *, reporter: Reporter, custom_noise: BatchTransform | None = None
) -> list[PlannedStage]:
    """The stages of a run in order, as far as they are done, with samples seen and estimated seconds on this machine.

    The estimate is the time of a few steps of each model, taken now.
    """
    context = build_context(settings, reporter, dry=True, custom_noise=custom_noise)
    check_measurable(context)
    plans = plan_models(settings.model, settings.rounds.count, context.splits.format.size)
    stages = _stages(context, plans)
    reached, state = _reached(context)
    names = [name for name, _, _ in stages]
    first = names.index(reached) if reached in names else len(names)
    step_seconds = {each.name: _time_step(context, each) for each in dict.fromkeys(plans)} if first < len(names) else {}
    planned = []
    for i, (name, each, steps) in enumerate(stages):
        now = State.COMPLETE if i < first else state if i == first else State.ABSENT
        seconds = steps * step_seconds[each.name] if each and now is not State.COMPLETE else 0.0
        planned.append(PlannedStage(name, now, steps * settings.train.batch_size, seconds))
    return planned


def _stages(context: RunContext, plans: list[ModelPlan]) -> list[tuple[str, ModelPlan | None, int]]:
    """Every stage in the order of the story, with the model that it trains and for how many steps."""
    noise, steps = context.settings.noise, context.settings.train.steps
    stages: list[tuple[str, ModelPlan | None, int]] = [(SCREEN, None, 0)] if needs_leakage_stage(context) else []
    if len(possible_modes(context.settings.runtime)) > 1:
        stages.append((SPEED, None, 0))
    if noise.strength == "auto":
        for strength in noise.strengths:
            if context.splits.validation:
                stages.append((f"strength/{strength:g}", plans[0], steps))
            else:
                stages += [
                    (f"strength/{strength:g}-fold-{fold + 1}", plans[0], fold_steps(steps)) for fold in range(FOLDS)
                ]
        stages.append(("strength/choice", None, 0))
    stages += [("teacher", plans[0], steps), ("scores/teacher", None, 0)]
    for number, each in enumerate(plans[1:], start=1):
        stages += [(f"round-{number}/predictions", None, 0), (f"round-{number}/selection", None, 0)]
        stages += [(f"round-{number}/student", each, steps), (f"scores/round-{number}", None, 0)]
    if context.settings.rounds.control:
        stages += [("control", plans[-1], steps), ("scores/control", None, 0)]
    return [*stages, (STAGE, None, 0)] if context.settings.evaluation.suite else stages


def _reached(context: RunContext) -> tuple[str | None, State]:
    """The first stage that is not done, by letting the story itself look for it."""
    try:
        measure_robustness(context, tell(remove_leakage(context)).evaluated_models)
    except IncompleteStage as stop:
        return stop.name, stop.state
    return None, State.COMPLETE


def _time_step(context: RunContext, each: ModelPlan) -> float:
    """Seconds of one training step of a model, forward and backward, noise included."""
    spec = supervised_spec(context)
    classifier = new_classifier(context, each, 0, None).to(context.device).train()
    noise = input_noise(context, "plan", each, 0.5)
    batches = BatchLoader(spec.streams(0), noise)
    objective = objective_of(context, spec)
    seconds = []
    for step in range(TIMED_STEPS):
        start = time.monotonic()
        batch = batches(step)
        torch.autograd.backward(objective(classifier(batch.pixels), batch).loss)
        seconds.append(time.monotonic() - start)
    return min(seconds)
