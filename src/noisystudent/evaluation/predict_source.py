"""Predictions for everything in a source: counts per class, a table, copies sorted by class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from noisystudent.artifacts.folder import atomic_write
from noisystudent.data.images import Failure, Images
from noisystudent.data.source import Source, passed_over, printable
from noisystudent.data.summary import summarize
from noisystudent.display.sources import source_lines
from noisystudent.display.wording import printable as on_one_line
from noisystudent.errors import SettingsError
from noisystudent.evaluation.map_shards import map_shards
from noisystudent.evaluation.prediction_table import Row, Write, columns_of, open_table, table_ending
from noisystudent.evaluation.sorted_copies import SortedCopies, open_copies
from noisystudent.models.calibration import usable_calibration
from noisystudent.models.predictor import Predictor
from noisystudent.models.training_images import count_training_images
from noisystudent.runtime.process_group import open_process_group
from noisystudent.runtime.progress import Reporter

UNREADABLE_SHOWN = 20  # lines about unreadable images

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionRequest:
    """What ``predict`` makes of its answers; the fields are the arguments of ``noisystudent.predict``."""

    out: Path | None = None
    top: int = 1
    probabilities: bool = False
    calibrated: bool = False
    min_confidence: float = 0.0
    copy_to: Path | None = None

    def check(self, predictor: Predictor, images: int) -> None:
        """Raises ``SettingsError`` for what has no effect or does not fit, ``ModelError`` without a temperature."""
        if self.calibrated:
            usable_calibration(predictor.calibration, predictor.name)
        if not 1 <= self.top <= len(predictor.classes):
            raise SettingsError(
                f"--top is {self.top}, and {predictor.name} tells {len(predictor.classes)} classes apart; give a "
                f"number from 1 to {len(predictor.classes)}."
            )
        if not 0 <= self.min_confidence <= 1:
            raise SettingsError(f"--min-confidence is {self.min_confidence:g}; give a number from 0 to 1, such as 0.9.")
        if self.min_confidence and not self.copy_to:
            raise SettingsError(
                "--min-confidence says which images --copy-to copies; give --copy-to FOLDER, or leave it out: a table "
                "(--out) has every confidence."
            )
        if not self.out and (self.probabilities or (self.top > 1 and images != 1)):
            what = "--probabilities" if self.probabilities else f"--top {self.top}"
            raise SettingsError(f"{what} of {images:,} images goes into a table; give --out FILE.csv.")


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionSummary:
    """What ``predict`` found.

    ``counts``: images per predicted class, for all classes in the model's order; ``failures``: images that could not be
    read; ``top``: the most probable classes with their confidences, if there is a single image; ``calibrated``: whether
    confidences are at the model's temperature; ``copied``, ``present`` and ``others``: new copies, copies that were
    there already, and files in their place that were left as they are.
    """

    counts: dict[str, int]
    failures: tuple[Failure, ...] = ()
    top: tuple[tuple[str, float], ...] = ()
    calibrated: bool = False
    copied: int = 0
    present: int = 0
    others: int = 0

    @property
    def images(self) -> int:
        """The number of images with a prediction."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class _ShardAnswers:
    """The answers for one shard: keys [N], the best classes and their probabilities [N, top], all of them or none."""

    keys: tuple[str, ...]
    best: npt.NDArray[np.int64]
    confidences: Floats
    probabilities: Floats | None
    trained_on: int


@dataclass
class _Totals:
    counts: npt.NDArray[np.int64]
    failures: list[Failure] = field(default_factory=list)
    trained_on: int = 0


def predict_source(
    predictor: Predictor,
    source: Source,
    request: PredictionRequest,
    *,
    max_corrupt_fraction: float,
    reporter: Reporter,
) -> PredictionSummary:
    """Predicts all images of a source; writes the table and the copies that the request asks for.

    Processes that torchrun started share the shards; the main process writes.
    """
    group = open_process_group()
    reporter = reporter if group.is_main else Reporter(quiet=True)
    for line in source_lines("source", summarize(source)):
        reporter.say(line)
    copies = open_copies(request.copy_to) if request.copy_to and group.is_main else None
    totals = _Totals(np.zeros(len(predictor.classes), np.int64))
    last: _ShardAnswers | None = None

    def answer(images: Images) -> _ShardAnswers:
        return _answer(predictor, images, request)

    with (
        _open_output(request, predictor.classes if group.is_main else None) as write,
        reporter.bar("predict", sum(source.shard_sizes), "images") as bar,
    ):
        shards = map_shards(source, predictor.format, answer, max_corrupt_fraction=max_corrupt_fraction, group=group)
        for shard, (last, failed) in enumerate(shards):
            write([*_rows(last, predictor.classes), *_problem_rows(failed, request, predictor.classes)])
            if copies:
                copies.add(source, shard, _to_copy(last, predictor.classes, request.min_confidence))
            totals.counts += np.bincount(last.best[:, 0], minlength=len(predictor.classes))
            totals.failures += failed
            totals.trained_on += last.trained_on
            bar.advance(len(last.keys) + len(failed))
        ignored = [Failure(name, f"passed over: {kind.what}") for kind in passed_over(source) for name in kind.names]
        write(_problem_rows(ignored, request, predictor.classes))
    _say_problems(totals, request, reporter)
    return _summary(predictor, request, totals, last, copies)


def _answer(predictor: Predictor, images: Images, request: PredictionRequest) -> _ShardAnswers:
    """The classes of one shard's images, the most probable first; of equal ones the first."""
    probabilities = np.exp(predictor.log_probabilities(images, calibrated=request.calibrated))
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, : request.top]
    return _ShardAnswers(
        keys=images.keys,
        best=best,
        confidences=np.take_along_axis(probabilities, best, axis=1),
        probabilities=probabilities if request.probabilities else None,
        trained_on=count_training_images(images.digests, predictor.training_images) or 0,
    )


@contextmanager
def _open_output(request: PredictionRequest, classes: tuple[str, ...] | None) -> Iterator[Write]:
    """What writes the rows of the table; nothing where there is no table, or in a process that writes none."""
    if request.out is None or classes is None:
        yield lambda rows: None
        return
    columns = columns_of(classes, top=request.top, probabilities=request.probabilities)
    ending = table_ending(request.out)
    with atomic_write(request.out) as temporary, open_table(temporary, ending, columns) as write:
        yield write


def _rows(answers: _ShardAnswers, classes: tuple[str, ...]) -> list[Row]:
    rows: list[Row] = []
    for number, key in enumerate(answers.keys):
        ranked = [
            (printable(classes[label]), value)
            for label, value in zip(answers.best[number].tolist(), answers.confidences[number].tolist(), strict=True)
        ]
        every = [] if answers.probabilities is None else answers.probabilities[number].tolist()
        rows.append([key, *ranked[0], "", *(value for pair in ranked[1:] for value in pair), *every])
    return rows


def _problem_rows(failures: Sequence[Failure], request: PredictionRequest, classes: tuple[str, ...]) -> list[Row]:
    columns = columns_of(classes, top=request.top, probabilities=request.probabilities)
    return [[failure.key, None, None, failure.reason, *[None] * (len(columns) - 4)] for failure in failures]


def _to_copy(answers: _ShardAnswers, classes: tuple[str, ...], least: float) -> dict[str, str]:
    """The class of each image that is confident enough, by key."""
    chosen = np.flatnonzero(answers.confidences[:, 0] >= least)
    return {answers.keys[number]: classes[answers.best[number, 0]] for number in chosen.tolist()}


def _say_problems(totals: _Totals, request: PredictionRequest, reporter: Reporter) -> None:
    for failure in totals.failures[:UNREADABLE_SHOWN]:
        reporter.say(on_one_line(f"unreadable: {failure.key}: {failure.reason}"))
    if len(totals.failures) > UNREADABLE_SHOWN:
        where = f", in {request.out} with their reasons" if request.out else ""
        reporter.say(f"and {len(totals.failures) - UNREADABLE_SHOWN:,} more{where}")
    if totals.trained_on:
        reporter.say(
            f"warning: {totals.trained_on:,} of the {totals.counts.sum():,} images are among the labeled images that "
            "the model was trained on, so it is right about them more often, and surer, than about others"
        )


def _summary(
    predictor: Predictor,
    request: PredictionRequest,
    totals: _Totals,
    last: _ShardAnswers | None,
    copies: SortedCopies | None,
) -> PredictionSummary:
    single = last if last and totals.counts.sum() == len(last.keys) == 1 else None
    top = zip(single.best[0].tolist(), single.confidences[0].tolist(), strict=True) if single else ()
    return PredictionSummary(
        counts=dict(zip(predictor.classes, totals.counts.tolist(), strict=True)),
        failures=tuple(totals.failures),
        top=tuple((predictor.classes[label], value) for label, value in top),
        calibrated=request.calibrated,
        copied=copies.copied if copies else 0,
        present=copies.present if copies else 0,
        others=copies.others if copies else 0,
    )
