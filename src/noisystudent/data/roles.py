"""The roles that sources play in a run, as types: what trains, what chooses, and what may only report.

``HeldOut`` and ``Truth`` hide their pictures and labels. The one thing they do is compare given predictions with
them, so that no code that trains can be handed a test picture or a true class of the pile: it would not type-check,
and there is no method to call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from noisystudent.artifacts import fingerprint_of
from noisystudent.data.checks import check_labels, check_same_classes
from noisystudent.data.open import open_source
from noisystudent.data.perceptual import near_duplicates
from noisystudent.data.pictures import PictureFormat, Pictures, choose_format, decode_source
from noisystudent.data.settings import DataSettings
from noisystudent.data.source import SHARD_ROWS, Source
from noisystudent.data.split import carve_validation, identical
from noisystudent.errors import DataError

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Predict = Callable[[Pictures], Floats]


@dataclass(frozen=True)
class Judged:
    """Predictions on held-out pictures beside their labels: log-probabilities [N, K], labels [N]."""

    keys: tuple[str, ...]
    labels: Ints
    log_probabilities: Floats


class HeldOut:
    """Labeled pictures that no training can touch."""

    def __init__(self, pictures: Pictures) -> None:
        self._pictures = pictures

    def __len__(self) -> int:
        return len(self._pictures)

    @property
    def fingerprint(self) -> str:
        """Identifies the pictures and labels."""
        return content_fingerprint(self._pictures)

    def judge(self, predict: Predict) -> Judged:
        """Lets ``predict`` see the pictures without their labels and puts its answers beside the labels."""
        answers = predict(self._pictures.without_labels())
        return Judged(self._pictures.keys, self._pictures.labels, answers)

    def duplicates_in(self, pictures: Pictures) -> list[tuple[str, str]]:
        """Pairs (key there, key here) of pictures of ``pictures`` that are identical to one of these."""
        return identical(pictures, self._pictures)

    def near_duplicates_in(self, pictures: Pictures, distance: int) -> list[tuple[str, str]]:
        """Pairs (key there, key here) of pictures of ``pictures`` that look like one of these."""
        rows, partners = near_duplicates(pictures, self._pictures, distance)
        return [(pictures.keys[row], self._pictures.keys[partner]) for row, partner in zip(rows, partners, strict=True)]

    def thumbnail(self, key: str) -> npt.NDArray[np.uint8]:
        """The picture ``key`` for the report: uint8 [H, W, C]."""
        return thumbnail(self._pictures, key)


class Truth:
    """The true classes of the unlabeled pictures, where their folders tell them; for reports only."""

    def __init__(self, labels: Ints) -> None:
        self._labels = labels

    def accuracy(self, predictions: Ints, chosen: npt.NDArray[np.bool_] | None = None) -> float | None:
        """How many of the predictions (of the ``chosen`` rows) are right, as a fraction; None for no rows."""
        right = predictions == self._labels
        right = right if chosen is None else right[chosen]
        return float(right.mean()) if len(right) else None


@dataclass(frozen=True)
class Described:
    """What run.json says of one source."""

    name: str
    fingerprint: str
    pictures: int
    per_class: dict[str, int] | None
    failures: list[dict[str, str]]
    note: str = ""


@dataclass(frozen=True)
class LeftOut:
    """An unlabeled picture that is left out because it is a held-out picture, or looks like one."""

    key: str
    same_as: str
    found: Literal["identical", "near-duplicate"]


@dataclass(frozen=True)
class Roles:
    """A run's pictures, each in its role and all in one format."""

    format: PictureFormat
    classes: tuple[str, ...]
    labeled: Pictures
    unlabeled: Pictures
    truth: Truth | None
    validation: HeldOut | None
    test: HeldOut | None
    left_out: list[LeftOut]
    described: dict[str, Described]


def open_roles(
    specs: Mapping[str, str | None],
    settings: DataSettings,
    *,
    seed: int,
    stored_size: Callable[[int], int] = int,
) -> Roles:
    """Opens, checks and decodes the sources of a run, ``specs`` by role: labeled, unlabeled, validation, test.

    ``stored_size`` may raise the size (to a model's own resolution). Validation is carved out of the labels when none
    is given and every class has enough, which beside a test source is more. Unlabeled pictures that are identical to a
    held-out one, or its near-duplicates, are left out.
    """
    sources = {role: open_source(spec, labeled=role != "unlabeled") for role, spec in specs.items() if spec}
    classes = _classes(sources["labeled"])
    for role in ("validation", "test"):
        if role in sources:
            check_same_classes(classes, sources[role].classes, role)
    format = choose_format(sources["labeled"], settings)
    format = PictureFormat(stored_size(format.size), format.channels)
    pictures = {role: decode(source, format, settings) for role, source in sources.items()}
    described = {role: _describe(sources[role], pictures[role]) for role in sources}
    check_labels(pictures["labeled"].labels, classes, "labeled")

    trains, chooses = pictures["labeled"], pictures.get("validation")
    if chooses is None:
        few = settings.few_labels_beside_test if "test" in pictures else settings.few_labels
        kept, carved = carve_validation(trains.labels, settings.validation_fraction, few, seed)
        if len(carved):
            trains, chooses = pictures["labeled"].take(kept), pictures["labeled"].take(carved)
            note = f"carved out of the {len(kept) + len(carved)} labeled ones"
            described["validation"] = replace(
                described["labeled"], pictures=len(carved), per_class=None, failures=[], note=note
            )
    validation = HeldOut(chooses) if chooses else None
    test = HeldOut(pictures["test"]) if "test" in pictures else None
    nothing = trains.take(np.arange(0)).without_labels()
    pile, left_out = _without_duplicates(
        pictures.get("unlabeled", nothing), [each for each in (validation, test) if each], settings.near_duplicates
    )
    truth = _truth(sources.get("unlabeled"), pile, classes)
    return Roles(format, classes, trains, pile.without_labels(), truth, validation, test, left_out, described)


def decode(source: Source, format: PictureFormat, settings: DataSettings) -> Pictures:
    """All pictures of a source in memory, within what the settings allow."""
    return decode_source(
        source,
        format,
        max_corrupt_fraction=settings.max_corrupt_fraction,
        memory_limit_gb=settings.memory_limit_gb,
    )


def content_fingerprint(pictures: Pictures) -> str:
    """Identifies decoded pictures by their keys, pixels and labels, in order."""
    return fingerprint_of([pictures.keys, pictures.digests, pictures.labels.tolist()])


def shard_of(pictures: Pictures, shard: int) -> Pictures:
    """The ``shard``-th 1,024 of decoded pictures."""
    return pictures.take(np.arange(shard * SHARD_ROWS, min(len(pictures), (shard + 1) * SHARD_ROWS)))


def shard_count(pictures: Pictures) -> int:
    """How many shards ``shard_of`` cuts the pictures into."""
    return -(-len(pictures) // SHARD_ROWS)


def thumbnail(pictures: Pictures, key: str) -> npt.NDArray[np.uint8]:
    """One picture without its canvas: uint8 [H, W, C]."""
    row = pictures.keys.index(key)
    height, width = pictures.sizes[row]
    return pictures.pixels[row, :, :height, :width].transpose(1, 2, 0)


def _classes(source: Source) -> tuple[str, ...]:
    assert source.classes is not None
    return source.classes


def _without_duplicates(
    pile: Pictures, held_out: list[HeldOut], distance: int | Literal["none"]
) -> tuple[Pictures, list[LeftOut]]:
    """The pile without the pictures that are also held out, and those with what they are the same as."""
    identical_to = dict(pair for part in held_out for pair in part.duplicates_in(pile))
    rest = _without(pile, identical_to)
    looks_like: dict[str, str] = {}
    if distance != "none":
        looks_like = dict(pair for part in held_out for pair in part.near_duplicates_in(rest, distance))
    kept = _without(rest, looks_like)
    if len(pile) and not len(kept):
        raise DataError(
            f"all {len(pile)} unlabeled pictures are also validation or test pictures ({len(looks_like)} of them by "
            "their looks, which data.near_duplicates none ignores); give others, or the held-out ones would be "
            "trained on."
        )
    left_out = [LeftOut(key, other, "identical") for key, other in identical_to.items()]
    return kept, left_out + [LeftOut(key, other, "near-duplicate") for key, other in looks_like.items()]


def _without(pictures: Pictures, keys: Mapping[str, str]) -> Pictures:
    if not keys:
        return pictures
    return pictures.take(np.array([row for row, key in enumerate(pictures.keys) if key not in keys], np.int64))


def _truth(source: Source | None, pile: Pictures, classes: tuple[str, ...]) -> Truth | None:
    known = source.truth(classes) if source else None
    if known is None:
        return None
    number = {name: i for i, name in enumerate(classes)}
    return Truth(np.array([number[known[key]] for key in pile.keys], np.int64))


def _describe(source: Source, pictures: Pictures) -> Described:
    counts = None
    if source.classes is not None:
        totals = np.bincount(pictures.labels, minlength=len(source.classes))
        counts = {name: int(total) for name, total in zip(source.classes, totals, strict=True)}
    failures = [{"key": failure.key, "reason": failure.reason} for failure in pictures.failures]
    return Described(source.name, source.fingerprint, len(pictures), counts, failures)
