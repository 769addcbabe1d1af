"""Labels-only trainings beside a student: the same model, start and noise, and as many samples as its weights saw.

``rounds.control`` may ask for as many steps instead, with the labeled images of the student's batches: the supervised
row of the paper's tables, which sees fewer images than the student.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from noisystudent.models.settings import ModelPlan
from noisystudent.pipeline.checkpoints import Checkpoint, GivenModel, TrainedModel
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.score_stage import ScoredCheckpoint, score_checkpoint
from noisystudent.pipeline.stages.online_checks import goes_on
from noisystudent.pipeline.stages.train import train
from noisystudent.pipeline.stages.train_data import supervised_spec
from noisystudent.results.run import ControlLength
from noisystudent.run_settings import RunSettings
from noisystudent.training.settings import TrainSettings

CONTROL, CONTROL_OF_STEPS = "control", "control-steps"  # stages; the second beside the first, where both are trained


@dataclass(frozen=True)
class Controls:
    """The labels-only models that a student is compared with.

    ``trained``: the stages ``control``, ``control-2`` and so on; ``teachers``: those whose training equals theirs;
    ``luck``: whether another seed would give another model; ``length``: what they have in common with the student;
    ``of_steps``: further ones of as many steps, which are only reported.
    """

    trained: tuple[ScoredCheckpoint[Checkpoint], ...] = ()
    teachers: tuple[ScoredCheckpoint[TrainedModel], ...] = ()
    luck: bool = True
    length: ControlLength = "samples"
    of_steps: tuple[ScoredCheckpoint[Checkpoint], ...] = ()

    @property
    def all(self) -> tuple[ScoredCheckpoint[TrainedModel], ...]:
        """All that the student is compared with, the stage ``control`` first."""
        return (*self.trained, *self.teachers)


@dataclass(frozen=True)
class ControlGroup:
    """Labels-only trainings that differ only in their seed: the name of the first stage, and their settings."""

    stage: str
    length: ControlLength
    train: TrainSettings


def control_groups(settings: RunSettings, samples: int) -> list[ControlGroup]:
    """The groups of controls that ``rounds.control`` asks for; the student is compared with the first.

    Args:
        settings: the settings of the run.
        samples: images through forward and backward that the student's weights have seen in all.
    """
    by_samples = ControlGroup(CONTROL, "samples", settings.train.for_samples(samples))
    by_steps = ControlGroup(CONTROL, "steps", settings.train)
    return {
        "samples": [by_samples],
        "steps": [by_steps],
        "both": [by_samples, replace(by_steps, stage=CONTROL_OF_STEPS)],
    }[settings.rounds.control]


def train_controls(
    context: RunContext,
    plan: ModelPlan,
    strength: float,
    *,
    samples: int,
    start: GivenModel | None = None,
    equal: Sequence[ScoredCheckpoint[TrainedModel]] = (),
) -> Controls:
    """Trains the labels-only models of ``rounds.controls`` and ``rounds.control``, or finds them done.

    Args:
        context: the run.
        plan: the student's model.
        strength: the noise strength of the run.
        samples: images through forward and backward that the student's weights have seen in all.
        start: the model that the student started from, where it was given.
        equal: teachers that were trained on the labels just as the first control would be; they take the place of all
            but the first.
    """
    wanted = context.settings.rounds.controls
    teachers = tuple(equal[: max(0, wanted - 1)])
    groups = control_groups(context.settings, samples)
    trained = [
        _train_group(context, group, plan, strength, start, len(teachers) if number == 0 else 0)
        for number, group in enumerate(groups)
    ]
    return Controls(trained[0], teachers, length=groups[0].length, of_steps=trained[1] if len(trained) > 1 else ())


def _train_group(
    context: RunContext, group: ControlGroup, plan: ModelPlan, strength: float, start: GivenModel | None, equal: int
) -> tuple[ScoredCheckpoint[Checkpoint], ...]:
    with_steps = replace(context, settings=context.settings.model_copy(update={"train": group.train}))
    trained = []
    for stage in control_stages(context.settings.rounds.controls, equal, group.stage):
        checkpoint = train(with_steps, stage, plan, supervised_spec(context), strength, start=start)
        trained.append(ScoredCheckpoint(0, checkpoint, score_checkpoint(context, stage, checkpoint)))
    return tuple(trained)


def teacher_is_control(settings: RunSettings, plans: Sequence[ModelPlan], student_round: int) -> bool:
    """Whether a run's first teacher was trained just as the first control for the student of a round would be.

    Both learn from the labels under the same noise; they differ where the student's model is another one, and where its
    weights saw more samples, because it started from its teacher or has pseudo-labeled images on top of the labeled
    ones.
    """
    is_online = student_round > settings.rounds.count
    starts_warm = goes_on(settings) if is_online else settings.train.warm_start
    if plans[student_round] != plans[0] or starts_warm:
        return False
    return settings.train.batch == "total" or settings.rounds.control == "steps"


def control_stages(wanted: int, equal: int, first: str = CONTROL) -> Iterator[str]:
    """The names of the controls that are trained where ``equal`` teachers can stand for all but the first."""
    for number in range(1, wanted + 1 - min(equal, max(0, wanted - 1))):
        yield first if number == 1 else f"{first}-{number}"
