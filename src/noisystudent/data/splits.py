"""The roles of sources in a run, as types: training data, held-out data, and true labels for reports only.

``HeldOut`` and ``GroundTruth`` hide their images and labels. They compare predictions with them, or pass them to a
measure that returns numbers only. Code that trains therefore cannot receive a test image or the true class of an
unlabeled image: it would not type-check, and no method returns one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from noisystudent.data.checks import check_labels, check_same_classes
from noisystudent.data.dedup.leakage import DuplicateIndex
from noisystudent.data.images import ImageFormat, Images, content_fingerprint, decode_source, infer_format
from noisystudent.data.settings import DataSettings
from noisystudent.data.source import Source
from noisystudent.data.sources.open import open_source
from noisystudent.data.stratified import carve_validation
from noisystudent.data.unlabeled import InMemoryUnlabeled, StreamedUnlabeled, UnlabeledData, keep_unlabeled
from noisystudent.errors import DataError

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Predict = Callable[[Images], Floats]
Json = Any  # what json.dumps takes; the standard library has no type for it


@dataclass(frozen=True)
class HeldOutPredictions:
    """Predictions for held-out images, joined with their labels: log-probabilities [N, K], labels [N]."""

    keys: tuple[str, ...]
    labels: Ints
    log_probabilities: Floats


class HeldOut:
    """Labeled images for validation or test, inaccessible to training."""

    def __init__(self, images: Images) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    @property
    def fingerprint(self) -> str:
        """Identifies the images and labels."""
        return content_fingerprint(self._images)

    def predict_and_join(self, predict: Predict) -> HeldOutPredictions:
        """Calls ``predict`` on the images without their labels and joins the predictions with the labels.

        Args:
            predict: returns log-probabilities [N, K] for N images.
        """
        log_probabilities = predict(self._images.without_labels())
        return HeldOutPredictions(self._images.keys, self._images.labels, log_probabilities)

    def examine(self, measure: Callable[[Images], dict[str, Json]]) -> dict[str, Json]:
        """Calls ``measure``, for example an adversarial attack, on images and labels; only its numbers leave."""
        return measure(self._images)

    def index(self, distance: int | Literal["none"]) -> DuplicateIndex:
        """An index that finds these images in the unlabeled set; ``distance`` as in ``data.near_duplicates``."""
        return DuplicateIndex(self._images, distance)


class GroundTruth:
    """The true classes of the unlabeled images, if their source knows them; for reports only."""

    def __init__(self, labels: Ints) -> None:
        self._labels = labels

    def accuracy(self, predictions: Ints, chosen: npt.NDArray[np.bool_] | None = None) -> float | None:
        """The accuracy of the predictions, 0 to 1; None for no rows.

        Args:
            predictions: predicted class per row, [N].
            chosen: mask of the rows that count, bool [N]; None: all rows.
        """
        correct = predictions == self._labels
        correct = correct if chosen is None else correct[chosen]
        return float(correct.mean()) if len(correct) else None


@dataclass(frozen=True)
class SourceSummary:
    """The facts about one source that ``run.json`` records."""

    name: str
    fingerprint: str
    images: int
    per_class: dict[str, int] | None
    failures: list[dict[str, str]]
    note: str = ""


@dataclass(frozen=True)
class DataSplits:
    """A run's images by role, all in the same format."""

    format: ImageFormat
    classes: tuple[str, ...]
    labeled: Images
    unlabeled: UnlabeledData
    truth: GroundTruth | None
    validation: HeldOut | None
    test: HeldOut | None
    summaries: dict[str, SourceSummary]

    def duplicate_indexes(self, distance: int | Literal["none"]) -> list[DuplicateIndex]:
        """The indexes that find all held-out images in the unlabeled set."""
        return [held_out.index(distance) for held_out in (self.validation, self.test) if held_out]


def open_splits(
    specs: Mapping[str, str | Source | None],
    settings: DataSettings,
    *,
    seed: int,
    classes: tuple[str, ...] | None = None,
    stored_size: Callable[[int], int] = int,
) -> DataSplits:
    """Opens, checks and decodes the sources of a run.

    If no validation source is given and every class has enough labels, validation is carved out of the labels; a run
    with a test source needs more labels for that. Unlabeled images that are identical to a held-out image, or are its
    near-duplicates, are left out; a streamed unlabeled set is not yet compared with the held-out images.

    Args:
        specs: source by role: labeled, unlabeled, validation, test.
        settings: how to read the images and split the labels.
        seed: seed of the split.
        classes: the class names if there is no labeled source.
        stored_size: maps the image size to a larger one, for example a model's own resolution.

    Raises:
        DataError: a source is missing, unreadable or does not fit the others.
    """
    sources = {role: open_source(spec, labeled=role != "unlabeled") for role, spec in specs.items() if spec}
    if "labeled" in sources:
        classes = _classes(sources["labeled"])
    if classes is None:
        raise DataError("there is no labeled source, so the classes are unknown; give --labeled.")
    for role in ("validation", "test"):
        if role in sources:
            check_same_classes(classes, sources[role].classes, role)
    first = next((sources[role] for role in ("labeled", "unlabeled") if role in sources), None)
    if first is None:
        raise DataError("there is nothing to learn from: neither a labeled nor an unlabeled source. Give one.")
    format = infer_format(first, settings)
    format = replace(format, size=stored_size(format.size))
    streamed = {"labeled", "unlabeled"} <= sources.keys() and is_streamed(sources["unlabeled"], format, settings)
    decoded = {role: source for role, source in sources.items() if not (streamed and role == "unlabeled")}
    images = {role: decode(source, format, settings) for role, source in decoded.items()}
    summaries = {role: _summarize(source, images[role]) for role, source in decoded.items()}
    labeled, validation = _labeled_and_validation(images, summaries, classes, settings, seed)
    test = HeldOut(images["test"]) if "test" in images else None
    splits = DataSplits(
        format, classes, labeled, InMemoryUnlabeled(_no_images(labeled), []), None, validation, test, summaries
    )
    if streamed:
        source = sources["unlabeled"]
        summaries["unlabeled"] = SourceSummary(
            source.name, source.fingerprint, sum(source.shard_sizes), None, [], note="streamed"
        )
        return replace(splits, unlabeled=StreamedUnlabeled(source, format, []))
    if "unlabeled" in images:
        unlabeled = keep_unlabeled(
            images["unlabeled"].without_labels(), splits.duplicate_indexes(settings.near_duplicates)
        )
        return replace(splits, unlabeled=unlabeled, truth=_truth(sources["unlabeled"], unlabeled.images, classes))
    return splits


def _labeled_and_validation(
    images: Mapping[str, Images],
    summaries: dict[str, SourceSummary],
    classes: tuple[str, ...],
    settings: DataSettings,
    seed: int,
) -> tuple[Images, HeldOut | None]:
    """The labeled images that train, and the validation images: as given, or carved out (noted in ``summaries``)."""
    validation = images.get("validation")
    if "labeled" not in images:
        return _no_images(images["unlabeled"]), HeldOut(validation) if validation else None
    labeled = images["labeled"]
    check_labels(labeled.labels, classes, "labeled")
    if validation is None:
        few_labels = settings.few_labels_beside_test if "test" in images else settings.few_labels
        train_rows, validation_rows = carve_validation(labeled.labels, settings.validation_fraction, few_labels, seed)
        if len(validation_rows):
            note = f"carved out of the {len(labeled)} labeled images"
            labeled, validation = labeled.take(train_rows), labeled.take(validation_rows)
            summaries["validation"] = replace(
                summaries["labeled"], images=len(validation_rows), per_class=None, failures=[], note=note
            )
    return labeled, HeldOut(validation) if validation else None


def is_streamed(source: Source, format: ImageFormat, settings: DataSettings) -> bool:
    """Whether the unlabeled set in ``source`` is streamed, because of the settings or because memory cannot hold it."""
    if settings.streaming != "auto":
        return settings.streaming == "always"
    return sum(source.shard_sizes) * format.channels * format.storage_size**2 / 1e9 > settings.memory_limit_gb


def _no_images(images: Images) -> Images:
    return images.take(np.arange(0)).without_labels()


def decode(source: Source, format: ImageFormat, settings: DataSettings) -> Images:
    """Decodes all images of a source into memory, within the limits in the settings."""
    return decode_source(
        source,
        format,
        max_corrupt_fraction=settings.max_corrupt_fraction,
        memory_limit_gb=settings.memory_limit_gb,
    )


def _classes(source: Source) -> tuple[str, ...]:
    assert source.classes is not None
    return source.classes


def _truth(source: Source, unlabeled: Images, classes: tuple[str, ...]) -> GroundTruth | None:
    known = source.truth(classes)
    if known is None:
        return None
    index_of = {name: index for index, name in enumerate(classes)}
    return GroundTruth(np.array([index_of[known[key]] for key in unlabeled.keys], np.int64))


def _summarize(source: Source, images: Images) -> SourceSummary:
    per_class = None
    if source.classes is not None:
        class_counts = np.bincount(images.labels, minlength=len(source.classes))
        per_class = {name: int(count) for name, count in zip(source.classes, class_counts, strict=True)}
    failures = [{"key": failure.key, "reason": failure.reason} for failure in images.failures]
    return SourceSummary(source.name, source.fingerprint, len(images), per_class, failures)
