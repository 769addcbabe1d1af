"""Scores on naturally shifted test sets: ImageNet-A, -O, -R, -Sketch, ImageNetV2 and reassessed labels.

Such a set has some of a model's classes, and its folders may be in another order than the model's outputs. So every
score begins with ``class_mapping.map_classes`` and names the number of classes that it chose from: ``top1_200way`` and
``top1_1000way`` of the same images differ by tens of points. ``subset_hits``, ``confidences_within`` and
``label_set_hits`` reduce log-probabilities to a few numbers per image, batch by batch, so the log-probabilities of a
whole set are never held in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax
from scipy.stats import rankdata

from noisystudent.errors import DataError
from noisystudent.evaluation.class_mapping import ClassMapping
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

_RECALL = 0.95  # the recall at which the false-positive rate is reported
_NAMES_SHOWN = 5


def difference_from_published(name: str, classes: Sequence[str]) -> str:
    """Describes how the classes of a set differ from those of the published set of the same name.

    Synset folders are compared one by one with timm's lists, where timm has one (not for ImageNet-O); other folders
    only by their number.

    Args:
        name: the name of the set; only those in ``PUBLISHED_CLASSES`` are compared.
        classes: the folder names of the set.

    Returns:
        A sentence for the report, or "" if there is no difference or the name is unknown.
    """
    count = PUBLISHED_CLASSES.get(name, len(classes))
    published = _published_synsets(name) if set(classes) <= set(imagenet_synsets()) else ()
    missing = sorted(set(published) - set(classes))
    additional = sorted(set(classes) - set(published)) if published else []
    if len(classes) == count and not missing:
        return ""
    difference = f"The published {name} has {count} classes, and this set has {len(classes)}"
    difference += f"; missing: {_abbreviate(missing)}" if missing else ""
    difference += f"; additional: {_abbreviate(additional)}" if additional else ""
    return f"{difference}. These scores are not those of the published set."


def _published_synsets(name: str) -> Sequence[str]:
    """The synsets of a published set as timm lists them; empty if timm has no list."""
    if PUBLISHED_CLASSES.get(name) == len(imagenet_synsets()):
        return imagenet_synsets()
    file = resources.files("timm.data").joinpath("_info", f"{name.replace('-', '_')}_synsets.txt")
    return file.read_text().split() if name in PUBLISHED_CLASSES and file.is_file() else ()


def _abbreviate(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more


@dataclass(frozen=True)
class Hits:
    """The results of N images of a set, one row per image: everything that the scores of the set need.

    Attributes:
        labels: the true class, as an index into the set's classes, int64 [N].
        correct: whether the most probable of the set's classes is the true one, bool [N].
        top5_correct: whether the true class is among the five most probable of the set's classes, bool [N].
        confidence: the largest softmax value among the set's classes, float64 [N].
        correct_of_all: ``correct`` among all of the model's outputs, bool [N].
        top5_correct_of_all: ``top5_correct`` among all of the model's outputs, bool [N].
    """

    labels: Ints
    correct: Bools
    top5_correct: Bools
    confidence: npt.NDArray[np.float64]
    correct_of_all: Bools
    top5_correct_of_all: Bools


def subset_hits(log_probabilities: Floats, labels: Ints, mapping: ClassMapping) -> Hits:
    """Evaluates images of a set, both among the set's classes and among all of the model's.

    Args:
        log_probabilities: log-probabilities or logits over all of the model's classes [N, K].
        labels: true classes, as indices into the set's classes [N].
        mapping: the model output of each of the set's classes.

    Returns:
        The hits and confidences, one row per image.

    Raises:
        DataError: the number of outputs K is not ``mapping.outputs``.
    """
    inside = _within(log_probabilities, mapping)
    rank, rank_of_all = ranks(inside, labels), ranks(log_probabilities, mapping.columns[labels])
    return Hits(labels, rank == 0, rank < 5, np.exp(inside.max(axis=1)), rank_of_all == 0, rank_of_all < 5)


def confidences_within(log_probabilities: Floats, mapping: ClassMapping) -> npt.NDArray[np.float64]:
    """The largest softmax value among the set's classes only, [N], from log-probabilities or logits [N, K]."""
    confidences: npt.NDArray[np.float64] = np.exp(_within(log_probabilities, mapping).max(axis=1))
    return confidences


def subset_scores(hits: Hits, mapping: ClassMapping) -> dict[str, float]:
    """Scores on a set with n of a model's K classes.

    ``top1_200way``, ``top5_200way``, ``rms_calibration_error_200way`` and ``aurra_200way`` (see
    ``metrics.confidence``) use only the outputs of the set's classes, softmax included; the number in the name is n.
    This is how ImageNet-A and ImageNet-R are reported (Hendrycks et al. 2021, "Natural Adversarial Examples" and "The
    Many Faces of Robustness"). If n is less than K, ``top1_1000way`` and ``top5_1000way`` are added, with K in the
    name: there a prediction outside the set is an error.

    Args:
        hits: the results of all images, from ``subset_hits``.
        mapping: the model output of each of the set's classes.

    Returns:
        The scores by name, all in [0, 1].
    """
    scores = {
        f"top1_{mapping.variant}": float(hits.correct.mean()),
        f"top5_{mapping.variant}": float(hits.top5_correct.mean()),
        f"rms_calibration_error_{mapping.variant}": root_mean_square_calibration_error(
            equal_mass_of(hits.confidence, hits.correct)
        ),
        f"aurra_{mapping.variant}": response_rate_accuracy_of(hits.confidence, hits.correct),
    }
    if len(mapping.columns) < mapping.outputs:
        scores[f"top1_{mapping.outputs}way"] = float(hits.correct_of_all.mean())
        scores[f"top5_{mapping.outputs}way"] = float(hits.top5_correct_of_all.mean())
    return scores


def rows_within(model_labels: Ints, mapping: ClassMapping) -> tuple[Bools, Ints]:
    """Selects the images of the set's classes from images of all classes, such as ImageNet's validation images.

    With them, ``subset_hits`` gives the clean accuracy on the same classes, which the accuracy gap is measured from.

    Args:
        model_labels: true classes, as indices of the model's outputs [N].
        mapping: the model output of each of the set's classes.

    Returns:
        A mask [N], and the labels of the selected rows as indices into the set's classes.
    """
    index_in_set = np.full(mapping.outputs, -1, np.int64)
    index_in_set[mapping.columns] = np.arange(len(mapping.columns))
    labels = index_in_set[model_labels]
    return labels >= 0, labels[labels >= 0]


def out_of_distribution_scores(within: Floats, outside: Floats, mapping: ClassMapping) -> dict[str, float]:
    """How well confidence separates images of unknown classes from images of known classes: ImageNet-O.

    The score of an image is minus its confidence, and the unknown classes are the positive class (Hendrycks et al.
    2021, "Natural Adversarial Examples"). With the number of classes in their names: ``aupr_200way``, the area under
    the precision-recall curve as average precision; ``auroc_200way``; ``fpr95_200way``, the fraction of ``within``
    that is flagged when at least 95% of ``outside`` is. ``chance_aupr`` is the AUPR of random guessing, the fraction
    of ``outside``.

    Args:
        within: ``confidences_within`` of images of known classes [N].
        outside: ``confidences_within`` of images of unknown classes [M].
        mapping: the model output of each of the set's classes.

    Returns:
        The scores by name, all in [0, 1].

    Raises:
        DataError: ``within`` or ``outside`` is empty.
    """
    if not len(within) or not len(outside):
        raise DataError(
            f"There are {len(within)} images of known classes and {len(outside)} of unknown classes; at least one of "
            "each is needed. Add images, or raise evaluation.max_images."
        )
    scores = -np.concatenate([within, outside])
    positive = np.arange(len(scores)) >= len(within)
    precision, recall, false_positives = _detection_curve(scores, positive)
    # The probability that a random unknown image scores higher than a random known one; ties count half.
    rank_sum = rankdata(scores)[positive].sum() - len(outside) * (len(outside) + 1) / 2
    return {
        f"aupr_{mapping.variant}": float((np.diff(recall, prepend=0) * precision).sum()),
        f"auroc_{mapping.variant}": float(rank_sum / (len(within) * len(outside))),
        f"fpr95_{mapping.variant}": float(false_positives[np.argmax(recall >= _RECALL)]),
        "chance_aupr": len(outside) / len(scores),
    }


@dataclass(frozen=True)
class LabelSetHits:
    """The results of N images with label sets, one row per image.

    Attributes:
        counted: whether the image has any label, bool [N].
        correct: whether the prediction is in the image's label set, bool [N].
        top5_correct: whether any of the five most probable classes is in the image's label set, bool [N].
    """

    counted: Bools
    correct: Bools
    top5_correct: Bools


def label_set_hits(log_probabilities: Floats, sets: Sequence[LabelSet], columns: Ints) -> LabelSetHits:
    """Evaluates images that may have several true classes.

    Args:
        log_probabilities: log-probabilities or logits over all of the model's classes [N, K].
        sets: the label set of each image [N].
        columns: the model output of each class number in the sets [C]; for ImageNet
            ``map_classes(imagenet_synsets(), model_classes).columns``.

    Returns:
        The hits, one row per image.
    """
    counted = np.array([bool(labels) for labels in sets], bool)
    hits = np.zeros((len(sets), 5), bool)
    for row, (values, labels) in enumerate(zip(log_probabilities, sets, strict=True)):
        top5 = np.argsort(-values, kind="stable")[:5]
        hits[row, : len(top5)] = np.isin(top5, columns[list(labels)]) if labels else False
    return LabelSetHits(counted, correct=hits[:, 0], top5_correct=hits.max(axis=1))


def label_set_scores(hits: LabelSetHits, outputs: int) -> dict[str, float]:
    """Accuracy on images with several true classes or none; images with none do not count (ReaL).

    A prediction is correct if it is in the image's label set (Beyer et al. 2020, "Are we done with ImageNet?"; top-5
    as in timm).

    Args:
        hits: the results of all images, from ``label_set_hits``.
        outputs: number of the model's outputs.

    Returns:
        ``label_set_top1_1000way`` and ``label_set_top5_1000way`` in [0, 1], with the number of outputs in the name;
        ``count``, the images with labels; ``skipped``, the images without.

    Raises:
        DataError: all label sets are empty.
    """
    count = int(hits.counted.sum())
    if not count:
        raise DataError(
            f"None of the {len(hits.counted)} images has a label in its label set. Give label sets that fit the images."
        )
    return {
        f"label_set_top1_{outputs}way": int(hits.correct.sum()) / count,
        f"label_set_top5_{outputs}way": int(hits.top5_correct.sum()) / count,
        "count": count,
        "skipped": len(hits.counted) - count,
    }


def _within(log_probabilities: Floats, mapping: ClassMapping) -> npt.NDArray[np.float64]:
    """Log-probabilities among the set's classes only [N, n]."""
    if log_probabilities.shape[1] != mapping.outputs:
        raise DataError(
            f"The predictions have {log_probabilities.shape[1]} classes, but the set's classes were mapped to a model "
            f"of {mapping.outputs}. Give predictions of that model, over all of its classes."
        )
    inside: npt.NDArray[np.float64] = log_softmax(log_probabilities[:, mapping.columns].astype(np.float64), axis=1)
    return inside


def _detection_curve(scores: Floats, positive: Bools) -> tuple[Floats, Floats, Floats]:
    """Precision, recall and false-positive rate at each threshold, by falling scores."""
    order = np.argsort(-scores, kind="stable")
    last_of_ties = np.flatnonzero(np.diff(scores[order], append=-np.inf))
    true_positives = np.cumsum(positive[order])[last_of_ties]
    flagged = last_of_ties + 1
    return true_positives / flagged, true_positives / positive.sum(), (flagged - true_positives) / (~positive).sum()
