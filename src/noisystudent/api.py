"""The public functions: each reads finished folders and writes the next one.

Every function takes ``settings`` as dotted names (``{"train.steps": 300}``), nested mappings (``{"train": {"steps":
300}}``), settings objects (``TrainSettings(steps=300)``), or several of these in a sequence. A setting that a function
does not use is an error. All functions raise ``NoisyStudentError`` with one clear line for a user's mistake.

torch is imported inside the functions that need it, so that the others stay light.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from noisystudent.artifacts.run_folders import choose_folder, keep_command
from noisystudent.config import (
    Command,
    Resolved,
    given_values,
    read_settings,
    resolve,
    runtime_to_predict,
    section_settings,
)
from noisystudent.errors import SettingsError, nearest_name
from noisystudent.settings_input import SettingsInput, as_list

if TYPE_CHECKING:
    from noisystudent.data.source import Source
    from noisystudent.evaluation.metrics.results import EvaluationResult
    from noisystudent.evaluation.predict_source import PredictionSummary
    from noisystudent.evaluation.results import ComparisonResult, RobustnessResult
    from noisystudent.models.export import ExportFormat
    from noisystudent.models.factory import ModelFactory
    from noisystudent.models.predictor import Predictor
    from noisystudent.noise.custom import BatchTransform
    from noisystudent.pipeline.article import Scored
    from noisystudent.pipeline.checkpoints import Checkpoint
    from noisystudent.pipeline.extensions import Extensions, ObjectiveFunction
    from noisystudent.pipeline.pretrain_single import Pretrained
    from noisystudent.pipeline.run_folder import Run
    from noisystudent.pipeline.studies.cells import Study
    from noisystudent.pipeline.studies.study import StudyRequest
    from noisystudent.pseudo_labels.selection.custom import SelectRows
    from noisystudent.pseudo_labels.selection.results import SelectionSummary
    from noisystudent.reporting.sheet import NoiseSheet
    from noisystudent.results.article import ArticleTable, TableKind
    from noisystudent.results.check import DataCheck
    from noisystudent.results.facts import PlannedStage, PlanResult
    from noisystudent.results.fix import FixResult
    from noisystudent.results.study import StudyResult

    SourceLike = str | Path | Source
    ModelLike = str | Path | Predictor


def run(
    labeled: SourceLike | None = None,
    unlabeled: SourceLike | None = None,
    *,
    test: SourceLike | None = None,
    validation: SourceLike | None = None,
    out: str | Path | None = None,
    config: str | Path | None = None,
    settings: SettingsInput | None = None,
    objective: ObjectiveFunction | None = None,
    select: SelectRows | None = None,
    model: ModelFactory | str | None = None,
    noise: BatchTransform | None = None,
    verify: bool = False,
    quiet: bool = False,
) -> Run:
    """Trains a classifier from a few labeled and many unlabeled images by Noisy Student training, with a verdict.

    Killed at any moment and called again with the same arguments, it resumes where it was. Processes that torchrun
    started share the work.

    Args:
        labeled: Labeled images: a source as in ``docs/sources.md``, such as a folder of class folders.
        unlabeled: Unlabeled images: a source.
        test: Labeled images that only report.
        validation: Labeled images that choose; without them a part of ``labeled`` is held out where it is large enough.
        out: The run's folder: the delivered model goes to ``best/``, the page to ``report.html``. By default
            ``runs/<name>-<number>``, the same for the same arguments.
        config: A YAML file of settings, under ``settings``.
        settings: Settings, over ``config`` and the recipe.
        objective: Your own loss: from logits [B, K] and a ``Batch`` to a scalar or ``LossTerms``, in every stage.
        select: Your own selection: from ``PredictionColumns`` of N rows to N copies, 0 = rejected.
        model: Your own network: a factory called with classes, channels and size; or the name of a timm model.
        noise: Your own noise on batches uint8 [B, C, S, S], after that of the settings (``noise.preset: none`` leaves
            yours alone), such as a torchvision v2 transform; torch's random generator is seeded for it at every step.
        verify: Check every byte of the stages that are finished already; otherwise models in full, other files by
            samples.
        quiet: No progress.

    Returns:
        The finished run: its verdict, scores, model and page.

    Raises:
        NoisyStudentError: With one clear line, for a user's mistake, bad data or failed training.
    """
    from noisystudent.pipeline import noisy_student
    from noisystudent.pipeline.run_folder import Run
    from noisystudent.runtime.progress import Reporter

    sources = {"labeled": labeled, "unlabeled": unlabeled, "test": test, "validation": validation}
    resolved = _resolved("run", sources, out, config, settings, model)
    extensions = _extensions(sources, objective=objective, select=select, model=model, noise=noise)
    summary = noisy_student.run(resolved, reporter=Reporter(quiet=quiet), extensions=extensions, verify=verify)
    return Run(Path(resolved.settings.out), summary, extensions.model)


def plan(
    labeled: SourceLike | None = None,
    unlabeled: SourceLike | None = None,
    *,
    test: SourceLike | None = None,
    validation: SourceLike | None = None,
    out: str | Path | None = None,
    config: str | Path | None = None,
    settings: SettingsInput | None = None,
    objective: ObjectiveFunction | None = None,
    select: SelectRows | None = None,
    model: ModelFactory | str | None = None,
    noise: BatchTransform | None = None,
    quiet: bool = False,
) -> PlanResult:
    """Says what ``run`` with the same arguments would do, what of it is done, and how long the rest takes.

    Args:
        labeled: As in ``run``.
        unlabeled: As in ``run``.
        test: As in ``run``.
        validation: As in ``run``.
        out: As in ``run``.
        config: As in ``run``.
        settings: As in ``run``.
        objective: As in ``run``.
        select: As in ``run``.
        model: As in ``run``.
        noise: As in ``run``.
        quiet: No progress.

    Returns:
        The stages in order, each with its state, samples seen and estimated seconds on this machine.

    Raises:
        NoisyStudentError: As ``run`` does.
    """
    from noisystudent.pipeline import plan as planning
    from noisystudent.runtime.progress import Reporter

    sources = {"labeled": labeled, "unlabeled": unlabeled, "test": test, "validation": validation}
    resolved = _resolved("plan", sources, out, config, settings, model)
    extensions = _extensions(sources, objective=objective, select=select, model=model, noise=noise)
    return planning.plan(resolved, reporter=Reporter(quiet=quiet), extensions=extensions)


def check(
    labeled: SourceLike | None = None,
    unlabeled: SourceLike | None = None,
    *,
    test: SourceLike | None = None,
    validation: SourceLike | None = None,
    settings: SettingsInput | None = None,
    quiet: bool = False,
) -> DataCheck:
    """Audits the sources of a run before anything is trained, as the run would read them; writes nothing.

    Unreadable images, the same image in several classes, duplicates and near-duplicates of held-out images, sizes, and
    labels that look wrong to classifiers on the features of a pretrained backbone, if there is one.

    Args:
        labeled: Labeled images: a source.
        unlabeled: Unlabeled images: a source.
        test: Labeled images that only report.
        validation: Labeled images that choose.
        settings: Settings of the run.
        quiet: No progress.

    Returns:
        What was found, by role of the source.

    Raises:
        NoisyStudentError: With one clear line, for a user's mistake or bad data.
    """
    from noisystudent.pipeline.check import check as check_sources
    from noisystudent.runtime.progress import Reporter

    sources = {"labeled": labeled, "unlabeled": unlabeled, "test": test, "validation": validation}
    given = [{"budget": "none"}, *as_list(settings)]
    resolved = _resolved("plan", sources, None, None, given)
    return check_sources(resolved, reporter=Reporter(quiet=quiet), extensions=_extensions(sources))


def study(
    study: str | Study,
    *,
    labeled: str | Path | None = None,
    unlabeled: str | Path | None = None,
    test: str | Path | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    out: str | Path | None = None,
    shared: Sequence[str | Path] = (),
    config: str | Path | None = None,
    settings: SettingsInput | None = None,
    quiet: bool = False,
) -> StudyResult:
    """Runs an ablation of the paper, or one of your own, on your images: a table of accuracies with intervals.

    Its runs differ in the settings of a cell alone, and draw the same order and noise. Killed at any moment and called
    again, it resumes.

    Args:
        study: The name of one of the paper's ablations (``docs/study.md``), a YAML file of cells, or a ``Study``.
        labeled: As in ``run``; ``{seed}`` in the name of a source stands for the seed, for a split per seed.
        unlabeled: As in ``run``.
        test: As in ``run``; a study needs one.
        seeds: The seeds; every cell is run once for each.
        out: The folder of all runs, the table and the page.
        shared: Folders of other studies, whose finished stages are taken over where their inputs are the same.
        config: A YAML file of settings of all cells, under ``settings``.
        settings: Settings of all cells; the study's own settings are under these.
        quiet: No progress.

    Returns:
        The rows with their differences to the reference; ``out`` has them as ``study.json``, as CSV, Markdown and a
        page.

    Raises:
        NoisyStudentError: As ``run`` does; also for cells that differ in what must be equal.
    """
    from noisystudent.pipeline.studies.study import run_study
    from noisystudent.reporting.study import write_study
    from noisystudent.runtime.progress import Reporter

    sources = {"labeled": labeled, "unlabeled": unlabeled, "test": test}
    request = _study_request(study, sources, seeds, out, config, settings, shared)
    result = run_study(request, reporter=Reporter(quiet=quiet))
    write_study(result, request.out)
    return result


def plan_study(
    study: str | Study,
    *,
    labeled: str | Path | None = None,
    unlabeled: str | Path | None = None,
    test: str | Path | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    out: str | Path | None = None,
    config: str | Path | None = None,
    settings: SettingsInput | None = None,
    quiet: bool = False,
) -> Mapping[str, tuple[PlannedStage, ...]]:
    """Says what ``study`` with the same arguments would take for one seed.

    Args:
        study: As in ``study``.
        labeled: As in ``study``.
        unlabeled: As in ``study``.
        test: As in ``study``.
        seeds: As in ``study``.
        out: As in ``study``.
        config: As in ``study``.
        settings: As in ``study``.
        quiet: No progress.

    Returns:
        The stages of each cell by its name, without those that an earlier cell has already.

    Raises:
        NoisyStudentError: As ``study`` does.
    """
    from noisystudent.pipeline.studies.study import plan_study as plan_request
    from noisystudent.runtime.progress import Reporter

    sources = {"labeled": labeled, "unlabeled": unlabeled, "test": test}
    request = _study_request(study, sources, seeds, out, config, settings)
    return plan_request(request, reporter=Reporter(quiet=quiet))


def distill(
    *,
    teacher: ModelLike | Sequence[ModelLike] | None = None,
    student: ModelLike | Sequence[ModelLike] | None = None,
    labeled: SourceLike | None = None,
    unlabeled: SourceLike | None = None,
    test: SourceLike | None = None,
    out: str | Path | None = None,
    config: str | Path | None = None,
    settings: SettingsInput | None = None,
    model: ModelFactory | None = None,
    noise: BatchTransform | None = None,
    verify: bool = False,
    quiet: bool = False,
) -> Run:
    """Distills one or several teachers into a student, or a chain of students (``docs/distillation.md``).

    Args:
        teacher: A checkpoint or run folder, ``timm:NAME``, a ``Predictor``, or the name of a model to train on the
            labels first; several are an ensemble.
        student: The name of the student's architecture; or a finished model, as for ``teacher``, whose weights the
            student starts from. Of several, each learns from the one before.
        labeled: Labeled images: a source.
        unlabeled: Unlabeled images: a source. One of the two is needed.
        test: Labeled images that only report.
        out: The folder of the distillation: the last student goes to ``best/``, the page to ``report.html``.
        config: A YAML file of settings, under ``settings``.
        settings: Settings, over ``config`` and the recipe; the loss is their section ``distillation``.
        model: The factory of your own network for students, control and teachers that are trained here.
        noise: Your own noise, as in ``run``.
        verify: Check every byte of the stages that are finished already; otherwise models in full, other files by
            samples.
        quiet: No progress.

    Returns:
        The finished distillation; its verdict compares the last student with labels-only training of the same model and
        the same number of samples seen.

    Raises:
        NoisyStudentError: With one clear line, for a user's mistake, bad data or failed training.
    """
    from noisystudent.data.output import require_output_folder
    from noisystudent.models.predictor import Predictor
    from noisystudent.pipeline import distillation
    from noisystudent.pipeline.distillation import name_model
    from noisystudent.pipeline.run_folder import Run
    from noisystudent.runtime.progress import Reporter

    sources = {"labeled": labeled, "unlabeled": unlabeled, "test": test}
    given = as_list(settings)
    predictors: dict[str, Predictor] = {}
    for setting, models in (("teachers", teacher), ("students", student)):
        if models is not None:
            listed = list(models) if isinstance(models, Sequence) and not isinstance(models, str) else [models]
            names = [name_model(member) for member in listed]
            given.append({f"distillation.{setting}": names})
            predictors |= {
                name: member for name, member in zip(names, listed, strict=True) if isinstance(member, Predictor)
            }
    resolved = _resolved("distill", sources, out, config, given)
    distillation_settings = resolved.settings.distillation
    named = [*distillation_settings.teachers, *distillation_settings.students]
    require_output_folder(resolved.settings.out, [], named)
    extensions = _extensions(sources, model=model, noise=noise)
    summary = distillation.distill(
        resolved, reporter=Reporter(quiet=quiet), extensions=extensions, predictors=predictors, verify=verify
    )
    return Run(Path(resolved.settings.out), summary, extensions.model)


def train(
    labeled: SourceLike | None = None,
    *,
    out: str | Path | None = None,
    unlabeled: SourceLike | None = None,
    predictions: str | Path | None = None,
    selection: str | Path | None = None,
    start: ModelLike | None = None,
    config: str | Path | None = None,
    settings: SettingsInput | None = None,
    objective: ObjectiveFunction | None = None,
    select: SelectRows | None = None,
    model: ModelFactory | str | None = None,
    noise: BatchTransform | None = None,
    verify: bool = False,
    quiet: bool = False,
) -> Checkpoint:
    """Trains one model: a teacher on labels alone, or a student on labels and selected pseudo labels, or online.

    Args:
        labeled: Labeled images: a source.
        out: The folder of the checkpoint; by default as in ``run``.
        unlabeled: For a student: the unlabeled images. With the setting ``online.method``, it needs nothing else.
        predictions: For a student: the folder that ``label`` wrote for ``unlabeled``, or its URL.
        selection: For a student: the folder that ``select`` wrote from ``predictions``; or give ``select``.
        start: A model of these classes, as in ``evaluate``, from whose weights this one goes on, last layer included.
            The folder of an encoder that ``pretrain`` made is taken as the setting ``model.backbone``.
            With the recipe ``bit``: weights of any classes, as ``model.backbone`` names them; the last layer is new.
        config: A YAML file of settings, under ``settings``.
        settings: Settings, over ``config`` and the recipe.
        objective: Your own loss, as in ``run``.
        select: Your own selection of ``predictions``, as in ``run``.
        model: Your own network, as in ``run``.
        noise: Your own noise, as in ``run``.
        verify: Check every byte of the stages that are finished already; otherwise models in full, other files by
            samples.
        quiet: No progress.

    Returns:
        The checkpoint: its folder, its size and what the training took.

    Raises:
        NoisyStudentError: With one clear line, for a user's mistake, bad data or failed training.
    """
    from noisystudent.data.output import require_output_folder
    from noisystudent.models.checkpoint import is_encoder
    from noisystudent.pipeline.single_model import train_single
    from noisystudent.pipeline.transfer import upstream_of
    from noisystudent.runtime.progress import Reporter
    from noisystudent.training.settings import TRANSFER_RECIPE

    sources = {"labeled": labeled, "unlabeled": unlabeled}
    given = as_list(settings)
    if isinstance(start, str | Path) and is_encoder(Path(start)):
        if "model.backbone" in given_values(settings):
            raise SettingsError(f"start {start} is an encoder, which is a backbone; leave model.backbone out.")
        given, start = [*given, {"model.backbone": str(start)}], None
    resolved = _resolved("train", sources, out, config, given, model)
    if start is not None and resolved.settings.recipe == TRANSFER_RECIPE:
        resolved = _resolved("train", sources, out, config, [*given, upstream_of(resolved, start)], model)
        start = None
    require_output_folder(resolved.settings.out, [], [predictions, selection])
    extensions = _extensions(sources, objective=objective, select=select, model=model, noise=noise)
    return train_single(
        resolved,
        reporter=Reporter(quiet=quiet),
        extensions=extensions,
        verify=verify,
        predictions=predictions,
        selection=selection,
        start=start,
    )


def fix(
    labeled: SourceLike | None = None,
    *,
    checkpoint: ModelLike,
    out: str | Path | None = None,
    validation: SourceLike | None = None,
    size: int | Literal["auto"] | None = None,
    settings: SettingsInput | None = None,
    verify: bool = False,
    quiet: bool = False,
) -> FixResult:
    """Fixes a trained model for a larger test size: its last layer learns from labels at that size (FixRes).

    Objects look smaller in the test than in training crops, which are random parts of an image, enlarged; a larger
    test size makes up for it (Touvron et al. 2019). ``docs/resolution.md`` says more.

    Args:
        labeled: Labeled images of the model's classes, such as those that it was trained on: a source.
        checkpoint: A model, as in ``evaluate``, but for a module.
        out: The folder of the fixed model; by default as in ``run``.
        validation: Labeled images on which the model is scored before and after.
        size: Edge of the input in pixels; ``auto`` (default): at which objects look as large as in training.
        settings: Settings of the sections ``fix`` and ``runtime``.
        verify: Check every byte of the stages that are finished already.
        quiet: No progress.

    Returns:
        The sizes, and the scores at both before the fix and at the larger one after it.

    Raises:
        NoisyStudentError: There is nothing to fix, or the model cannot be fixed, with one clear line.
    """
    from noisystudent.data.output import require_output_folder
    from noisystudent.pipeline.fix.single import fix_single
    from noisystudent.runtime.progress import Reporter

    sources = {"labeled": labeled, "validation": validation}
    given = [*as_list(settings), *([{"fix.size": size}] if size is not None else [])]
    resolved = _resolved("fix", sources, out, None, given)
    require_output_folder(resolved.settings.out, [], _places([checkpoint]))
    own = _extensions(sources).sources
    reporter = Reporter(quiet=quiet)
    return fix_single(resolved, checkpoint, reporter=reporter, sources=dict(own), verify=verify)


def pretrain(
    unlabeled: SourceLike | None = None,
    *,
    labeled: SourceLike | None = None,
    test: SourceLike | None = None,
    validation: SourceLike | None = None,
    out: str | Path | None = None,
    config: str | Path | None = None,
    settings: SettingsInput | None = None,
    model: str | None = None,
    verify: bool = False,
    quiet: bool = False,
) -> Pretrained:
    """Pretrains an encoder on images without labels (SimCLR), for other models to start from.

    ``train``, ``run`` and ``distill`` start from it with the setting ``model.backbone``, ``train`` also with ``start``.
    Killed at any moment and called again with the same arguments, it resumes.

    Args:
        unlabeled: Images: a source.
        labeled: Labeled images: a source. Pretraining shows them without their labels; with these, classifiers on the
            frozen features are scored on ``test``, else on ``validation``, else on a part of them that is set aside.
        test: Labeled images that only report; those that look like one of them are left out.
        validation: The same, where there are no test images.
        out: The folder of the encoder; by default as in ``run``.
        config: A YAML file of settings, under ``settings``.
        settings: Settings; the section ``pretraining`` is its own.
        model: The name of the network in timm; by default as in ``run``.
        verify: Check every byte of what is finished already.
        quiet: No progress.

    Returns:
        The encoder's checkpoint, and the scores of its features.

    Raises:
        NoisyStudentError: With one clear line, for a user's mistake, bad data or failed training.
    """
    from noisystudent.pipeline.pretrain_single import pretrain_single
    from noisystudent.runtime.progress import Reporter

    sources = {"labeled": labeled, "unlabeled": unlabeled, "test": test, "validation": validation}
    resolved = _resolved("pretrain", sources, out, config, settings, model)
    extensions = _extensions(sources)
    return pretrain_single(resolved, reporter=Reporter(quiet=quiet), extensions=extensions, verify=verify)


def label(
    *,
    teacher: ModelLike,
    source: str | Path,
    out: str | Path,
    seed: int = 0,
    worker: str | None = None,
    workers: int | None = None,
    engine: Literal["local", "ray"] = "local",
    settings: SettingsInput | None = None,
    quiet: bool = False,
) -> Path:
    """Labels every image of a source with a teacher's predictions, stored as Parquet parts.

    Images are decoded shard by shard, so memory does not grow with their number. Unreadable images have no row; they
    are listed in ``failed.parquet``. Any number of processes may call it with the same arguments, on machines that
    share ``out``. The result is the same, byte for byte, and all return when the predictions are complete.

    Args:
        teacher: A checkpoint folder, the folder of a run, ``timm:NAME``, or a ``Predictor`` such as ``load`` returns.
            A module can label in one process only.
        source: The images; see ``docs/sources.md``.
        out: The folder of the predictions, or its URL.
        seed: Seed of the noise with ``noise.teacher: true``, an ablation in the paper.
        worker: Number and count of this worker, such as ``3/16``; by default read from Slurm, Kubernetes or torchrun.
        workers: Number of processes to start on this machine; with Ray, the number of actors.
        engine: ``local``, or ``ray`` for a Ray cluster.
        settings: Settings of the sections ``runtime`` and ``noise``, and ``data.max_corrupt_fraction``.
        quiet: No progress.

    Returns:
        The folder; for a URL, a copy of what this machine made.

    Raises:
        NoisyStudentError: With one clear line, for a user's mistake, bad data or a failed worker.
    """
    from noisystudent.data.output import require_output_folder
    from noisystudent.data.settings import DataSettings
    from noisystudent.data.store import local_folder, store_url
    from noisystudent.models.predictor import Predictor
    from noisystudent.noise.settings import NoiseSettings
    from noisystudent.pseudo_labels.labeling.engines import run_job
    from noisystudent.pseudo_labels.labeling.job import Job, describe
    from noisystudent.pseudo_labels.labeling.teacher import runtime_of, teacher_text
    from noisystudent.runtime.precision import warn_of_emulation
    from noisystudent.runtime.progress import Reporter

    noise = section_settings(NoiseSettings, "noise", settings, command="label")
    data = section_settings(DataSettings, "data", settings, command="label")
    runtime = runtime_to_predict(settings, command="label")
    name, predictor = teacher_text(teacher), None
    if isinstance(teacher, Predictor):
        predictor = Predictor.open(teacher, runtime)
        runtime = runtime_of(predictor)
    if not isinstance(source, str | Path):
        raise SettingsError(
            f"label takes a source by text, such as a folder, and was given a {type(source).__name__}; other processes "
            "cannot open that. Write it to disk first, or train on it directly with run."
        )
    if seed and not noise.teacher:
        raise SettingsError(f"--seed {seed} has an effect only with noise.teacher true; leave it out.")
    require_output_folder(out, [source], _places([teacher]), store=True)
    job = Job(
        teacher=name, source=str(source), out=local_folder(out), store=store_url(out), seed=seed,
        runtime=runtime, noise=noise, data=data,
    )  # fmt: skip
    reporter = Reporter(quiet=quiet)
    warn_of_emulation(runtime, reporter)
    run_job(job, predictor, worker=worker, workers=workers, engine=engine, reporter=reporter)
    reporter.say(describe(job))
    return job.out


def select(
    *,
    predictions: str | Path,
    out: str | Path,
    round: int = 1,
    seed: int = 0,
    settings: SettingsInput | None = None,
) -> SelectionSummary:
    """Selects the pseudo labels that a student trains on, from the predictions of a teacher.

    This function needs no torch: its memory is independent of the number of rows.

    Args:
        predictions: The folder that ``label`` wrote, or its URL, which is then copied to the cache of this machine.
        out: The folder of the selection.
        round: The number of the round, from 1; the rule ``curriculum`` selects more in later rounds.
        seed: Seed of the copies that balance the classes.
        settings: Settings of the section ``selection``. ``selection.fraction: auto`` means 0.2 here, because the
            labeled set is not available.

    Returns:
        How many rows were selected, in all and per class, and why the others were not.

    Raises:
        NoisyStudentError: The predictions are missing, damaged or of other classes, or a setting is wrong.
    """
    from noisystudent.artifacts.archives import prepare
    from noisystudent.artifacts.damage import reopen_damaged, require_whole
    from noisystudent.artifacts.folder import State, commit, state_of
    from noisystudent.artifacts.ownership import folder_lock
    from noisystudent.artifacts.typed_json import read_result
    from noisystudent.data.output import require_output_folder
    from noisystudent.data.store import fetched
    from noisystudent.errors import ArtifactError
    from noisystudent.pseudo_labels.predictions import PREDICTIONS, list_parts
    from noisystudent.pseudo_labels.selection.class_shares import named_shares
    from noisystudent.pseudo_labels.selection.parts import SELECTION
    from noisystudent.pseudo_labels.selection.results import SelectionSummary
    from noisystudent.pseudo_labels.selection.select import select as select_rows
    from noisystudent.pseudo_labels.selection.settings import SelectionSettings

    require_output_folder(out, [], [predictions])
    folder, out = fetched(predictions, PREDICTIONS), Path(out)
    chosen = section_settings(SelectionSettings, "selection", settings, command="select").resolve_auto(0)
    manifest = require_whole(folder, PREDICTIONS)
    classes = manifest.inputs.get("classes")
    if classes is None:
        raise ArtifactError(f"{folder} does not name its classes; make it with 'noisystudent label'.")
    if round < 1:
        raise SettingsError(f"--round is {round}; rounds count from 1.")
    if chosen.prior in ("labels", "estimated"):
        raise SettingsError(
            f"selection.prior {chosen.prior} needs the labels of a run, and select has predictions alone; name the "
            f"shares: uniform or CLASS=SHARE,... (classes: {', '.join(classes)})."
        )
    if round > 1 and chosen.rule != "curriculum":
        raise SettingsError(f"--round {round} has an effect only with selection.rule curriculum; leave it out.")
    inputs = {
        "predictions": manifest.fingerprint,
        "selection": chosen.deciding(),
        "round": round,
        "seed": seed,
    }
    with folder_lock(out):
        prepare(out, inputs)
        reopen_damaged(out, inputs)
        if state_of(out, inputs) is not State.COMPLETE:
            shares = named_shares(chosen.prior, classes)
            select_rows(out, list_parts(folder), chosen, classes=classes, round_number=round, seed=seed, shares=shares)
            commit(out, SELECTION, inputs)
        return read_result(SelectionSummary, out / "summary.json")


def evaluate(
    *,
    checkpoint: ModelLike,
    source: SourceLike,
    calibrate: SourceLike | None = None,
    sizes: Sequence[int] = (),
    out: str | Path | None = None,
    settings: SettingsInput | None = None,
) -> EvaluationResult:
    """Scores a model on a labeled source.

    Images are decoded shard by shard, so memory does not grow with their number. Processes that torchrun started share
    the shards, and all return the same result, to the bit, as one process does.

    Args:
        checkpoint: A checkpoint folder, the folder of a run, ``timm:NAME``, or a ``Predictor`` such as ``load``
            returns.
        source: Labeled images of all or some of the model's classes, in any order.
        calibrate: Another labeled source, on which a temperature is fitted (Guo et al. 2017, section 4.2). Images that
            are scored are left out of the fit.
        sizes: Further sizes of the input in pixels, at which the model is scored as well: accuracy over resolution.
        out: A JSON file to write the result to; with ``sizes`` a chart, ``.resolution.svg``, stands beside it.
        settings: Settings of the section ``runtime``, and ``data.max_corrupt_fraction``.

    Returns:
        Accuracy, calibration, the confusion matrix, and what could not be read.

    Raises:
        NoisyStudentError: With one clear line, for a user's mistake or bad data.
    """
    from noisystudent.artifacts.typed_json import write_result
    from noisystudent.data.output import require_output_file
    from noisystudent.data.settings import DataSettings
    from noisystudent.evaluation.metrics.results import is_evaluation
    from noisystudent.evaluation.resolution import at_sizes, score_at_sizes
    from noisystudent.evaluation.scoring import score_source
    from noisystudent.models.predictor import Predictor
    from noisystudent.reporting.resolution import is_chart, write_chart
    from noisystudent.runtime.process_group import open_process_group

    if out:
        require_output_file(out, [source, calibrate], ending=".json", is_own=is_evaluation)
    is_file = out is not None and (Path(out).is_file() or not Path(out).exists())  # not a pipe
    chart = Path(out).with_suffix(".resolution.svg") if out and is_file and sizes else None
    if chart:
        require_output_file(chart, [source, calibrate], ending=".svg", is_own=is_chart)
    predictor = Predictor.open(checkpoint, runtime_to_predict(settings, command="evaluate"))
    resized = at_sizes(predictor, sizes)
    group = open_process_group()
    limit = section_settings(DataSettings, "data", settings, command="evaluate").max_corrupt_fraction
    result = score_source(predictor, source, calibration=calibrate, max_corrupt_fraction=limit, group=group)
    by_size = score_at_sizes(resized, source, max_corrupt_fraction=limit, group=group)
    result = replace(result, by_size=by_size)
    if out:
        path = Path(out)
        group.on_main(lambda: write_result(path, result))
    if chart:
        group.on_main(lambda: write_chart({predictor.name: by_size}, chart))
    return result


def robustness(
    *,
    checkpoint: ModelLike,
    source: SourceLike,
    out: str | Path,
    settings: SettingsInput | None = None,
    quiet: bool = False,
) -> RobustnessResult:
    """Measures the robustness of a model on labeled images, with the measures that ``evaluation.suite`` names.

    Finished entries in ``out`` are not measured again, so an interrupted call resumes. Images are decoded shard by
    shard, so memory does not grow with their number.

    Args:
        checkpoint: A checkpoint folder, the folder of a run, ``timm:NAME``, or a ``Predictor``, which has its own
            device, precision and batch size.
        source: Labeled images of some or all of the model's classes, in any order.
        out: The folder of the results, among them ``robustness.json``.
        settings: Settings of the sections ``evaluation`` and ``runtime``, and ``data.max_corrupt_fraction``.
        quiet: No progress.

    Returns:
        The results. ``classes`` says which of the model's classes the images have, if these are not all.

    Raises:
        NoisyStudentError: The model, the source or anything that the suite needs is missing or does not fit, or ``out``
            has results of another model, other images or other settings.
    """
    from noisystudent.artifacts.ownership import folder_lock
    from noisystudent.evaluation.suite import measure
    from noisystudent.pipeline.evaluation import open_evaluation
    from noisystudent.runtime.progress import Reporter

    predictor, dataset, evaluation = open_evaluation(checkpoint, source, out, settings, "robustness")
    with folder_lock(Path(out)):
        return measure(predictor, dataset, evaluation, Path(out), Reporter(quiet=quiet))


def compare(
    *,
    checkpoints: Sequence[ModelLike],
    source: SourceLike,
    out: str | Path,
    settings: SettingsInput | None = None,
    quiet: bool = False,
) -> ComparisonResult:
    """Measures several models on the same images and compares each with the first, image by image.

    Every argument is checked before anything is measured. Finished entries in ``out`` are not measured again.

    Args:
        checkpoints: At least two models, each as in ``robustness``; the others are compared with the first.
        source: Labeled images of some or all of the models' classes, in any order.
        out: The folder of ``comparison.json``, the page ``comparison.html``, and a folder per model.
        settings: Settings as in ``robustness``; the suite is ``corruptions`` by default.
        quiet: No progress.

    Returns:
        The results of all models, and the differences from the first.

    Raises:
        NoisyStudentError: There are fewer than two models, or what ``robustness`` raises for one of them.
    """
    from noisystudent.artifacts.ownership import own_folder
    from noisystudent.artifacts.typed_json import write_result
    from noisystudent.data.output import require_output_folder
    from noisystudent.evaluation.compare import comparison
    from noisystudent.models.predictor import Predictor
    from noisystudent.pipeline.evaluation import check_robustness
    from noisystudent.reporting.comparison import write_comparison

    if len(checkpoints) < 2:
        raise SettingsError(f"compare needs at least 2 checkpoints, and there are {len(checkpoints)}.")
    require_output_folder(out, [source], _places(checkpoints))
    given = {"evaluation.suite": ["corruptions"], **given_values(settings)}
    folders = [Path(out) / f"{number}" for number in range(1, len(checkpoints) + 1)]
    for folder, checkpoint in zip(folders, checkpoints, strict=True):
        check_robustness(checkpoint, source, folder, given, "compare")
    own_folder(Path(out))
    by_name = {}
    for number, (folder, checkpoint) in enumerate(zip(folders, checkpoints, strict=True), start=1):
        robustness(checkpoint=checkpoint, source=source, out=folder, settings=given, quiet=quiet)
        by_name[f"{number} {checkpoint.name if isinstance(checkpoint, Predictor) else checkpoint}"] = folder
    result = comparison(by_name)
    write_result(Path(out) / "comparison.json", result)
    write_comparison(result, Path(out) / "comparison.html")
    return result


def table(
    kind: TableKind,
    models: Sequence[ModelLike],
    *,
    out: str | Path,
    source: SourceLike | None = None,
    published: str | Path | None = None,
    settings: SettingsInput | None = None,
    quiet: bool = False,
) -> ArticleTable:
    """Makes a table with its figures as the article has them, from finished runs or from models (``docs/tables.md``).

    Runs that differ in their seed alone share their rows.

    Args:
        kind: ``methods``, ``distillation``, ``robustness`` or ``attack``.
        models: Without ``source``: the folders of finished runs and distillations. With it: models, as in ``evaluate``.
        out: The folder of ``table.json``, and of what is made from it: Markdown, CSV, LaTeX and SVG.
        source: Labeled images on which the models are measured.
        published: ``article`` for the published rows of this package, or a CSV file of them; they are set apart, and in
            no mean.
        settings: With ``source``: settings as in ``compare``.
        quiet: No progress.

    Returns:
        The table: its rows, columns, figures and notes.

    Raises:
        NoisyStudentError: A folder holds no finished run, a run does not belong into this kind of table, or what
            ``evaluate`` and ``compare`` raise.
    """
    from noisystudent.artifacts.ownership import own_folder
    from noisystudent.data.output import require_output_folder
    from noisystudent.reporting.article.published import published_rows
    from noisystudent.reporting.article.tables import require_kind, table_of_comparison, table_of_runs, table_of_scores
    from noisystudent.reporting.article.write import write_table

    require_kind(kind, with_source=source is not None)
    if not models:
        raise SettingsError("a table needs at least one run, or with a source one model.")
    require_output_folder(out, [source], _places(models))
    rows = published_rows(kind, published) if published else []
    if source is None:
        folders = _places(models)
        if len(folders) < len(models) or given_values(settings):
            raise SettingsError(
                "a table of runs takes their folders and no settings; models and settings need a source."
            )
        result = table_of_runs(kind, [Path(folder) for folder in folders], rows)
    elif kind == "methods":
        result = table_of_scores(_scored(models, source, settings, quiet=quiet), rows)
    else:
        suite = {"evaluation.suite": ["attacks" if kind == "attack" else "corruptions"]}
        measured = compare(
            checkpoints=models, source=source, out=out, settings={**suite, **given_values(settings)}, quiet=quiet
        )
        result = table_of_comparison(kind, measured, rows)
    own_folder(Path(out))
    write_table(result, Path(out))
    return result


def _scored(
    models: Sequence[ModelLike], source: SourceLike, settings: SettingsInput | None, *, quiet: bool
) -> list[Scored]:
    """The models' rows and accuracies on a source."""
    from noisystudent.data.settings import DataSettings
    from noisystudent.models.predictor import Predictor
    from noisystudent.pipeline.article import score_checkpoints
    from noisystudent.runtime.progress import Reporter

    runtime = runtime_to_predict(settings, command="evaluate")
    limit = section_settings(DataSettings, "data", settings, command="evaluate").max_corrupt_fraction
    opened = [Predictor.open(model, runtime) for model in models]
    names = [model.name if isinstance(model, Predictor) else str(model) for model in models]
    if len(set(names)) < len(names):
        raise SettingsError(f"a model is given twice among {', '.join(names)}; give each once.")
    return score_checkpoints(dict(zip(names, opened, strict=True)), source, limit, Reporter(quiet=quiet))


def predict(
    checkpoint: ModelLike,
    source: SourceLike,
    *,
    out: str | Path | None = None,
    top: int = 1,
    probabilities: bool = False,
    calibrated: bool = False,
    min_confidence: float = 0.0,
    copy_to: str | Path | None = None,
    settings: SettingsInput | None = None,
    quiet: bool = False,
) -> PredictionSummary:
    """Predicts the class of every image in a source: counts per class, a table, copies in one folder per class.

    In a table, an unreadable image has a row too, without an answer and with the reason under ``problem``, and so has
    everything that is not read as an image: the rows match the files. Processes that torchrun started share the shards.
    The first one writes the table, the same bytes as one process does.

    Args:
        checkpoint: A checkpoint folder, the folder of a run, ``timm:NAME``, or a ``Predictor`` such as ``load``
            returns.
        source: The images; see ``docs/sources.md``.
        out: A table with file, class, confidence and problem: a .csv, .jsonl (JSON lines) or .parquet file.
        top: The number of most probable classes per image, 1 to all.
        probabilities: Whether the table has the probability of every class.
        calibrated: Whether probabilities are at the temperature that the run fitted on labels aside, so that they match
            accuracies (Guo et al. 2017).
        min_confidence: The least confidence of images that are copied, 0 to 1.
        copy_to: A folder for copies of the images, in one folder per class; nothing is moved or replaced.
        settings: Settings of the section ``runtime``, and ``data.max_corrupt_fraction``.
        quiet: No progress.

    Returns:
        The counts, and the images that could not be read.

    Raises:
        NoisyStudentError: With one clear line, for a user's mistake or bad data.
    """
    from noisystudent.data.output import require_output_file
    from noisystudent.data.settings import DataSettings
    from noisystudent.data.sources.open import open_source
    from noisystudent.evaluation.predict_source import PredictionRequest, predict_source
    from noisystudent.evaluation.prediction_table import is_prediction_table, table_ending
    from noisystudent.evaluation.sorted_copies import require_copies
    from noisystudent.models.predictor import Predictor
    from noisystudent.runtime.precision import warn_of_emulation
    from noisystudent.runtime.progress import Reporter

    runtime = runtime_to_predict(settings, command="predict")
    if out is not None:
        require_output_file(out, [source], ending=table_ending(Path(out)), is_own=is_prediction_table)
    reporter = Reporter(quiet=quiet)
    warn_of_emulation(runtime, reporter)
    predictor = Predictor.open(checkpoint, runtime)
    limit = section_settings(DataSettings, "data", settings, command="predict").max_corrupt_fraction
    images = open_source(source, labeled=False)
    request = PredictionRequest(
        out=Path(out) if out is not None else None,
        top=top,
        probabilities=probabilities,
        calibrated=calibrated,
        min_confidence=min_confidence,
        copy_to=Path(copy_to) if copy_to is not None else None,
    )
    request.check(predictor, sum(images.shard_sizes))
    if request.copy_to:
        require_copies(request.copy_to, images)
    return predict_source(predictor, images, request, max_corrupt_fraction=limit, reporter=reporter)


def export(
    model: ModelLike,
    *,
    to: ExportFormat,
    out: str | Path,
    preprocessing: bool = False,
    license: str = "",
) -> Path:
    """Exports a model as a folder that works without this package, with a card of its data, scores and limits.

    The export is compared with torch at two batch sizes before the folder appears.

    Args:
        model: The folder of a run or of a checkpoint, ``timm:NAME``, or a ``Predictor`` of one. Of a run, the card has
            data and scores.
        to: ``timm``: a folder in the layout of timm's hub; ``onnx``: an ONNX graph for onnxruntime (the extra
            ``onnx``); ``torch-export``: a graph that ``torch.export.load`` reads.
        out: The folder, which must be new or empty.
        preprocessing: Whether a graph takes uint8 pixels and normalizes them itself.
        license: The license that the card states, such as ``apache-2.0``; empty: not stated.

    Returns:
        The folder.

    Raises:
        NoisyStudentError: With one clear line: a model that the format cannot hold, or an export that answers otherwise
            than torch.
    """
    from noisystudent.data.output import require_output_folder
    from noisystudent.models.export import FORMATS
    from noisystudent.models.predictor import Predictor
    from noisystudent.pipeline.export import ExportRequest, export_model, run_of
    from noisystudent.runtime.settings import RuntimeSettings

    if to not in FORMATS:
        raise SettingsError(f"--to is {to!r}; there are {', '.join(FORMATS)}.{nearest_name(to, FORMATS)}")
    require_output_folder(out, [], _places([model]))
    on_cpu = model if isinstance(model, Predictor) else Predictor.open(model, RuntimeSettings(device="cpu"))
    request = ExportRequest(to=to, out=Path(out), preprocessing=preprocessing, license=license)
    return export_model(on_cpu, run_of(model), request)


def report(folder: str | Path) -> Path:
    """Writes the page of a finished run again.

    Args:
        folder: The folder of the run. Its images come from the run's sources; where those are gone, from the copies
            that the run kept, and the page says so.

    Returns:
        The path of the page, ``report.html`` in the folder.

    Raises:
        ArtifactError: The folder holds no finished run, or a file in it is damaged.
    """
    from noisystudent.pipeline.page_images import SourceImages
    from noisystudent.reporting.page import write_report

    sources = SourceImages.of_run(Path(folder))
    return write_report(Path(folder), load_images=sources, truth=sources.truth())


def show_noise(
    *,
    source: SourceLike,
    out: str | Path,
    by: Literal["strengths", "operations"] = "strengths",
    images: int = 8,
    settings: SettingsInput | None = None,
) -> NoiseSheet:
    """Writes a contact sheet (PNG) of images under noise, to see whether a person still knows the class.

    Args:
        source: The images; they are spread evenly over the source, one per row.
        out: The PNG file.
        by: The columns: ``noise.strengths``, or RandAugment's operations one by one at ``noise.strength`` (1 when that
            is auto).
        images: The number of images.
        settings: Settings of the section ``noise``, and ``data.size`` and ``data.channels``.

    Returns:
        The sheet, which a notebook shows, and which stands wherever a path does.

    Raises:
        NoisyStudentError: With one clear line, for a user's mistake or bad data.
    """
    from noisystudent.data.images import infer_format
    from noisystudent.data.output import require_output_file
    from noisystudent.data.sample import SampleSource
    from noisystudent.data.settings import DataSettings
    from noisystudent.data.sources.open import open_source
    from noisystudent.data.splits import decode
    from noisystudent.noise.counter_rng import CounterRng
    from noisystudent.noise.settings import NoiseSettings
    from noisystudent.noise.sheet import operations_sheet, strengths_sheet
    from noisystudent.reporting.sheet import is_sheet, write_sheet

    require_output_file(out, [source], ending=".png", is_own=is_sheet)
    if images < 1:
        raise SettingsError(f"--images is {images}; give a whole number of at least 1.")
    noise = section_settings(NoiseSettings, "noise", settings, command="show-noise")
    _require_drawn(by, settings)
    data = section_settings(DataSettings, "data", settings, command="show-noise")
    sample = SampleSource(open_source(source, labeled=False), images)
    format = infer_format(sample, data)
    decoded = decode(sample, format, data)
    rng = CounterRng(0, "show-noise")
    if by == "operations":
        strength = 1.0 if noise.strength == "auto" else noise.strength
        sheet = operations_sheet(decoded, noise, size=format.size, strength=strength, rng=rng)
    else:
        sheet = strengths_sheet(decoded, noise, size=format.size, storage_size=format.storage_size, rng=rng)
    return write_sheet(Path(out), sheet.columns, sheet.cells)


def _require_drawn(by: Literal["strengths", "operations"], settings: SettingsInput | None) -> None:
    """Raises ``SettingsError`` for settings of noise that the columns of a sheet do not show."""
    shown = ("preset", "policy", "magnitude", "operations", "translation", "cutout", "pixel_reference", "strength")
    names = [name for name in given_values(settings) if name.startswith("noise.")]
    if by == "operations":
        unused = [name for name in names if name.removeprefix("noise.") not in shown]
    else:
        unused = [name for name in names if name == "noise.strength"]
    if unused:
        other = "strengths" if by == "operations" else "operations"
        raise SettingsError(
            f"show-noise --by {by} does not show {', '.join(unused)}. Leave that out, or give --by {other}"
            f"{'' if by == 'operations' else ', or noise.strengths'}."
        )


def _places(models: Sequence[ModelLike]) -> list[str | Path]:
    """The models that are given by a name or a place, not as objects."""
    return [model for model in models if isinstance(model, str | Path)]


def _resolved(
    command: Command,
    sources: Mapping[str, SourceLike | None],
    out: str | Path | None,
    config: str | Path | None,
    settings: SettingsInput | None,
    model: ModelFactory | str | None = None,
) -> Resolved:
    """The settings of a command that trains, with what its arguments say; distill and pretrain need no labels."""
    given: dict[str, object] = {
        role: str(source) if isinstance(source, str | Path) else getattr(source, "name", "")
        for role, source in sources.items()
        if source is not None
    }
    if out is not None:
        given["out"] = str(out)
    if isinstance(model, str):
        given["model.teacher"] = model
    from noisystudent.data.output import require_output_folder

    values = {**(read_settings(Path(config)) if config else {}), **given_values([*as_list(settings), given])}
    folder = None if "out" in values else _chosen_folder(command, values)
    if folder:
        given["out"] = str(folder)
    resolved = resolve([*as_list(settings), given], Path(config) if config else None, command=command)
    chosen = resolved.settings
    named = [getattr(chosen, role) for role in ("labeled", "unlabeled", "validation", "test")]
    require_output_folder(chosen.out, [name for name in named if name])
    if not resolved.settings.labeled and command not in ("distill", "pretrain"):
        raise SettingsError("setting labeled: it is required.")
    if resolved.settings.unlabeled is None and command in ("run", "plan"):
        raise SettingsError(f"{command} needs --unlabeled; to train on labels alone use 'noisystudent train'.")
    if folder and command != "plan":
        keep_command(folder, command, values)
    return resolved


def _chosen_folder(command: Command, values: Mapping[str, object]) -> Path:
    """The folder of a command that names none; a plan has that of its run."""
    from noisystudent.runtime.env import launcher_rank

    if launcher_rank()[1] > 1:
        raise SettingsError("several processes share this work and must agree on its folder; give --out.")
    return choose_folder("run" if command == "plan" else command, values)


def _study_request(
    study: str | Study,
    sources: Mapping[str, str | Path | None],
    seeds: Sequence[int],
    out: str | Path | None,
    config: str | Path | None,
    settings: SettingsInput | None,
    shared: Sequence[str | Path] = (),
) -> StudyRequest:
    """The study that a name, a file or an object stands for, with what all its runs share."""
    from noisystudent.pipeline.studies.study import open_request

    named = {role: str(source) for role, source in sources.items() if source is not None}
    given = [*as_list(settings), named]
    return open_request(
        study,
        given,
        config=Path(config) if config else None,
        seeds=tuple(seeds),
        out=Path(out) if out else None,
        shared=tuple(map(Path, shared)),
    )


def _extensions(
    sources: Mapping[str, SourceLike | None],
    *,
    objective: ObjectiveFunction | None = None,
    select: SelectRows | None = None,
    model: ModelFactory | str | None = None,
    noise: BatchTransform | None = None,
) -> Extensions:
    """The user's own parts among a function's arguments; raises ``SettingsError`` for what cannot be called."""
    from noisystudent.data.source import require_source
    from noisystudent.pipeline.extensions import Extensions

    own_sources = {
        role: source for role, source in sources.items() if source is not None and not isinstance(source, str | Path)
    }
    for role, source in own_sources.items():
        require_source(source, labeled=role != "unlabeled")
    factory = None if isinstance(model, str) else model
    extensions = Extensions(objective=objective, select=select, model=factory, noise=noise, sources=own_sources)
    extensions.described()  # raises for what cannot be called
    return extensions
