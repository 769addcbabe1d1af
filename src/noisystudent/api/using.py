"""What a finished model is for: predictions and exports."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from noisystudent.api.requests import named_models
from noisystudent.config import runtime_to_predict, section_settings
from noisystudent.errors import SettingsError, nearest_name
from noisystudent.settings_input import SettingsInput

if TYPE_CHECKING:
    from noisystudent.api.requests import ModelLike, SourceLike
    from noisystudent.evaluation.predict_source import PredictionSummary
    from noisystudent.models.export import ExportFormat


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
    require_output_folder(out, [], named_models([model]))
    on_cpu = model if isinstance(model, Predictor) else Predictor.open(model, RuntimeSettings(device="cpu"))
    request = ExportRequest(to=to, out=Path(out), preprocessing=preprocessing, license=license)
    return export_model(on_cpu, run_of(model), request)
