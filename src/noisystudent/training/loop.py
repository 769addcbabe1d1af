"""THE training loop. Methods differ by objective and batch content, never by loop."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from timm.optim._optim_factory import create_optimizer_v2
from timm.optim._param_groups import param_groups_weight_decay
from torch import Tensor, nn

from noisystudent.errors import TrainingError
from noisystudent.losses.objectives import LossTerms
from noisystudent.models.classifier import Classifier
from noisystudent.models.ema import Ema
from noisystudent.models.parallel import wrap_ddp, wrap_fsdp
from noisystudent.models.tuning import layer_decay_groups, start_training
from noisystudent.random_streams import stream_key
from noisystudent.runtime.compiling import compile_failure_as_error, compile_model
from noisystudent.runtime.device import ON_CPU, Engine, autocast, fastest_convolutions
from noisystudent.runtime.interruption import Interruption, noted_interruption
from noisystudent.runtime.memory import memory_shortage_as_error
from noisystudent.runtime.process_group import SINGLE, ProcessGroup
from noisystudent.runtime.progress import Bar
from noisystudent.training.lars import Lars, lars_groups
from noisystudent.training.loader import Batch
from noisystudent.training.settings import TrainSettings
from noisystudent.training.state import TrainState, memory_of

FEWER_AT_ONCE = "train.batch_size, raise train.grad_accum_steps, or choose a smaller data.size or model"
STAIRCASE_DECAYS = 146  # decays by 0.97: one every 2.4 of 350 epochs (Xie et al. 2020, section 4.1)


def learning_rate(step: int, settings: TrainSettings) -> float:
    """The learning rate of 0-based ``step``: linear warm-up, then a half cosine, the paper's staircase or drops."""
    if settings.schedule == "steps":
        return rate_by_drops(step, settings)
    warmup = round(settings.warmup * settings.steps)
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, settings.steps - warmup)
    if settings.schedule == "staircase":
        return settings.learning_rate * 0.97 ** math.floor(progress * STAIRCASE_DECAYS)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def rate_by_drops(step: int, settings: TrainSettings) -> float:
    """BiT's learning rate (Kolesnikov et al. 2020, released code): from 0 in the warm-up, a tenth after each drop.

    A drop at step s first lowers the rate of step s + 1.
    """
    warmup = round(settings.warmup * settings.steps)
    if step < warmup:
        return settings.learning_rate * step / warmup
    drops = sum(round(drop * settings.steps) < step for drop in settings.drops)
    return settings.learning_rate * 0.1**drops


METRICS = "metrics.jsonl"
LOG_EVERY = 20  # steps; a loss that is not finite is noticed after at most this many

Objective = Callable[[Tensor, Batch], LossTerms]
Evaluate = Callable[[Classifier], dict[str, float]]


def fit(
    classifier: Classifier,
    batches: Callable[[int], Batch],
    objective: Objective,
    settings: TrainSettings,
    folder: Path,
    *,
    seed: int,
    engine: Engine = ON_CPU,
    evaluate: Evaluate | None = None,
    bar: Bar | None = None,
) -> tuple[Classifier, float]:
    """Trains ``classifier`` for ``settings.last`` steps, resuming from the state in ``folder`` if there is one.

    A resumed call with the same arguments ends, on a CPU, with the same bits as a call that was never killed. With
    float16, losses are scaled; a step whose gradients overflow is skipped, and the scale is halved. Several processes
    train together: each gets its share of every batch, and the first one writes.

    Args:
        classifier: the model; its weights are changed in place.
        batches: from a 0-based micro-step to its batch; each step has ``settings.grad_accum_steps`` micro-steps.
        objective: from logits, float [B, K], and their batch to the loss and named terms to log; it may remember.
        settings: steps, learning rate, optimizer and so on.
        folder: holds the saved state, written every ``settings.save_every`` seconds, and ``metrics.jsonl``, with one
            row every 20 steps.
        seed: the seed of model noise (dropout, stochastic depth).
        engine: the device, its precision, the processes and how the model is computed.
        evaluate: from the averaged model to named scores for a row, every ``settings.evaluate_every`` steps.
        bar: shows the progress.

    Returns:
        The model with averaged weights, and the seconds of training, including those before a kill.

    Raises:
        TrainingError: a loss is not finite, or gradients overflow float16 at every scale; the last good state is kept.
        ArtifactError: the saved state is damaged.
    """
    device, group, micro_batches = engine.device, engine.group, settings.grad_accum_steps
    assert engine.channels_last != "auto"
    classifier.lay_out(channels_last=engine.channels_last)
    if not engine.sharded:  # of a sharded model, only the shards move to the device
        classifier.to(device)
    ema = Ema(classifier, settings.ema_decay)
    wrapped = wrap_fsdp(classifier, ema, engine) if engine.sharded else wrap_ddp(classifier, group)
    model: Callable[[Tensor], Tensor] = compile_model(wrapped) if engine.compile else wrapped
    optimizer = make_optimizer(classifier, settings)
    scaler = torch.amp.GradScaler(device.type, enabled=engine.precision == "float16")
    state = TrainState(classifier, ema, optimizer, scaler, memory_of(objective))
    state.restore(folder)
    metrics = Metrics(folder / METRICS, state.step, group)
    if bar:
        bar.start_at(state.step)
    saved = started = time.monotonic() - state.seconds
    with (
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
        fastest_convolutions(),
        memory_shortage_as_error(TrainingError, FEWER_AT_ONCE),
        compile_failure_as_error(),
        noted_interruption() as interruption,
    ):
        start_training(classifier, frozen_statistics=settings.batch_norm == "frozen")
        for step in range(state.step, settings.last):
            torch.manual_seed(stream_key(seed, "model-noise", step, *group.rank_key))
            rate = learning_rate(step, settings)
            for param_group in optimizer.param_groups:
                param_group["lr"] = rate * param_group.get("lr_scale", 1.0)

            optimizer.zero_grad(set_to_none=True)
            for micro_step in range(step * micro_batches, (step + 1) * micro_batches):
                batch = with_answers_of_average(batches(micro_step), ema, engine)
                with autocast(device, engine.precision):
                    logits = model(batch.pixels)
                terms = objective(logits, batch)
                torch.autograd.backward(scaler.scale(terms.loss / micro_batches))
                metrics.add(step, {"loss": terms.loss.detach(), **terms.named})
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(classifier.parameters(), settings.clip or math.inf)
            scaler.step(optimizer)
            scaler.update()
            ema.update(step)

            state.step = step + 1
            state.seconds = time.monotonic() - started
            last = state.step == settings.last
            row: dict[str, float] = {}
            if state.step % LOG_EVERY == 0 or last:
                scores = {}
                if evaluate and settings.evaluate_every and (state.step % settings.evaluate_every == 0 or last):
                    scores = evaluate(ema.whole())
                scale = {"scale": scaler.get_scale()} if scaler.is_enabled() else {}
                row = metrics.flush({"learning_rate": rate, **scale, **scores})
                check_scale(scaler, step)
                if group.broadcast(last or time.monotonic() - saved > state.pause(settings.save_every)):
                    state.save(folder, group)  # after the flush, which has checked that every loss is finite
                    saved = time.monotonic()
            if bar:
                bar.advance(1, row)
            stop_if_requested(interruption, state, metrics, folder, group)

    return ema.whole(), state.seconds


def with_answers_of_average(batch: Batch, ema: Ema, engine: Engine) -> Batch:
    """The batch with the logits of the averaged weights for the views that it holds for them, if any: [U, 1, K]."""
    if batch.for_average is None:
        return batch
    assert not engine.sharded
    with torch.no_grad(), autocast(engine.device, engine.precision):
        return replace(batch, teacher_logits=ema.classifier(batch.for_average)[:, None])


def stop_if_requested(
    interruption: Interruption, state: TrainState, metrics: Metrics, folder: Path, group: ProcessGroup
) -> None:
    """Saves the state after a step and stops, if a signal asks for it; several processes do so when they log a row."""
    if group.world_size > 1 and state.step % LOG_EVERY:
        return
    if group.broadcast(interruption.is_requested):
        metrics.check()  # a state with a loss that is not finite must not replace the last good one
        state.save(folder, group)
        interruption.stop()


def make_optimizer(classifier: Classifier, settings: TrainSettings) -> torch.optim.Optimizer:
    """Makes the optimizer that ``settings`` name, timm's but for lars; biases and norms have no weight decay."""
    if settings.optimizer == "lars":
        return _make_lars(classifier, settings)
    options: dict[str, Any] = {"rmsproptf": {"alpha": 0.9, "eps": 1e-3}}.get(settings.optimizer, {})
    if settings.rate_per_block < 1:
        options["param_group_fn"] = partial(
            layer_decay_groups, weight_decay=settings.weight_decay, layer_decay=settings.rate_per_block
        )
    optimizer: torch.optim.Optimizer = create_optimizer_v2(
        classifier,
        opt=settings.optimizer,
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        momentum=0.9,
        **options,
    )
    return optimizer


def _make_lars(classifier: Classifier, settings: TrainSettings) -> Lars:
    decay = settings.weight_decay
    if settings.rate_per_block < 1:
        groups = layer_decay_groups(classifier, weight_decay=decay, layer_decay=settings.rate_per_block)
    else:
        groups = param_groups_weight_decay(classifier, weight_decay=decay)
    return Lars(lars_groups(classifier.net, groups), lr=settings.learning_rate, momentum=0.9)


def check_scale(scaler: torch.amp.GradScaler, step: int) -> None:
    """Raises ``TrainingError`` if gradients overflow so often that the loss scale has fallen below 1."""
    if scaler.is_enabled() and scaler.get_scale() < 1:
        raise TrainingError(
            f"the gradients overflow float16 repeatedly, at step {step} even with a loss scale of "
            f"{scaler.get_scale():g}. The last good state is kept; set runtime.precision to bfloat16 or float32, or "
            "lower train.learning_rate, and run again."
        )


def evaluations(settings: TrainSettings) -> int:
    """How often a stage calls ``evaluate``: the rows of ``metrics.jsonl`` at multiples of ``evaluate_every``."""
    if not settings.evaluate_every:
        return 0
    rows = {*range(LOG_EVERY, settings.last + 1, LOG_EVERY)}
    return len({step for step in rows if step % settings.evaluate_every == 0} | {settings.last})


class Metrics:
    """Writes named numbers to a JSONL file; keeps them on the device between rows, so that steps do not wait."""

    def __init__(self, path: Path, step: int, group: ProcessGroup = SINGLE) -> None:
        """Opens the file, and drops rows that a killed attempt wrote after its last saved state.

        Args:
            path: the file.
            step: the number of finished steps.
            group: the processes over which numbers are averaged; the first one writes.
        """
        self._path, self._group = path, group
        self._waiting: list[tuple[int, dict[str, Tensor]]] = []
        if not group.is_main:
            return
        rows = path.read_text().splitlines() if path.exists() else []
        valid = [row for row in rows if row.endswith("}") and json.loads(row)["step"] <= step]
        path.write_text("".join(f"{row}\n" for row in valid))

    def add(self, step: int, values: dict[str, Tensor]) -> None:
        """Adds the numbers of one step, scalars on the device."""
        self._waiting.append((step, values))

    def check(self) -> dict[str, float]:
        """Means of the waiting numbers.

        Raises:
            TrainingError: a number is not finite; the message names the first such step.
        """
        if not self._waiting:
            return {}
        names = list(self._waiting[0][1])
        table = torch.stack([torch.stack([values[name].float() for name in names]) for _, values in self._waiting])
        table = self._group.mean(table).cpu()
        for (step, _), row in zip(self._waiting, table.tolist(), strict=True):
            if not all(math.isfinite(value) for value in row):
                raise TrainingError(
                    f"the loss is not finite at step {step} ({dict(zip(names, row, strict=True))}). "
                    "The last good state is kept; lower train.learning_rate or train.clip, or lengthen "
                    "train.warmup, and run again."
                )
        return dict(zip(names, table.mean(dim=0).tolist(), strict=True))

    def flush(self, more: dict[str, float]) -> dict[str, float]:
        """Writes one row: the means since the last row, and ``more``; returns both."""
        values = {**self.check(), **more}
        row = {"step": self._waiting[-1][0] + 1, **values}
        self._waiting.clear()
        if self._group.is_main:
            with self._path.open("a") as file:
                file.write(json.dumps(row) + "\n")
        return values
