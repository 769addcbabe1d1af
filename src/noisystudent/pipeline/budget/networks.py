"""What a run that trains whole networks does with its budget: model, image size, steps, rounds, and how they start.

Found on development splits of Fashion-MNIST, CIFAR-10 and digits (NOTEBOOK.md): at small budgets, rounds of fresh
students only repeat what their teacher knew already, because none of them trains long enough. One long round on soft
labels of everything, from the teacher's weights, is as good as labels-only training there, and more rounds pay later.
"""

from __future__ import annotations

from dataclasses import dataclass

from noisystudent.config import RunSettings
from noisystudent.models.backbones import Backbone
from noisystudent.models.classifier import create_classifier
from noisystudent.models.settings import ModelPlan, plan_models
from noisystudent.pipeline.budget.choice import USABLE, Choice, refuse_budget
from noisystudent.pipeline.budget.speed import seconds_per_sample
from noisystudent.pipeline.budget.workload import Workload
from noisystudent.runtime.device import Engine

SMALLER_SIZES = (64, 48, 32, 24, 16)
OVERHEAD = 1.3  # a step of the loop, with noise, optimizer and averages, against forward and backward pass
FORWARD = 1 / 3  # of a training step
FEWEST_STEPS = 50  # of a stage
ENOUGH_STEPS = 300  # of a stage, below which smaller images are preferred
MANY_SAMPLES = 200_000  # in all, from which three rounds beat a single long one
MOST_STEPS = 4000


@dataclass(frozen=True)
class _Size:
    """An image size, its model, and the seconds per sample there."""

    edge: int
    plan: ModelPlan
    seconds: float


def choose_for_networks(
    settings: RunSettings,
    explicit: frozenset[str],
    backbone: Backbone | None,
    workload: Workload,
    engine: Engine,
    budget: float,
) -> Choice:
    """The largest images whose stages get enough steps, else the smallest ones; then rounds by what is affordable.

    Raises:
        SettingsError: Not even the smallest images get ``FEWEST_STEPS`` steps per stage.
    """
    usable = USABLE * budget
    sizes = _sizes(settings, explicit, backbone, workload)
    measured: list[_Size] = []
    for edge in sizes:
        measured.append(_measured(settings, backbone, workload, engine, edge))
        if _steps(settings, explicit, measured[-1], workload, usable) >= ENOUGH_STEPS:
            break
    size = measured[-1]
    steps = _steps(settings, explicit, size, workload, usable)
    stages = _stages(settings, explicit, size, usable)
    if steps < FEWEST_STEPS:
        needed = FEWEST_STEPS * stages * settings.train.batch_size * size.seconds * OVERHEAD
        needed += _predictions(settings, explicit, size, workload, usable)
        what = f"to train {stages} stages of {FEWEST_STEPS} steps on images of {size.edge} px"
        refuse_budget(budget, needed, what, "fewer images, or a smaller train.batch_size")
    steps = min(steps, MOST_STEPS)
    rounds = _rounds(settings, explicit, size, usable)
    values: dict[str, object] = {
        "data.size": size.edge,
        "train.steps": steps,
        "train.warm_start": True,
        "rounds.count": rounds,
        "rounds.controls": _controls(settings, explicit),
    }
    if settings.noise.strength == "auto":
        values["noise.strength"] = min(settings.noise.strengths)
    if rounds == 1:
        values |= {"selection.fraction": 1.0, "objective.labels": "soft", "objective.temperature": 0.5}
    seconds = steps * stages * settings.train.batch_size * size.seconds * OVERHEAD
    seconds += _predictions(settings, explicit, size, workload, usable)
    reasons = (
        f"{size.plan.name} on images of {size.edge} px (a sample takes {1000 * size.seconds * OVERHEAD:.2f} ms here), "
        f"{steps:,} steps of {settings.train.batch_size} images per stage",
        f"{rounds} round{'s' if rounds > 1 else ''} from the teacher's weights"
        + (" on soft labels of all images" if rounds == 1 else ""),
    )
    return Choice(values=values, seconds=seconds, reasons=reasons)


def _sizes(settings: RunSettings, explicit: frozenset[str], backbone: Backbone | None, workload: Workload) -> list[int]:
    """The sizes to try, the largest first."""
    if settings.data.size != "auto" and "data.size" in explicit:
        return [settings.data.size]
    if settings.model.family:
        return [workload.edge]
    largest = min(workload.edge, backbone.size) if backbone else workload.edge
    smallest = 64 if backbone else SMALLER_SIZES[-1]
    return [largest, *(size for size in SMALLER_SIZES if smallest <= size < largest)]


def _measured(settings: RunSettings, backbone: Backbone | None, workload: Workload, engine: Engine, edge: int) -> _Size:
    plan = plan_models(settings.model, 1, edge)[-1]
    classes = tuple(str(label) for label in range(workload.classes))
    if backbone and backbone.fits(plan.name):
        classifier = backbone.new_classifier(plan.name, classes=classes, size=edge)
    else:
        classifier = create_classifier(plan.name, classes=classes, channels=workload.channels, size=plan.size or edge)
    return _Size(edge, plan, seconds_per_sample(classifier.to(engine.device), engine))


def _rounds(settings: RunSettings, explicit: frozenset[str], size: _Size, usable: float) -> int:
    if "rounds.count" in explicit:
        return settings.rounds.count
    return 3 if usable / (size.seconds * OVERHEAD) >= MANY_SAMPLES else 1


def _stages(settings: RunSettings, explicit: frozenset[str], size: _Size, usable: float) -> int:
    """Stages of equal length: teacher, students, and controls that see as much as the last student's weights."""
    rounds = _rounds(settings, explicit, size, usable)
    return (1 + rounds) * (1 + _controls(settings, explicit))


def _controls(settings: RunSettings, explicit: frozenset[str]) -> int:
    """One control where the user gave no number: each costs as much as teacher and students together."""
    return settings.rounds.controls if "rounds.controls" in explicit else 1


def _predictions(
    settings: RunSettings, explicit: frozenset[str], size: _Size, workload: Workload, usable: float
) -> float:
    """Seconds of labeling and scoring."""
    rounds = _rounds(settings, explicit, size, usable)
    images = rounds * workload.unlabeled + (2 + rounds) * workload.held_out
    return images * size.seconds * FORWARD


def _steps(settings: RunSettings, explicit: frozenset[str], size: _Size, workload: Workload, usable: float) -> int:
    """Steps of a stage that fit."""
    left = usable - _predictions(settings, explicit, size, workload, usable)
    per_step = settings.train.batch_size * size.seconds * OVERHEAD * _stages(settings, explicit, size, usable)
    return int(left / per_step) if left > 0 else 0
