"""What a run would do, what of it is done, and how long the rest takes; nothing is written or trained."""

from __future__ import annotations

import time

import torch

from noisystudent.artifacts.folder import State
from noisystudent.config import Resolved
from noisystudent.models.settings import ModelPlan, plan_models
from noisystudent.pipeline.autotune import SPEED, possible_modes
from noisystudent.pipeline.context import IncompleteStage, RunContext, build_context
from noisystudent.pipeline.extensions import Extensions
from noisystudent.pipeline.leakage import LEAKAGE, needs_leakage_stage, remove_leakage
from noisystudent.pipeline.noise_search import FOLDS, fold_steps, searched_strengths
from noisystudent.pipeline.noisy_student import run_rounds
from noisystudent.pipeline.robustness import STAGE, check_measurable, measure_robustness
from noisystudent.pipeline.train_data import supervised_spec
from noisystudent.pipeline.train_stage import input_noise, new_classifier, objective_of
from noisystudent.results.facts import PlannedStage, PlanResult
from noisystudent.runtime.progress import Reporter
from noisystudent.training.loader import BatchLoader

TIMED_STEPS = 4


def plan(resolved: Resolved, *, reporter: Reporter, extensions: Extensions | None = None) -> PlanResult:
    """The stages of a run in order, whether each is done, its samples seen, and estimated seconds on this machine.

    The estimate comes from a few training steps of each model, timed now.
    """
    settings = resolved.settings
    context = build_context(resolved, reporter, dry=True, extensions=extensions)
    check_measurable(context)
    plans = plan_models(settings.model, settings.rounds.count, context.splits.format.size)
    stages = _stages(context, plans)
    reached, state = _first_incomplete(context)
    names = [name for name, _, _ in stages]
    first = names.index(reached) if reached in names else len(names)
    models = dict.fromkeys(plans) if first < len(names) else {}
    step_seconds = {model.name: _time_step(context, model) for model in models}
    planned = []
    for i, (name, model, steps) in enumerate(stages):
        now = State.COMPLETE if i < first else state if i == first else State.ABSENT
        seconds = steps * step_seconds[model.name] if model and now is not State.COMPLETE else 0.0
        samples_seen = steps * settings.train.batch_size
        planned.append(PlannedStage(name=name, state=now.value, samples_seen=samples_seen, seconds=seconds))
    return PlanResult(stages=tuple(planned))


def _stages(context: RunContext, plans: list[ModelPlan]) -> list[tuple[str, ModelPlan | None, int]]:
    """Every stage of a run in order, with the model that it trains and for how many steps."""
    noise, steps = context.settings.noise, context.settings.train.steps
    stages: list[tuple[str, ModelPlan | None, int]] = [(LEAKAGE, None, 0)] if needs_leakage_stage(context) else []
    if len(possible_modes(context.settings.runtime)) > 1:
        stages.append((SPEED, None, 0))
    if noise.strength == "auto":
        for strength in searched_strengths(context):
            if context.splits.validation:
                stages.append((f"strength/{strength:g}", plans[0], steps))
            else:
                stages += [
                    (f"strength/{strength:g}-fold-{fold + 1}", plans[0], fold_steps(steps)) for fold in range(FOLDS)
                ]
        stages.append(("strength/choice", None, 0))
    stages += [("teacher", plans[0], steps), ("scores/teacher", None, 0)]
    for number, model in enumerate(plans[1:], start=1):
        stages += [(f"round-{number}/predictions", None, 0), (f"round-{number}/selection", None, 0)]
        stages += [(f"round-{number}/student", model, steps), (f"scores/round-{number}", None, 0)]
    if context.settings.rounds.control:
        stages += [("control", plans[-1], steps), ("scores/control", None, 0)]
    return [*stages, (STAGE, None, 0)] if context.settings.evaluation.suite else stages


def _first_incomplete(context: RunContext) -> tuple[str | None, State]:
    """The first stage that is not complete; the run itself looks for it."""
    try:
        measure_robustness(context, run_rounds(remove_leakage(context)).checkpoints)
    except IncompleteStage as stop:
        return stop.name, stop.state
    return None, State.COMPLETE


def _time_step(context: RunContext, model: ModelPlan) -> float:
    """Seconds of one training step of a model, forward and backward, noise included."""
    spec = supervised_spec(context)
    classifier = new_classifier(context, model, 0, None).to(context.device).train()
    batches = BatchLoader(spec.streams(0), input_noise(context, "plan", model, 0.5))
    objective = objective_of(context, "plan", spec)
    seconds = []
    for step in range(TIMED_STEPS):
        start = time.monotonic()
        batch = batches(step)
        torch.autograd.backward(objective(classifier(batch.pixels), batch).loss)
        seconds.append(time.monotonic() - start)
    return min(seconds)
