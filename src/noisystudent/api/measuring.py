"""What models are worth: accuracy, robustness, comparisons, tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from noisystudent.api.requests import named_models
from noisystudent.config import given_values, runtime_to_predict, section_settings
from noisystudent.errors import SettingsError
from noisystudent.settings_input import SettingsInput

if TYPE_CHECKING:
    from noisystudent.api.requests import ModelLike, SourceLike
    from noisystudent.evaluation.metrics.results import EvaluationResult
    from noisystudent.evaluation.results import ComparisonResult, RobustnessResult
    from noisystudent.pipeline.article import Scored
    from noisystudent.results.article import ArticleTable, TableKind


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
    require_output_folder(out, [source], named_models(checkpoints))
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
    if source is not None and kind != "methods" and len(models) < 2:
        raise SettingsError(f"a table of kind {kind} compares models with the first; with a source, give at least 2.")
    require_output_folder(out, [source], named_models(models))
    rows = published_rows(kind, published) if published else []
    if source is None:
        folders = named_models(models)
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
