"""The budget of a run: what it is, what it chooses, and where that is kept for a resumed run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from noisystudent.artifacts.archives import prepare
from noisystudent.artifacts.folder import Inputs, State, commit, state_of
from noisystudent.artifacts.typed_json import read_result, write_result
from noisystudent.config import ALL_SETTINGS, Resolved, value_at
from noisystudent.display.wording import duration
from noisystudent.duration import parse_duration, parse_samples
from noisystudent.errors import SettingsError
from noisystudent.models.backbones import Backbone
from noisystudent.models.settings import plan_student, plan_teacher
from noisystudent.pipeline.backbones.tune import HEAD, with_values
from noisystudent.pipeline.budget.choice import Choice
from noisystudent.pipeline.budget.costs import NetworkCosts
from noisystudent.pipeline.budget.heads import HeadCosts, choose_for_heads
from noisystudent.pipeline.budget.lengths import is_tuned
from noisystudent.pipeline.budget.networks import choose_for_networks, choose_for_samples
from noisystudent.pipeline.budget.workload import Workload
from noisystudent.pipeline.pretraining.checks import pretrains
from noisystudent.run_settings import RunSettings
from noisystudent.runtime.device import Engine
from noisystudent.runtime.progress import Reporter
from noisystudent.training.settings import TRANSFER_RECIPE

BUDGET = "budget"  # the kind in a manifest, and the name of the folder
ON_CPU, ON_ACCELERATOR = 15 * 60.0, 60 * 60.0  # seconds
_OF_PUBLISHED_LENGTH = ("paper", TRANSFER_RECIPE)
_OF_TIME = ("train.steps", "train.epochs", "train.stop_after")  # settings that say how long a run trains


@dataclass(frozen=True)
class BudgetRequest:
    """What a budget is chosen for.

    ``resolved`` are the settings that the user gave, ``settings`` those that backbone and ``model.tune`` have decided.
    ``own_batches``: the user has an objective or a noise of their own.
    """

    resolved: Resolved
    settings: RunSettings
    backbone: Backbone | None
    teacher_backbones: tuple[Backbone, ...]
    engine: Engine
    dry: bool = False
    own_selection: bool = False
    own_batches: bool = False

    @property
    def explicit(self) -> frozenset[str]:
        """The settings that the user decided: not those left to ``auto``, but what parts of their own decide."""
        own = {"selection.rule"} if self.own_selection else set()
        own |= {"objective"} if self.own_batches else set()
        return self.resolved.decided | own


def budget_seconds(resolved: Resolved, engine: Engine) -> float | None:
    """The budget of a run in seconds; None where the settings are taken as they are, or samples are counted instead.

    ``auto`` is 15 minutes on a CPU and 60 on an accelerator, but none where the user says how long to train
    (``train.steps``, ``train.epochs``), takes a recipe of published lengths, or pretrains.

    Raises ``SettingsError`` for a budget beside pretraining, which it would not count.
    """
    given, settings = resolved.settings.budget, resolved.settings
    if pretrains(settings) and given not in ("auto", "none"):
        raise SettingsError(
            f"budget {given} does not count the pretraining (pretraining.method {settings.pretraining.method}). Leave "
            "budget out, and say with train.steps and pretraining.epochs how long to train."
        )
    if given == "none" or parse_samples(given):
        return None
    if given != "auto":
        return parse_duration(given)
    is_fixed = pretrains(settings) or settings.recipe in _OF_PUBLISHED_LENGTH
    if is_fixed or resolved.explicit.intersection(_OF_TIME):
        return None
    return ON_CPU if engine.device.type == "cpu" else ON_ACCELERATOR


def decide_budget(
    request: BudgetRequest, workload: Callable[[], Workload], reporter: Reporter
) -> tuple[RunSettings, dict[str, str]]:
    """The settings as the budget chooses them where the user gave nothing, and where these values came from.

    The choice is kept in ``budget/`` of the run's folder, so that a resumed run, which may find the machine busier,
    goes on with the same settings.

    Raises:
        SettingsError: The budget is too small; the message says the smallest one.
    """
    budget = budget_seconds(request.resolved, request.engine)
    if samples := parse_samples(request.settings.budget):
        return _decide_samples(request, samples, workload(), reporter)
    if budget is None:
        return request.settings, {}
    load = workload()
    folder = Path(request.settings.out) / BUDGET
    inputs = _inputs(request, budget, load)
    choose = _chooser(request, load)
    choice = request.engine.group.on_main(lambda: kept_choice(folder, inputs, partial(choose, budget), dry=request.dry))
    choice = choice.without(request.explicit | _by_epochs(request.settings))
    settings = with_values(request.settings, choice.values)
    reporter.say(
        f"budget of {duration(budget)} (--budget): {'; '.join(choice.reasons)}; about {duration(choice.seconds)} of "
        "work. --budget none takes the settings as they are"
    )
    if request.dry:
        _say_others(choose, budget, reporter)
    return settings, dict.fromkeys(choice.values, f"budget of {duration(budget)}")


def _decide_samples(
    request: BudgetRequest, samples: int, load: Workload, reporter: Reporter
) -> tuple[RunSettings, dict[str, str]]:
    """The settings for a number of samples; nothing is measured, so nothing must be kept."""
    if request.settings.model.tune == HEAD:
        raise SettingsError(
            f"a budget of {samples:,} samples is for the training of networks, and model.tune head has none; give "
            "minutes, such as --budget 15m, or --backbone none."
        )
    explicit = request.explicit
    plan = plan_student(request.settings.model, load.edge)
    tuned = is_tuned(request.backbone, plan)
    choice = choose_for_samples(
        request.settings, explicit, samples, load.labeled, tuned=tuned, can_compare=load.can_compare
    )
    choice = choice.without(explicit | _by_epochs(request.settings))
    reporter.say(f"budget of {samples:,} samples (--budget): {'; '.join(choice.reasons)}")
    origins = dict.fromkeys(choice.values, f"budget of {samples:,} samples")
    return with_values(request.settings, choice.values), origins


def _by_epochs(settings: RunSettings) -> set[str]:
    """The settings that ``train.epochs`` decides, if it is given."""
    return {"train.steps"} if settings.train.epochs else set()


def kept_choice(folder: Path, inputs: Inputs, measure: Callable[[], Choice], *, dry: bool = False) -> Choice:
    """The choice that ``folder`` keeps for these inputs; without one, what ``measure`` finds, kept unless ``dry``."""
    if state_of(folder, inputs) is State.COMPLETE:
        return read_result(Choice, folder / "summary.json")
    choice = measure()
    if not dry:
        prepare(folder, inputs)
        write_result(folder / "summary.json", choice)
        commit(folder, BUDGET, inputs)
    return choice


def _chooser(request: BudgetRequest, load: Workload) -> Callable[[float], Choice]:
    """What chooses for a budget in seconds; it times each size once, however often it is asked."""
    settings, explicit = request.settings, request.explicit
    if settings.model.tune == HEAD:
        assert request.backbone
        plan = plan_teacher(settings.model, request.backbone.size)
        backbones = (request.backbone, *request.teacher_backbones)
        heads = HeadCosts(backbones, plan, load, request.engine, settings)
        return partial(choose_for_heads, settings, explicit, heads)
    networks = NetworkCosts(settings, request.backbone, load, request.engine, explicit)
    return partial(choose_for_networks, settings, explicit, networks)


def _say_others(choose: Callable[[float], Choice], budget: float, reporter: Reporter) -> None:
    """What a quarter and four times the budget would buy."""
    for other in (budget / 4, budget * 4):
        try:
            bought = "; ".join(choose(other).reasons)
        except SettingsError:
            bought = "too little for this run"
        reporter.say(f"  {duration(other)} would buy: {bought}")


def _inputs(request: BudgetRequest, budget: float, load: Workload) -> dict[str, Any]:
    """All that the choice depends on, but for the speed of the machine."""
    given = {
        name: value_at(request.resolved.settings, name) for name in request.resolved.explicit & ALL_SETTINGS.keys()
    }
    sources = ("labeled", "unlabeled", "validation", "test", "out", "budget")
    own = {"own": [request.own_selection, request.own_batches]} if request.own_selection or request.own_batches else {}
    return {
        **own,
        **({} if load.can_compare else {"can_compare": False}),
        "budget": budget,
        "settings": {name: str(given[name]) for name in sorted(given) if name not in sources},
        "images": [load.classes, load.labeled, load.unlabeled, load.held_out, load.edge, load.channels],
        "backbone": request.backbone.fingerprint if request.backbone else None,
        "teacher_backbones": [backbone.fingerprint for backbone in request.teacher_backbones],
        "tune": request.settings.model.tune,
        "device": request.engine.device.type,
    }
