"""The table of methods from checkpoints: each is scored on the same labeled images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from noisystudent.artifacts.folder import read_json
from noisystudent.data.source import Source
from noisystudent.evaluation.metrics.results import EvaluationResult
from noisystudent.evaluation.scoring import score_source
from noisystudent.models.create import count_parameters
from noisystudent.models.predictor import Predictor
from noisystudent.pipeline.checkpoints import TRAINING
from noisystudent.results.article import ArticleRow
from noisystudent.runtime.process_group import SINGLE
from noisystudent.runtime.progress import Reporter

Scored = tuple[ArticleRow, float, float | None]  # a row without numbers, top-1 and top-5


def score_checkpoints(
    predictors: Mapping[str, Predictor], source: str | Path | Source, max_corrupt_fraction: float, reporter: Reporter
) -> list[Scored]:
    """The row of each model by its name, and its accuracies on a labeled source."""
    scored = []
    for name, predictor in predictors.items():
        result = score_source(
            predictor, source, calibration=None, max_corrupt_fraction=max_corrupt_fraction, group=SINGLE
        )
        reporter.say(f"{name}: {result.top1:.1%} of {result.count:,} images")
        scored.append((_row(name, predictor, result), result.top1, result.top5))
    return scored


def _row(name: str, predictor: Predictor, result: EvaluationResult) -> ArticleRow:
    classifier = predictor.classifier
    origin = Path(predictor.origin) if predictor.origin else None
    training = read_json(origin / TRAINING) if origin and (origin / TRAINING).is_file() else {}
    return ArticleRow(
        method=name,
        model=classifier.name if classifier else predictor.name,
        parameters=count_parameters(classifier.net if classifier else predictor.unit),
        test_size=predictor.size,
        samples_seen=training.get("samples_seen"),
        images=result.count,
    )
