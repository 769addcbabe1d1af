"""The training stage of a run: one model, its batches, its objective, one checkpoint folder."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from noisystudent.artifacts.folder import commit, naming_a_full_disk, write_json
from noisystudent.errors import SettingsError
from noisystudent.evaluation.metrics.accuracy import top_k
from noisystudent.evaluation.metrics.calibration import negative_log_likelihood
from noisystudent.losses.objectives import Terms, distilled, noisy_student, supervised
from noisystudent.models.checkpoint import CHECKPOINT, load_classifier, save_classifier
from noisystudent.models.classifier import Classifier, create_classifier
from noisystudent.models.create import count_parameters
from noisystudent.models.settings import ModelPlan
from noisystudent.models.teacher import Teacher
from noisystudent.noise.counter_rng import Draws
from noisystudent.noise.custom import OwnNoise, describe
from noisystudent.noise.input import InputNoise
from noisystudent.noise.mixing import build_mixing
from noisystudent.pipeline.checkpoints import TRAINING, Trained, read_trained
from noisystudent.pipeline.context import Workshop
from noisystudent.pipeline.score_stage import predict
from noisystudent.pipeline.teacher_logits import replayed, stored
from noisystudent.pipeline.train_data import Lesson
from noisystudent.random_streams import stream_key
from noisystudent.runtime.device import seeded
from noisystudent.training.loader import WHOLE, Batch, Batches, Division
from noisystudent.training.loop import METRICS, fit
from noisystudent.training.state import STATE
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


def train(
    workshop: Workshop, name: str, plan: ModelPlan, lesson: Lesson, strength: float, *, start: Trained | None = None
) -> Trained:
    """Trains one model on ``lesson`` under noise into the folder ``name``, or finds it done.

    ``start`` is a checkpoint of the same model to start from; None starts from scratch (or from published weights
    when ``model.pretrained`` asks for them).
    """
    settings = workshop.settings
    folder = workshop.folder / name
    inputs = {
        "stage": name,
        "seed": settings.seed,
        **lesson.inputs,
        "objective": lesson.objective,
        "model": {"name": plan.name, "size": size_of(workshop, plan), "channels": workshop.roles.format.channels,
                  "pretrained": settings.model.pretrained, "start": start.fingerprint if start else None},
        "noise": {**settings.noise.model_dump(exclude={"preset", "strength", "strengths", "teacher"}),
                  **_model_noise(workshop, plan)},
        "own_noise": describe(workshop.own_noise) if workshop.own_noise else None,
        "strength": strength,
        "train": settings.train.model_dump(exclude={"save_every", "evaluate_every", "warm_start", "ratio"}),
        "batch": lesson.batch,
        "precision": settings.runtime.precision,
    }  # fmt: skip
    if workshop.is_done(name, inputs):
        return read_trained(name, folder)
    key = stream_key(settings.seed, name)
    classifier = new_classifier(workshop, plan, key, start)
    batches = feed_stage(workshop, name, plan, lesson, strength)
    objective = objective_of(workshop, lesson)
    with workshop.reporter.bar(name, settings.train.last, "steps") as bar:
        trained, seconds = fit(
            classifier, batches, objective, settings.train, folder,
            seed=key, engine=workshop.engine, evaluate=_watch(workshop), bar=bar,
        )  # fmt: skip
    steps = settings.train.last
    training = {"model": plan.name, "parameters": count_parameters(trained), "steps": steps,
                "passes": steps * sum(lesson.batch.values()), "seconds": round(seconds, 2)}  # fmt: skip

    def finish() -> None:
        with naming_a_full_disk(folder / "model.safetensors"):
            save_classifier(trained, folder, extra={"label_smoothing": lesson.objective["label_smoothing"]})
        write_json(folder / TRAINING, training)
        commit(folder, CHECKPOINT, inputs, volatile=(METRICS, TRAINING, STATE))
        (folder / STATE).unlink(missing_ok=True)

    workshop.engine.ranks.first_says(finish)
    return read_trained(name, folder)


def _model_noise(workshop: Workshop, plan: ModelPlan) -> dict[str, float]:
    """Dropout and stochastic depth: the family's where it has them, but a setting of 0 always switches off."""
    noise = workshop.settings.noise
    dropout = noise.dropout if plan.dropout is None or noise.dropout == 0 else plan.dropout
    depth = noise.stochastic_depth
    depth = depth if plan.stochastic_depth is None or depth == 0 else plan.stochastic_depth
    return {"dropout": dropout, "stochastic_depth": depth}


def new_classifier(workshop: Workshop, plan: ModelPlan, key: int, start: Trained | None) -> Classifier:
    """The model of ``plan`` with weights drawn by ``key``, or with those of ``start``."""
    with seeded(stream_key(key, "weights"), workshop.device):
        classifier = create_classifier(
            plan.name,
            classes=workshop.roles.classes,
            channels=workshop.roles.format.channels,
            size=size_of(workshop, plan),
            pretrained=workshop.settings.model.pretrained,
            **_model_noise(workshop, plan),
        )
    if start:
        classifier.load_state_dict(load_classifier(start.folder).state_dict())
    return classifier


def objective_of(workshop: Workshop, lesson: Lesson) -> Callable[[Tensor, Batch], Terms]:
    """Distillation's objective for a lesson that has it; else the supervised one, or Noisy Student's for two parts."""
    weighting, distillation = workshop.settings.objective.weighting, lesson.distillation
    steps = workshop.settings.train.steps
    if distillation:
        return lambda logits, batch: distilled(
            logits, batch.targets, batch.labeled, batch.teachers, distillation, progress=(batch.step + 1) / steps
        )
    if len(lesson.batch) == 1:
        return lambda logits, batch: supervised(logits, batch.targets)
    return lambda logits, batch: noisy_student(logits, batch.targets, batch.labeled, weighting)


def _watch(workshop: Workshop) -> Callable[[Classifier], dict[str, float]] | None:
    """Validation scores while training, for the curves in metrics.jsonl; they choose nothing."""
    validation = workshop.roles.validation
    if validation is None or not workshop.settings.train.evaluate_every:
        return None

    def evaluate(classifier: Classifier) -> dict[str, float]:
        judged = validation.judge(lambda pictures: predict(workshop, Teacher(classifier), pictures))
        return {
            "validation_top1": top_k(judged.log_probabilities, judged.labels, 1),
            "validation_nll": negative_log_likelihood(judged.log_probabilities, judged.labels),
        }

    return evaluate
