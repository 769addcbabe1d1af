"""What a run would do, what of it is done, and about how long the rest takes; nothing is written or trained."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from noisystudent.artifacts.folder import State
from noisystudent.config import RunSettings
from noisystudent.models.settings import ModelPlan, plan_models
from noisystudent.noise.custom import BatchNoise
from noisystudent.pipeline.autotune import SPEED, possible_ways
from noisystudent.pipeline.context import Unfinished, Workshop, open_workshop
from noisystudent.pipeline.leakage import SCREEN, is_screened, screened
from noisystudent.pipeline.noise_search import FOLDS, fold_steps
from noisystudent.pipeline.noisy_student import tell
from noisystudent.pipeline.robustness import STAGE, check_measurable, measure_robustness
from noisystudent.pipeline.train_data import labeled_lesson
from noisystudent.pipeline.train_stage import input_noise, new_classifier, objective_of
from noisystudent.runtime.progress import Reporter
from noisystudent.training.loader import Batches

TIMED_STEPS = 4


@dataclass(frozen=True)
class PlannedStage:
    """A stage of the run: ``passes`` pictures go through training in it; ``seconds`` is an estimate."""

    name: str
    state: State
    passes: int
    seconds: float


def plan(settings: RunSettings, *, reporter: Reporter, own_noise: BatchNoise | None = None) -> list[PlannedStage]:
    """The stages of a run in order, as far as they are done, with passes and estimated seconds on this machine.

    The estimate is the time of a few steps of each model, taken now.
    """
    workshop = open_workshop(settings, reporter, dry=True, own_noise=own_noise)
    check_measurable(workshop)
    plans = plan_models(settings.model, settings.rounds.count, workshop.roles.format.size)
    stages = _stages(workshop, plans)
    reached, state = _reached(workshop)
    names = [name for name, _, _ in stages]
    first = names.index(reached) if reached in names else len(names)
    step_seconds = (
        {each.name: _time_step(workshop, each) for each in dict.fromkeys(plans)} if first < len(names) else {}
    )
    planned = []
    for i, (name, each, steps) in enumerate(stages):
        now = State.COMPLETE if i < first else state if i == first else State.ABSENT
        seconds = steps * step_seconds[each.name] if each and now is not State.COMPLETE else 0.0
        planned.append(PlannedStage(name, now, steps * settings.train.batch_size, seconds))
    return planned


def _stages(workshop: Workshop, plans: list[ModelPlan]) -> list[tuple[str, ModelPlan | None, int]]:
    """Every stage in the order of the story, with the model that it trains and for how many steps."""
    noise, steps = workshop.settings.noise, workshop.settings.train.steps
    stages: list[tuple[str, ModelPlan | None, int]] = [(SCREEN, None, 0)] if is_screened(workshop) else []
    if len(possible_ways(workshop.settings.runtime)) > 1:
        stages.append((SPEED, None, 0))
    if noise.strength == "auto":
        for strength in noise.strengths:
            if workshop.roles.validation:
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
    if workshop.settings.rounds.control:
        stages += [("control", plans[-1], steps), ("scores/control", None, 0)]
    return [*stages, (STAGE, None, 0)] if workshop.settings.evaluation.suite else stages


def _reached(workshop: Workshop) -> tuple[str | None, State]:
    """The first stage that is not done, by letting the story itself look for it."""
    try:
        measure_robustness(workshop, tell(screened(workshop)).contenders)
    except Unfinished as stop:
        return stop.name, stop.state
    return None, State.COMPLETE


def _time_step(workshop: Workshop, each: ModelPlan) -> float:
    """Seconds of one training step of a model, forward and backward, noise included."""
    lesson = labeled_lesson(workshop)
    classifier = new_classifier(workshop, each, 0, None).to(workshop.device).train()
    noise = input_noise(workshop, "plan", each, 0.5)
    batches = Batches(lesson.feeds(0), noise)
    objective = objective_of(workshop, lesson)
    seconds = []
    for step in range(TIMED_STEPS):
        start = time.monotonic()
        batch = batches(step)
        torch.autograd.backward(objective(classifier(batch.pixels), batch).loss)
        seconds.append(time.monotonic() - start)
    return min(seconds)
