"""THE training loop. Methods differ by objective and batch content, never by loop."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from timm.optim._optim_factory import create_optimizer_v2
from torch import Tensor, nn

from noisystudent.errors import TrainingError
from noisystudent.losses.objectives import LossTerms
from noisystudent.models.classifier import Classifier
from noisystudent.models.ema import Ema
from noisystudent.models.parallel import wrap_ddp, wrap_fsdp
from noisystudent.random_streams import stream_key
from noisystudent.runtime.compiling import compiled, naming_failed_compilation
from noisystudent.runtime.device import ON_CPU, Engine, autocast
from noisystudent.runtime.process_group import SINGLE, ProcessGroup
from noisystudent.runtime.progress import Bar
from noisystudent.training.loader import Batch
from noisystudent.training.settings import TrainSettings
from noisystudent.training.state import TrainState

STAIRS = 146  # 350 epochs / 2.4, the paper's number of decays by 0.97 (Xie et al. 2020, section 4.1)


def learning_rate(step: int, settings: TrainSettings) -> float:
    """The learning rate of 0-based ``step``: linear warm-up, then a half cosine to 0 or the paper's staircase."""
    warmup = round(settings.warmup * settings.steps)
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, settings.steps - warmup)
    if settings.schedule == "staircase":
        return settings.learning_rate * 0.97 ** math.floor(progress * STAIRS)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


METRICS = "metrics.jsonl"
LOG_EVERY = 20  # steps; also how far training may run on after a loss that is not finite

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
    """Trains ``classifier`` for ``settings.last`` steps and returns its averaged self and the seconds it took.

    The state is saved in ``folder`` every ``settings.save_every`` seconds; a call with the same arguments goes on
    from there and ends, on a CPU, with the same bits as one that was never killed. ``metrics.jsonl`` there gets a row
    every 20 steps. Raises ``TrainingError`` naming the step at which a loss was not finite; the last good state stays.
    With float16 losses are scaled, and a step whose gradients overflow is left out and the scale halved.

    Several processes train together: each is given its share of every batch, the first one writes. ``batches`` is
    asked ``settings.grad_accum_steps`` times a step.
    """
    device, group, micro_batches = engine.device, engine.group, settings.grad_accum_steps
    assert engine.channels_last != "auto"
    classifier.lay_out(channels_last=engine.channels_last)
    if not engine.sharded:  # of a model that is split, only shares are to reach the device
        classifier.to(device)
    ema = Ema(classifier, settings.ema_decay)
    wrapped = wrap_fsdp(classifier, ema, engine) if engine.sharded else wrap_ddp(classifier, group)
    model: Callable[[Tensor], Tensor] = compiled(wrapped) if engine.compile else wrapped
    optimizer = make_optimizer(classifier, settings)
    scaler = torch.amp.GradScaler(device.type, enabled=engine.precision == "float16")
    state = TrainState(classifier, ema, optimizer, scaler)
    state.restore(folder)
    metrics = Metrics(folder / METRICS, state.step, group)
    if bar:
        bar.start_at(state.step)
    saved = started = time.monotonic() - state.seconds

    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), naming_failed_compilation():
        classifier.train()
        for step in range(state.step, settings.last):
            torch.manual_seed(stream_key(seed, "model-noise", step, *group.rank_key))
            rate = learning_rate(step, settings)
            for param_group in optimizer.param_groups:
                param_group["lr"] = rate

            optimizer.zero_grad(set_to_none=True)
            for micro_step in range(step * micro_batches, (step + 1) * micro_batches):
                batch = batches(micro_step)
                with autocast(device, engine.precision):
                    logits = model(batch.pixels)
                terms = objective(logits, batch)
                torch.autograd.backward(scaler.scale(terms.loss / micro_batches))
                metrics.add(step, {"loss": terms.loss.detach(), **terms.named})
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(classifier.parameters(), settings.clip)
            scaler.step(optimizer)
            scaler.update()
            ema.update(step)

            state.step = step + 1
            state.seconds = time.monotonic() - started
            last = state.step == settings.last
            if state.step % LOG_EVERY == 0 or last:
                scores = {}
                if evaluate and settings.evaluate_every and (state.step % settings.evaluate_every == 0 or last):
                    scores = evaluate(ema.whole())
                scale = {"scale": scaler.get_scale()} if scaler.is_enabled() else {}
                row = metrics.flush({"learning_rate": rate, **scale, **scores})
                check_scale(scaler, step)
                if bar:
                    bar.advance(state.step - bar.done, row)
                due = last or time.monotonic() - saved > state.pause(settings.save_every)
                if group.broadcast(due):
                    state.save(folder, group)  # after the flush, which has made sure that every loss was finite
                    saved = time.monotonic()

    return ema.whole(), state.seconds


def make_optimizer(classifier: Classifier, settings: TrainSettings) -> torch.optim.Optimizer:
    """Timm's optimizer of that name; biases and normalization are left out of weight decay."""
    options: dict[str, Any] = {"rmsproptf": {"alpha": 0.9, "eps": 1e-3}}.get(settings.optimizer, {})
    optimizer: torch.optim.Optimizer = create_optimizer_v2(
        classifier,
        opt=settings.optimizer,
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        momentum=0.9,
        **options,
    )
    return optimizer


def check_scale(scaler: torch.amp.GradScaler, step: int) -> None:
    """Raises ``TrainingError`` where gradients have overflowed so often that losses would have to be made smaller."""
    if scaler.is_enabled() and scaler.get_scale() < 1:
        raise TrainingError(
            f"gradients overflow float16 again and again, at step {step} even with the loss multiplied by "
            f"{scaler.get_scale():g}. The last good state is kept; use runtime.precision bfloat16 or float32, or lower "
            "train.learning_rate, and run again."
        )


class Metrics:
    """Rows of numbers in a JSONL file; keeps them on the device between rows, so that steps need not wait."""

    def __init__(self, path: Path, step: int, group: ProcessGroup = SINGLE) -> None:
        """Opens the file for a stage of which ``step`` steps are done; later rows of a killed try are dropped.

        Numbers are means over the processes of ``group``, the first of which writes.
        """
        self._path, self._group = path, group
        self._waiting: list[tuple[int, dict[str, Tensor]]] = []
        if not group.is_main:
            return
        rows = path.read_text().splitlines() if path.exists() else []
        kept = [row for row in rows if row.endswith("}") and json.loads(row)["step"] <= step]
        path.write_text("".join(f"{row}\n" for row in kept))

    def add(self, step: int, values: dict[str, Tensor]) -> None:
        """Takes one step's numbers, scalars on the device."""
        self._waiting.append((step, values))

    def check(self) -> dict[str, float]:
        """Means of the waiting numbers; raises ``TrainingError`` naming the first step whose loss is not finite."""
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
        """Writes one row with the means since the last and ``more``; returns the means."""
        means = self.check()
        row = {"step": self._waiting[-1][0] + 1, **means, **more}
        self._waiting.clear()
        if self._group.is_main:
            with self._path.open("a") as file:
                file.write(json.dumps(row) + "\n")
        return means
