"""Whole runs, their plans and their studies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from noisystudent.api.requests import own_parts, resolved_request, study_request
from noisystudent.api.starts import take_start
from noisystudent.settings_input import SettingsInput

if TYPE_CHECKING:
    from noisystudent.api.requests import ModelLike, SourceLike
    from noisystudent.models.factory import ModelFactory
    from noisystudent.noise.custom import BatchTransform
    from noisystudent.pipeline.extensions import ObjectiveFunction
    from noisystudent.pipeline.run_folder import Run
    from noisystudent.pipeline.studies.cells import Study
    from noisystudent.pseudo_labels.selection.custom import SelectRows
    from noisystudent.results.check import DataCheck
    from noisystudent.results.facts import PlannedStage, PlanResult
    from noisystudent.results.study import StudyResult


def run(
    labeled: SourceLike | None = None,
    unlabeled: SourceLike | None = None,
    *,
    test: SourceLike | None = None,
    validation: SourceLike | None = None,
    out: str | Path | None = None,
    start: ModelLike | None = None,
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
        start: The folder of an encoder that ``pretrain`` made: the setting ``model.backbone``. With the recipe ``bit``:
            any weights, as ``model.backbone`` names them. With ``simclrv2``, an encoder stands for its pretraining.
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
    sources = {"labeled": labeled, "unlabeled": unlabeled, "test": test, "validation": validation}
    given, _ = take_start("run", start, config, settings)
    resolved = resolved_request("run", sources, out, config, given, model)
    from noisystudent.pipeline import noisy_student  # loads torch: mistakes in settings are said at once
    from noisystudent.pipeline.run_folder import Run
    from noisystudent.runtime.progress import Reporter

    extensions = own_parts(sources, objective=objective, select=select, model=model, noise=noise)
    summary = noisy_student.run(resolved, reporter=Reporter(quiet=quiet), extensions=extensions, verify=verify)
    return Run(Path(resolved.settings.out), summary, extensions.model)


def plan(
    labeled: SourceLike | None = None,
    unlabeled: SourceLike | None = None,
    *,
    test: SourceLike | None = None,
    validation: SourceLike | None = None,
    out: str | Path | None = None,
    start: ModelLike | None = None,
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
        start: As in ``run``.
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
    sources = {"labeled": labeled, "unlabeled": unlabeled, "test": test, "validation": validation}
    given, _ = take_start("plan", start, config, settings)
    resolved = resolved_request("plan", sources, out, config, given, model)
    from noisystudent.pipeline import plan as planning
    from noisystudent.runtime.progress import Reporter

    extensions = own_parts(sources, objective=objective, select=select, model=model, noise=noise)
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
        unlabeled: Unlabeled images: a source; None for what ``train`` would learn from.
        test: Labeled images that only report.
        validation: Labeled images that choose.
        settings: Settings of the data, of ``model.backbone``, and of where the work runs.
        quiet: No progress.

    Returns:
        What was found, by role of the source.

    Raises:
        NoisyStudentError: With one clear line, for a user's mistake or bad data.
    """
    sources = {"labeled": labeled, "unlabeled": unlabeled, "test": test, "validation": validation}
    resolved = resolved_request("check", sources, None, None, settings)
    from noisystudent.pipeline.check import check as check_sources
    from noisystudent.runtime.progress import Reporter

    return check_sources(resolved, reporter=Reporter(quiet=quiet), extensions=own_parts(sources))


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
    request = study_request(study, sources, seeds, out, config, settings, shared)
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
    request = study_request(study, sources, seeds, out, config, settings)
    return plan_request(request, reporter=Reporter(quiet=quiet))
