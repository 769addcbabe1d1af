"""The roles that sources play in a run, as types: what trains, what chooses, and what may only report.

``HeldOut`` and ``Truth`` hide their pictures and labels. What they do is compare given predictions with them, and let a
measure that needs both give back its numbers, so that no code that trains can be handed a test picture or a true class
of the pile: it would not type-check, and there is no method to call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from noisystudent.data.checks import check_labels, check_same_classes
from noisystudent.data.dedup.leakage import Search
from noisystudent.data.images import PictureFormat, Pictures, choose_format, content_fingerprint, decode_source
from noisystudent.data.settings import DataSettings
from noisystudent.data.source import Source
from noisystudent.data.sources.open import open_source
from noisystudent.data.stratified import carve_validation
from noisystudent.data.unlabeled import KeptPile, Pile, StreamedPile, keep_pile
from noisystudent.errors import DataError

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Predict = Callable[[Pictures], Floats]
Json = Any  # what json.dumps takes; the standard library has no type for it


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

    def examine(self, measure: Callable[[Pictures], dict[str, Json]]) -> dict[str, Json]:
        """Lets ``measure``, such as that of an attack, see pictures and labels, and gives back its numbers alone."""
        return measure(self._pictures)

    def search(self, distance: int | Literal["none"]) -> Search:
        """A search for these pictures in a pile, by their looks as well unless ``distance`` is none."""
        return Search(self._pictures, distance)


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
class Roles:
    """A run's pictures, each in its role and all in one format."""

    format: PictureFormat
    classes: tuple[str, ...]
    labeled: Pictures
    unlabeled: Pile
    truth: Truth | None
    validation: HeldOut | None
    test: HeldOut | None
    described: dict[str, Described]

    def searches(self, distance: int | Literal["none"]) -> list[Search]:
        """The searches for all held-out pictures in the pile."""
        return [each.search(distance) for each in (self.validation, self.test) if each]


def open_roles(
    specs: Mapping[str, str | None],
    settings: DataSettings,
    *,
    seed: int,
    classes: tuple[str, ...] | None = None,
    stored_size: Callable[[int], int] = int,
) -> Roles:
    """Opens, checks and decodes the sources of a run, ``specs`` by role: labeled, unlabeled, validation, test.

    Without a labeled source ``classes`` says which there are. ``stored_size`` may raise the size (to a model's own
    resolution). Validation is carved out of the labels when none is given and every class has enough, which beside a
    test source is more. Unlabeled pictures that are identical to a held-out one, or its near-duplicates, are left out;
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
    format = choose_format(first, settings)
    format = PictureFormat(stored_size(format.size), format.channels)
    streamed = {"labeled", "unlabeled"} <= sources.keys() and is_streamed(sources["unlabeled"], format, settings)
    decoded = {role: source for role, source in sources.items() if not (streamed and role == "unlabeled")}
    pictures = {role: decode(source, format, settings) for role, source in decoded.items()}
    described = {role: _describe(source, pictures[role]) for role, source in decoded.items()}
    trains, validation = _labeled_and_validation(pictures, described, classes, settings, seed)
    test = HeldOut(pictures["test"]) if "test" in pictures else None
    roles = Roles(format, classes, trains, KeptPile(_nothing(trains), []), None, validation, test, described)
    if streamed:
        source = sources["unlabeled"]
        described["unlabeled"] = Described(
            source.name, source.fingerprint, sum(source.shard_sizes), None, [], note="streamed"
        )
        return replace(roles, unlabeled=StreamedPile(source, format, []))
    if "unlabeled" in pictures:
        pile = keep_pile(pictures["unlabeled"].without_labels(), roles.searches(settings.near_duplicates))
        return replace(roles, unlabeled=pile, truth=_truth(sources["unlabeled"], pile.pictures, classes))
    return roles


def _labeled_and_validation(
    pictures: Mapping[str, Pictures],
    described: dict[str, Described],
    classes: tuple[str, ...],
    settings: DataSettings,
    seed: int,
) -> tuple[Pictures, HeldOut | None]:
    """What trains and what chooses: as given, or carved out of the labels, which ``described`` is then told."""
    chooses = pictures.get("validation")
    if "labeled" not in pictures:
        return _nothing(pictures["unlabeled"]), HeldOut(chooses) if chooses else None
    trains = pictures["labeled"]
    check_labels(trains.labels, classes, "labeled")
    if chooses is None:
        few = settings.few_labels_beside_test if "test" in pictures else settings.few_labels
        kept, carved = carve_validation(trains.labels, settings.validation_fraction, few, seed)
        if len(carved):
            trains, chooses = trains.take(kept), trains.take(carved)
            note = f"carved out of the {len(kept) + len(carved)} labeled ones"
            described["validation"] = replace(
                described["labeled"], pictures=len(carved), per_class=None, failures=[], note=note
            )
    return trains, HeldOut(chooses) if chooses else None


def is_streamed(source: Source, format: PictureFormat, settings: DataSettings) -> bool:
    """Whether the pile that ``source`` holds is decoded anew each time it is needed, as it does not fit into memory."""
    if settings.streaming != "auto":
        return settings.streaming == "always"
    return sum(source.shard_sizes) * format.channels * format.stored_edge**2 / 1e9 > settings.memory_limit_gb


def _nothing(pictures: Pictures) -> Pictures:
    return pictures.take(np.arange(0)).without_labels()


def decode(source: Source, format: PictureFormat, settings: DataSettings) -> Pictures:
    """All pictures of a source in memory, within what the settings allow."""
    return decode_source(
        source,
        format,
        max_corrupt_fraction=settings.max_corrupt_fraction,
        memory_limit_gb=settings.memory_limit_gb,
    )


def _classes(source: Source) -> tuple[str, ...]:
    assert source.classes is not None
    return source.classes


def _truth(source: Source, pile: Pictures, classes: tuple[str, ...]) -> Truth | None:
    known = source.truth(classes)
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
