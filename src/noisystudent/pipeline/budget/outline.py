"""The outline of a run of networks: its stages, what a step of all of them costs, and what they predict.

Where a control, which takes half of all samples, leaves the stages of a single student too short, the student ends
below labels-only training with all samples, and without a control above it (NOTEBOOK.md). The student is then worth
more than the verdict.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from noisystudent.pipeline.backbones.tune import with_values
from noisystudent.pipeline.budget.online_student import answered_per_step
from noisystudent.pipeline.budget.speed import FORWARD
from noisystudent.pipeline.budget.workload import Workload
from noisystudent.pipeline.features.teachers import MOST_POINTS
from noisystudent.pipeline.labels.neighbor_checks import may_average
from noisystudent.pipeline.stages.online_checks import images_behind, is_online, online_batch
from noisystudent.pipeline.stages.student_choice import chooses_student
from noisystudent.run_settings import RunSettings
from noisystudent.training.settings import TrainSettings

MOST_CONTROLS = 3  # a fourth would narrow the interval of a verdict by less than a tenth


@dataclass(frozen=True)
class Outline:
    """A run with a number of rounds, as a budget may choose it.

    Attributes:
        settings: Its settings.
        decided: Those that are not open to the budget.
        rounds: The number of rounds.
        tuned: Whether its models start from pretrained weights.
        can_compare: Whether there may be held-out labels by which a control is compared.
    """

    settings: RunSettings
    decided: frozenset[str]
    rounds: int
    tuned: bool = False
    can_compare: bool = True

    @property
    def has_student(self) -> bool:
        """Whether there is a student, of rounds or online."""
        return self.rounds > 0 or is_online(self.settings)

    @property
    def learns_from_all(self) -> bool:
        """Whether students of rounds learn soft labels of all images: of a single one, and from pretrained weights."""
        return self.rounds == 1 or (self.tuned and self.rounds > 0)

    @property
    def controls(self) -> int:
        """One control where the user gave no number: each costs as much as teacher and students together.

        Without a student there is nothing to compare, and without held-out labels nothing to compare by.
        """
        if not self.has_student:
            return 0
        if "rounds.controls" in self.decided:
            return self.settings.rounds.controls
        return 1 if self.can_compare or self._speaks_of_controls else 0

    @property
    def stages(self) -> int:
        """Stages of equal length: teacher, students, and controls that see as much as the last student's weights."""
        return (1 + self.rounds + is_online(self.settings)) * (1 + self.controls)

    @property
    def train(self) -> TrainSettings:
        """The settings of a training with the start that a budget chooses; a control of steps allows no warm start."""
        train = self.settings.train
        warm = train.warm_start if "train.warm_start" in self.decided else self.settings.rounds.control == "samples"
        return train.model_copy(update={"warm_start": warm})

    @property
    def samples_per_step(self) -> int:
        """Images through forward and backward of a step, summed over teacher, students and controls."""
        settings, train = self.settings, self.train
        if not self.has_student:
            return train.batch_size
        students = sum(sum(train.student_counts(number)) for number in range(1, self.rounds + 1))
        if is_online(settings):
            students += sum(online_batch(train, settings.online).values())
        return train.batch_size + students + self.controls * self._samples_per_step_of_control

    @property
    def _samples_per_step_of_control(self) -> int:
        rounds = self.settings.rounds.model_copy(update={"count": self.rounds})
        of_samples = images_behind(self.settings.model_copy(update={"train": self.train, "rounds": rounds}))
        of_steps = self.train.batch_size
        return {"samples": of_samples, "steps": of_steps, "both": of_samples + of_steps}[rounds.control]

    @property
    def cost_per_step(self) -> float:
        """The same with what averaged weights answer to, whose forward pass costs a share of a sample."""
        return self.samples_per_step + answered_per_step(self.settings) * FORWARD

    def predictions(self, workload: Workload) -> int:
        """Images that are only predicted: by all teachers of rounds, by a weak one that may have one, and to score."""
        rounds = self.settings.rounds
        answers = sum(rounds.teachers_of(number) for number in range(1, self.rounds + 1))
        answers += chooses_student(self.settings)
        scored = (1 + self.rounds + is_online(self.settings) + self.controls) * workload.held_out
        return answers * workload.unlabeled + scored + self.graphs(workload) * workload.in_training

    def graphs(self, workload: Workload) -> int:
        """How often images are compared in features: of each teacher of rounds, and of a weak one that may have one."""
        if workload.in_training > MOST_POINTS:
            return 0
        compared = self.rounds if self.settings.selection.neighbors == "mean" else 0
        return compared + chooses_student(self.settings)

    def with_neighbors(self) -> Outline:
        """The same with predictions that are averaged with those of neighbors, where students learn from all of them.

        Where a setting speaks against it, the outline stays as it is.
        """
        if not (self.learns_from_all and may_average(self.settings, self.decided)):
            return self
        return replace(self, settings=with_values(self.settings, {"selection.neighbors": "mean"}))

    def without_control(self) -> Outline:
        """The same without a control; as it is if it needs one.

        It does if it has more than one student, whose stages are long enough, or if the user speaks of controls.
        """
        if self._speaks_of_controls or self.rounds + is_online(self.settings) != 1:
            return self
        return self._with_controls(0)

    def with_more_controls(self) -> Iterator[Outline]:
        """The same with more labels-only trainings, whose luck narrows the verdict's interval; the most come first.

        There are none where it has no control, or the user speaks of controls.
        """
        if self.controls == 1 and not self._speaks_of_controls:
            yield from (self._with_controls(count) for count in range(MOST_CONTROLS, 1, -1))

    @property
    def _speaks_of_controls(self) -> bool:
        """Whether the user gave a number or a kind of controls."""
        return any(name.startswith("rounds.control") for name in self.decided)

    def _with_controls(self, count: int) -> Outline:
        settings = with_values(self.settings, {"rounds.controls": count})
        return replace(self, settings=settings, decided=self.decided | {"rounds.controls"})
