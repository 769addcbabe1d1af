"""The scores of a model on a labeled source, before and after its temperature is fitted on another source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from noisystudent.data.images import Failure, Images
from noisystudent.data.source import Source
from noisystudent.data.sources.open import open_source
from noisystudent.errors import SettingsError
from noisystudent.evaluation.class_mapping import ClassMapping, map_source_classes
from noisystudent.evaluation.map_shards import map_shards
from noisystudent.evaluation.metrics.results import EvaluationResult, Scores, TemperatureScaling
from noisystudent.evaluation.metrics.scores import scaled_scores, score
from noisystudent.evaluation.metrics.temperature import fit_temperature
from noisystudent.models.calibration import TEMPERATURES
from noisystudent.models.predictor import Predictor
from noisystudent.models.training_images import count_training_images
from noisystudent.runtime.process_group import ProcessGroup


@dataclass(frozen=True)
class _Predictions:
    """Log-probabilities [N, K], true classes [N], digests [N] that are equal if the pixels are.

    ``failures`` are the images without a row, because they could not be read.
    """

    log_probabilities: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    digests: npt.NDArray[np.str_]
    failures: tuple[Failure, ...] = ()

    def take(self, chosen: npt.NDArray[np.bool_]) -> _Predictions:
        """The chosen rows."""
        return _Predictions(self.log_probabilities[chosen], self.labels[chosen], self.digests[chosen])


def score_source(
    predictor: Predictor,
    source: str | Path | Source,
    *,
    calibration: str | Path | Source | None,
    max_corrupt_fraction: float,
    group: ProcessGroup,
) -> EvaluationResult:
    """Scores a model on a labeled source; all processes of the group get the same result.

    The source may have only some of the model's classes, in any order (see ``class_mapping.map_classes``). Predictions
    are still among all classes of the model.

    Args:
        predictor: the model.
        source: the labeled source.
        calibration: a labeled source on which a temperature is fitted; images that are scored, by their pixels, are
            left out. None: no temperature scaling.
        max_corrupt_fraction: largest tolerated fraction of unreadable images, 0 to 1.
        group: the processes that share the shards.

    Raises:
        SettingsError: the calibration source has no images other than the scored ones, or has images that the model was
            trained on.
        DataError: a source has classes that the model does not know, or too many unreadable images.
    """
    scored_source, mapping = _open(source, predictor.classes, "evaluated")
    calibration_source, calibration_mapping = None, mapping
    if calibration is not None:
        calibration_source, calibration_mapping = _open(calibration, predictor.classes, "calibration")
        if calibration_source.fingerprint == scored_source.fingerprint:
            raise SettingsError(_no_other_images(scored_source, calibration_source))
    scored = _predict(predictor, scored_source, mapping, max_corrupt_fraction, group)
    scores = score(scored.log_probabilities, scored.labels, predictor.classes)
    scaling = None
    if calibration_source:
        predictions = _predict(predictor, calibration_source, calibration_mapping, max_corrupt_fraction, group)
        fitted_on = predictions.take(~np.isin(predictions.digests, scored.digests))
        if not len(fitted_on.labels):
            raise SettingsError(_no_other_images(scored_source, calibration_source))
        left_out = len(predictions.labels) - len(fitted_on.labels)
        if seen := count_training_images(fitted_on.digests.tolist(), predictor.training_images):
            raise SettingsError(
                f"{seen:,} of the {len(fitted_on.labels):,} images of --calibrate {calibration_source.name!r} are "
                "among the labeled images that the model was trained on and is too sure of. Give other labeled images."
            )
        scaling = _scale(scored, fitted_on, calibration_source.name, left_out)
    return EvaluationResult(
        **{entry.name: getattr(scores, entry.name) for entry in fields(Scores)},
        classes="" if mapping.is_identity else mapping.explanation,
        unreadable={failure.key: failure.reason for failure in scored.failures},
        training_images=count_training_images(scored.digests.tolist(), predictor.training_images),
        temperature_scaling=scaling,
    )


def _open(spec: str | Path | Source, classes: Sequence[str], role: str) -> tuple[Source, ClassMapping]:
    source = open_source(spec, labeled=True)
    return source, map_source_classes(source.classes, classes, role)


def _scale(scored: _Predictions, fitted_on: _Predictions, source: str, left_out: int) -> TemperatureScaling:
    """Fits a temperature on some images and scores others at it."""
    temperature = fit_temperature(fitted_on.log_probabilities, fitted_on.labels)
    at_temperature = scaled_scores(scored.log_probabilities, scored.labels, temperature)
    return TemperatureScaling(
        temperature=temperature,
        ece=at_temperature["ece"],
        nll=at_temperature["nll"],
        brier=at_temperature["brier"],
        source=source,
        count=len(fitted_on.labels),
        left_out=left_out,
        at_end=temperature in TEMPERATURES,
    )


def _no_other_images(source: Source, calibration: Source) -> str:
    return (
        f"--calibrate {calibration.name!r} has no images but those of --source {source.name!r}, and a temperature must "
        "be scored on other images than it was fitted on. Give --calibrate other labeled images, such as the "
        "validation ones."
    )


def _predict(
    predictor: Predictor, source: Source, mapping: ClassMapping, max_corrupt_fraction: float, group: ProcessGroup
) -> _Predictions:
    """Predictions for a whole source; the labels are the model's outputs."""

    def predict_shard(images: Images) -> _Predictions:
        labels = mapping.columns[images.labels]
        values = predictor.log_probabilities(images.without_labels())
        return _Predictions(values, labels, np.array(images.digests, np.str_))

    shards = map_shards(source, predictor.format, predict_shard, max_corrupt_fraction=max_corrupt_fraction, group=group)
    parts, failures = zip(*shards, strict=True)
    return _Predictions(
        np.concatenate([part.log_probabilities for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.digests for part in parts]),
        tuple(chain.from_iterable(failures)),
    )
