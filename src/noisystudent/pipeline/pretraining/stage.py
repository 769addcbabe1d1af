"""Pretraining without labels: an encoder that teacher, students and controls start from (SimCLR)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from noisystudent.artifacts.folder import disk_full_as_error, write_json
from noisystudent.errors import TrainingError
from noisystudent.losses.contrastive import spread_of
from noisystudent.models.backbones import open_backbone
from noisystudent.models.card import CARD
from noisystudent.models.checkpoint import CHECKPOINT, save_classifier
from noisystudent.models.classifier import Classifier
from noisystudent.models.create import count_parameters
from noisystudent.models.finite import broken_tensors
from noisystudent.models.projection import create_projected, encoder_of
from noisystudent.models.settings import ModelPlan
from noisystudent.pipeline.backbones.start import announce_start
from noisystudent.pipeline.checkpoints import BESIDE_WEIGHTS, TRAINING, Checkpoint, read_checkpoint
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.pretraining.batches import (
    check_batch,
    contrastive_batches,
    fingerprints_of_images,
    pretraining_images,
)
from noisystudent.pipeline.pretraining.checks import check_kept_layers, pretrains
from noisystudent.pipeline.stages.noise import input_size
from noisystudent.pipeline.stages.train_batches import ahead
from noisystudent.random_streams import stream_key
from noisystudent.results.run import StageCost
from noisystudent.runtime.device import seeded
from noisystudent.training.contrastive import ContrastiveBatches, ContrastiveLoss
from noisystudent.training.loop import fit
from noisystudent.training.pretraining_settings import PretrainingSettings
from noisystudent.training.settings import TrainSettings
from noisystudent.training.state import STATE

PRETRAIN = "pretrain"  # the stage of a run
VIEWS = 2  # of an image in a step
NARROWEST = 0.05  # spread of projections, 0 to 1, below which they have collapsed


def start_from_pretraining(context: RunContext, plans: Sequence[ModelPlan]) -> RunContext:
    """The context with what ``pretraining.method`` makes of the first model as its backbone; unchanged without one.

    Raises as ``pretrain``.
    """
    if not pretrains(context.settings):
        return context
    backbone = open_backbone(str(pretrain(context, PRETRAIN, plans[0]).folder))
    announce_start(backbone, plans, context.reporter)
    return replace(context, backbone=backbone)


def pretrain(context: RunContext, stage: str, plan: ModelPlan) -> Checkpoint:
    """Pretrains the encoder of a model on all images of a run, without their labels, or finds it done.

    Of a streamed unlabeled set, the images are taken alone, without the labeled ones, of which there are few beside it.

    Raises:
        SettingsError: A batch holds more images than there are, or processes cannot share it evenly.
        TrainingError: The training diverges, or all images end with the same features.
    """
    check_batch(context)
    check_kept_layers(context.settings, plan.name, input_size(context, plan))
    settings = context.settings.pretraining.resolve_auto(input_size(context, plan))
    training = pretraining_train_settings(context, settings)
    inputs, folder = _inputs(context, stage, plan, settings, training), context.folder_of(stage)
    if context.is_complete(stage, inputs):
        return read_checkpoint(stage, folder)
    key = stream_key(context.settings.seed, stage)
    classifier = _projected(context, plan, settings, key)
    batches = contrastive_batches(context, stage, settings, classifier.size, key)
    assert settings.temperature != "auto"
    objective = ContrastiveLoss(settings.temperature, settings.loss_scale, context.engine.group)
    started = time.monotonic()
    with context.reporter.bar(stage, training.last, "steps") as bar:
        trained, seconds = fit(
            classifier, ahead(context, batches, training, settings.batch_size), objective, training, folder,
            seed=key, engine=context.engine, bar=bar,
        )  # fmt: skip
    earlier = max(0.0, seconds - (time.monotonic() - started))
    cost = StageCost(name=stage, seconds=earlier, samples_seen=VIEWS * training.last * settings.batch_size)

    def finish() -> None:
        _require_features(stage, trained, batches)
        _save(context, encoder_of(trained, settings.kept_layers), training.last, seconds, cost)
        context.commit(CHECKPOINT, inputs, cost, volatile=BESIDE_WEIGHTS, temporary=(STATE,), editable=(CARD,))
        (folder / STATE).unlink(missing_ok=True)

    context.engine.group.on_main(finish)
    return read_checkpoint(stage, folder)


def pretraining_train_settings(context: RunContext, settings: PretrainingSettings) -> TrainSettings:
    """The settings of the training loop: gradients are not clipped and weights not averaged, as published."""
    return TrainSettings(
        steps=settings.steps(pretraining_images(context)),
        batch_size=settings.batch_size,
        optimizer=settings.optimizer,
        learning_rate=settings.peak_rate,
        weight_decay=settings.weight_decay,
        warmup=settings.warmup,
        layer_decay=1.0,
        batch_norm="batch",
        clip=0.0,
        ema_decay=0.0,
        save_every=context.settings.train.save_every,
    )


def _inputs(
    context: RunContext, stage: str, plan: ModelPlan, settings: PretrainingSettings, training: TrainSettings
) -> dict[str, Any]:
    """All that decides the weights of the encoder."""
    stored = context.splits.format
    unnamed = {"preset", "epochs"} | (set() if settings.kept_layers else {"kept_layers"})
    return {
        "stage": stage,
        "seed": context.settings.seed,
        "images": fingerprints_of_images(context),
        "model": {
            "name": plan.name,
            "size": input_size(context, plan),
            "channels": stored.channels,
            "bits": stored.bits,
        },
        "pretraining": {**settings.model_dump(exclude=unnamed), "steps": training.steps},
        "flip": context.settings.noise.flip,
        "precision": context.settings.runtime.precision,
    }


def _projected(context: RunContext, plan: ModelPlan, settings: PretrainingSettings, key: int) -> Classifier:
    """The encoder with its projection head, with weights drawn by ``key``."""
    stored = context.splits.format
    with seeded(stream_key(key, "weights"), context.device):
        classifier = create_projected(
            plan.name,
            channels=stored.channels,
            size=input_size(context, plan),
            layers=settings.projection_layers,
            projection=settings.projection_size,
        )
    classifier.take_format(stored)
    return classifier


def _require_features(stage: str, trained: Classifier, batches: ContrastiveBatches) -> None:
    """Raises ``TrainingError`` for weights that are not finite, or nearly the same projections of all images."""
    if broken := broken_tensors(trained):
        raise TrainingError(
            f"{stage} ends with weights that are not finite (first {broken[0]}): its training diverged. Lower "
            "pretraining.learning_rate or lengthen pretraining.warmup, and run again."
        )
    with torch.no_grad():
        found = float(spread_of(trained.eval()(batches(0).pixels)))
    if found < NARROWEST:
        raise TrainingError(
            f"{stage} has collapsed: all images have nearly the same features (spread {found:.3f} of 1). Lower "
            "pretraining.learning_rate, or give a larger pretraining.batch_size or smaller pretraining.temperature."
        )


def _save(context: RunContext, encoder: Classifier, steps: int, seconds: float, cost: StageCost) -> None:
    folder = context.folder_of(cost.name)
    with disk_full_as_error(folder / "model.safetensors"):
        save_classifier(encoder, folder, extra={"pretraining": context.settings.pretraining.method})
    training = {
        "model": encoder.name,
        "parameters": count_parameters(encoder),
        "steps": steps,
        "samples_seen": cost.samples_seen,
        "seconds": round(seconds, 2),
    }
    write_json(folder / TRAINING, training)
