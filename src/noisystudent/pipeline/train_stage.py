"""The training stage of a run: one model, its batches, its objective, one checkpoint folder."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from noisystudent.artifacts.folder import commit, disk_full_as_error, write_json
from noisystudent.errors import SettingsError
from noisystudent.evaluation.metrics.accuracy import top_k
from noisystudent.evaluation.metrics.calibration import negative_log_likelihood
from noisystudent.losses.objectives import LossTerms, distillation_objective, noisy_student, supervised
from noisystudent.models.checkpoint import CHECKPOINT, load_classifier, save_classifier
from noisystudent.models.classifier import Classifier, create_classifier
from noisystudent.models.create import count_parameters
from noisystudent.models.settings import ModelPlan
from noisystudent.models.teacher import Teacher
from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.custom import CustomAugmentation, describe
from noisystudent.noise.input import InputNoise
from noisystudent.noise.mixing import build_mixing
from noisystudent.pipeline.checkpoints import TRAINING, Checkpoint, read_checkpoint
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.score_stage import predict
from noisystudent.pipeline.teacher_logits import cached_teachers, cached_view_teachers
from noisystudent.pipeline.train_data import TrainSpec
from noisystudent.random_streams import stream_key
from noisystudent.runtime.device import seeded
from noisystudent.training.loader import UNSHARDED, Batch, BatchLoader, BatchSharding
from noisystudent.training.loop import METRICS, fit
from noisystudent.training.state import STATE
from noisystudent.training.teacher_logits import AskTeachers, OnlineTeachers, TeacherLogitsBatches


def build_batches(
    context: RunContext, name: str, plan: ModelPlan, spec: TrainSpec, strength: float
) -> Callable[[int], Batch]:
    """The batches of the stage ``name`` by turn, in the order and under the noise of its own seed."""
    key = stream_key(context.settings.seed, name)
    streams = spec.streams(key)
    mixing = build_mixing(context.settings.noise, CounterRng(context.settings.seed, f"mixing/{name}"))
    custom_noise = CustomAugmentation(context.custom_noise, seed=key) if context.custom_noise else None

    def at(size: int, sharding: BatchSharding) -> BatchLoader:
        noise = _noise_at(context, name, size, strength)
        return BatchLoader(streams, noise, custom_noise=custom_noise, mixing=mixing, sharding=sharding)

    batches = at(size_of(context, plan), context.sharding)
    return (
        TeacherLogitsBatches(batches, _teacher_logits(context, name, spec, batches, at))
        if spec.teacher_refs
        else batches
    )


def size_of(context: RunContext, plan: ModelPlan) -> int:
    """The input edge in pixels of a model: its family's, or the data's."""
    return plan.size or context.splits.format.size


def input_noise(context: RunContext, name: str, plan: ModelPlan, strength: float) -> InputNoise:
    """The noise that the stage ``name`` puts on its images."""
    return _noise_at(context, name, size_of(context, plan), strength)


def _noise_at(context: RunContext, name: str, size: int, strength: float) -> InputNoise:
    return InputNoise(
        context.settings.noise,
        size=size,
        strength=strength,
        rng=CounterRng(context.settings.seed, f"input-noise/{name}"),
        storage_size=context.splits.format.storage_size,
    )


def _teacher_logits(
    context: RunContext,
    name: str,
    spec: TrainSpec,
    batches: BatchLoader,
    at: Callable[[int, BatchSharding], BatchLoader],
) -> AskTeachers:
    """The lesson's tutors as the settings have them teach; ``at`` gives the stage's batches at another size."""
    assert spec.distillation
    if spec.distillation.teacher_logits == "cached":
        return cached_teachers(context, spec, batches)
    teachers = [teacher_ref.checkpoint.teacher(context.device) for teacher_ref in spec.teacher_refs]
    others = sorted({teacher.size for teacher in teachers} - {batches.noise.size})
    if others and context.custom_noise:
        raise SettingsError(
            f"a noise of your own shows images at the student's {batches.noise.size} pixels only, and a teacher "
            f"takes {others[0]}; use distillation.teacher_logits cached, or a teacher of the student's size."
        )
    if spec.distillation.teacher_logits == "online":
        at_size = {size: at(size, context.sharding) for size in others}
        return OnlineTeachers(teachers, at_size, spec.distillation.rows, context.engine.precision)
    whole = [at(teacher.size, UNSHARDED) for teacher in teachers]
    return cached_view_teachers(context, name, spec, batches, list(zip(teachers, whole, strict=True)))


def train(
    context: RunContext,
    name: str,
    plan: ModelPlan,
    spec: TrainSpec,
    strength: float,
    *,
    start: Checkpoint | None = None,
) -> Checkpoint:
    """Trains one model on ``spec`` under noise into the folder ``name``, or finds it done.

    ``start`` is a checkpoint of the same model to start from; None starts from scratch (or from published weights
    when ``model.pretrained`` asks for them).
    """
    settings = context.settings
    folder = context.folder / name
    inputs = {
        "stage": name,
        "seed": settings.seed,
        **spec.inputs,
        "objective": spec.objective,
        "model": {"name": plan.name, "size": size_of(context, plan), "channels": context.splits.format.channels,
                  "pretrained": settings.model.pretrained, "start": start.fingerprint if start else None},
        "noise": {**settings.noise.model_dump(exclude={"preset", "strength", "strengths", "teacher"}),
                  **_model_noise(context, plan)},
        "custom_noise": describe(context.custom_noise) if context.custom_noise else None,
        "strength": strength,
        "train": settings.train.model_dump(exclude={"save_every", "evaluate_every", "warm_start", "ratio"}),
        "batch": spec.batch,
        "precision": settings.runtime.precision,
    }  # fmt: skip
    if context.is_done(name, inputs):
        return read_checkpoint(name, folder)
    key = stream_key(settings.seed, name)
    classifier = new_classifier(context, plan, key, start)
    batches = build_batches(context, name, plan, spec, strength)
    objective = objective_of(context, spec)
    with context.reporter.bar(name, settings.train.last, "steps") as bar:
        checkpoint, seconds = fit(
            classifier, batches, objective, settings.train, folder,
            seed=key, engine=context.engine, evaluate=_watch(context), bar=bar,
        )  # fmt: skip
    steps = settings.train.last
    training = {"model": plan.name, "parameters": count_parameters(checkpoint), "steps": steps,
                "samples_seen": steps * sum(spec.batch.values()), "seconds": round(seconds, 2)}  # fmt: skip

    def finish() -> None:
        with disk_full_as_error(folder / "model.safetensors"):
            save_classifier(checkpoint, folder, extra={"label_smoothing": spec.objective["label_smoothing"]})
        write_json(folder / TRAINING, training)
        commit(folder, CHECKPOINT, inputs, volatile=(METRICS, TRAINING, STATE))
        (folder / STATE).unlink(missing_ok=True)

    context.engine.group.on_main(finish)
    return read_checkpoint(name, folder)


def _model_noise(context: RunContext, plan: ModelPlan) -> dict[str, float]:
    """Dropout and stochastic depth: the family's where it has them, but a setting of 0 always switches off."""
    noise = context.settings.noise
    dropout = noise.dropout if plan.dropout is None or noise.dropout == 0 else plan.dropout
    depth = noise.stochastic_depth
    depth = depth if plan.stochastic_depth is None or depth == 0 else plan.stochastic_depth
    return {"dropout": dropout, "stochastic_depth": depth}


def new_classifier(context: RunContext, plan: ModelPlan, key: int, start: Checkpoint | None) -> Classifier:
    """The model of ``plan`` with weights drawn by ``key``, or with those of ``start``."""
    with seeded(stream_key(key, "weights"), context.device):
        classifier = create_classifier(
            plan.name,
            classes=context.splits.classes,
            channels=context.splits.format.channels,
            size=size_of(context, plan),
            pretrained=context.settings.model.pretrained,
            **_model_noise(context, plan),
        )
    if start:
        classifier.load_state_dict(load_classifier(start.folder).state_dict())
    return classifier


def objective_of(context: RunContext, spec: TrainSpec) -> Callable[[Tensor, Batch], LossTerms]:
    """Distillation's objective for a lesson that has it; else the supervised one, or Noisy Student's for two parts."""
    weighting, distillation = context.settings.objective.weighting, spec.distillation
    steps = context.settings.train.steps
    if distillation:
        return lambda logits, batch: distillation_objective(
            logits, batch.targets, batch.labeled, batch.teacher_logits, distillation, progress=(batch.step + 1) / steps
        )
    if len(spec.batch) == 1:
        return lambda logits, batch: supervised(logits, batch.targets)
    return lambda logits, batch: noisy_student(logits, batch.targets, batch.labeled, weighting)


def _watch(context: RunContext) -> Callable[[Classifier], dict[str, float]] | None:
    """Validation scores while training, for the curves in metrics.jsonl; they choose nothing."""
    validation = context.splits.validation
    if validation is None or not context.settings.train.evaluate_every:
        return None

    def evaluate(classifier: Classifier) -> dict[str, float]:
        judged = validation.judge(lambda images: predict(context, Teacher(classifier), images))
        return {
            "validation_top1": top_k(judged.log_probabilities, judged.labels, 1),
            "validation_nll": negative_log_likelihood(judged.log_probabilities, judged.labels),
        }

    return evaluate
