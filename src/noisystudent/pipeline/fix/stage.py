"""The stage that fixes one trained model for a larger test size, by the training loop of all stages."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from noisystudent.data.images import ImageFormat, content_fingerprint
from noisystudent.data.source import Source
from noisystudent.data.splits import splits_at
from noisystudent.errors import DataError, ModelError, TrainingError
from noisystudent.losses.objectives import supervised
from noisystudent.models.classifier import Classifier
from noisystudent.models.fixing import train_blocks, train_classifier_alone
from noisystudent.models.resolution import at_size
from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.fix_views import ShiftedView
from noisystudent.noise.input import InputNoise
from noisystudent.noise.model import set_model_noise
from noisystudent.noise.settings import NoiseSettings
from noisystudent.pipeline.checkpoints import Checkpoint, GivenModel, read_checkpoint
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.extensions import identity_of
from noisystudent.pipeline.stages.store_checkpoint import TrainedWeights, store_checkpoint
from noisystudent.pipeline.stages.train_batches import ahead
from noisystudent.pipeline.stages.train_data import labeled_targets
from noisystudent.random_streams import stream_key
from noisystudent.results.run import StageCost
from noisystudent.training.fix_settings import FixSettings
from noisystudent.training.loader import LABELED, BatchLoader, ImageNoise, InMemoryStream, make_buffer
from noisystudent.training.loop import FEWER_AT_ONCE, fit

_FEWEST = 2  # labeled images, for batch statistics
_ADVICE = {  # in errors of the training loop
    FEWER_AT_ONCE: "fix.batch_size or fix.size",
    "train.learning_rate or train.clip, or lengthen train.warmup": "fix.learning_rate",
}
# Settings that decide nothing beside those that they stand for: the training's and the model's.
_ELSEWHERE = {"size", "preset", "trained_area"}


def format_at(context: RunContext, classifier: Classifier, size: int) -> ImageFormat:
    """The format of a run's images for a model at another size of its input, in pixels."""
    old = context.splits.format
    return ImageFormat(size, old.channels, bits=old.bits, crop=at_size(classifier, size).crop, squash=old.squash)


def context_at(context: RunContext, sources: Mapping[str, Source], format: ImageFormat) -> RunContext:
    """The context of a run with its labeled and held-out images decoded again, for a model at another size.

    Args:
        context: the run.
        sources: its sources by role.
        format: the format, as ``format_at`` gives it.

    Raises:
        DataError: memory does not hold the images at this size.
    """
    splits = splits_at(context.splits, sources, format, context.settings.data)
    return replace(context, splits=splits, buffer=make_buffer([splits.labeled], context.device))


def with_training(context: RunContext) -> RunContext:
    """The context with the fix's training in the place of the run's; raises ``DataError`` for too few labels."""
    settings, labeled = context.settings, len(context.splits.labeled)
    if labeled < _FEWEST:
        raise DataError(f"the fix needs at least {_FEWEST} labeled images, and there are {labeled}.")
    train = settings.fix.training(labeled, settings.train.save_every)
    objective = settings.objective.model_copy(update={"label_smoothing": settings.fix.label_smoothing})
    return replace(context, settings=settings.model_copy(update={"train": train, "objective": objective}))


def fix_checkpoint(
    context: RunContext,
    stage: str,
    given: Checkpoint | GivenModel,
    format: ImageFormat,
    images_at: Callable[[], RunContext],
) -> Checkpoint:
    """Fixes a trained model for the size of a format in the folder of ``stage``, or finds it done.

    Args:
        context: the run.
        stage: the name of the stage.
        given: the model; it stays as it is.
        format: the format of its images from then on.
        images_at: gives the context with images in this format, where the stage is not done.

    Raises:
        ModelError: the model cannot be fixed as the settings say.
        TrainingError: the training diverges.
    """
    context = with_training(context)
    inputs = _inputs(context, stage, given, format)
    folder, factory = context.folder_of(stage), given.factory if isinstance(given, Checkpoint) else None
    if not context.is_complete(stage, inputs):
        _train(with_training(images_at()), stage, given, inputs)
    return read_checkpoint(stage, folder, factory)


def _train(context: RunContext, stage: str, given: Checkpoint | GivenModel, inputs: Mapping[str, Any]) -> None:
    """Trains the stage and stores its checkpoint; the context has the images at the new size."""
    settings, splits = context.settings, context.splits
    key, train = stream_key(settings.seed, stage), settings.train
    classifier = at_size(given.load(), splits.format.size)
    classifier.bits = splits.format.bits
    prepare_fix(classifier, settings.fix)
    targets, rows = labeled_targets(context), np.arange(len(splits.labeled))
    stream = InMemoryStream(LABELED, context.buffer, targets, rows, train.batch_size, seed=key)
    loader = BatchLoader((stream,), _views(context, stage), sharding=context.sharding)
    batches = ahead(context, loader, train, train.batch_size)
    started = time.monotonic()
    with context.reporter.bar(stage, train.last, "steps") as bar, _settings_of_fix_named():
        trained, seconds = fit(
            classifier, batches, lambda logits, batch: supervised(logits, batch.targets), train,
            context.folder_of(stage), seed=key, engine=context.engine, bar=bar,
        )  # fmt: skip
    earlier = max(0.0, seconds - (time.monotonic() - started))
    cost = StageCost(name=stage, seconds=earlier, samples_seen=train.last * train.batch_size)
    trained.trained_area = 1.0  # it was trained on views of the test
    extra: dict[str, Any] = {"label_smoothing": settings.fix.label_smoothing, "fixed": True}
    if isinstance(given, Checkpoint) and given.factory:
        extra["factory"] = identity_of(given.factory)
    seen = TrainedWeights(trained, train.last, given.weights_samples_seen, seconds)
    with _settings_of_fix_named():
        store_checkpoint(context, inputs, cost, seen, extra, splits.labeled.digests)


@contextmanager
def _settings_of_fix_named() -> Iterator[None]:
    """Names the settings of the fix in the errors of a training, which name those of other stages."""
    try:
        yield
    except TrainingError as error:
        text = str(error)
        for of_training, of_fix in _ADVICE.items():
            text = text.replace(of_training, of_fix)
        raise TrainingError(text) from None


def _inputs(context: RunContext, stage: str, given: Checkpoint | GivenModel, format: ImageFormat) -> dict[str, Any]:
    """All that decides the weights of a fixed model."""
    settings = context.settings
    return {
        "stage": stage,
        "seed": settings.seed,
        "checkpoint": given.fingerprint,
        "labeled": content_fingerprint(context.splits.labeled),
        "size": format.size,
        "stored": format.storage_size,
        "fix": settings.fix.model_dump(exclude=_ELSEWHERE),
        "steps": settings.train.steps,
        "precision": settings.runtime.precision,
    }


def prepare_fix(classifier: Classifier, settings: FixSettings) -> None:
    """Says which parts of a model train, and with which noise; raises ``ModelError`` for a model without these."""
    if not settings.last_blocks:
        train_classifier_alone(classifier, settings.norm)
        return
    train_blocks(classifier, settings.last_blocks)
    try:
        set_model_noise(classifier.net, dropout=settings.dropout, stochastic_depth=settings.stochastic_depth)
    except ModelError as error:
        raise ModelError(str(error).replace("noise.", "fix.")) from None


def _views(context: RunContext, stage: str) -> ImageNoise:
    """The views that a fix trains on."""
    format, settings = context.splits.format, context.settings
    rng = CounterRng(settings.seed, f"fix-views/{stage}")
    if settings.fix.views == "shifted":
        return ShiftedView(format.size, format.crop, rng)
    plain = NoiseSettings(preset="none", flip=False)
    return InputNoise(
        plain, size=format.size, strength=0.0, rng=rng, storage_size=format.storage_size, crop=format.crop
    )
