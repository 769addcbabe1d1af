"""The training stage of a run: one model, its batches, its objective, one checkpoint folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from noisystudent.errors import ModelError, TrainingError
from noisystudent.evaluation.metrics.accuracy import top_k
from noisystudent.evaluation.metrics.calibration import negative_log_likelihood
from noisystudent.losses.losses import logit_adjustment
from noisystudent.losses.objectives import LossTerms, distillation_objective, noisy_student, supervised
from noisystudent.losses.settings import DistillationSettings
from noisystudent.models.adapters import add_adapters, merge_adapters
from noisystudent.models.backbones import Backbone
from noisystudent.models.classifier import Classifier, create_classifier
from noisystudent.models.create import zero_head
from noisystudent.models.factory import classifier_from_factory
from noisystudent.models.settings import ModelPlan
from noisystudent.models.teacher import Teacher
from noisystudent.models.tuning import set_batch_norm_momentum, train_last_blocks
from noisystudent.noise.crop import smallest_area
from noisystudent.noise.model import model_noise, set_model_noise
from noisystudent.noise.parted import part_model_noise
from noisystudent.pipeline.checkpoints import Checkpoint, GivenModel, read_checkpoint
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.extensions import CheckedObjective, identity_of
from noisystudent.pipeline.features.fitted_head import start_with_fitted_head
from noisystudent.pipeline.score_stage import predict
from noisystudent.pipeline.stages.noise import input_size
from noisystudent.pipeline.stages.online import answered_by_average, online_objective
from noisystudent.pipeline.stages.store_checkpoint import TrainedWeights, store_checkpoint
from noisystudent.pipeline.stages.train_batches import build_batches
from noisystudent.pipeline.stages.train_data import TrainSpec
from noisystudent.random_streams import stream_key
from noisystudent.results.run import StageCost
from noisystudent.runtime.device import seeded
from noisystudent.runtime.memory import memory_shortage_as_error
from noisystudent.training.loader import LABELED, PSEUDO, Batch
from noisystudent.training.loop import FEWER_AT_ONCE, Objective, evaluations, fit
from noisystudent.training.settings import TrainSettings

FROM_SCRATCH: Mapping[str, object] = {"layer_decay": 1.0, "batch_norm": "batch"}  # what such a training uses
# Settings that decide nothing, or only through others: the steps, the rate, the start, the images of a step.
_ELSEWHERE = {
    "save_every", "evaluate_every", "warm_start", "head_start", "ratio", "batch", "epochs", "rate_per_256", "rule"
}  # fmt: skip


def train(
    context: RunContext,
    stage: str,
    plan: ModelPlan,
    spec: TrainSpec,
    strength: float,
    *,
    start: Checkpoint | GivenModel | None = None,
) -> Checkpoint:
    """Trains one model on ``spec`` under noise in the folder of ``stage``, or finds it done.

    ``start`` is a checkpoint of the same model to start from; without it the model starts from what the run's
    backbone has for it, else from scratch.
    """
    settings, folder, factory = context.settings, context.folder_of(stage), context.extensions.model
    inputs = train_inputs(context, stage, plan, spec, strength, start)
    if context.is_complete(stage, inputs):
        return read_checkpoint(stage, folder, factory)
    key = stream_key(settings.seed, stage)
    _require_memory(context, plan, spec)
    classifier = _classifier_to_train(context, plan, spec, key, start)
    batches = build_batches(context, stage, plan, spec, strength)
    objective = objective_of(context, stage, spec)
    started = time.monotonic()
    with context.reporter.bar(stage, settings.train.last, "steps") as bar:
        trained, seconds = fit(
            classifier, batches, objective, _train_settings(context, plan, spec, start), folder,
            seed=key, engine=context.engine, evaluate=_validate(context), bar=bar,
        )  # fmt: skip
    if settings.model.adapter_rank:
        merge_adapters(trained)
    cost = _cost(context, stage, spec, max(0.0, seconds - (time.monotonic() - started)))
    extra = {"label_smoothing": spec.objective["label_smoothing"], **_noise_of(context, plan, trained)}
    if factory:
        extra["factory"] = identity_of(factory)
    trained.trained_area = trained_area(context, plan, strength)
    seen = TrainedWeights(trained, settings.train.last, start.weights_samples_seen if start else 0, seconds)
    digests = context.splits.labeled.digests if images_are_stored_for(context, plan) else None
    store_checkpoint(context, inputs, cost, seen, extra, digests)
    return read_checkpoint(stage, folder, factory)


def trained_area(context: RunContext, plan: ModelPlan, strength: float) -> float | None:
    """The smallest share of an image that a crop of a training shows; None where noise of the user's own may crop."""
    if context.extensions.noise:
        return None
    noise = context.settings.noise
    resizes = noise.crop_at(input_size(context, plan)) == "resized"
    return smallest_area(noise.resized_area, strength) if resizes else 1.0


def images_are_stored_for(context: RunContext, plan: ModelPlan) -> bool:
    """Whether the run's images have the format of this model, in which its predictions will decode images later."""
    return input_size(context, plan) == context.splits.format.size


def _cost(context: RunContext, stage: str, spec: TrainSpec, earlier: float) -> StageCost:
    """What a stage trains on and predicts; ``earlier``: its seconds before it was killed."""
    samples_seen = context.settings.train.last * sum(spec.batch.values())
    predicted = predicted_in_training(context, spec.batch, spec.distillation, len(spec.teachers))
    if spec.online:
        predicted += context.settings.train.last * answered_by_average(spec.batch, spec.online)
    return StageCost(name=stage, seconds=earlier, samples_seen=samples_seen, images_predicted=predicted)


def predicted_in_training(
    context: RunContext, batch: Mapping[str, int], distillation: DistillationSettings | None, teachers: int
) -> int:
    """The images that a stage only predicts: by teachers that answer at every step, and for validation scores."""
    settings, validation = context.settings.train, context.splits.validation
    predicted = evaluations(settings) * len(validation) if validation else 0
    if distillation and teachers and distillation.teacher_logits == "online":
        rows = range(sum(batch.values()))[distillation.rows(batch.get(LABELED, 0), sum(batch.values()))]
        predicted += settings.last * len(rows) * teachers
    return predicted


def _require_memory(context: RunContext, plan: ModelPlan, spec: TrainSpec) -> None:
    """Raises ``TrainingError`` at once, not after minutes, if the pixels of a batch alone do not fit into memory."""
    pieces = context.engine.group.world_size * context.settings.train.grad_accum_steps
    size, channels = input_size(context, plan), context.splits.format.channels
    with memory_shortage_as_error(TrainingError, FEWER_AT_ONCE):
        torch.empty((sum(spec.batch.values()) // pieces, channels, size, size), device=context.device)


def train_inputs(
    context: RunContext,
    stage: str,
    plan: ModelPlan,
    spec: TrainSpec,
    strength: float,
    start: Checkpoint | GivenModel | None,
) -> dict[str, object]:
    """All that decides the weights of a training stage."""
    settings, extensions = context.settings, context.extensions
    model: dict[str, object] = {
        "name": plan.name,
        "size": input_size(context, plan),
        "channels": context.splits.format.channels,
        "start": start.fingerprint if start else None,
    }
    if backbone := _backbone_of(context, plan, start):
        model["backbone"] = backbone.fingerprint
        if settings.model.adapter_rank:
            model["tune"] = f"lora:{settings.model.adapter_rank}"
        elif settings.model.last_blocks:
            model["tune"] = settings.model.tune
        if (head := _head_start(context, plan, spec, start)) != "random":
            model["head"] = head
    if settings.model.batch_norm_momentum != "auto":
        model["batch_norm_momentum"] = settings.model.batch_norm_momentum
    if context.splits.format.bits is not None:
        model["bits"] = context.splits.format.bits
    if context.splits.format.squash:
        model["squash"] = True
    if extensions.model:
        model["factory"] = identity_of(extensions.model)
    inputs = {
        "stage": stage,
        "seed": settings.seed,
        **spec.inputs,
        "objective": spec.objective,
        "model": model,
        "noise": {
            **settings.noise.deciding("preset", "strength", "strengths", "teacher"),
            **_model_noise(context, plan),
        },
        "own_noise": identity_of(extensions.noise) if extensions.noise else None,
        "strength": strength,
        "train": _deciding(_train_settings(context, plan, spec, start)),
        "batch": spec.batch,
        "precision": settings.runtime.precision,
    }
    if _has_noise_of_unlabeled(context, spec):
        inputs["unlabeled_noise"] = settings.noise.unlabeled.model_dump()
    if extensions.objective:
        inputs["own_objective"] = identity_of(extensions.objective)
    return inputs


def _classifier_to_train(
    context: RunContext, plan: ModelPlan, spec: TrainSpec, key: int, start: Checkpoint | GivenModel | None
) -> Classifier:
    classifier = new_classifier(context, plan, key, start)
    head = _head_start(context, plan, spec, start)
    if head == "fitted":
        start_with_fitted_head(context, plan, spec.labeled, classifier)
    elif head == "zero":
        zero_head(classifier.net)
    if (momentum := context.settings.model.batch_norm_momentum) != "auto":
        set_batch_norm_momentum(classifier.net, momentum)
    if _has_noise_of_unlabeled(context, spec):
        _part_model_noise(context, spec, classifier)
    return classifier


def _has_noise_of_unlabeled(context: RunContext, spec: TrainSpec) -> bool:
    """Whether the unlabeled images of a stage have a noise of their own."""
    unlabeled = context.settings.noise.unlabeled
    return PSEUDO in spec.batch and (unlabeled.changes_images or unlabeled.changes_model)


def _part_model_noise(context: RunContext, spec: TrainSpec, classifier: Classifier) -> None:
    """Gives the unlabeled rows of every batch their own dropout and stochastic depth."""
    unlabeled = context.settings.noise.unlabeled
    part_model_noise(
        classifier.net,
        rows=spec.batch.get(LABELED, 0) // context.sharding.count,
        dropout=None if unlabeled.dropout == "same" else unlabeled.dropout,
        stochastic_depth=None if unlabeled.stochastic_depth == "same" else unlabeled.stochastic_depth,
    )


def _head_start(context: RunContext, plan: ModelPlan, spec: TrainSpec, start: Checkpoint | GivenModel | None) -> str:
    """The last layer that the model starts with; a warm start has one that has learned."""
    if start is not None or _backbone_of(context, plan, start) is None:
        return "random"
    wanted = context.settings.train.head_start
    return "random" if wanted == "fitted" and len(spec.labeled) == 0 else wanted


def _train_settings(
    context: RunContext, plan: ModelPlan, spec: TrainSpec, start: Checkpoint | GivenModel | None
) -> TrainSettings:
    """The settings of a model's training; one that starts from scratch has no statistics and no blocks to keep."""
    pretrained = _backbone_of(context, plan, start) is not None
    of_rate = spec.batch.get(LABELED) or sum(spec.batch.values())  # pseudo labels alone count as labels do
    train = context.settings.train.with_rate(of_rate).resolve_auto(pretrained=pretrained)
    return train if start or pretrained else train.model_copy(update=FROM_SCRATCH)


def _deciding(train: TrainSettings) -> dict[str, object]:
    """The settings of a training that decide its weights beside its steps, its rate and the images of a step."""
    without = _ELSEWHERE if train.schedule == "steps" else {*_ELSEWHERE, "drops"}
    values = train.model_dump(exclude=without)
    return {name: value for name, value in values.items() if name not in FROM_SCRATCH or value != FROM_SCRATCH[name]}


def new_classifier(context: RunContext, plan: ModelPlan, key: int, start: Checkpoint | GivenModel | None) -> Classifier:
    """The model of ``plan`` with weights drawn by ``key``, or with those of ``start``."""
    classes, channels = context.splits.classes, context.splits.format.channels
    size, noise = input_size(context, plan), _model_noise(context, plan)
    with seeded(stream_key(key, "weights"), context.device):
        if factory := context.extensions.model:
            classifier = classifier_from_factory(factory, classes=classes, channels=channels, size=size)
            _set_noise_of_own_model(context, classifier, noise)
        elif backbone := _backbone_of(context, plan, start):
            classifier = backbone.new_classifier(plan.name, classes=classes, size=size, **noise)
        else:
            classifier = create_classifier(
                plan.name,
                classes=classes,
                channels=channels,
                size=size,
                dropout=noise["dropout"],
                stochastic_depth=noise["stochastic_depth"],
            )
    if (blocks := context.settings.model.last_blocks) and _backbone_of(context, plan, start):
        train_last_blocks(classifier.net, blocks)
    format = context.splits.format
    classifier.take_format(format)
    if start:
        given = start.load()
        try:
            classifier.load_state_dict(given.state_dict())
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise ModelError(
                f"the weights of {start.name} do not fit {plan.name} at {size} px ({reason}). Leave out data.size, so "
                f"that it goes on at its {given.size} px."
            ) from None
        classifier.renormalize(given.normalization)  # weights answer rightly only to images as they know them
    if (rank := context.settings.model.adapter_rank) and _backbone_of(context, plan, start):
        with seeded(stream_key(key, "adapters"), context.device):
            add_adapters(classifier, rank)
    return classifier


def _backbone_of(context: RunContext, plan: ModelPlan, start: Checkpoint | GivenModel | None) -> Backbone | None:
    """The backbone that a model starts from; a warm start has its normalization, a given model has its own."""
    if context.backbone is None or isinstance(start, GivenModel):
        return None
    return context.backbone.start_of(plan.name)


def _model_noise(context: RunContext, plan: ModelPlan) -> dict[str, float]:
    """Dropout and stochastic depth: what the user or a preset of theirs says, else the family, else the settings."""
    noise = context.settings.noise
    rates = {"dropout": noise.dropout, "stochastic_depth": noise.stochastic_depth}
    family = {"dropout": plan.dropout, "stochastic_depth": plan.stochastic_depth}
    for name, rate in family.items():
        if rate is not None and f"noise.{name}" not in context.over_family:
            rates[name] = rate
    return rates


def _noise_of(context: RunContext, plan: ModelPlan, trained: Classifier) -> dict[str, float]:
    """The dropout and stochastic depth that the model was trained with: 0 where it has no place for them."""
    rates, used = _model_noise(context, plan), model_noise(trained.net)
    has_depth = any(used.stochastic_depth)
    return {"dropout": used.dropout, "stochastic_depth": rates["stochastic_depth"] if has_depth else 0.0}


def _set_noise_of_own_model(context: RunContext, classifier: Classifier, rates: dict[str, float]) -> None:
    """Sets model noise where a user's own model has a place for it; a rate that the user gave must find one."""
    for name, rate in rates.items():
        others = {"dropout": 0.0, "stochastic_depth": 0.0, name: rate}
        try:
            set_model_noise(classifier.net, **others)
        except ModelError:
            if f"noise.{name}" in context.explicit:
                raise
            context.reporter.say(f"note: the model has no place for {name.replace('_', ' ')}; it trains without it")
            rates = {**rates, name: 0.0}
    set_model_noise(classifier.net, **rates)


def objective_of(context: RunContext, stage: str, spec: TrainSpec) -> Objective:
    """The user's own objective, else that of an online student, of distillation, of Noisy Student (two streams) or of
    plain labels.
    """
    if spec.online:
        return online_objective(context, spec)
    if context.extensions.objective:
        return CheckedObjective(context.extensions.objective, stage)
    weighting, distillation = context.settings.objective.weighting, spec.distillation
    steps = context.settings.train.steps

    def distill(logits: Tensor, batch: Batch) -> LossTerms:
        assert distillation
        progress = (batch.step + 1) / steps
        return distillation_objective(
            logits, batch.targets, batch.labeled, batch.teacher_logits, distillation, progress=progress
        )

    if distillation:
        return distill
    # Without an adjustment, nothing is added: the bits stay those of earlier runs.
    shares, tau = torch.from_numpy(spec.shares), context.settings.objective.logit_adjustment
    offset = logit_adjustment(shares, tau).to(context.device) if tau else None

    def learn(logits: Tensor, batch: Batch) -> LossTerms:
        adjusted = logits if offset is None else logits.float() + offset
        if len(spec.batch) == 1:
            return supervised(adjusted, batch.targets)
        return noisy_student(adjusted, batch.targets, batch.labeled, weighting)

    return learn


def _validate(context: RunContext) -> Callable[[Classifier], dict[str, float]] | None:
    """Validation scores while training, for the curves in metrics.jsonl; they choose nothing."""
    validation = context.splits.validation
    if validation is None or not context.settings.train.evaluate_every:
        return None

    def evaluate(classifier: Classifier) -> dict[str, float]:
        held = validation.predict_and_join(lambda images: predict(context, Teacher(classifier), images))
        return {
            "validation_top1": top_k(held.log_probabilities, held.labels, 1),
            "validation_nll": negative_log_likelihood(held.log_probabilities, held.labels),
        }

    return evaluate
