"""What a stage is fed with: its lesson's pictures under its noise and, where teachers speak, their answers."""

from __future__ import annotations

from collections.abc import Callable

from noisystudent.errors import SettingsError
from noisystudent.models.settings import ModelPlan
from noisystudent.noise.counter_rng import Draws
from noisystudent.noise.custom import OwnNoise
from noisystudent.noise.input import InputNoise
from noisystudent.noise.mixing import build_mixing
from noisystudent.pipeline.context import Workshop
from noisystudent.pipeline.teacher_logits import replayed, stored
from noisystudent.pipeline.train_data import Lesson
from noisystudent.random_streams import stream_key
from noisystudent.training.loader import WHOLE, Batch, Batches, Division
from noisystudent.training.teacher_logits import OnlineTeachers, Taught, Teach


def feed_stage(
    workshop: Workshop, name: str, plan: ModelPlan, lesson: Lesson, strength: float
) -> Callable[[int], Batch]:
    """The batches of the stage ``name`` by turn, in the order and under the noise of its own seed."""
    key = stream_key(workshop.settings.seed, name)
    feeds = lesson.feeds(key)
    mixing = build_mixing(workshop.settings.noise, Draws(workshop.settings.seed, f"mixing/{name}"))
    own_noise = OwnNoise(workshop.own_noise, seed=key) if workshop.own_noise else None

    def at(size: int, division: Division) -> Batches:
        noise = _noise_at(workshop, name, size, strength)
        return Batches(feeds, noise, own_noise=own_noise, mixing=mixing, division=division)

    batches = at(size_of(workshop, plan), workshop.division)
    return Taught(batches, _teach(workshop, name, lesson, batches, at)) if lesson.tutors else batches


def size_of(workshop: Workshop, plan: ModelPlan) -> int:
    """The input edge in pixels of a model: its family's, or the data's."""
    return plan.size or workshop.roles.format.size


def input_noise(workshop: Workshop, name: str, plan: ModelPlan, strength: float) -> InputNoise:
    """The noise that the stage ``name`` puts on its pictures."""
    return _noise_at(workshop, name, size_of(workshop, plan), strength)


def _noise_at(workshop: Workshop, name: str, size: int, strength: float) -> InputNoise:
    return InputNoise(
        workshop.settings.noise,
        size=size,
        strength=strength,
        draws=Draws(workshop.settings.seed, f"input-noise/{name}"),
        stored_edge=workshop.roles.format.stored_edge,
    )


def _teach(
    workshop: Workshop, name: str, lesson: Lesson, batches: Batches, at: Callable[[int, Division], Batches]
) -> Teach:
    """The lesson's tutors as the settings have them teach; ``at`` gives the stage's batches at another size."""
    assert lesson.distillation
    if lesson.distillation.teaching == "stored":
        return stored(workshop, lesson, batches)
    teachers = [tutor.trained.teacher(workshop.device) for tutor in lesson.tutors]
    others = sorted({teacher.size for teacher in teachers} - {batches.noise.size})
    if others and workshop.own_noise:
        raise SettingsError(
            f"a noise of your own shows pictures at the student's {batches.noise.size} pixels only, and a teacher "
            f"takes {others[0]}; use distillation.teaching stored, or a teacher of the student's size."
        )
    if lesson.distillation.teaching == "online":
        at_size = {size: at(size, workshop.division) for size in others}
        return OnlineTeachers(teachers, at_size, lesson.distillation.rows, workshop.engine.precision)
    whole = [at(teacher.size, WHOLE) for teacher in teachers]
    return replayed(workshop, name, lesson, batches, list(zip(teachers, whole, strict=True)))
