"""How fast this machine does the work of a run: its own loop and models, timed for a few steps, nothing kept."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import torch

from noisystudent.data.images import decode_shard
from noisystudent.data.unlabeled import StreamedUnlabeled
from noisystudent.models.settings import ModelPlan
from noisystudent.models.teacher import Teacher
from noisystudent.models.wrapped_module import width_of_features
from noisystudent.pipeline.budget.graphs import seconds_of_graphs
from noisystudent.pipeline.context import IncompleteStage, RunContext
from noisystudent.pipeline.score_stage import predict
from noisystudent.pipeline.stages.autotune import autotune, choose_mode
from noisystudent.pipeline.stages.train import new_classifier, objective_of
from noisystudent.pipeline.stages.train_batches import build_batches
from noisystudent.pipeline.stages.train_data import supervised_spec, transfer_spec
from noisystudent.runtime.progress import Reporter
from noisystudent.training.loader import Batch
from noisystudent.training.loop import fit

TIMED_STEPS = 4  # the first is slower, so the others count
TIMED_IMAGES = 256
TIMED_STRENGTH = 0.5  # of noise; every strength takes about as long
PAGE_READS = 1.0  # the page reads the images that it shows from their sources, at most as long as the run did


class _EnoughTimed(Exception):
    """Ends the training loop once its steps are timed."""


class MachineSpeed:
    """Seconds of a run's work, each kind timed when it is first asked for."""

    def __init__(
        self, context: RunContext, plans: list[ModelPlan], deciding_seconds: float, reading_seconds: float
    ) -> None:
        """Prepares the timing.

        Args:
            context: Of a run that is planned.
            plans: Its models, the teacher's first.
            deciding_seconds: What choosing its settings takes.
            reading_seconds: What reading its images takes.
        """
        self._deciding_seconds = deciding_seconds
        self._reading_seconds = reading_seconds
        self._teaches = plans[0]
        self._students = set(plans[1:])
        self._given = context
        self._trained: dict[ModelPlan, float] = {}
        self._predicted: dict[ModelPlan, float] = {}

    @property
    def other_seconds(self) -> float:
        """Seconds of what is no stage: choosing the settings, reading the images, and the page."""
        return self._deciding_seconds + self._reading_seconds * (1 + PAGE_READS)

    @property
    def choice_seconds(self) -> float:
        """Seconds of choosing the compute mode; 0 where the settings name it."""
        return self._mode[1]

    def trained_seconds(self, model: ModelPlan) -> float:
        """Seconds per sample in the training loop."""
        if model not in self._trained:
            self._trained[model] = _time_training(self._context, model, as_student=model in self._students)
        return self._trained[model]

    def predicted_seconds(self, model: ModelPlan) -> float:
        """Seconds per image that a model labels or scores."""
        if model not in self._predicted:
            self._predicted[model] = _time_prediction(self._context, model)
        return self._predicted[model]

    def graph_seconds(self, model: ModelPlan, images: int) -> float:
        """Seconds of a neighbor graph of so many images in the features of a model."""
        classifier = new_classifier(self._context, model, 0, None)
        return seconds_of_graphs(images, width_of_features(classifier.net), whitened=(False,))

    def decoded_seconds(self) -> float:
        """Seconds per image that is read from a streamed source."""
        return self._decoding

    @property
    def _context(self) -> RunContext:
        return self._mode[0]

    @cached_property
    def _mode(self) -> tuple[RunContext, float]:
        """The context at the precision of the run, and the seconds of choosing it."""
        quiet = replace(self._given, reporter=Reporter(quiet=True))
        try:
            return autotune(quiet, self._teaches), 0.0
        except IncompleteStage:
            started = time.monotonic()
            mode, _ = choose_mode(quiet, self._teaches)
            return quiet.with_compute_mode(mode), time.monotonic() - started

    @cached_property
    def _decoding(self) -> float:
        unlabeled = self._given.splits.unlabeled
        assert isinstance(unlabeled, StreamedUnlabeled)
        started = time.monotonic()
        images = decode_shard(unlabeled.source, 0, unlabeled.format)
        return (time.monotonic() - started) / max(1, len(images))


def _time_training(context: RunContext, model: ModelPlan, *, as_student: bool) -> float:
    """Seconds per sample over a few steps of the loop itself: optimizer and averages included, on a CPU noise as well.

    An accelerator makes the noise of many steps at once, before the first of them, which is not timed.
    """
    longer = {"steps": max(context.settings.train.steps, TIMED_STEPS + 1), "stop_after": 0}
    settings = context.settings.train.model_copy(update=longer)
    context = replace(context, settings=context.settings.model_copy(update={"train": settings}))
    in_memory = not context.streams
    spec = transfer_spec(context) if as_student and in_memory else supervised_spec(context)
    classifier = new_classifier(context, model, 0, None)
    clock = _StepClock(build_batches(context, "plan", model, spec, TIMED_STRENGTH), context)
    engine = replace(context.engine, compile=False)
    with tempfile.TemporaryDirectory() as folder, suppress(_EnoughTimed):
        fit(classifier, clock, objective_of(context, "plan", spec), settings, Path(folder), seed=0, engine=engine)
    return clock.mean / sum(spec.batch.values())


class _StepClock:
    """Batches that note when the loop asks for each, and end it after a few."""

    def __init__(self, batches: Callable[[int], Batch], context: RunContext) -> None:
        self._batches, self._device = batches, context.device
        self._micro_batches = context.settings.train.grad_accum_steps
        self._times: list[float] = []

    def __call__(self, micro_step: int) -> Batch:
        """The batch of a micro-step; raises ``_EnoughTimed`` after the last step that is timed."""
        if micro_step % self._micro_batches == 0:
            if self._device.type != "cpu":
                torch.accelerator.synchronize()
            self._times.append(time.monotonic())
        if len(self._times) > TIMED_STEPS:
            raise _EnoughTimed
        return self._batches(micro_step)

    @property
    def mean(self) -> float:
        """Mean seconds of the steps after the first."""
        return (self._times[-1] - self._times[1]) / (TIMED_STEPS - 1)


def _time_prediction(context: RunContext, model: ModelPlan) -> float:
    """Seconds per image of predicting some labeled images, the second time."""
    labeled = context.splits.labeled
    images = labeled.take(torch.arange(min(TIMED_IMAGES, len(labeled))).numpy()).without_labels()
    teacher = Teacher(new_classifier(context, model, 0, None).to(context.device))
    predict(context, teacher, images)
    started = time.monotonic()
    predict(context, teacher, images)
    return (time.monotonic() - started) / max(1, len(images))
