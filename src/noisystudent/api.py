"""The verbs as functions: each reads finished folders and writes the next one.

``settings`` takes dotted names, as the command line does: ``{"train.steps": 300, "noise.flip": True}``. All raise
``NoisyStudentError`` with one clear line for a user's mistake.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from noisystudent.artifacts.folder import atomic_write, write_json
from noisystudent.config import Recipe, Resolved, resolve, runtime_to_predict, section_settings
from noisystudent.data.images import Failure, Images, infer_format
from noisystudent.data.sample import SampleSource
from noisystudent.data.settings import DataSettings
from noisystudent.data.sources.open import open_source
from noisystudent.data.splits import decode
from noisystudent.data.store import fetched, local_folder, store_url
from noisystudent.errors import SettingsError
from noisystudent.evaluation.labeler import Labeler
from noisystudent.evaluation.map_shards import map_shards
from noisystudent.evaluation.scoring import score_source
from noisystudent.models.settings import plan_models
from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.custom import BatchTransform
from noisystudent.noise.settings import NoiseSettings
from noisystudent.noise.sheet import operations_sheet, strengths_sheet
from noisystudent.pipeline import noisy_student as rounds
from noisystudent.pipeline import plan as planning
from noisystudent.pipeline.autotune import autotune
from noisystudent.pipeline.checkpoints import Checkpoint
from noisystudent.pipeline.context import build_context, run_lock
from noisystudent.pipeline.distillation import distill as run_distillation
from noisystudent.pipeline.leakage import remove_leakage
from noisystudent.pipeline.noise_search import choose_strength
from noisystudent.pipeline.page_images import Thumbnails
from noisystudent.pipeline.train_data import student_spec, supervised_spec
from noisystudent.pipeline.train_stage import train as train_stage
from noisystudent.pseudo_labels.labeling.job import Job, describe
from noisystudent.pseudo_labels.labeling.processes import label_in_processes
from noisystudent.pseudo_labels.labeling.worker import work
from noisystudent.pseudo_labels.predictions import PREDICTIONS
from noisystudent.reporting.page import write_report
from noisystudent.reporting.sheet import write_sheet
from noisystudent.runtime.process_group import open_process_group
from noisystudent.runtime.progress import Reporter
from noisystudent.runtime.worker import find_worker

Settings = Mapping[str, Any]
Place = str | Path  # a folder, a file or, for sources, a spec such as "digits"


def run(
    *,
    labeled: Place | None = None,
    unlabeled: Place | None = None,
    out: Place | None = None,
    validation: Place | None = None,
    test: Place | None = None,
    config: Place | None = None,
    settings: Settings | None = None,
    noise: BatchTransform | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Noisy Student training from a few labels and a pile of images to a verdict; returns what summary.json holds.

    Sources are what ``docs/sources.md`` lists. Killed at any moment and called again, it goes on where it was.
    Everything is written to the folder ``out``: the delivered model in ``best/``, the page in ``report.html``.
    ``noise`` is a callable of your own on batches of images, uint8 [B, C, S, S], that acts after the noise of the
    settings (``noise.preset: none`` leaves it alone): a function, or a torchvision v2 transform. torch's random
    generator is seeded for it at every step.
    """
    resolved = _resolve(labeled, unlabeled, out, validation, test, config, settings)
    if resolved.settings.unlabeled is None:
        raise SettingsError("run needs --unlabeled; to train on labels alone use 'noisystudent train'.")
    summary = rounds.run(resolved, reporter=Reporter(quiet=quiet), custom_noise=noise)
    open_process_group().on_main(lambda: report(resolved.settings.out))
    return summary


def plan(
    *,
    labeled: Place | None = None,
    unlabeled: Place | None = None,
    out: Place | None = None,
    validation: Place | None = None,
    test: Place | None = None,
    config: Place | None = None,
    settings: Settings | None = None,
    noise: BatchTransform | None = None,
    quiet: bool = False,
) -> list[planning.PlannedStage]:
    """What ``run`` with the same arguments would do, what of it is done, and an estimate of the rest."""
    resolved = _resolve(labeled, unlabeled, out, validation, test, config, settings)
    if resolved.settings.unlabeled is None:
        raise SettingsError("plan needs --unlabeled, as run does.")
    return planning.plan(resolved.settings, reporter=Reporter(quiet=quiet), custom_noise=noise)


def distill(
    *,
    teacher: Place | Sequence[Place] | None = None,
    student: str | Sequence[str] | None = None,
    labeled: Place | None = None,
    unlabeled: Place | None = None,
    out: Place | None = None,
    test: Place | None = None,
    config: Place | None = None,
    settings: Settings | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Distills one or several teachers into a student, or a chain of students; returns what summary.json holds.

    A ``teacher`` is a checkpoint's folder, or the name of a model that is trained on the labels first; several are an
    ensemble. A ``student`` is the name of a model; of several, each learns from the one before. Images are labeled,
    unlabeled or both. The loss is the settings' ``distillation``; what there is stands in ``docs/distillation.md``.
    The delivered model is in ``out/best``; a labels-only control of the same model and samples seen gives the verdict.
    """
    named = {
        "distillation.teachers": [teacher] if isinstance(teacher, str | Path) else teacher,
        "distillation.students": [student] if isinstance(student, str) else student,
    }
    told = {name: [str(each) for each in value] for name, value in named.items() if value is not None}
    resolved = _resolve(
        labeled, unlabeled, out, None, test, config, {**(settings or {}), **told}, recipe="distillation"
    )
    summary = run_distillation(resolved, reporter=Reporter(quiet=quiet))
    open_process_group().on_main(lambda: report(resolved.settings.out))
    return summary


def train(
    *,
    labeled: Place | None = None,
    out: Place | None = None,
    unlabeled: Place | None = None,
    predictions: Place | None = None,
    selection: Place | None = None,
    config: Place | None = None,
    settings: Settings | None = None,
    noise: BatchTransform | None = None,
    quiet: bool = False,
) -> Checkpoint:
    """One model into the checkpoint folder ``out``: on labels alone, or on labels and selected pseudo labels.

    For a student give ``unlabeled``, ``predictions`` (a folder, or its URL, that ``label`` wrote for it) and
    ``selection`` (one that ``select`` wrote from that). ``noise`` is as in ``run``; a validation source is the setting
    ``validation``.
    """
    resolved = _resolve(labeled, unlabeled, out, None, None, config, settings)
    given = [unlabeled is not None, predictions is not None, selection is not None]
    if any(given) and not all(given):
        raise SettingsError(
            "a student needs all of --unlabeled, --predictions and --selection; a teacher none of them."
        )
    if resolved.settings.distillation.method != "none":
        raise SettingsError(
            f"train learns from labels and pseudo labels alone, and distillation.method is "
            f"{resolved.settings.distillation.method}; use distill, or run."
        )
    if resolved.settings.evaluation.suite:
        raise SettingsError(
            "evaluation.suite is for run and distill, and for evaluate and compare on finished checkpoints; leave it "
            "out of train."
        )
    folder = Path(resolved.settings.out)
    with run_lock(folder):
        opened = build_context(resolved.settings, Reporter(quiet=quiet), custom_noise=noise)
        context = remove_leakage(replace(opened, folder=folder.parent), f"{folder.name}.screen")
        teacher_plan, student_plan = plan_models(resolved.settings.model, 1, context.splits.format.size)
        context = autotune(context, student_plan if selection else teacher_plan, f"{folder.name}.speed")
        strength = choose_strength(context, teacher_plan, f"{folder.name}.strength")
        if predictions and selection:
            source = predictions
            predicted = open_process_group().on_main(lambda: fetched(source, PREDICTIONS))
            return train_stage(
                context,
                folder.name,
                student_plan,
                student_spec(context, predicted, Path(selection)),
                strength,
            )
        return train_stage(context, folder.name, teacher_plan, supervised_spec(context), strength)


def label(
    *,
    teacher: Place,
    source: Place,
    out: Place,
    seed: int = 0,
    worker: str | None = None,
    workers: int | None = None,
    engine: Literal["local", "ray"] = "local",
    settings: Settings | None = None,
    quiet: bool = False,
) -> Path:
    """The checkpoint ``teacher``'s predictions for every image of a source, as Parquet parts in ``out``.

    The checkpoint is a folder, or text such as ``timm:resnet50.tv_in1k`` for the weights that timm publishes.

    Images are decoded shard by shard, so memory does not grow with their number. Unreadable ones are listed in
    ``failed.parquet``; they have no row. ``noise.teacher: true`` is for the paper's ablation: the teacher sees its
    images under the noise that the settings name, by ``seed``, and keeps its own.

    Any number of processes may be called with the same arguments, on any machines that share the folder ``out`` or,
    where it is a URL, that can write to its store; the result is the same, byte for byte. Which part each begins with
    is ``worker``, such as ``3/16``, or told by Slurm, Kubernetes or torchrun. ``workers`` processes are started here.
    ``engine="ray"`` lets a Ray cluster do the work, by ``workers`` actors (as many as it has GPUs, or else CPUs). All
    return when the predictions are complete: the folder, which for a URL is a copy of what this machine made.
    """
    if workers is not None and workers < 1:
        raise SettingsError(f"--workers is {workers}; give a whole number of at least 1.")
    job = Job(
        # A Path is a folder, whatever it is called; ./ keeps it one as text.
        teacher=teacher if isinstance(teacher, str) else os.path.join(os.curdir, teacher),
        source=str(source), seed=seed,
        out=local_folder(out), store=store_url(out),
        runtime=runtime_to_predict(settings),
        noise=section_settings(NoiseSettings, "noise", settings),
        data=section_settings(DataSettings, "data", settings),
    )  # fmt: skip
    reporter = Reporter(quiet=quiet)
    if engine == "ray":
        from noisystudent.pseudo_labels.labeling.ray_engine import label_on_ray  # Ray is an extra

        label_on_ray(job, workers, reporter)
    elif workers and workers > 1:
        label_in_processes(job, find_worker(worker), workers, reporter)
    else:
        work(job, find_worker(worker), reporter)
    reporter.say(describe(job))
    return job.out


def evaluate(
    *,
    checkpoint: Place,
    source: Place,
    calibrate: Place | None = None,
    out: Place | None = None,
    settings: Settings | None = None,
) -> dict[str, object]:
    """A checkpoint's scores on a labeled source; also written as JSON to ``out`` when that is given.

    ``checkpoint`` is a folder, or text such as ``timm:resnet50.tv_in1k`` for the weights that timm publishes.

    ``calibrate`` is another labeled source, on which a temperature is fitted (Guo et al. 2017, section 4.2); the scores
    then have a ``temperature_scaling``: the temperature, and ece, nll and brier with it. Images that are scored are
    left out of the fit; ``SettingsError`` where those are all.

    Processes that torchrun started share the shards, and all return the same scores, to the bit, as one process does.
    Images are decoded shard by shard, so memory does not grow with their number.
    """
    labeler = Labeler.open(checkpoint, runtime_to_predict(settings))
    group = open_process_group()
    scores = score_source(
        labeler,
        str(source),
        calibration=None if calibrate is None else str(calibrate),
        max_corrupt_fraction=section_settings(DataSettings, "data", settings).max_corrupt_fraction,
        group=group,
    )
    if out:
        place = Path(out)
        group.on_main(lambda: write_json(place, scores))
    return scores


def predict(
    *, checkpoint: Place, source: Place, out: Place, settings: Settings | None = None, quiet: bool = False
) -> list[Failure]:
    """Writes a CSV of file, class and confidence for every image of a source; returns the unreadable ones.

    ``checkpoint`` is a folder, or text such as ``timm:resnet50.tv_in1k`` for the weights that timm publishes.

    An unreadable image has a row too, with empty class and confidence, so that the rows match the files. Processes
    that torchrun started share the shards; the first one writes the table, the same bytes as one process does.
    """
    labeler = Labeler.open(checkpoint, runtime_to_predict(settings))
    opened = open_source(str(source), labeled=False)
    allowed = section_settings(DataSettings, "data", settings).max_corrupt_fraction
    group = open_process_group()
    failures: list[Failure] = []

    def answer(images: Images) -> list[list[str]]:
        pairs = zip(images.keys, labeler(images), strict=True)
        return [[key, labeler.teacher.classes[int(row.argmax())], f"{np.exp(row.max()):.4f}"] for key, row in pairs]

    with (
        atomic_write(Path(out)) if group.is_main else nullcontext(Path(os.devnull)) as place,
        place.open("w", newline="", encoding="utf-8") as file,
        Reporter(quiet=quiet or not group.is_main).bar("predict", sum(opened.shard_sizes), "images") as bar,
    ):
        writer = csv.writer(file)
        writer.writerow(["file", "class", "confidence"])
        shards = map_shards(opened, labeler.format, answer, max_corrupt_fraction=allowed, group=group)
        for rows, failed in shards:
            writer.writerows(rows)
            writer.writerows([failure.key, "", ""] for failure in failed)
            failures += failed
            bar.advance(len(rows) + len(failed))
    return failures


def report(folder: Place) -> Path:
    """Makes the page of a finished run again, ``report.html`` in its folder, and returns its path.

    Thumbnails are taken from the run's sources; where those are gone the page says so.
    """
    return write_report(Path(folder), load_images=Thumbnails.of_run(Path(folder)))


def show_noise(
    *,
    source: Place,
    out: Place,
    by: Literal["strengths", "operations"] = "strengths",
    images: int = 8,
    settings: Settings | None = None,
) -> Path:
    """Writes a contact sheet (PNG) of a source's images under noise, to see whether the label survives.

    A row is an image. Columns are ``noise.strengths``, or RandAugment's operations one by one at
    ``noise.strength`` (1 when that is auto). Images are spread evenly over the source.
    """
    if images < 1:
        raise SettingsError(f"--images is {images}; give a whole number of at least 1.")
    noise, data = section_settings(NoiseSettings, "noise", settings), section_settings(DataSettings, "data", settings)
    sample = SampleSource(open_source(str(source), labeled=False), images)
    format = infer_format(sample, data)
    shown = decode(sample, format, data)
    rng = CounterRng(0, "show-noise")
    if by == "operations":
        strength = 1.0 if noise.strength == "auto" else noise.strength
        sheet = operations_sheet(shown, noise, size=format.size, strength=strength, rng=rng)
    else:
        sheet = strengths_sheet(shown, noise, size=format.size, storage_size=format.storage_size, rng=rng)
    write_sheet(Path(out), sheet.columns, sheet.cells)
    return Path(out)


def _resolve(
    labeled: Place | None,
    unlabeled: Place | None,
    out: Place | None,
    validation: Place | None,
    test: Place | None,
    config: Place | None,
    settings: Settings | None,
    recipe: Recipe = "curriculum",
) -> Resolved:
    given = {"labeled": labeled, "unlabeled": unlabeled, "out": out, "validation": validation, "test": test}
    told = {name: str(value) for name, value in given.items() if value is not None}
    resolved = resolve({**(settings or {}), **told}, Path(config) if config else None, recipe=recipe)
    if not resolved.settings.labeled and recipe != "distillation":
        raise SettingsError("setting labeled: it is required.")
    return resolved
