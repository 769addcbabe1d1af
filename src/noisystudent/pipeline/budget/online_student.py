"""When a run from scratch has one student that learns online, instead of rounds.

Students of stored pseudo labels repeat what their teacher knew. Answers that get better while the student learns carry
it further where classes lie apart: on development splits with 76,800 samples, an online student that its averaged
weights teach was 3 and 4 points above one long round on hand signs and waste, and 1 and 2 below on clothes and digits;
with 384,000 samples 10 and 1 above three rounds of weaker noise on hand signs and clothes (NOTEBOOK.md).
"""

from __future__ import annotations

from noisystudent.config import read_recipe
from noisystudent.pipeline.stages.online import answered_by_average
from noisystudent.pipeline.stages.online_checks import is_online, online_batch
from noisystudent.run_settings import RunSettings

RECIPE = "online"
# Settings of rounds, or that an online student does not take, by name or prefix: who gives one has rounds.
_OF_ROUNDS = (
    "rounds.count", "rounds.joint", "rounds.teachers", "train.warm_start", "selection.", "objective", "noise.preset",
    "noise.teacher", "noise.unlabeled.", "noise.mixup", "noise.cutmix", "distillation.", "fix.", "pretraining.",
    "model.students", "model.family", "recipe", "runtime.sharded",
)  # fmt: skip


def values_of_online_student(
    settings: RunSettings, explicit: frozenset[str], rounds: int, *, tuned: bool
) -> dict[str, object]:
    """The settings of the recipe ``online`` by dotted name, for the only student of a run; empty where it has rounds.

    Args:
        settings: The settings.
        explicit: Those that the user decided.
        rounds: The number of rounds that the budget has time for.
        tuned: Whether the models start from pretrained weights.
    """
    as_tried = settings.train.batch == "total" and settings.rounds.control == "samples"
    is_open = not is_online(settings) and not any(name.startswith(_OF_ROUNDS) for name in explicit)
    if not rounds or tuned or not (as_tried and is_open):
        return {}
    given = explicit | ({"noise.strength"} if "noise.strengths" in explicit else set())
    values = {**read_recipe(RECIPE), "online.weak_teacher": "round"}
    return {name: value for name, value in values.items() if name not in given}


def answered_per_step(settings: RunSettings) -> int:
    """The images per step that averaged weights answer to, which no gradient passes through."""
    return answered_by_average(online_batch(settings.train, settings.online), settings.online)
