"""What a run that trains whole networks does with its budget: model, image size, steps, rounds, and how they start.

Found on development splits of Fashion-MNIST, CIFAR-10, hand signs and digits (NOTEBOOK.md): at small budgets, rounds
of fresh students only repeat what their teacher knew already, because none of them trains long enough. One student from
the teacher's weights is as good as three rounds, and better than labels alone; more rounds pay where each of them is
long. A student that learns online is better still on most sets, and taken where nothing speaks of rounds
(``online_student``). A teacher that has hardly seen its labels only teaches its mistakes, and all that it lacks are
more steps on the labels: then there is no student. From pretrained weights, the sizes are those of the weights, and
stages are as long as ``lengths`` says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from noisystudent.errors import SettingsError
from noisystudent.models.backbones import Backbone
from noisystudent.models.classifier import create_classifier
from noisystudent.models.settings import ModelPlan, plan_models
from noisystudent.models.tuning import train_last_blocks
from noisystudent.pipeline.budget.choice import USABLE, Choice, refuse_budget
from noisystudent.pipeline.budget.control import controls_of, no_control_in_words, without_control
from noisystudent.pipeline.budget.lengths import (
    FEWEST_STEPS,
    FEWEST_TUNED_STEPS,
    SHARES,
    SMALLEST_SHARE,
    TRIAL_EPOCHS,
    Lengths,
    is_tuned,
    lengths_of,
    sizes_of_weights,
    values_of_tuning,
)
from noisystudent.pipeline.budget.online_student import answered_per_step, values_of_online_student
from noisystudent.pipeline.budget.speed import seconds_per_sample, seconds_per_view
from noisystudent.pipeline.budget.workload import Workload
from noisystudent.pipeline.online_checks import images_behind, is_online, online_batch
from noisystudent.pipeline.student_choice import LONG_ROUND, chooses_student
from noisystudent.pipeline.tune import with_values
from noisystudent.run_settings import RunSettings
from noisystudent.runtime.device import Engine
from noisystudent.training.settings import TrainSettings

SMALLER_SIZES = (64, 48, 32, 24, 16)
OVERHEAD = 1.3  # a step of the loop, with noise, optimizer and averages, against forward and backward pass
FORWARD = 1 / 3  # of a training step of the whole network
MANY_ROUNDS = 3
MANY_SAMPLES = 300_000  # in all, controls included, below which ``MANY_ROUNDS`` are no better than one student
# Settings that speak of students, by name or prefix: who gives one wants students.
_OF_STUDENTS = (
    "rounds.count", "rounds.control", "rounds.worse_p", "rounds.joint", "rounds.teachers",
    "train.ratio", "train.warm_start", "selection.", "objective.labels", "objective.temperature", "objective.weighting",
    "noise.teacher", "noise.unlabeled.", "distillation.", "online.", "fix.", "pretraining.", "model.students",
    "model.family", "recipe",
)  # fmt: skip


@dataclass(frozen=True)
class _Size:
    """An image size, its model, and the seconds there per sample that is trained on and per image that is predicted."""

    edge: int
    plan: ModelPlan
    seconds: float
    forward: float


@dataclass
class NetworkCosts:
    """Seconds per sample by image size; each size is timed once. ``explicit``: the settings that the user decided."""

    settings: RunSettings
    backbone: Backbone | None
    workload: Workload
    engine: Engine
    explicit: frozenset[str] = frozenset()
    _timed: dict[int, _Size] = field(default_factory=dict)

    @property
    def plan(self) -> ModelPlan:
        """The model that is trained last, for images as they are."""
        return plan_models(self.settings.model, 1, self.workload.edge)[-1]

    @property
    def batch_size(self) -> int:
        """Images of a step, of which the training of pretrained weights has fewer."""
        of_tuning = values_of_tuning(self.explicit) if is_tuned(self.backbone, self.plan) else {}
        return with_values(self.settings, of_tuning).train.batch_size

    def at(self, edge: int) -> _Size:
        """The model for images of ``edge`` pixels, and its seconds per sample."""
        if edge not in self._timed:
            self._timed[edge] = _measured(self, edge)
        return self._timed[edge]


def choose_for_networks(settings: RunSettings, explicit: frozenset[str], costs: NetworkCosts, budget: float) -> Choice:
    """The largest images whose stages get enough steps, else the smallest ones; then rounds by what is affordable.

    Raises:
        SettingsError: Not even the smallest images get ``FEWEST_STEPS`` steps per stage.
    """
    usable, workload = USABLE * budget, costs.workload
    tuned = is_tuned(costs.backbone, costs.plan)
    of_tuning = values_of_tuning(explicit) if tuned else {}
    settings = with_values(settings, of_tuning)
    batch_size, labeled = settings.train.batch_size, workload.labeled
    lengths = lengths_of(batch_size, labeled, workload.unlabeled, tuned=tuned)
    for edge in _sizes(costs, explicit):
        size = costs.at(edge)
        samples = partial(_affordable, settings, explicit, size, workload, usable)
        rounds = _rounds(settings, explicit, samples, lengths, tuned=tuned)
        # Pretrained weights rather do without a control than with smaller images; from scratch it is the reverse.
        sized = _affording_stages(settings, explicit, samples, rounds, lengths) if tuned else (settings, explicit)
        if _steps(*sized, samples, rounds) >= lengths.enough:
            break
    of_student = values_of_online_student(settings, explicit, rounds, tuned=tuned)
    settings, rounds = with_values(settings, of_student), 0 if of_student else rounds
    samples = partial(_affordable, settings, explicit, size, workload, usable)
    given = explicit
    settings, explicit = _affording_stages(settings, given, samples, rounds, lengths)
    samples = partial(_affordable, settings, explicit, size, workload, usable)
    steps = _steps(settings, explicit, samples, rounds)
    images = _images_per_step(settings, explicit, rounds)
    if steps < FEWEST_STEPS:
        needed = FEWEST_STEPS * (images + answered_per_step(settings) * FORWARD) * size.seconds * OVERHEAD
        needed += _predictions(size, workload, rounds, settings)
        stages = _stages(settings, explicit, rounds)
        what = f"to train {stages} stages of {FEWEST_STEPS} steps on images of {size.edge} px"
        refuse_budget(budget, needed, what, "fewer images, or a smaller train.batch_size")
    if not (rounds or is_online(settings)):
        lengths = lengths_of(batch_size, labeled, 0, tuned=tuned)
    steps = min(steps, lengths.most)
    seconds = steps * (images + answered_per_step(settings) * FORWARD) * size.seconds * OVERHEAD
    seconds += _predictions(size, workload, rounds, settings)
    model = (
        f"{size.plan.name} on images of {size.edge} px (a sample takes {1000 * size.seconds * OVERHEAD:.2f} ms here)"
    )
    return Choice(
        values={"data.size": size.edge, **of_tuning, **of_student, **_values(settings, explicit, rounds, steps)},
        seconds=seconds,
        reasons=(
            f"{model}, {_steps_in_words(settings, steps)}",
            _students_in_words(settings, explicit, rounds, workload.labeled, lengths),
            *([] if explicit == given else [no_control_in_words(lengths.enough)]),
        ),
    )


def choose_for_samples(
    settings: RunSettings, explicit: frozenset[str], samples: int, labeled: int, *, tuned: bool = False
) -> Choice:
    """Steps and rounds for a number of images through forward and backward in all; the same on every machine.

    Args:
        settings: The settings.
        explicit: Those that the user gave.
        samples: The images.
        labeled: The number of labeled images.
        tuned: The models start from pretrained weights.

    Raises:
        SettingsError: They are fewer than ``FEWEST_STEPS`` steps per stage.
    """
    of_tuning = values_of_tuning(explicit) if tuned else {}
    settings = with_values(settings, of_tuning)
    lengths = lengths_of(settings.train.batch_size, labeled, 0, tuned=tuned)
    rounds = _rounds(settings, explicit, lambda _: float(samples), lengths, tuned=tuned)
    of_student = values_of_online_student(settings, explicit, rounds, tuned=tuned)
    settings, rounds = with_values(settings, of_student), 0 if of_student else rounds
    given = explicit
    settings, explicit = _affording_stages(settings, given, lambda _: float(samples), rounds, lengths)
    steps = _steps(settings, explicit, lambda _: float(samples), rounds)
    if steps < FEWEST_STEPS:
        least = FEWEST_STEPS * _images_per_step(settings, explicit, rounds)
        raise SettingsError(
            f"a budget of {samples:,} samples is too small: {_stages(settings, explicit, rounds)} stages of "
            f"{FEWEST_STEPS} steps see {least:,}. Give --budget {least}samples or more, --budget none, or a smaller "
            "train.batch_size."
        )
    return Choice(
        values={**of_tuning, **of_student, **_values(settings, explicit, rounds, steps)},
        seconds=0.0,
        reasons=(
            _steps_in_words(settings, steps),
            _students_in_words(settings, explicit, rounds, labeled, lengths),
            *([] if explicit == given else [no_control_in_words(lengths.enough)]),
        ),
    )


def _values(settings: RunSettings, explicit: frozenset[str], rounds: int, steps: int) -> dict[str, object]:
    values: dict[str, object] = {
        "train.steps": steps,
        "rounds.count": rounds,
        "rounds.controls": controls_of(settings, explicit, rounds),
    }
    if settings.noise.strength == "auto":
        values["noise.strength"] = min(settings.noise.strengths)
    if rounds or is_online(settings):
        values["train.warm_start"] = _warm(settings, explicit).warm_start
    if rounds == 1:
        values |= LONG_ROUND
    return values


def _steps_in_words(settings: RunSettings, steps: int) -> str:
    counted = "labeled images" if settings.train.batch == "labeled" else "images"
    return f"{steps:,} steps of {settings.train.batch_size} {counted} per stage"


def _students_in_words(
    settings: RunSettings, explicit: frozenset[str], rounds: int, labeled: int, lengths: Lengths
) -> str:
    if not rounds and not is_online(settings):
        looks = lengths.epochs * labeled >= lengths.with_student * settings.train.batch_size
        short = (
            f"see each of the {labeled:,} labeled images fewer than {lengths.epochs} times"
            if looks
            else f"have fewer than {lengths.with_student:.0f} steps"
        )
        return (
            f"no student: beside one, a teacher would {short}, and its pseudo labels would cost more than they give, "
            "so all steps are labels-only training. A larger budget has students, and --rounds.count 1 insists on one"
        )
    start = " from the teacher's weights" if _warm(settings, explicit).warm_start else ""
    by = ", taught by its averaged weights" if settings.online.asks_average else ""
    online = "" if settings.online.method == "none" else f"an online student ({settings.online.method}{by})"
    if not rounds:
        return f"{online}{start}"
    text = f"{rounds} round{'s' if rounds > 1 else ''}{start}"
    text += " on soft labels of all images" if rounds == 1 else ""
    return f"{text}, then {online}" if online else text


def choose_for_trainings(costs: NetworkCosts, explicit: frozenset[str], seconds: float, count: int) -> Choice:
    """Image size and steps of ``count`` trainings that share ``seconds``, the size as for a run."""
    workload, tuned = costs.workload, is_tuned(costs.backbone, costs.plan)
    of_tuning = values_of_tuning(explicit) if tuned else {}
    batch_size = with_values(costs.settings, of_tuning).train.batch_size
    lengths = lengths_of(batch_size, workload.labeled, 0, tuned=tuned)
    enough = max(FEWEST_TUNED_STEPS, TRIAL_EPOCHS * workload.labeled / batch_size) if tuned else lengths.enough
    for edge in _sizes(costs, explicit):
        step = batch_size * costs.at(edge).seconds * OVERHEAD
        steps = int(seconds / (count * step))
        if steps >= enough:
            break
    steps = min(steps, lengths.most)
    return Choice(
        values={"data.size": edge, **of_tuning, "train.steps": steps}, seconds=count * steps * step, reasons=()
    )


def _sizes(costs: NetworkCosts, explicit: frozenset[str]) -> Iterator[int]:
    """The sizes to try, the largest first."""
    settings, backbone, edge = costs.settings, costs.backbone, costs.workload.edge
    if settings.data.size != "auto" and "data.size" in explicit:
        yield settings.data.size
    elif settings.model.family:
        yield edge
    elif backbone and is_tuned(backbone, costs.plan):
        yield from sizes_of_weights(backbone.size, edge, costs.at, (*SHARES, SMALLEST_SHARE))
    else:
        yield from (edge, *(size for size in SMALLER_SIZES if size < edge))


def _measured(costs: NetworkCosts, edge: int) -> _Size:
    settings, backbone, workload, engine = costs.settings, costs.backbone, costs.workload, costs.engine
    plan = plan_models(settings.model, 1, edge)[-1]
    classes = tuple(str(label) for label in range(workload.classes))
    if backbone and backbone.fits(plan.name):
        classifier = backbone.new_classifier(plan.name, classes=classes, size=edge).to(engine.device)
        if blocks := settings.model.last_blocks:  # a step takes half as long and less, a prediction as long as ever
            train_last_blocks(classifier.net, blocks)
            seconds = seconds_per_sample(classifier, engine, costs.batch_size)
            return _Size(edge, plan, seconds, seconds_per_view(classifier, edge, engine))
    else:
        channels, size = workload.channels, plan.size or edge
        classifier = create_classifier(plan.name, classes=classes, channels=channels, size=size).to(engine.device)
    seconds = seconds_per_sample(classifier, engine, costs.batch_size)
    return _Size(edge, plan, seconds, seconds * FORWARD)


def _affordable(
    settings: RunSettings, explicit: frozenset[str], size: _Size, workload: Workload, usable: float, rounds: int
) -> float:
    """Samples that training may see in ``usable`` seconds, beside what is predicted."""
    images = _images_per_step(settings, explicit, rounds)
    trained = images / (images + answered_per_step(settings) * FORWARD)  # the share of the time of steps
    return trained * (usable - _predictions(size, workload, rounds, settings)) / (size.seconds * OVERHEAD)


def _rounds(
    settings: RunSettings, explicit: frozenset[str], samples: Callable[[int], float], lengths: Lengths, *, tuned: bool
) -> int:
    """Several rounds where their stages are long enough, else a single one; ``samples``: in all, by rounds.

    Larger images come before more rounds: a size that is right for one round is not left for the sake of three. There
    is none where the teacher of a single round would see each of the labeled images too rarely; pretrained weights
    rather do without a control.
    """
    is_open = settings.rounds.count and not isinstance(settings.train.ratio, tuple)  # a ratio for each round
    if "rounds.count" in explicit or not is_open:
        return settings.rounds.count
    fewest = lengths.with_student
    single = without_control(settings, explicit, 1) if tuned else (settings, explicit)
    if _steps(*single, samples, 1) < fewest and not any(name.startswith(_OF_STUDENTS) for name in explicit):
        return 0
    if samples(0) < MANY_SAMPLES:
        return 1
    return MANY_ROUNDS if _steps(settings, explicit, samples, MANY_ROUNDS) >= max(lengths.enough, fewest) else 1


def _stages(settings: RunSettings, explicit: frozenset[str], rounds: int) -> int:
    """Stages of equal length: teacher, students, and controls that see as much as the last student's weights."""
    online = settings.online.method != "none"
    return (1 + rounds + online) * (1 + controls_of(settings, explicit, rounds))


def _images_per_step(settings: RunSettings, explicit: frozenset[str], rounds: int) -> int:
    """Images of a step, summed over teacher, students and controls."""
    train = _warm(settings, explicit)
    if not rounds and not is_online(settings):
        return train.batch_size
    chosen = {"train": train, "rounds": settings.rounds.model_copy(update={"count": rounds})}
    students = sum(sum(train.student_counts(number)) for number in range(1, rounds + 1))
    if is_online(settings):
        students += sum(online_batch(train, settings.online).values())
    of_samples, of_steps = images_behind(settings.model_copy(update=chosen)), train.batch_size
    control = {"samples": of_samples, "steps": of_steps, "both": of_samples + of_steps}[settings.rounds.control]
    return train.batch_size + students + controls_of(settings, explicit, rounds) * control


def _warm(settings: RunSettings, explicit: frozenset[str]) -> TrainSettings:
    """The settings of a training with the start that the budget chooses; a control of steps allows no warm start."""
    warm = settings.rounds.control == "samples"
    warm = settings.train.warm_start if "train.warm_start" in explicit else warm
    return settings.train.model_copy(update={"warm_start": warm})


def _predictions(size: _Size, workload: Workload, rounds: int, settings: RunSettings) -> float:
    """Seconds of labeling, by all teachers of a round, or of the one that a weak teacher may have, and scoring."""
    answers = sum(settings.rounds.teachers_of(number) for number in range(1, rounds + 1)) + chooses_student(settings)
    images = answers * workload.unlabeled + (2 + rounds + is_online(settings)) * workload.held_out
    return images * size.forward


def _affording_stages(
    settings: RunSettings, explicit: frozenset[str], samples: Callable[[int], float], rounds: int, lengths: Lengths
) -> tuple[RunSettings, frozenset[str]]:
    """The settings without a control where one would leave a single student stages that are too short."""
    if _steps(settings, explicit, samples, rounds) >= lengths.enough:
        return settings, explicit
    return without_control(settings, explicit, rounds)


def _steps(settings: RunSettings, explicit: frozenset[str], samples: Callable[[int], float], rounds: int) -> int:
    """Steps of a stage that fit."""
    return max(0, int(samples(rounds) / _images_per_step(settings, explicit, rounds)))
