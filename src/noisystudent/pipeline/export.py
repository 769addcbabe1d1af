"""Exports a finished model as a folder that works without the run, with a card of what is known about it."""

from __future__ import annotations

import copy
import shutil
from dataclasses import dataclass
from pathlib import Path

from noisystudent.artifacts.folder import disk_full_as_error
from noisystudent.artifacts.temporary import half_written
from noisystudent.artifacts.typed_json import read_result
from noisystudent.errors import ModelError, SettingsError
from noisystudent.models.calibration import Calibration, write_calibration
from noisystudent.models.card import CARD, card_head
from noisystudent.models.export import ExportFormat, export_classifier, require_exportable
from noisystudent.models.export_usage import export_usage
from noisystudent.models.load import BEST, PREFIXES, RUN_FACTS
from noisystudent.models.predictor import Predictor
from noisystudent.pipeline.finish import SUMMARY
from noisystudent.reporting.model_card import CardContent, model_card
from noisystudent.results.facts import RunFacts
from noisystudent.results.run import RunSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """What is exported, and how; the fields are the arguments of ``noisystudent.export``."""

    to: ExportFormat
    out: Path
    preprocessing: bool = False
    license: str = ""


def export_model(predictor: Predictor, run: Path | None, request: ExportRequest) -> Path:
    """Writes the folder, which appears as a whole; returns it.

    Args:
        predictor: The model.
        run: The folder of its run, whose data and scores the card has; None where it has none.
        request: Format, folder and license.

    Raises:
        ModelError: The model has no network that can be exported, or the export fails.
        SettingsError: The folder is not empty.
    """
    if predictor.classifier is None:
        raise ModelError(f"{predictor!r} is a module, and checkpoints are exported. Save it as one first.")
    require_exportable(predictor.classifier, request.to, preprocessing=request.preprocessing)
    _require_new(request.out)
    classifier = copy.deepcopy(predictor.classifier).cpu().eval()
    calibration = predictor.calibration if predictor.calibration and predictor.calibration.is_usable else None
    request.out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = half_written(request.out)
    try:
        with disk_full_as_error(request.out):
            unfinished.mkdir()
            export_classifier(classifier, request.to, unfinished, preprocessing=request.preprocessing)
            if calibration:
                write_calibration(unfinished, calibration)
            content = CardContent(
                head=card_head(classifier),
                usage=export_usage(
                    classifier, request.to, preprocessing=request.preprocessing, calibration=calibration
                ),
                license=request.license,
                calibration=_on_confidences(calibration),
                summary=read_result(RunSummary, run / SUMMARY) if run else None,
                facts=read_result(RunFacts, run / RUN_FACTS) if run else None,
            )
            (unfinished / CARD).write_text(model_card(content), encoding="utf-8")
            unfinished.rename(request.out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return request.out


def run_of(model: str | Path | Predictor) -> Path | None:
    """The folder of the run whose delivered model this is: the folder itself, or the one that its ``best/`` is in."""
    if isinstance(model, Predictor) or str(model).startswith(PREFIXES):
        return None
    folder = Path(model)
    candidates = [folder, *([folder.absolute().parent] if folder.absolute().name == BEST else [])]
    found = [path for path in candidates if (path / SUMMARY).is_file() and (path / RUN_FACTS).is_file()]
    return found[0] if found else None


def _on_confidences(calibration: Calibration | None) -> str:
    if calibration is None:
        return "Confidences are not calibrated: they can be too high or too low."
    return (
        f"Confidences are calibrated at the temperature {calibration.temperature:.3g}, fitted on "
        f"{calibration.labels:,} {calibration.fitted_on}: divide the logits by it. It may not fit other images."
    )


def _require_new(out: Path) -> None:
    if out.is_symlink() or (out.exists() and (not out.is_dir() or any(out.iterdir()))):
        raise SettingsError(f"--out {str(out)!r} is there already, and an export goes into a new folder. Give another.")
