"""Scores on test sets that nature shifted: ImageNet-A, -O, -R, -Sketch, ImageNetV2, reassessed labels.

Such a set has some of a model's classes, and its folders may be in another order than the model's outputs. So every
score here begins with ``class_columns``, and says in its name among how many classes it chose: ``top1_200way`` and
``top1_1000way`` of the same pictures differ by tens of points.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax
from scipy.stats import rankdata

from noisystudent.data.checks import check_same_classes
from noisystudent.data.label_sets import LabelSet
from noisystudent.errors import DataError
from noisystudent.evaluation.accuracy import top_k
from noisystudent.evaluation.confidence import (
    equal_mass,
    response_rate_accuracy,
    root_mean_square_calibration_error,
)
from noisystudent.models.imagenet import imagenet_synsets

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

Rule = Literal["name", "synset", "number"]

_RECALL = 0.95  # at which false positives are counted


@dataclass(frozen=True)
class ClassColumns:
    """Which of a model's outputs are the classes of a set: ``columns`` int64 [n], one a class, in the set's order.

    ``outputs``: how many the model has. ``rule``: how they were found, see ``class_columns``.
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


def class_columns(classes: Sequence[str], model_classes: Sequence[str]) -> ClassColumns:
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
            return ClassColumns(np.array([places[name] for name in classes], np.int64), len(model_classes), rule)
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


def columns_of(classes: Sequence[str] | None, model_classes: Sequence[str], role: str) -> ClassColumns:
    """``class_columns`` of the ``role`` source that a model is measured on: its classes, or some of them, in any order.

    Raises ``DataError`` for a source without labels or with a class that the model has not, and says both sides.
    """
    if classes is not None:
        with suppress(DataError):
            return class_columns(classes, model_classes)
    check_same_classes(model_classes, classes, role)
    raise AssertionError("the same classes were not found")


def subset_scores(log_probabilities: Floats, labels: Ints, found: ClassColumns) -> dict[str, float]:
    """Scores of log-probabilities, or logits, [N, K] on a set with some of the K classes; ``labels`` are the set's [N].

    ``top1_200way``, ``top5_200way``, and ``rms_calibration_error_200way`` and ``aurra_200way`` (see ``confidence``):
    all from the outputs of the set's n classes alone, softmax included, with n in the name. This is how ImageNet-A and
    ImageNet-R are reported (Hendrycks et al. 2021, "Natural Adversarial Examples" and "The Many Faces of Robustness").
    Where n is less than K, also ``top1_1000way`` and ``top5_1000way``, by K: a prediction outside the set is an error.
    """
    _check_outputs(log_probabilities, found)
    inside = _inside(log_probabilities, found)
    scores = {
        "top1": top_k(inside, labels, 1),
        "top5": top_k(inside, labels, 5),
        "rms_calibration_error": root_mean_square_calibration_error(equal_mass(inside, labels)),
        "aurra": response_rate_accuracy(inside, labels),
    }
    named = {f"{name}_{found.variant}": score for name, score in scores.items()}
    if len(found.columns) < found.outputs:
        for k in (1, 5):
            named[f"top{k}_{found.outputs}way"] = top_k(log_probabilities, found.columns[labels], k)
    return named


def rows_within(model_labels: Ints, found: ClassColumns) -> tuple[Bools, Ints]:
    """Of pictures of all classes, such as ImageNet's validation, those of the set's classes, and their labels in it.

    ``model_labels`` [N] are columns of the model. Given back are a mask [N] and the labels of the rows that it keeps:
    with them ``subset_scores`` gives the clean accuracy on the same classes, from which a gap is counted.
    """
    place = np.full(found.outputs, -1, np.int64)
    place[found.columns] = np.arange(len(found.columns))
    inside = place[model_labels]
    return inside >= 0, inside[inside >= 0]


def out_of_distribution_scores(within: Floats, outside: Floats, found: ClassColumns) -> dict[str, float]:
    """How well confidence tells pictures of unknown things, ``outside`` [M, K], from the ``within`` [N, K]: ImageNet-O.

    The score of a picture is minus its largest softmax among the set's classes, and what is outside is the positive
    class (Hendrycks et al. 2021). With n in their names: ``aupr_200way``, the area under precision and recall as
    average precision; ``auroc_200way``; ``fpr95_200way``, the fraction of ``within`` that is flagged where at least 95%
    of ``outside`` are. ``chance_aupr`` is what even guessing reaches, the share of ``outside``. Raises ``DataError``
    when either is empty.
    """
    if not len(within) or not len(outside):
        raise DataError(
            f"There are {len(within)} pictures of known classes and {len(outside)} of unknown ones, and some of each "
            "are needed to tell them apart."
        )
    _check_outputs(within, found)
    _check_outputs(outside, found)
    scores = np.concatenate([-_inside(rows, found).max(axis=1) for rows in (within, outside)])
    positive = np.arange(len(scores)) >= len(within)
    precision, recall, false_positives = _detection_curve(scores, positive)
    # Of a pair, one of each kind, the chance that the unknown one has the higher score, ties counted half.
    ranks = rankdata(scores)[positive].sum() - len(outside) * (len(outside) + 1) / 2
    return {
        f"aupr_{found.variant}": float((np.diff(recall, prepend=0) * precision).sum()),
        f"auroc_{found.variant}": float(ranks / (len(within) * len(outside))),
        f"fpr95_{found.variant}": float(false_positives[np.argmax(recall >= _RECALL)]),
        "chance_aupr": len(outside) / len(scores),
    }


def label_set_scores(log_probabilities: Floats, sets: Sequence[LabelSet], columns: Ints) -> dict[str, float]:
    """Accuracy where a picture may have several true classes, or none, in which case it does not count (ReaL).

    A hit is a first prediction, or one of the first five, that is in the picture's set (Beyer et al. 2020; for the
    first five as in timm). ``columns`` [C] is the model's output for each class number of the sets: for ImageNet's
    ``class_columns(imagenet_synsets(), model_classes).columns``. Gives ``label_set_top1_1000way`` and
    ``label_set_top5_1000way``, the ``count`` of pictures and how many were ``skipped``. Raises ``DataError`` when all
    sets are empty.
    """
    first, among_five, count = 0, 0, 0
    for row, labels in zip(log_probabilities, sets, strict=True):
        if labels:
            hits = np.isin(np.argsort(-row, kind="stable")[:5], columns[list(labels)])
            first, among_five, count = first + int(hits[0]), among_five + int(hits.any()), count + 1
    if not count:
        raise DataError(f"Of {len(sets)} pictures none has a label in its set. Give label sets that fit the pictures.")
    outputs = log_probabilities.shape[1]
    return {
        f"label_set_top1_{outputs}way": first / count,
        f"label_set_top5_{outputs}way": among_five / count,
        "count": count,
        "skipped": len(sets) - count,
    }


def _check_outputs(log_probabilities: Floats, found: ClassColumns) -> None:
    if log_probabilities.shape[1] != found.outputs:
        raise DataError(
            f"The predictions have {log_probabilities.shape[1]} classes, and the set's were found in a model of "
            f"{found.outputs}. Give predictions of that model, over all of its classes."
        )


def _inside(log_probabilities: Floats, found: ClassColumns) -> npt.NDArray[np.float64]:
    """Log-probabilities among the set's classes alone [N, n]."""
    inside: npt.NDArray[np.float64] = log_softmax(log_probabilities[:, found.columns].astype(np.float64), axis=1)
    return inside


def _detection_curve(scores: Floats, positive: Bools) -> tuple[Floats, Floats, Floats]:
    """Precision, recall and false-positive rate where all with at least a score are flagged, by falling scores."""
    order = np.argsort(-scores, kind="stable")
    last_of_ties = np.flatnonzero(np.diff(scores[order], append=-np.inf))
    hits = np.cumsum(positive[order])[last_of_ties]
    flagged = last_of_ties + 1
    return hits / flagged, hits / positive.sum(), (flagged - hits) / (~positive).sum()
