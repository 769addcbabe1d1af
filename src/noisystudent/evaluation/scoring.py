"""A checkpoint's scores on a labeled source, before and after its temperature is fitted on another one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from noisystudent.data.images import Failure, Images
from noisystudent.data.source import Source
from noisystudent.data.sources.open import open_source
from noisystudent.errors import SettingsError
from noisystudent.evaluation.labeler import Labeler
from noisystudent.evaluation.map_shards import map_shards
from noisystudent.evaluation.metrics.scores import scaled_scores, score
from noisystudent.evaluation.metrics.temperature import TEMPERATURES, fit_temperature
from noisystudent.evaluation.natural.metrics import ClassMapping, map_source_classes
from noisystudent.runtime.process_group import ProcessGroup


@dataclass(frozen=True)
class _Answers:
    """Log-probabilities [N, K], true classes [N], digests [N] that are equal where the pixels are.

    ``failures`` are the images that have none, since they could not be read.
    """

    log_probabilities: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    digests: npt.NDArray[np.str_]
    failures: tuple[Failure, ...] = ()

    def take(self, chosen: npt.NDArray[np.bool_]) -> _Answers:
        """The chosen rows."""
        return _Answers(self.log_probabilities[chosen], self.labels[chosen], self.digests[chosen])


def score_source(
    labeler: Labeler, spec: str, *, calibration: str | None, max_corrupt_fraction: float, group: ProcessGroup
) -> dict[str, object]:
    """The scores of ``labeler`` on the labeled source ``spec``, the same in all processes that share the work.

    With the source ``calibration`` they have a ``temperature_scaling`` too: ``temperature``, fitted on those of its
    images whose pixels are not scored (``count`` of them; ``left_out`` others), whether it lies ``at_end`` of the
    range, and ``ece``, ``nll`` and ``brier`` of the scored images at that temperature. Raises ``SettingsError`` when
    nothing is left to fit on.

    A source may have some of the classes, in any order (see ``natural.map_classes``): answers are among all of them,
    and ``classes`` says so. ``unreadable`` holds the reasons of images that are left out, by key, if there are some.
    """
    classes = labeler.teacher.classes
    source, found = _open(spec, classes, "evaluated")
    apart, found_apart = _open(calibration, classes, "calibration") if calibration is not None else (None, found)
    if apart and apart.fingerprint == source.fingerprint:
        raise SettingsError(_nothing_apart(source, apart))
    scored = _answers(labeler, source, found, max_corrupt_fraction, group)
    scores = score(scored.log_probabilities, scored.labels, classes)
    if scored.failures:
        scores["unreadable"] = {failure.key: failure.reason for failure in scored.failures}
    if not found.plain:
        scores["classes"] = found.explanation
    if apart:
        answers = _answers(labeler, apart, found_apart, max_corrupt_fraction, group)
        fitted_on = answers.take(~np.isin(answers.digests, scored.digests))
        if not len(fitted_on.labels):
            raise SettingsError(_nothing_apart(source, apart))
        temperature = fit_temperature(fitted_on.log_probabilities, fitted_on.labels)
        scores["temperature_scaling"] = {
            "source": apart.name,
            "count": len(fitted_on.labels),
            "left_out": len(answers.labels) - len(fitted_on.labels),
            "at_end": temperature in TEMPERATURES,
            **scaled_scores(scored.log_probabilities, scored.labels, temperature),
        }
    return scores


def _open(spec: str, classes: Sequence[str], role: str) -> tuple[Source, ClassMapping]:
    source = open_source(spec, labeled=True)
    return source, map_source_classes(source.classes, classes, role)


def _nothing_apart(source: Source, apart: Source) -> str:
    return (
        f"--calibrate {apart.name!r} has no images but those of --source {source.name!r}, and a temperature is not "
        "scored on what it was fitted on. Give --calibrate other labeled images, such as the validation ones."
    )


def _answers(
    labeler: Labeler, source: Source, found: ClassMapping, max_corrupt_fraction: float, group: ProcessGroup
) -> _Answers:
    """What the checkpoint says of a whole source, decoded shard by shard; labels become its outputs."""

    def answer(images: Images) -> _Answers:
        labels = found.columns[images.labels]
        return _Answers(labeler(images.without_labels()), labels, np.array(images.digests, np.str_))

    shards = map_shards(source, labeler.format, answer, max_corrupt_fraction=max_corrupt_fraction, group=group)
    parts, failures = zip(*shards, strict=True)
    return _Answers(
        np.concatenate([part.log_probabilities for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.digests for part in parts]),
        tuple(chain.from_iterable(failures)),
    )
