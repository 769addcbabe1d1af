"""Scores on test sets that nature shifted: ImageNet-A, -O, -R, -Sketch, ImageNetV2, reassessed labels.

Such a set has some of a model's classes, and its folders may be in another order than the model's outputs. So every
score here begins with ``map_classes``, and says in its name among how many classes it chose: ``top1_200way`` and
``top1_1000way`` of the same images differ by tens of points. What the scores need of each image is taken from its
log-probabilities first (``subset_hits``, ``confidences_within``, ``label_set_hits``), some images at a time, so that
nobody has to hold the log-probabilities of a whole set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax
from scipy.stats import rankdata

from noisystudent.data.checks import listed
from noisystudent.errors import DataError
from noisystudent.evaluation.metrics.accuracy import ranks
from noisystudent.evaluation.metrics.confidence import (
    equal_mass_of,
    response_rate_accuracy_of,
    root_mean_square_calibration_error,
)
from noisystudent.evaluation.natural.label_sets import LabelSet
from noisystudent.evaluation.settings import PUBLISHED_CLASSES
from noisystudent.models.imagenet import imagenet_synsets

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

Rule = Literal["name", "synset", "number"]

_RECALL = 0.95  # at which false positives are counted
_NAMED = 5  # classes that a message names at most


@dataclass(frozen=True)
class ClassMapping:
    """Which of a model's outputs are the classes of a set: ``columns`` int64 [n], one a class, in the set's order.

    ``outputs``: how many the model has. ``rule``: how they were found, see ``map_classes``.
    """

    columns: Ints
    outputs: int
    rule: Rule

    @property
    def variant(self) -> str:
        """Among how many classes a prediction is chosen inside the set, such as ``200way``."""
        return f"{len(self.columns)}way"

    @property
    def plain(self) -> bool:
        """Whether the set has all of the model's classes, by the same names in the same order."""
        return self.rule == "name" and np.array_equal(self.columns, np.arange(self.outputs))

    @property
    def explanation(self) -> str:
        """How the classes were found, in words for a report."""
        found = {
            "name": "by their names, which the model has too",
            "synset": "by their WordNet synsets, as ImageNet's 1,000 classes in ascending order",
            "number": "by their numbers, 10 after 9 and not after 1 as in the order of text",
        }
        return f"{len(self.columns)} of the model's {self.outputs} classes, found {found[self.rule]}"


def map_classes(classes: Sequence[str], model_classes: Sequence[str]) -> ClassMapping:
    """Finds the ``classes`` of a set, folder names in any order, among the ``model_classes``, the outputs of a model.

    By ``name`` when the model has them all. Else, for a model of 1,000 classes, which then counts as one of ImageNet's:
    by ``synset`` for folders like ``n01440764``, or by ``number`` for folders ``0`` to ``999``, as in ImageNetV2,
    whatever order their text has; all 1,000 must be there, since fewer may be a numbering of the set's own. Raises
    ``DataError`` for a class that is found in none of these ways.
    """
    numbers = tuple(map(str, range(len(imagenet_synsets()))))
    rules: list[tuple[Rule, Sequence[str]]] = [("name", model_classes)]
    if len(model_classes) == len(imagenet_synsets()):
        rules += [("number", numbers)] if set(classes) == set(numbers) else [("synset", imagenet_synsets())]
    for rule, names in rules:
        places = {name: place for place, name in enumerate(names)}
        if all(name in places for name in classes):
            return ClassMapping(np.array([places[name] for name in classes], np.int64), len(model_classes), rule)
    known = set(model_classes)
    stranger = next(name for name in classes if name not in known)
    if all(name.isdecimal() for name in classes):
        how = (
            "Numbers count as ImageNet's when all of 0 to 999 are there and the model has 1,000 classes, and only then"
        )
    else:
        how = "Name the folders like the model's classes, or like ImageNet's synsets for a model of its 1,000 classes"
    raise DataError(
        f"The set of {len(classes)} classes has a class {stranger!r} that the model of {len(known)} classes has not. "
        f"{how}."
    )


def map_source_classes(classes: Sequence[str] | None, model_classes: Sequence[str], role: str) -> ClassMapping:
    """``map_classes`` of the ``role`` source that a model is measured on: its classes, or some of them, in any order.

    Raises ``DataError`` for a source without labels or with a class that the model has not, and says both sides.
    """
    if classes is None:
        raise DataError(
            f"The {role} source has no labels. Give one with classes of the model's: {listed(model_classes)}."
        )
    try:
        return map_classes(classes, model_classes)
    except DataError as error:
        surplus = [name for name in classes if name not in set(model_classes)]
        raise DataError(
            f"The {role} source has {len(surplus)} of its {len(classes)} classes that the model has not: "
            f"{listed(surplus)}. The model's are {listed(model_classes)}. Give images of some or all of these."
        ) from error


def difference_from_published(name: str, classes: Sequence[str]) -> str:
    """What the ``classes`` of a set differ in from those of the published set of that ``name``, as a sentence, or "".

    Names are those of ``PUBLISHED_CLASSES``; of another name nothing is known. Folders that are synsets are compared
    one by one with timm's lists, where it has one (not for ImageNet-O), others by their number alone.
    """
    count = PUBLISHED_CLASSES.get(name, len(classes))
    published = _published_synsets(name) if set(classes) <= set(imagenet_synsets()) else ()
    lacking = sorted(set(published) - set(classes))
    surplus = sorted(set(classes) - set(published)) if published else []
    if len(classes) == count and not lacking:
        return ""
    said = f"{name} as published has {count} classes, and this set {len(classes)}"
    said += f"; it lacks {_some(lacking)}" if lacking else ""
    said += f"; only it has {_some(surplus)}" if surplus else ""
    return f"{said}. These are no scores of the published set."


def _published_synsets(name: str) -> Sequence[str]:
    """The synsets of a published set as timm has them, or none."""
    if PUBLISHED_CLASSES.get(name) == len(imagenet_synsets()):
        return imagenet_synsets()
    file = resources.files("timm.data").joinpath("_info", f"{name.replace('-', '_')}_synsets.txt")
    return file.read_text().split() if name in PUBLISHED_CLASSES and file.is_file() else ()


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


@dataclass(frozen=True)
class Hits:
    """How each of N images of a set fared, [N] each: all that the scores of the set need.

    ``labels`` are rows of the set's classes. ``correct``, ``top5_correct``: whether the first answer is the true class,
    or one of the first five, when all outputs but the set's are left out; ``confidence``: the largest softmax among
    those. ``correct_of_all``, ``top5_correct_of_all``: the same as the first two, among all of the model's outputs.
    """

    labels: Ints
    correct: Bools
    top5_correct: Bools
    confidence: npt.NDArray[np.float64]
    correct_of_all: Bools
    top5_correct_of_all: Bools


def subset_hits(log_probabilities: Floats, labels: Ints, found: ClassMapping) -> Hits:
    """How images fared by their log-probabilities, or logits, [N, K]; ``labels`` are rows of the set's classes [N].

    Raises ``DataError`` for predictions of another number of classes than ``found`` was found in.
    """
    inside = _inside(log_probabilities, found)
    place, place_of_all = ranks(inside, labels), ranks(log_probabilities, found.columns[labels])
    return Hits(labels, place == 0, place < 5, np.exp(inside.max(axis=1)), place_of_all == 0, place_of_all < 5)


def confidences_within(log_probabilities: Floats, found: ClassMapping) -> npt.NDArray[np.float64]:
    """The largest softmax among the set's classes alone, [N], from log-probabilities or logits [N, K]."""
    confidences: npt.NDArray[np.float64] = np.exp(_inside(log_probabilities, found).max(axis=1))
    return confidences


def subset_scores(hits: Hits, found: ClassMapping) -> dict[str, float]:
    """Scores on a set with some of a model's K classes, from what ``subset_hits`` took of its images.

    ``top1_200way``, ``top5_200way``, and ``rms_calibration_error_200way`` and ``aurra_200way`` (see ``confidence``):
    all from the outputs of the set's n classes alone, softmax included, with n in the name. This is how ImageNet-A and
    ImageNet-R are reported (Hendrycks et al. 2021, "Natural Adversarial Examples" and "The Many Faces of Robustness").
    Where n is less than K, also ``top1_1000way`` and ``top5_1000way``, by K: a prediction outside the set is an error.
    """
    scores = {
        f"top1_{found.variant}": float(hits.correct.mean()),
        f"top5_{found.variant}": float(hits.top5_correct.mean()),
        f"rms_calibration_error_{found.variant}": root_mean_square_calibration_error(
            equal_mass_of(hits.confidence, hits.correct)
        ),
        f"aurra_{found.variant}": response_rate_accuracy_of(hits.confidence, hits.correct),
    }
    if len(found.columns) < found.outputs:
        scores[f"top1_{found.outputs}way"] = float(hits.correct_of_all.mean())
        scores[f"top5_{found.outputs}way"] = float(hits.top5_correct_of_all.mean())
    return scores


def rows_within(model_labels: Ints, found: ClassMapping) -> tuple[Bools, Ints]:
    """Of images of all classes, such as ImageNet's validation, those of the set's classes, and their labels in it.

    ``model_labels`` [N] are columns of the model. Given back are a mask [N] and the labels of the rows that it keeps:
    with them ``subset_hits`` gives the clean accuracy on the same classes, from which a gap is counted.
    """
    place = np.full(found.outputs, -1, np.int64)
    place[found.columns] = np.arange(len(found.columns))
    inside = place[model_labels]
    return inside >= 0, inside[inside >= 0]


def out_of_distribution_scores(within: Floats, outside: Floats, found: ClassMapping) -> dict[str, float]:
    """How well confidence tells images of unknown things, ``outside`` [M], from those ``within`` [N]: ImageNet-O.

    Both are ``confidences_within``. The score of an image is minus its confidence, the largest softmax among the set's
    classes, and what is outside is the positive class (Hendrycks et al. 2021). With n in their names: ``aupr_200way``,
    the area under precision and recall as average precision; ``auroc_200way``; ``fpr95_200way``, the fraction of
    ``within`` that is flagged where at least 95% of ``outside`` are. ``chance_aupr`` is what even guessing reaches, the
    share of ``outside``. Raises ``DataError`` when either is empty.
    """
    if not len(within) or not len(outside):
        raise DataError(
            f"There are {len(within)} images of known classes and {len(outside)} of unknown ones, and some of each "
            "are needed to tell them apart."
        )
    scores = -np.concatenate([within, outside])
    positive = np.arange(len(scores)) >= len(within)
    precision, recall, false_positives = _detection_curve(scores, positive)
    # Of a pair, one of each kind, the chance that the unknown one has the higher score, ties counted half.
    above = rankdata(scores)[positive].sum() - len(outside) * (len(outside) + 1) / 2
    return {
        f"aupr_{found.variant}": float((np.diff(recall, prepend=0) * precision).sum()),
        f"auroc_{found.variant}": float(above / (len(within) * len(outside))),
        f"fpr95_{found.variant}": float(false_positives[np.argmax(recall >= _RECALL)]),
        "chance_aupr": len(outside) / len(scores),
    }


@dataclass(frozen=True)
class LabelSetHits:
    """How each of N images with label sets fared, [N] each.

    ``counted``: whether it has a label. ``correct``, ``top5_correct``: whether the first answer, or one of the first
    five, is in its set.
    """

    counted: Bools
    correct: Bools
    top5_correct: Bools


def label_set_hits(log_probabilities: Floats, sets: Sequence[LabelSet], columns: Ints) -> LabelSetHits:
    """How images with the label ``sets`` [N] fared by their log-probabilities, or logits, [N, K].

    ``columns`` [C] is the model's output for each class number of the sets: for ImageNet's
    ``map_classes(imagenet_synsets(), model_classes).columns``.
    """
    counted = np.array([bool(labels) for labels in sets], bool)
    hits = np.zeros((len(sets), 5), bool)
    for row, (values, labels) in enumerate(zip(log_probabilities, sets, strict=True)):
        first = np.argsort(-values, kind="stable")[:5]
        hits[row, : len(first)] = np.isin(first, columns[list(labels)]) if labels else False
    return LabelSetHits(counted, correct=hits[:, 0], top5_correct=hits.max(axis=1))


def label_set_scores(hits: LabelSetHits, outputs: int) -> dict[str, float]:
    """Accuracy where an image may have several true classes, or none, in which case it does not count (ReaL).

    A hit is a first prediction, or one of the first five, that is in the image's set (Beyer et al. 2020; for the
    first five as in timm), among the model's ``outputs``. Gives ``label_set_top1_1000way`` and
    ``label_set_top5_1000way``, the ``count`` of images and how many were ``skipped``. Raises ``DataError`` when all
    sets are empty.
    """
    count = int(hits.counted.sum())
    if not count:
        raise DataError(
            f"Of {len(hits.counted)} images none has a label in its set. Give label sets that fit the images."
        )
    return {
        f"label_set_top1_{outputs}way": int(hits.correct.sum()) / count,
        f"label_set_top5_{outputs}way": int(hits.top5_correct.sum()) / count,
        "count": count,
        "skipped": len(hits.counted) - count,
    }


def _inside(log_probabilities: Floats, found: ClassMapping) -> npt.NDArray[np.float64]:
    """Log-probabilities among the set's classes alone [N, n]."""
    if log_probabilities.shape[1] != found.outputs:
        raise DataError(
            f"The predictions have {log_probabilities.shape[1]} classes, and the set's were found in a model of "
            f"{found.outputs}. Give predictions of that model, over all of its classes."
        )
    inside: npt.NDArray[np.float64] = log_softmax(log_probabilities[:, found.columns].astype(np.float64), axis=1)
    return inside


def _detection_curve(scores: Floats, positive: Bools) -> tuple[Floats, Floats, Floats]:
    """Precision, recall and false-positive rate where all with at least a score are flagged, by falling scores."""
    order = np.argsort(-scores, kind="stable")
    last_of_ties = np.flatnonzero(np.diff(scores[order], append=-np.inf))
    hits = np.cumsum(positive[order])[last_of_ties]
    flagged = last_of_ties + 1
    return hits / flagged, hits / positive.sum(), (flagged - hits) / (~positive).sum()
