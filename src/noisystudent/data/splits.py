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

from noisystudent.data.checks import check_known_classes
from noisystudent.data.class_names import match_classes, spellings
from noisystudent.data.dedup.leakage import DuplicateIndex
from noisystudent.data.divide import HELD_OUT, Division, divide, no_images
from noisystudent.data.images import (
    ImageFormat,
    Images,
    check_memory,
    content_fingerprint,
    decode_shard,
    decode_source,
    infer_format,
)
from noisystudent.data.sample import SpreadSource
from noisystudent.data.settings import DataSettings
from noisystudent.data.source import Source, class_counts
from noisystudent.data.sources.open import open_source
from noisystudent.data.summary import SourceSummary, summarize, summarize_decoded
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

    def answers(self, ask: Predict) -> Floats:
        """What ``ask`` returns for the images without their labels, such as a network's features [N, F]."""
        return ask(self._images.without_labels())

    def examine(self, measure: Callable[[Images], dict[str, Json]]) -> dict[str, Json]:
        """Calls ``measure``, for example an adversarial attack, on images and labels; only its numbers leave."""
        return measure(self._images)

    def decoded_again(self, source: Source, format: ImageFormat, settings: DataSettings) -> HeldOut:
        """The same images, from the source that they came from, in another format."""
        return HeldOut(decode_again(self._images, source, format, settings))

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
    crop: float | None = None,
    sample: int | None = None,
) -> DataSplits:
    """Opens, checks and decodes the sources of a run.

    Classes are matched by name; every label is an index into ``DataSplits.classes``. If no validation source is given
    and every class has enough labels, validation is carved out of the labels; a run with a test source needs more
    labels for that. Labeled and unlabeled images that are identical to a held-out image, or are its near-duplicates,
    are left out; a streamed unlabeled set is not yet compared with the held-out images.

    Args:
        specs: source by role: labeled, unlabeled, validation, test.
        settings: how to read the images and split the labels.
        seed: seed of the split.
        classes: the class names of given models: those of a run without labels, else only their order.
        stored_size: maps the image size to a larger one, for example a model's own resolution.
        crop: the share of an image's short edge that views show; None: the official one.
        sample: for a plan, decode only so many unlabeled and so many test images; None: all.

    Raises:
        DataError: a source is missing, unreadable or does not fit the others.
    """
    sources = {role: open_source(spec, labeled=role != "unlabeled") for role, spec in specs.items() if spec}
    classes = _class_order(sources.get("labeled"), classes)
    for role in HELD_OUT:
        if role in sources:
            check_known_classes(classes, sources[role], role)
    format = replace(_format(sources, settings, stored_size), crop=crop)
    streamed = "unlabeled" in sources and is_streamed(sources["unlabeled"], format, settings)
    decoded = {role: source for role, source in sources.items() if not (streamed and role == "unlabeled")}
    if sample is not None:
        decoded |= {role: _sampled(decoded[role], sample) for role in ("unlabeled", "test") if role in decoded}
    as_stored = {role: decode(source, format, settings) for role, source in decoded.items()}
    images = {role: _in_classes(part, classes) for role, part in as_stored.items()}
    division = divide(images, classes, settings, seed, _without_labels(sources, format) if streamed else None)
    summaries = _summaries(
        {role: summarize_decoded(source, as_stored[role]) for role, source in decoded.items()}, division
    )
    unlabeled, truth = _unlabeled(sources.get("unlabeled"), division, format, classes)
    if "unlabeled" in sources:
        facts = summaries.get("unlabeled") or _summary_of_streamed(sources["unlabeled"])
        summaries["unlabeled"] = replace(facts, left_out=tuple(unlabeled.left_out))
    held_out = {role: HeldOut(images) for role, images in division.held_out.items()}
    return DataSplits(
        format,
        classes,
        division.labeled,
        unlabeled,
        truth,
        held_out.get("validation"),
        held_out.get("test"),
        summaries,
    )


def _summary_of_streamed(source: Source) -> SourceSummary:
    return replace(summarize(source), fingerprint=source.fingerprint, note="streamed")


def _without_labels(sources: Mapping[str, Source], format: ImageFormat) -> Images | None:
    """No labeled images, for a run that has none and streams its unlabeled ones; None for a run with labels."""
    return None if "labeled" in sources else no_images(decode_shard(sources["unlabeled"], 0, format))


def _unlabeled(
    source: Source | None, division: Division, format: ImageFormat, classes: tuple[str, ...]
) -> tuple[UnlabeledData, GroundTruth | None]:
    """The unlabeled set, empty without a source and streamed unless it is decoded; and what it truly shows."""
    if source is None:
        return InMemoryUnlabeled(no_images(division.labeled), []), None
    if division.unlabeled is None:
        return StreamedUnlabeled(source, format, []), None
    unlabeled = keep_unlabeled(division.unlabeled, division.search)
    return unlabeled, _truth(source, unlabeled.images, classes)


def _summaries(opened: dict[str, SourceSummary], division: Division) -> dict[str, SourceSummary]:
    """The facts about all sources, with what the division found, and those of carved-out validation images."""
    summaries = {
        role: replace(facts, notes=(*facts.notes, *division.notes.get(role, ()))) for role, facts in opened.items()
    }
    if "labeled" in summaries:
        summaries["labeled"] = replace(summaries["labeled"], left_out=division.left_out)
    if division.carved:
        labeled = summaries["labeled"]
        summaries["validation"] = SourceSummary(
            name=labeled.name,
            images=len(division.held_out["validation"]),
            fingerprint=labeled.fingerprint,
            note=division.carved,
        )
    return summaries


def _sampled(source: Source, sample: int) -> Source:
    rows = sum(source.shard_sizes)
    note = f"{sample} of its {rows:,} images, evenly spaced, are read to plan"
    return source if rows <= sample else SpreadSource(source, sample, note)


def _class_order(labeled: Source | None, given: tuple[str, ...] | None) -> tuple[str, ...]:
    """The classes of a run: those of the labeled source with images, in the order of ``given`` ones of the same names.

    Names without an image come from metadata, of which the labeled images may be a part; the source tells them.
    """
    if labeled is None:
        if given is None:
            raise DataError("there is no labeled source, so the classes are unknown; give --labeled.")
        return given
    assert labeled.classes is not None
    counts = class_counts(labeled) or dict.fromkeys(labeled.classes, 1)
    used = tuple(name for name in labeled.classes if counts[name])
    for names in (used, labeled.classes):
        if given is not None and sorted(match_classes(names, given).tolist()) == list(range(len(given))):
            return given
    return used


def _in_classes(images: Images, classes: tuple[str, ...]) -> Images:
    """The images with labels that are indices into ``classes``, where each class is found by its name."""
    if images.classes is None or images.classes == classes:
        return images
    return replace(images, labels=match_classes(images.classes, classes)[images.labels], classes=classes)


def _format(sources: Mapping[str, Source], settings: DataSettings, stored_size: Callable[[int], int]) -> ImageFormat:
    first = next((sources[role] for role in ("labeled", "unlabeled") if role in sources), None)
    if first is None:
        raise DataError("there is nothing to learn from: neither a labeled nor an unlabeled source. Give one.")
    format = infer_format(first, settings)
    return replace(format, size=stored_size(format.size))


def is_streamed(source: Source, format: ImageFormat, settings: DataSettings) -> bool:
    """Whether the unlabeled set in ``source`` is streamed, because of the settings or because memory cannot hold it."""
    if settings.streaming != "auto":
        return settings.streaming == "always"
    return sum(source.shard_sizes) * format.channels * format.storage_size**2 / 1e9 > settings.memory_limit_gb


def decode(source: Source, format: ImageFormat, settings: DataSettings) -> Images:
    """Decodes all images of a source into memory, within the limits in the settings."""
    return decode_source(
        source,
        format,
        max_corrupt_fraction=settings.max_corrupt_fraction,
        memory_limit_gb=settings.memory_limit_gb,
    )


def decode_again(images: Images, source: Source, format: ImageFormat, settings: DataSettings) -> Images:
    """Images of a run in another format, in their order and with their labels.

    Args:
        images: The images.
        source: The source that they came from.
        format: The other format.
        settings: Limits of the decoding.

    Raises:
        DataError: An image cannot be read any more, or memory does not hold the source in this format.
    """
    decoded = decode(source, format, settings)
    rows = {key: row for row, key in enumerate(decoded.keys)}
    missing = [key for key in images.keys if key not in rows]
    if missing:
        raise DataError(
            f"{len(missing)} images of {source.name!r} could be read at the start and not at {format.size} px, first "
            f"{missing[0]!r}. Give the source back as it was, and run again."
        )
    taken = decoded.take(np.array([rows[key] for key in images.keys], np.int64))
    return replace(taken, labels=images.labels, classes=images.classes)


def require_memory_at(sources: Mapping[str, Source], format: ImageFormat, settings: DataSettings) -> None:
    """Raises ``DataError`` where memory would not hold the labeled or held-out images in another format."""
    for role, source in sources.items():
        if role != "unlabeled":
            shape = (sum(source.shard_sizes), format.channels, format.storage_size, format.storage_size)
            check_memory(source, format, shape, settings.memory_limit_gb)


def splits_at(
    splits: DataSplits, sources: Mapping[str, Source], format: ImageFormat, settings: DataSettings
) -> DataSplits:
    """The labeled and the held-out images of a run in another format; the unlabeled ones stay as they are.

    Args:
        splits: The images of the run.
        sources: The sources by role; validation images without one came from the labeled images.
        format: The other format.
        settings: Limits of the decoding.

    Raises:
        DataError: As ``decode_again``.
    """
    held_out = {"validation": splits.validation, "test": splits.test}
    again = {
        role: images.decoded_again(sources.get(role, sources["labeled"]), format, settings) if images else None
        for role, images in held_out.items()
    }
    return replace(
        splits,
        format=format,
        labeled=decode_again(splits.labeled, sources["labeled"], format, settings),
        validation=again["validation"],
        test=again["test"],
    )


def _truth(source: Source, unlabeled: Images, classes: tuple[str, ...]) -> GroundTruth | None:
    known = source.truth(spellings(classes))
    if known is None:
        return None
    names = sorted(set(known.values()))
    index_of = dict(zip(names, match_classes(names, classes).tolist(), strict=True))
    return GroundTruth(np.array([index_of[known[key]] for key in unlabeled.keys], np.int64))
