"""The models that label in a round: the latest one, or several whose mean labels (``rounds.teachers``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from noisystudent.artifacts.folder import fingerprint_of
from noisystudent.display.wording import percent, printable
from noisystudent.errors import SettingsError
from noisystudent.models.teacher import TeacherModel
from noisystudent.models.teacher_mean import MeanTeacher
from noisystudent.models.training_images import count_training_images
from noisystudent.pipeline.checkpoints import (
    Checkpoint,
    GivenModel,
    Labeler,
    TrainedModel,
    is_checkpoint,
    open_given,
    require_fit,
)
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.features.teachers import weights_by_accuracy
from noisystudent.pipeline.score_stage import ScoredCheckpoint, score_checkpoint
from noisystudent.results.run import RoundTeacher
from noisystudent.run_settings import RunSettings


@dataclass(frozen=True)
class MeanOfModels:
    """Several models that teach as one; ``weights`` are those of their probabilities and sum to 1."""

    members: tuple[TrainedModel, ...]
    weights: tuple[float, ...]

    @property
    def name(self) -> str:
        """The names of the members."""
        return f"the mean of {', '.join(member.name for member in self.members)}"

    @property
    def fingerprint(self) -> str:
        """Identifies the weights of all members, and how they are averaged."""
        return fingerprint_of([[member.fingerprint for member in self.members], self.weights])

    def teacher(self, device: torch.device, *, noised: bool = False) -> TeacherModel:
        """The mean as a teacher."""
        return MeanTeacher([member.teacher(device, noised=noised) for member in self.members], self.weights)


@dataclass(frozen=True)
class RoundTeachers:
    """Who labels in a round: one model, or the mean of ``members``, of which there are at least two then."""

    model: Labeler
    members: tuple[RoundTeacher, ...] = ()

    @property
    def passes(self) -> int:
        """The networks that each image goes through to be labeled."""
        return max(1, len(self.members))


def open_round_teachers(settings: RunSettings) -> dict[str, GivenModel]:
    """The models from elsewhere that label, by their name in the settings.

    Raises ``ModelError`` for a model that cannot be opened, ``SettingsError`` for what names none.
    """
    opened = {}
    for number, name in enumerate(settings.rounds.given_teachers, start=1):
        if not is_checkpoint(name):
            raise SettingsError(
                f"rounds.teachers holds {name!r}, which is no finished model: give last:N, all, the folder of a "
                "checkpoint or run, or timm:NAME. Models that label are trained before the run (noisystudent train)."
            )
        opened[name] = GivenModel(f"given-{number}", open_given(name, settings.runtime))
    return opened


def with_round_teachers(context: RunContext, given: Mapping[str, GivenModel]) -> RunContext:
    """The context with the models from elsewhere; raises ``ModelError`` for one of other classes or channels."""
    for name, model in given.items():
        require_fit(context.splits, name, model.given)
    rounds = context.settings.rounds
    if rounds.teachers != ("last:1",) and rounds.count == 1 and not given:
        context.reporter.say(
            f"note: rounds.teachers {', '.join(rounds.teachers)} has no effect in a run of one round, which only the "
            "teacher labels; give a rounds.count above 1"
        )
    return replace(context, given_teachers=given)


def round_teachers(context: RunContext, kept: Sequence[ScoredCheckpoint[Checkpoint]], number: int) -> RoundTeachers:
    """The teachers of round ``number``, from the run's own models that were kept, oldest first.

    Several are weighted by their accuracy on validation labels, as the teachers of heads by that on held-out folds. All
    count the same without such labels, or where a model from elsewhere has learned some of them.
    """
    rounds = context.settings.rounds
    own = kept[-rounds.own_teachers :] if rounds.own_teachers else []
    models: list[TrainedModel] = [*(model.checkpoint for model in own), *context.given_teachers.values()]
    if len(models) == 1:
        return RoundTeachers(models[0])
    accuracies, reason = _accuracies(context, own)
    weights = weights_by_accuracy(accuracies) if accuracies else dict.fromkeys(_names(models), 1 / len(models))
    members = tuple(
        RoundTeacher(
            name=name, model=model.model, weight=weights[model.name], validation_top1=accuracies.get(model.name)
        )
        for name, model in zip(_shown(context, own), models, strict=True)
    )
    shown = ", ".join(f"{printable(member.name)} {percent(member.weight)}" for member in members)
    context.reporter.say(f"round {number}: pseudo labels are the mean of {len(members)} teachers ({shown}), {reason}")
    return RoundTeachers(MeanOfModels(tuple(models), tuple(member.weight for member in members)), members)


def _names(models: Sequence[TrainedModel]) -> list[str]:
    return [model.name for model in models]


def _shown(context: RunContext, own: Sequence[ScoredCheckpoint[Checkpoint]]) -> list[str]:
    """How results call the teachers: by their stage, or as the settings name them."""
    return [*(model.checkpoint.name for model in own), *context.given_teachers]


def _accuracies(context: RunContext, own: Sequence[ScoredCheckpoint[Checkpoint]]) -> tuple[dict[str, float], str]:
    """The accuracy of each teacher on validation labels by its name, none if they do not count; and why, in words."""
    validation = context.splits.validation
    if validation is None:
        return {}, "equally, because there are no validation labels to weigh them by"
    for name, model in context.given_teachers.items():
        if _has_learned(context, model):
            return {}, f"equally, because {printable(name)} has learned some of the validation images"
    scored = {model.checkpoint.name: model.result for model in own}
    scored |= {model.name: score_checkpoint(context, model.name, model) for model in context.given_teachers.values()}
    accuracies = {}
    for name, result in scored.items():
        scores = result.scores["validation"]
        assert scores
        accuracies[name] = scores.top1
    return accuracies, "weighted by their accuracy on validation labels"


def _has_learned(context: RunContext, model: GivenModel) -> bool:
    """Whether a model's record of its training images has some of the validation images."""
    validation, known = context.splits.validation, model.given.training_images
    assert validation
    return bool(validation.examine(lambda images: {"seen": count_training_images(images.digests, known)})["seen"])
