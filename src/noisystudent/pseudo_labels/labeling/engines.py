"""Runs a labeling job: in this process, in several processes of this machine, or on a Ray cluster."""

from __future__ import annotations

from typing import Literal

from noisystudent.errors import SettingsError
from noisystudent.models.predictor import Predictor
from noisystudent.pseudo_labels.labeling.job import Job
from noisystudent.pseudo_labels.labeling.processes import label_in_processes
from noisystudent.pseudo_labels.labeling.teacher import require_one_process
from noisystudent.pseudo_labels.labeling.worker import work
from noisystudent.runtime.progress import Reporter
from noisystudent.runtime.worker import Worker, find_worker

EngineName = Literal["local", "ray"]


def run_job(
    job: Job,
    predictor: Predictor | None,
    *,
    worker: str | None,
    workers: int | None,
    engine: EngineName,
    reporter: Reporter,
) -> None:
    """Labels what is left of a job and returns when its predictions are complete.

    Args:
        job: the job.
        predictor: the job's teacher, if it is open already.
        worker: number and count of this worker, such as ``3/16``; None: read from the environment.
        workers: number of processes or, on Ray, of actors; None: one process, or as many actors as the cluster has
            GPUs or else CPUs.
        engine: ``local`` or ``ray``.
        reporter: prints progress and remarks.

    Raises:
        SettingsError: ``workers`` is below 1; a module is to label in several processes; or Ray is not installed.
    """
    if workers is not None and workers < 1:
        raise SettingsError(f"--workers is {workers}; give a whole number of at least 1.")
    this_worker = find_worker(worker) if engine == "local" else Worker()
    require_one_process(predictor, this_worker, workers or 1, engine)
    if engine == "ray":
        from noisystudent.pseudo_labels.labeling.ray_engine import label_on_ray  # Ray is an extra

        label_on_ray(job, workers, reporter, predictor)
    elif workers and workers > 1:
        label_in_processes(job, this_worker, workers, reporter, predictor)
    else:
        work(job, this_worker, reporter, predictor=predictor)
