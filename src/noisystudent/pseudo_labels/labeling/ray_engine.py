"""Labels on a Ray cluster, an optional engine: Ray Data hands the parts to actors, which are ordinary workers.

Every node needs this package, and the teacher, the source and the output folder under the same paths. Ray places the
actors on the nodes and replaces lost ones. Parts, claims and the commit are the same as for every other worker.
"""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from noisystudent.artifacts.claims import shared_folder
from noisystudent.errors import NoisyStudentError, SettingsError, WorkerError
from noisystudent.models.predictor import Predictor
from noisystudent.pseudo_labels.labeling.job import Job, Task
from noisystudent.pseudo_labels.labeling.teacher import labeling_teacher, open_for_inputs
from noisystudent.pseudo_labels.labeling.worker import PartWriter, finish, say_changes, say_source
from noisystudent.runtime.progress import Reporter
from noisystudent.runtime.worker import Worker

Batch = dict[str, npt.NDArray[np.int64]]

_WAIT = 2.0  # seconds between checks for parts that workers outside of Ray are making


class _Actor:
    """A teacher on a node of the cluster."""

    def __init__(self, message: str) -> None:
        job, inputs, folder = json.loads(message)
        os.chdir(folder)  # relative paths start where the command was called
        job = Job(**job)
        predictor = Predictor.open(job.teacher, job.runtime)
        self._writer = PartWriter(Task.open(job, predictor, inputs), labeling_teacher(job, predictor), "ray")

    def __call__(self, batch: Batch) -> Batch:
        """Makes the parts of a batch; returns those that no other worker had claimed."""
        made = [part for part in batch["part"] if self._writer.take(int(part))]
        return {"part": np.array(made, dtype=np.int64)}


def label_on_ray(job: Job, actors: int | None, reporter: Reporter, predictor: Predictor | None = None) -> None:
    """Labels what is left of a job with actors of the Ray cluster that this machine belongs to, or of a local one.

    Args:
        job: the job.
        actors: number of actors; None: one per GPU of the cluster, or per CPU if it has no GPU.
        reporter: prints progress and remarks.
        predictor: the job's teacher, if it is open already.

    Raises:
        SettingsError: Ray is not installed.
        WorkerError: an actor failed; the message has its error.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise SettingsError(
            f"--engine ray needs Ray ({error}); install it on every node with: pip install 'noisystudent[ray]'"
        ) from None
    task = Task.open(job, open_for_inputs(job, predictor))
    say_source(task, Worker(), reporter)
    with shared_folder(job.out, task.inputs) as entered:
        say_changes(job, entered, reporter)
        task.begin()
        if task.is_complete():
            return
        if not ray.is_initialized():
            ray.init(log_to_driver=False, logging_level="warning")
        logging.getLogger("ray.data").setLevel(logging.WARNING)
        ray.data.DataContext.get_current().enable_progress_bars = False
        actors, needs = _needs(job, actors, ray.cluster_resources())
        pool = ray.data.ActorPoolStrategy(size=actors)
        message = json.dumps([job.model_dump(mode="json"), task.inputs, str(Path.cwd())])
        with reporter.bar("label on Ray", task.rows(task.unfinished()), "images") as bar:
            while unfinished := task.unfinished():
                items = [{"part": part} for part in unfinished]
                parts = ray.data.from_items(items, override_num_blocks=len(items))  # at most MAX_PARTS
                labeled = parts.map_batches(_Actor, fn_constructor_args=(message,), batch_size=1, compute=pool, **needs)
                try:
                    for row in labeled.iter_rows():
                        bar.advance(task.rows([row["part"]]))
                except ray.exceptions.RayError as error:
                    raise WorkerError(_explained(error)) from None
                if task.unfinished():
                    time.sleep(_WAIT)
        finish(task, "ray")


def _needs(job: Job, actors: int | None, cluster: dict[str, float]) -> tuple[int, dict[str, int]]:
    """The number of actors, and the resources that each of them needs."""
    gpus, threads = int(cluster.get("GPU", 0)), max(job.runtime.threads, 1)
    if gpus and job.runtime.device != "cpu":
        return actors or gpus, {"num_gpus": 1}
    return actors or max(1, int(cluster.get("CPU", 1)) // threads), {"num_cpus": threads}


def _explained(error: BaseException) -> str:
    """The message of the error in an actor: this package's own error if there is one, else the last line of Ray's."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, NoisyStudentError):
        cause = getattr(cause, "cause", None) or cause.__cause__
    message = cause or (str(error).strip().splitlines() or [type(error).__name__])[-1]
    return f"an actor on Ray failed: {message} (what is labeled is kept; run the same command again for the rest)"
