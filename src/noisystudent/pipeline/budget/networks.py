"""What a run that trains whole networks does with its budget: model, image size, steps, rounds, and how they start.

Found on development splits of Fashion-MNIST, CIFAR-10, hand signs and digits (NOTEBOOK.md): at small budgets, rounds of
fresh students only repeat what their teacher knew already, because none of them trains long enough. One student from
the teacher's weights is as good as three rounds, and better than labels alone; more rounds pay where each of them is
long. A student that learns online is better still on some sets, and taken where nothing speaks of rounds
(``online_student``) and its teacher is sure of three quarters of the images. A teacher that has hardly seen its labels
only teaches its mistakes, and all that it lacks are more steps on the labels: then there is no student. From pretrained
weights, the sizes are those of the weights, stages are as long as ``lengths`` says, two rounds are better than a longer
one, and further ones gain or cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from noisystudent.errors import SettingsError
from noisystudent.pipeline.backbones.tune import with_values
from noisystudent.pipeline.budget.choice import USABLE, Choice, refuse_budget
from noisystudent.pipeline.budget.costs import NetworkCosts, Size
from noisystudent.pipeline.budget.graphs import seconds_of_graphs
from noisystudent.pipeline.budget.lengths import (
    FEWEST_STEPS,
    FEWEST_TUNED_STEPS,
    TRIAL_EPOCHS,
    Lengths,
    lengths_of,
    values_of_tuning,
)
from noisystudent.pipeline.budget.online_student import values_of_online_student
from noisystudent.pipeline.budget.outline import Outline
from noisystudent.pipeline.budget.speed import OVERHEAD
from noisystudent.pipeline.budget.strength import strength_without_search
from noisystudent.pipeline.budget.words import controls_in_words, steps_in_words, students_in_words
from noisystudent.pipeline.budget.workload import Workload
from noisystudent.pipeline.stages.student_choice import LONG_ROUND
from noisystudent.run_settings import RunSettings

MANY_ROUNDS = 3
MOST_ROUNDS = 5  # from pretrained weights, where no stage can be longer; more were not tried
MANY_SAMPLES = 300_000  # in all, controls included, below which ``MANY_ROUNDS`` are no better than one student
# Settings that speak of students, by name or prefix: who gives one wants students.
_OF_STUDENTS = (
    "rounds.count", "rounds.control", "rounds.worse_p", "rounds.joint", "rounds.teachers",
    "train.ratio", "train.warm_start", "selection.", "objective.labels", "objective.temperature", "objective.weighting",
    "noise.teacher", "noise.unlabeled.", "distillation.", "online.", "fix.", "pretraining.", "model.students",
    "model.family", "recipe",
)  # fmt: skip

Affordable = Callable[[Outline], float]  # samples through forward and backward in all


def choose_for_networks(settings: RunSettings, explicit: frozenset[str], costs: NetworkCosts, budget: float) -> Choice:
    """The largest images whose stages get enough steps, else the smallest ones; then rounds by what is affordable.

    Args:
        settings: The settings.
        explicit: Those that the user decided.
        costs: What the networks cost here.
        budget: In seconds.

    Raises:
        SettingsError: Not even the smallest images get ``FEWEST_STEPS`` steps per stage.
    """
    workload, tuned = costs.workload, costs.tuned
    of_tuning = values_of_tuning(explicit) if tuned else {}
    settings = with_values(settings, of_tuning)
    lengths = lengths_of(settings.train.batch_size, workload.labeled, workload.unlabeled, tuned=tuned)
    alone = lengths_of(settings.train.batch_size, workload.labeled, 0, tuned=tuned)
    empty = Outline(settings, explicit, 0, tuned, workload.can_compare)
    size, run = _choose_size(empty, costs, USABLE * budget, lengths, alone)
    affordable = partial(_affordable, size, workload, USABLE * budget)
    student = _as_online_student(run)
    chosen = _affording_stages(student, affordable, lengths)
    given = _given_steps(settings, explicit, workload.labeled)
    steps = given or _steps(chosen, affordable)
    if not given and steps < FEWEST_STEPS:
        what = f"to train {chosen.stages} stages of {FEWEST_STEPS} steps on images of {size.edge} px"
        advice = "fewer images, or a smaller train.batch_size"
        refuse_budget(budget, _seconds(chosen, size, workload, FEWEST_STEPS), what, advice)
    lengths = lengths if chosen.has_student else alone
    steps = given or min(steps, lengths.most)
    looks = steps * chosen.samples_per_step / workload.labeled  # further controls do not change the noise
    if not given and steps == lengths.most:
        chosen = _with_more_controls(chosen, affordable, steps)
    model = f"{size.plan.name} on images of {size.edge} px"
    speed = f"a sample takes {1000 * size.seconds * OVERHEAD:.2f} ms here"
    return Choice(
        values={
            "data.size": size.edge,
            **of_tuning,
            **_values_of_student(run),
            **_values(chosen, steps, looks),
        },
        seconds=_seconds(chosen, size, workload, steps),
        reasons=(
            f"{model} ({speed}), {steps_in_words(settings, steps)}",
            students_in_words(chosen, workload.labeled, lengths),
            *controls_in_words(student, chosen, lengths.enough_with_student),
        ),
    )


def choose_for_samples(
    settings: RunSettings,
    explicit: frozenset[str],
    samples: int,
    labeled: int,
    *,
    tuned: bool = False,
    can_compare: bool = True,
) -> Choice:
    """Steps and rounds for a number of images through forward and backward in all; the same on every machine.

    Args:
        settings: The settings.
        explicit: Those that the user gave.
        samples: The images.
        labeled: The number of labeled images.
        tuned: The models start from pretrained weights.
        can_compare: There may be held-out labels by which models are compared.

    Raises:
        SettingsError: They are fewer than ``FEWEST_STEPS`` steps per stage.
    """
    of_tuning = values_of_tuning(explicit) if tuned else {}
    settings = with_values(settings, of_tuning)
    lengths = lengths_of(settings.train.batch_size, labeled, 0, tuned=tuned)

    def affordable(_: Outline) -> float:
        return float(samples)

    run = _with_rounds(Outline(settings, explicit, 0, tuned, can_compare), affordable, lengths)
    student = _as_online_student(run)
    chosen = _affording_stages(student, affordable, lengths)
    given = _given_steps(settings, explicit, labeled)
    steps = given or _steps(chosen, affordable)
    if not given and steps < FEWEST_STEPS:
        least = FEWEST_STEPS * chosen.samples_per_step
        raise SettingsError(
            f"a budget of {samples:,} samples is too small: {chosen.stages} stages of {FEWEST_STEPS} steps see "
            f"{least:,}. Give --budget {least}samples or more, --budget none, or a smaller train.batch_size."
        )
    looks = steps * chosen.samples_per_step / labeled
    return Choice(
        values={
            **of_tuning,
            **_values_of_student(run),
            **_values(chosen, steps, looks),
        },
        seconds=0.0,
        reasons=(
            steps_in_words(settings, steps),
            students_in_words(chosen, labeled, lengths),
            *controls_in_words(student, chosen, lengths.enough_with_student),
        ),
    )


def choose_for_trainings(costs: NetworkCosts, explicit: frozenset[str], seconds: float, count: int) -> Choice:
    """Image size and steps of ``count`` trainings that share ``seconds``, the size as for a run."""
    workload, tuned = costs.workload, costs.tuned
    of_tuning = values_of_tuning(explicit) if tuned else {}
    batch_size = with_values(costs.settings, of_tuning).train.batch_size
    lengths = lengths_of(batch_size, workload.labeled, 0, tuned=tuned)
    enough = max(FEWEST_TUNED_STEPS, TRIAL_EPOCHS * workload.labeled / batch_size) if tuned else lengths.enough
    for edge in costs.sizes(explicit):
        step = batch_size * costs.at(edge).seconds * OVERHEAD
        steps = int(seconds / (count * step))
        if steps >= enough:
            break
    steps = min(steps, lengths.most)
    return Choice(
        values={"data.size": edge, **of_tuning, "train.steps": steps}, seconds=count * steps * step, reasons=()
    )


def _given_steps(settings: RunSettings, explicit: frozenset[str], labeled: int) -> int | None:
    """The steps of a stage where the user says how long it trains, by steps or epochs."""
    train = settings.train.with_epochs(labeled)
    return train.steps if "train.steps" in explicit or train.epochs else None


def _choose_size(
    empty: Outline, costs: NetworkCosts, usable: float, lengths: Lengths, alone: Lengths
) -> tuple[Size, Outline]:
    """The size of the images, and the run there: the largest size whose stages are long enough, else the smallest.

    Where labels alone cannot use the ``usable`` seconds there, and the next size has time for a student, it is that
    one. ``empty``: the run without rounds; ``alone``: the lengths of a training on labels alone.
    """
    fitting = None
    for edge in costs.sizes(empty.decided):
        size = costs.at(edge)
        affordable = partial(_affordable, size, costs.workload, usable)
        run = _with_rounds(empty, affordable, lengths)
        # Pretrained weights rather do without a control than with smaller images; from scratch it is the reverse.
        sized = _affording_stages(run, affordable, lengths) if costs.tuned else run
        steps = _steps(sized, affordable)
        if fitting:
            return (size, run) if sized.has_student and steps >= lengths.enough_with_student else fitting
        if steps >= (lengths.enough_with_student if sized.has_student else lengths.enough):
            fitting = size, run
            if sized.has_student or steps <= alone.most:
                return fitting
    return fitting or (size, run)


def _with_rounds(empty: Outline, affordable: Affordable, lengths: Lengths) -> Outline:
    """The run ``empty`` with rounds: several where their stages are long enough, else a single one.

    Larger images come before more rounds: a size that is right for one round is not left for the sake of three. There
    is none where the teacher of a single round would see each of the labeled images too rarely; pretrained weights
    rather do without a control. They have two rounds rather than longer stages of one, and ``MANY_ROUNDS`` or more
    where no stage can be longer.
    """
    settings, explicit, tuned = empty.settings, empty.decided, empty.tuned
    given = replace(empty, rounds=settings.rounds.count).with_neighbors()
    is_open = settings.rounds.count and not isinstance(settings.train.ratio, tuple)  # a ratio for each round
    if "rounds.count" in explicit or not is_open:
        return given
    outlines = [replace(empty, rounds=count).with_neighbors() for count in range(MOST_ROUNDS + 1)]
    none, one, two, many = (outlines[count] for count in (0, 1, 2, MANY_ROUNDS))
    single = one.without_control() if tuned else one
    wants_students = any(name.startswith(_OF_STUDENTS) for name in explicit)
    if _steps(single, affordable) < lengths.with_student and not wants_students:
        return none
    if tuned:
        longest = (run for run in reversed(outlines[MANY_ROUNDS:]) if _steps(run, affordable) >= lengths.most)
        return next(longest, two if _steps(two, affordable) >= lengths.enough_with_student else one)
    if affordable(none) < MANY_SAMPLES:
        return one
    return many if _steps(many, affordable) >= lengths.enough_with_student else one


def _as_online_student(run: Outline) -> Outline:
    """The run with a student that learns online instead of rounds, where nothing speaks against one."""
    values = _values_of_student(run)
    return replace(run, settings=with_values(run.settings, values), rounds=0) if values else run


def _values_of_student(run: Outline) -> dict[str, object]:
    return values_of_online_student(run.settings, run.decided, run.rounds, tuned=run.tuned)


def _affording_stages(run: Outline, affordable: Affordable, lengths: Lengths) -> Outline:
    """The run without a control where one would leave a single student stages that are too short."""
    return run if _steps(run, affordable) >= lengths.enough_with_student else run.without_control()


def _with_more_controls(run: Outline, affordable: Affordable, most: int) -> Outline:
    """The run with as many controls as have time beside stages of the ``most`` steps."""
    fitting = (more for more in run.with_more_controls() if _steps(more, affordable) >= most)
    return next(fitting, run)


def _values(run: Outline, steps: int, looks: float) -> dict[str, object]:
    """The settings of a run with stages of so many steps, by dotted name.

    ``looks``: how often labels-only training with all samples would see each labeled image.
    """
    values: dict[str, object] = {"train.steps": steps, "rounds.count": run.rounds, "rounds.controls": run.controls}
    if run.settings.noise.strength == "auto":
        values["noise.strength"] = strength_without_search(run.settings.noise, looks=looks, tuned=run.tuned)
    if run.has_student:
        values["train.warm_start"] = run.train.warm_start
    if run.learns_from_all:
        values |= {**LONG_ROUND, "selection.neighbors": run.settings.selection.neighbors}
    return values


def _affordable(size: Size, workload: Workload, usable: float, run: Outline) -> float:
    """Samples that training may see in ``usable`` seconds, beside what is predicted and compared."""
    trained = run.samples_per_step / run.cost_per_step  # the share of the time of steps
    return trained * (usable - _seconds_beside(run, size, workload)) / (size.seconds * OVERHEAD)


def _seconds_beside(run: Outline, size: Size, workload: Workload) -> float:
    """What a run takes beside its training: predictions and neighbor graphs."""
    graphs = run.graphs(workload)
    graph = seconds_of_graphs(workload.in_training, size.width, whitened=(False,)) if graphs else 0.0
    return run.predictions(workload) * size.forward + graphs * graph


def _steps(run: Outline, affordable: Affordable) -> int:
    """Steps of a stage that fit."""
    return max(0, int(affordable(run) / run.samples_per_step))


def _seconds(run: Outline, size: Size, workload: Workload, steps: int) -> float:
    """What a run with stages of so many steps takes."""
    return steps * run.cost_per_step * size.seconds * OVERHEAD + _seconds_beside(run, size, workload)
