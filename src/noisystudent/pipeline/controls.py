"""Labels-only trainings beside a student: the same model, start and noise, and as many samples as its weights saw."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from noisystudent.config import RunSettings
from noisystudent.models.settings import ModelPlan
from noisystudent.pipeline.checkpoints import Checkpoint, GivenModel, TrainedModel
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.online_checks import goes_on
from noisystudent.pipeline.score_stage import ScoredCheckpoint, score_checkpoint
from noisystudent.pipeline.train_data import supervised_spec
from noisystudent.pipeline.train_stage import train

CONTROL = "control"


@dataclass(frozen=True)
class Controls:
    """The labels-only models that a student is compared with.

    ``trained``: the stages ``control``, ``control-2`` and so on; ``teachers``: those whose training equals theirs;
    ``luck``: whether another seed would give another model.
    """

    trained: tuple[ScoredCheckpoint[Checkpoint], ...] = ()
    teachers: tuple[ScoredCheckpoint[TrainedModel], ...] = ()
    luck: bool = True

    @property
    def all(self) -> tuple[ScoredCheckpoint[TrainedModel], ...]:
        """All of them, the stage ``control`` first."""
        return (*self.trained, *self.teachers)


def train_controls(
    context: RunContext,
    plan: ModelPlan,
    strength: float,
    *,
    samples: int,
    start: GivenModel | None = None,
    equal: Sequence[ScoredCheckpoint[TrainedModel]] = (),
) -> Controls:
    """Trains the labels-only models of ``rounds.controls``, or finds them done.

    Args:
        context: the run.
        plan: the student's model.
        strength: the noise strength of the run.
        samples: images through forward and backward that the student's weights have seen in all.
        start: the model that the student started from, where it was given.
        equal: teachers that were trained on the labels just as a control would be; they take the place of all but the
            first.
    """
    wanted = context.settings.rounds.controls
    teachers = tuple(equal[: max(0, wanted - 1)])
    longer = context.settings.train.for_samples(samples)
    with_steps = replace(context, settings=context.settings.model_copy(update={"train": longer}))
    trained = []
    for stage in control_stages(wanted, len(teachers)):
        checkpoint = train(with_steps, stage, plan, supervised_spec(context), strength, start=start)
        assert checkpoint.samples_seen == samples
        trained.append(ScoredCheckpoint(0, checkpoint, score_checkpoint(context, stage, checkpoint)))
    return Controls(tuple(trained), teachers)


def teacher_is_control(settings: RunSettings, plans: Sequence[ModelPlan], student_round: int) -> bool:
    """Whether a run's first teacher was trained just as a control for the student of a round would be.

    Both learn from the labels under the same noise; they differ where the student's model is another one, and where its
    weights saw more samples, because it started from its teacher.
    """
    is_online = student_round > settings.rounds.count
    starts_warm = goes_on(settings) if is_online else settings.train.warm_start
    return plans[student_round] == plans[0] and not starts_warm


def control_stages(wanted: int, equal: int) -> Iterator[str]:
    """The names of the controls that are trained where ``equal`` teachers can stand for all but the first."""
    for number in range(1, wanted + 1 - min(equal, max(0, wanted - 1))):
        yield CONTROL if number == 1 else f"{CONTROL}-{number}"
