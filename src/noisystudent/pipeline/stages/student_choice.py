"""Whether the only student of a run learns online, or in a round of stored soft labels because its teacher is weak.

Few answers of a weak teacher reach the threshold of an online student, and those that do are often wrong. Where 27 to
41% did, a round on soft labels of all images was better, by 3 points and more on CIFAR-10 and by 1 on clothes. Where 65
to 72% did, it was 2 points better on digits; where 78 to 85% did, 1 to 3 better on digits, and 1 worse on hand signs
(NOTEBOOK.md).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np

from noisystudent.artifacts.typed_json import read_result, write_result
from noisystudent.data.sample import evenly_spread
from noisystudent.display.wording import percent
from noisystudent.pipeline.backbones.tune import with_values
from noisystudent.pipeline.checkpoints import Checkpoint
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.labels.neighbor_checks import may_average, why_not_comparable
from noisystudent.pipeline.score_stage import predict
from noisystudent.pipeline.stages.online_checks import is_online
from noisystudent.results.facts import StudentChoice
from noisystudent.results.run import StageCost
from noisystudent.run_settings import RunSettings

STUDENT_CHOICE = "student-choice"  # the stage, and its kind
FEWEST_SURE = 3 / 4  # of the unlabeled images
LOOKED_AT = 4  # shards of unlabeled images, evenly spread
LONG_ROUND: dict[str, object] = {
    "selection.fraction": 1.0,
    "objective.labels": "soft",
    "objective.temperature": 0.5,
}


def chooses_student(settings: RunSettings) -> bool:
    """Whether a run asks its teacher what its only student learns from."""
    return is_online(settings) and settings.online.weak_teacher == "round"


def chooses_round(context: RunContext, teacher: Checkpoint) -> bool:
    """Whether the only student of a run learns in a round, because its teacher is sure of too few images."""
    if not chooses_student(context.settings):
        return False
    choice = _choice(context, teacher)
    sure = percent(choice.sure / max(1, choice.images))
    if choice.student == "online":
        context.reporter.say(f"the teacher is sure of {sure} of the unlabeled images, so the student learns online")
        return False
    averaged = ", averaged with those of their neighbors," if _averages(context) else ""
    context.reporter.say(
        f"the teacher is sure of {sure} of the unlabeled images, fewer than {percent(FEWEST_SURE)}, so the student "
        f"learns stored soft labels of all{averaged} in one round. --recipe online insists on an online one"
    )
    return True


def student_of(sure: int, images: int) -> Literal["online", "round"]:
    """What a student learns from whose teacher is sure of so many of the images."""
    return "online" if sure >= FEWEST_SURE * images else "round"


def in_a_round(context: RunContext) -> RunContext:
    """The context of a run whose student learns in one long round instead of online."""
    neighbors = "mean" if _averages(context) else "none"
    values = {**LONG_ROUND, "selection.neighbors": neighbors, "rounds.count": 1, "online.method": "none"}
    return replace(context, settings=with_values(context.settings, values))


def with_kept_student(context: RunContext) -> RunContext:
    """The context as an earlier call has chosen, for a plan; as it is where nothing is kept."""
    kept = context.folder_of(STUDENT_CHOICE) / "summary.json"
    if not chooses_student(context.settings) or not kept.is_file():
        return context
    return context if read_result(StudentChoice, kept).student == "online" else in_a_round(context)


def _averages(context: RunContext) -> bool:
    """Whether labels of the round are averaged with those of neighbors."""
    is_open = may_average(context.settings, context.explicit)
    return is_open and why_not_comparable(context.splits, context.extensions) is None


def _choice(context: RunContext, teacher: Checkpoint) -> StudentChoice:
    folder, unlabeled = context.folder_of(STUDENT_CHOICE), context.splits.unlabeled
    threshold = context.settings.online.threshold
    inputs: dict[str, Any] = {
        "teacher": teacher.fingerprint,
        "unlabeled": unlabeled.fingerprint,
        "threshold": threshold,
        "precision": context.settings.runtime.precision,
    }
    if not context.is_complete(STUDENT_CHOICE, inputs):
        model = teacher.teacher(context.device)
        shards = evenly_spread(len(unlabeled.shard_sizes), LOOKED_AT).tolist()
        answers = np.concatenate([predict(context, model, unlabeled.read(shard)) for shard in shards])
        sure = int((answers.max(axis=1, initial=-np.inf) >= np.log(threshold)).sum())
        choice = StudentChoice(
            images=len(answers),
            sure=sure,
            threshold=threshold,
            student=student_of(sure, len(answers)),
        )

        def write() -> None:
            write_result(folder / "summary.json", choice)
            context.commit(STUDENT_CHOICE, inputs, StageCost(name=STUDENT_CHOICE, images_predicted=len(answers)))

        context.engine.group.on_main(write)
    return read_result(StudentChoice, folder / "summary.json")
