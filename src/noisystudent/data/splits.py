"""The roles that sources play in a run, as types: what trains, what chooses, and what may only report.

``HeldOut`` and ``GroundTruth`` hide their images and labels. What they do is compare given predictions with them, and
let a measure that needs both give back its numbers, so that no code that trains can be handed a test image or a true
class of the pile: it would not type-check, and there is no method to call.
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
    """Predictions on held-out images beside their labels: log-probabilities [N, K], labels [N]."""

    keys: tuple[str, ...]
    labels: Ints
    log_probabilities: Floats


class HeldOut:
    """Labeled images that no training can touch."""

    def __init__(self, images: Images) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    @property
    def fingerprint(self) -> str:
        """Identifies the images and labels."""
        return content_fingerprint(self._images)

    def judge(self, predict: Predict) -> HeldOutPredictions:
        """Lets ``predict`` see the images without their labels and puts its answers beside the labels."""
        answers = predict(self._images.without_labels())
        return HeldOutPredictions(self._images.keys, self._images.labels, answers)

    def examine(self, measure: Callable[[Images], dict[str, Json]]) -> dict[str, Json]:
        """Lets ``measure``, such as that of an attack, see images and labels, and gives back its numbers alone."""
        return measure(self._images)

    def index(self, distance: int | Literal["none"]) -> DuplicateIndex:
        """A search for these images in a pile, by their looks as well unless ``distance`` is none."""
        return DuplicateIndex(self._images, distance)


class GroundTruth:
    """The true classes of the unlabeled images, where their folders tell them; for reports only."""

    def __init__(self, labels: Ints) -> None:
        self._labels = labels

    def accuracy(self, predictions: Ints, chosen: npt.NDArray[np.bool_] | None = None) -> float | None:
        """How many of the predictions (of the ``chosen`` rows) are right, as a fraction; None for no rows."""
        right = predictions == self._labels
        right = right if chosen is None else right[chosen]
        return float(right.mean()) if len(right) else None


@dataclass(frozen=True)
class SourceSummary:
    """What run.json says of one source."""

    name: str
    fingerprint: str
    images: int
    per_class: dict[str, int] | None
    failures: list[dict[str, str]]
    note: str = ""


@dataclass(frozen=True)
class DataSplits:
    """A run's images, each in its role and all in one format."""

    format: ImageFormat
    classes: tuple[str, ...]
    labeled: Images
    unlabeled: UnlabeledData
    truth: GroundTruth | None
    validation: HeldOut | None
    test: HeldOut | None
    summaries: dict[str, SourceSummary]

    def duplicate_indexes(self, distance: int | Literal["none"]) -> list[DuplicateIndex]:
        """The searches for all held-out images in the pile."""
        return [each.index(distance) for each in (self.validation, self.test) if each]


def open_splits(
    specs: Mapping[str, str | None],
    settings: DataSettings,
    *,
    seed: int,
    classes: tuple[str, ...] | None = None,
    stored_size: Callable[[int], int] = int,
) -> DataSplits:
    """Opens, checks and decodes the sources of a run, ``specs`` by role: labeled, unlabeled, validation, test.

    Without a labeled source ``classes`` says which there are. ``stored_size`` may raise the size (to a model's own
    resolution). Validation is carved out of the labels when none is given and every class has enough, which beside a
    test source is more. Unlabeled images that are identical to a held-out one, or its near-duplicates, are left out;
    of a pile that is streamed this is still to be found out.
    """
    sources = {role: open_source(spec, labeled=role != "unlabeled") for role, spec in specs.items() if spec}
    if "labeled" in sources:
        classes = _classes(sources["labeled"])
    if classes is None:
        raise DataError("there is no labeled source, so nobody says which classes there are; give --labeled.")
    for role in ("validation", "test"):
        if role in sources:
            check_same_classes(classes, sources[role].classes, role)
    first = next((sources[role] for role in ("labeled", "unlabeled") if role in sources), None)
    if first is None:
        raise DataError("there is nothing to learn from: neither a labeled nor an unlabeled source. Give one.")
    format = infer_format(first, settings)
    format = ImageFormat(stored_size(format.size), format.channels)
    streamed = {"labeled", "unlabeled"} <= sources.keys() and is_streamed(sources["unlabeled"], format, settings)
    decoded = {role: source for role, source in sources.items() if not (streamed and role == "unlabeled")}
    images = {role: decode(source, format, settings) for role, source in decoded.items()}
    summaries = {role: _describe(source, images[role]) for role, source in decoded.items()}
    trains, validation = _labeled_and_validation(images, summaries, classes, settings, seed)
    test = HeldOut(images["test"]) if "test" in images else None
    splits = DataSplits(
        format, classes, trains, InMemoryUnlabeled(_nothing(trains), []), None, validation, test, summaries
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
    """What trains and what chooses: as given, or carved out of the labels, which ``summaries`` is then told."""
    chooses = images.get("validation")
    if "labeled" not in images:
        return _nothing(images["unlabeled"]), HeldOut(chooses) if chooses else None
    trains = images["labeled"]
    check_labels(trains.labels, classes, "labeled")
    if chooses is None:
        few = settings.few_labels_beside_test if "test" in images else settings.few_labels
        kept, carved = carve_validation(trains.labels, settings.validation_fraction, few, seed)
        if len(carved):
            trains, chooses = trains.take(kept), trains.take(carved)
            note = f"carved out of the {len(kept) + len(carved)} labeled ones"
            summaries["validation"] = replace(
                summaries["labeled"], images=len(carved), per_class=None, failures=[], note=note
            )
    return trains, HeldOut(chooses) if chooses else None


def is_streamed(source: Source, format: ImageFormat, settings: DataSettings) -> bool:
    """Whether the pile that ``source`` holds is decoded anew each time it is needed, as it does not fit into memory."""
    if settings.streaming != "auto":
        return settings.streaming == "always"
    return sum(source.shard_sizes) * format.channels * format.storage_size**2 / 1e9 > settings.memory_limit_gb


def _nothing(images: Images) -> Images:
    return images.take(np.arange(0)).without_labels()


def decode(source: Source, format: ImageFormat, settings: DataSettings) -> Images:
    """All images of a source in memory, within what the settings allow."""
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
    number = {name: i for i, name in enumerate(classes)}
    return GroundTruth(np.array([number[known[key]] for key in unlabeled.keys], np.int64))


def _describe(source: Source, images: Images) -> SourceSummary:
    counts = None
    if source.classes is not None:
        totals = np.bincount(images.labels, minlength=len(source.classes))
        counts = {name: int(total) for name, total in zip(source.classes, totals, strict=True)}
    failures = [{"key": failure.key, "reason": failure.reason} for failure in images.failures]
    return SourceSummary(source.name, source.fingerprint, len(images), counts, failures)
