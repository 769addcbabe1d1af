"""One worker labels its own share of the parts first, then helps the others until all parts exist.

Parts are shared out by number, so workers rarely meet. Other workers take over the parts of a worker that is slow, dead
or was never started. So every worker ends only when the predictions are complete, and a worker that joins late helps.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from noisystudent.artifacts.archives import describe_archives
from noisystudent.artifacts.claims import Entered, claim, require_begun, shared_folder
from noisystudent.artifacts.damage import describe_damage
from noisystudent.data.images import Images, decode_shard
from noisystudent.data.summary import summarize
from noisystudent.display.sources import source_lines
from noisystudent.models.predictor import Predictor
from noisystudent.models.teacher import TeacherModel
from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.input import InputNoise
from noisystudent.noise.views import noised
from noisystudent.pseudo_labels.labeling.job import Job, Task
from noisystudent.pseudo_labels.labeling.label_shards import label_shard
from noisystudent.pseudo_labels.labeling.teacher import labeling_teacher
from noisystudent.pseudo_labels.predictions import ShardLabels, part_path, write_part
from noisystudent.runtime.device import images_per_pass
from noisystudent.runtime.progress import Bar, Reporter
from noisystudent.runtime.worker import Worker

LONGEST_WAIT = 5.0  # seconds between checks for parts that other workers are labeling
LONGEST_COMMIT = 600.0  # seconds that the other workers give the first one to finish predictions in a store


def work(
    job: Job,
    worker: Worker,
    reporter: Reporter,
    *,
    inputs: Mapping[str, Any] | None = None,
    predictor: Predictor | None = None,
) -> None:
    """Labels what is left of a job, beside any other workers, and returns when its predictions are complete.

    Args:
        job: the job.
        worker: the number of this worker among all.
        reporter: prints progress and remarks.
        inputs: the job's inputs, if another process has computed them already.
        predictor: the job's teacher, if it is open already.
    """
    if worker.origin:
        reporter.say(f"worker {worker} (known from {worker.origin})")
    predictor = predictor or Predictor.open(job.teacher, job.runtime)
    teacher = labeling_teacher(job, predictor)
    task = Task.open(job, predictor, inputs)
    say_source(task, worker, reporter)
    with shared_folder(job.out, task.inputs) as entered:
        say_changes(job, entered, reporter)
        task.begin()
        if not task.is_complete():
            _label_all(PartWriter(task, teacher, str(worker)), worker, reporter)
            if task.store and worker.index:
                _wait_for_first(task)
            finish(task, str(worker))


def say_source(task: Task, worker: Worker, reporter: Reporter) -> None:
    """Prints what the source holds and passes over; of several workers, only the first does."""
    if worker.index == 0:
        for line in source_lines("source", summarize(task.source)):
            reporter.say(line)


def say_changes(job: Job, entered: Entered, reporter: Reporter) -> None:
    """Prints how predictions that were archived differ from the new ones, and what was damaged, if anything was."""
    if entered.changes:
        kept = describe_archives(job.out)
        reporter.say(f"{job.out} was made from other inputs; what differs: {'; '.join(entered.changes)}; {kept}")
    if entered.damage:
        reporter.say(f"{job.out} is made again where it is damaged: {describe_damage(entered.damage)}")


def finish(task: Task, owner: str) -> None:
    """Commits the predictions, whose parts all exist, or waits until another worker has."""
    while not task.is_complete():
        require_begun(task.job.out, task.inputs)
        with claim(task.job.out, "manifest", owner=owner) as is_mine:
            if is_mine and not task.is_complete():
                task.commit()
        if not is_mine:
            time.sleep(0.1)


def _wait_for_first(task: Task) -> None:
    """Leaves the commit to the first worker for a while: on another machine it must fetch all parts first."""
    give_up = time.monotonic() + LONGEST_COMMIT
    while not task.is_complete() and time.monotonic() < give_up:
        time.sleep(LONGEST_WAIT)


def in_order(parts: Sequence[int], worker: Worker) -> list[int]:
    """The parts in the order in which a worker takes them: its own, then each other worker's from the end.

    The end of a share is farthest from where its owner works.
    """

    def order(part: int) -> tuple[int, int]:
        distance = (part - worker.index) % worker.count
        return distance, -part if distance else part

    return sorted(parts, key=order)


class PartWriter:
    """Writes the parts of a task with its teacher, one at a time; ``owner`` signs its claims."""

    def __init__(self, task: Task, teacher: TeacherModel, owner: str) -> None:
        self.task, self._teacher, self._owner = task, teacher, owner
        self._noise = _labeling_noise(task.job, teacher) if task.job.noise.teacher else None

    def take(self, part: int, bar: Bar | None = None) -> bool:
        """Makes a part, unless it exists or another worker has claimed it; returns whether it did.

        Only one shard's images are in memory at a time.
        """
        task, out = self.task, self.task.job.out
        path = part_path(out, part)
        if task.has(part):
            return False
        with claim(out, path.stem, owner=self._owner) as is_mine:
            if not is_mine or task.has(part):
                return False
            if not path.exists():
                labels = [self._label(shard, bar) for shard in task.parts[part]]
                require_begun(out, task.inputs)
                write_part(path, labels)
            if task.store:
                task.store.put(path)
        return True

    def _label(self, shard: int, bar: Bar | None) -> ShardLabels:
        job, teacher = self.task.job, self._teacher
        return label_shard(
            teacher, self._read(shard), shard, batch_size=images_per_pass(job.runtime, teacher.device, teacher.size),
            precision=job.runtime.precision, seed=job.seed, bar=bar,
        )  # fmt: skip

    def _read(self, shard: int) -> Images:
        images = decode_shard(self.task.source, shard, self._teacher.format)
        return noised(images, self._noise, epoch=shard) if self._noise else images


def _label_all(writer: PartWriter, worker: Worker, reporter: Reporter) -> None:
    """Takes parts until all exist."""
    task = writer.task
    unfinished = task.unfinished()
    own = {part for part in unfinished if part % worker.count == worker.index}
    wait = 0.0
    with reporter.bar(f"label, worker {worker}" if worker.origin else "label", task.rows(own), "images") as bar:
        while unfinished:
            if wait:
                time.sleep(wait)
            took_any = False
            for part in in_order(unfinished, worker):
                if writer.take(part, bar):
                    took_any = True
                    bar.extend(0 if part in own else task.rows([part]))
            unfinished = task.unfinished()
            wait = 0.0 if took_any else min(LONGEST_WAIT, 2 * wait + 0.1)  # other workers are labeling the rest


def _labeling_noise(job: Job, teacher: TeacherModel) -> InputNoise:
    """The input noise of a noised teacher; a strength of auto means 1."""
    strength = 1.0 if job.noise.strength == "auto" else job.noise.strength
    rng = CounterRng(job.seed, "input-noise/label")
    format = teacher.format
    return InputNoise(
        job.noise, size=format.size, strength=strength, rng=rng, storage_size=format.storage_size, crop=format.crop
    )
