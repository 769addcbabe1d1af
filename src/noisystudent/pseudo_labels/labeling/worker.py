"""One worker: its own share of the parts first, then whatever is left of the others', until all are made.

Parts are shared out by number, so that workers seldom meet. What a slow or dead worker leaves, or one that was never
started, the others take; so every worker ends only when the predictions are complete, and one that joins late helps.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from noisystudent.artifacts.claims import claim, require_begun, shared_folder
from noisystudent.data.images import Images, decode_shard
from noisystudent.evaluation.labeler import Labeler
from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.input import InputNoise
from noisystudent.noise.views import noised
from noisystudent.pseudo_labels.labeling.job import Job, Task
from noisystudent.pseudo_labels.labeling.label_shards import label_shard
from noisystudent.pseudo_labels.predictions import ShardLabels, part_path, write_part
from noisystudent.runtime.progress import Bar, Reporter
from noisystudent.runtime.worker import Worker

LONGEST_WAIT = 5.0  # seconds between looks at what others are labeling
LONGEST_COMMIT = 600.0  # seconds that the others give the first worker to finish predictions in a store


def work(job: Job, worker: Worker, reporter: Reporter, inputs: Mapping[str, Any] | None = None) -> None:
    """Labels what is left of ``job``, beside any others that do, and returns when its predictions are complete.

    ``inputs`` are the job's, when another process has found them already.
    """
    if worker.origin:
        reporter.say(f"worker {worker} (known from {worker.origin})")
    labeler = Labeler.open(job.teacher, job.runtime, noised=job.noise.teacher)
    task = Task.open(job, labeler.teacher, inputs)
    with shared_folder(job.out, task.inputs) as (_, changes):
        say_changes(job, changes, reporter)
        task.begin()
        if not task.is_complete():
            _label_all(PartWriter(task, labeler, str(worker)), worker, reporter)
            if task.store and worker.index:
                _wait_for_first(task)
            finish(task, str(worker))


def say_changes(job: Job, changes: Sequence[str], reporter: Reporter) -> None:
    """Tells what is different from the work that was set aside, if any was."""
    for change in changes:
        reporter.say(f"{job.out} was made from other inputs and is set aside: {change}")


def finish(task: Task, owner: str) -> None:
    """Commits the predictions, all of whose parts are there, or waits for the one who does."""
    while not task.is_complete():
        require_begun(task.job.out, task.inputs)
        with claim(task.job.out, "manifest", owner=owner) as mine:
            if mine and not task.is_complete():
                task.commit()
        if not mine:
            time.sleep(0.1)


def _wait_for_first(task: Task) -> None:
    """Leaves the commit to the first worker for a while: on another machine it takes fetching all parts first."""
    give_up = time.monotonic() + LONGEST_COMMIT
    while not task.is_complete() and time.monotonic() < give_up:
        time.sleep(LONGEST_WAIT)


def in_order(parts: Sequence[int], worker: Worker) -> list[int]:
    """The parts in the order in which a worker takes them: its own, then each other's from the end.

    At its end a share is farthest from where its owner is at work.
    """

    def place(part: int) -> tuple[int, int]:
        distance = (part - worker.index) % worker.count
        return distance, -part if distance else part

    return sorted(parts, key=place)


class PartWriter:
    """A teacher at work on a task, a part at a time; ``owner`` is what its claims are signed with."""

    def __init__(self, task: Task, labeler: Labeler, owner: str) -> None:
        self.task, self._labeler, self._owner = task, labeler, owner
        self._noise = _labeling_noise(task.job, labeler) if task.job.noise.teacher else None

    def take(self, part: int, bar: Bar | None = None) -> bool:
        """Makes a part, unless it is there or another is at it; says whether it did. Holds one shard's images."""
        task, out = self.task, self.task.job.out
        path = part_path(out, part)
        if task.has(part):
            return False
        with claim(out, path.stem, owner=self._owner) as mine:
            if not mine or task.has(part):
                return False
            if not path.exists():
                labels = [self._label(shard, bar) for shard in task.parts[part]]
                require_begun(out, task.inputs)
                write_part(path, labels)
            if task.store:
                task.store.put(path)
        return True

    def _label(self, shard: int, bar: Bar | None) -> ShardLabels:
        job = self.task.job
        return label_shard(
            self._labeler.teacher, self._read(shard), shard, batch_size=job.runtime.label_batch_size,
            precision=job.runtime.precision, seed=job.seed, bar=bar,
        )  # fmt: skip

    def _read(self, shard: int) -> Images:
        images = decode_shard(self.task.source, shard, self._labeler.format)
        return noised(images, self._noise, epoch=shard) if self._noise else images


def _label_all(writer: PartWriter, worker: Worker, reporter: Reporter) -> None:
    """Takes parts until every one is there."""
    task = writer.task
    unfinished = task.unfinished()
    own = {part for part in unfinished if part % worker.count == worker.index}
    wait = 0.0
    with reporter.bar(f"label, worker {worker}" if worker.origin else "label", task.rows(own), "images") as bar:
        while unfinished:
            if wait:
                time.sleep(wait)
            took = False
            for part in in_order(unfinished, worker):
                if writer.take(part, bar):
                    took = True
                    bar.extend(0 if part in own else task.rows([part]))
            unfinished = task.unfinished()
            wait = 0.0 if took else min(LONGEST_WAIT, 2 * wait + 0.1)  # the rest is being labeled by others


def _labeling_noise(job: Job, labeler: Labeler) -> InputNoise:
    """The input noise of a noised teacher; a strength of auto is 1."""
    strength = 1.0 if job.noise.strength == "auto" else job.noise.strength
    rng = CounterRng(job.seed, "input-noise/label")
    size, storage_size = labeler.format.size, labeler.format.storage_size
    return InputNoise(job.noise, size=size, strength=strength, rng=rng, storage_size=storage_size)
