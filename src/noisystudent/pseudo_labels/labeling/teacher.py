"""The teacher of a labeling job: how other processes open it, and the form in which it labels."""

from __future__ import annotations

import os
from pathlib import Path

from noisystudent.errors import SettingsError
from noisystudent.models.predictor import Predictor, require_model
from noisystudent.models.teacher import NoisedTeacher, TeacherModel
from noisystudent.pseudo_labels.labeling.job import Job
from noisystudent.runtime.settings import RuntimeSettings
from noisystudent.runtime.worker import Worker

_ON_CPU = RuntimeSettings(device="cpu")


def teacher_text(teacher: str | Path | Predictor) -> str:
    """The text that names a teacher in a job: what ``Predictor.open`` takes; empty for a module.

    Raises ``ModelError`` for an object that is no model.
    """
    require_model(teacher)
    if isinstance(teacher, Predictor):
        return teacher.origin
    # A Path is a folder, whatever its name is; ./ keeps it one as text.
    return teacher if isinstance(teacher, str) else os.path.join(os.curdir, teacher)


def runtime_of(predictor: Predictor) -> RuntimeSettings:
    """The settings by which another process opens a predictor as it is opened here."""
    device = str(predictor.device) if predictor.origin else "auto"  # a module is never opened again
    return RuntimeSettings.model_validate(
        {
            "device": device,
            "engine": predictor.engine,
            "precision": predictor.precision,
            "label_batch_size": predictor.batch_size,
        }
    )


def require_one_process(predictor: Predictor | None, worker: Worker, processes: int, engine: str) -> None:
    """Raises ``SettingsError`` if a module, which has no name to open it by, is to label in several processes."""
    if predictor is None or predictor.origin or (worker.count == 1 and processes == 1 and engine == "local"):
        return
    asked = f"engine {engine}" if engine != "local" else f"{max(worker.count, processes)} workers"
    raise SettingsError(
        f"{predictor!r} is a module, which other processes cannot open by a name, and {asked} would have to. Label in "
        "one process (without workers, worker, engine and torchrun), or give a checkpoint's folder."
    )


def open_for_inputs(job: Job, predictor: Predictor | None) -> Predictor:
    """The job's teacher in a process that only hands out the work: on the CPU, to leave the accelerators free."""
    return predictor or Predictor.open(job.teacher, _ON_CPU)


def labeling_teacher(job: Job, predictor: Predictor) -> TeacherModel:
    """The teacher that labels: the predictor, or with ``noise.teacher`` a copy that keeps its model noise.

    Raises ``SettingsError`` for a module or the engine onnx with ``noise.teacher``.
    """
    if not job.noise.teacher:
        return predictor
    if predictor.onnx:
        raise SettingsError(f"noise.teacher is true, and {predictor!r} has the engine onnx, which knows no noise.")
    if predictor.classifier is None:
        raise SettingsError(
            f"noise.teacher is true, and {predictor!r} is a module, whose dropout and stochastic depth are unknown. "
            "Give a checkpoint, or leave noise.teacher false."
        )
    return NoisedTeacher(predictor.classifier)
