"""The last layer that the training of a whole network starts from: a head fitted to the labels on frozen features.

A last layer of noise sends gradients of noise through the network until it has learned something, and these distort the
features of the pretrained weights (Kumar et al. 2022, "Fine-Tuning can Distort Pretrained Features").
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from noisystudent.models.classifier import Classifier
from noisystudent.models.last_layer import last_layer
from noisystudent.models.settings import ModelPlan
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.features.cross_fit import choose_penalty, folds_of_labels
from noisystudent.pipeline.features.stage import labeled_features
from noisystudent.pipeline.features.teachers import FeatureTeachers
from noisystudent.training.linear_head import LinearHead

MOST_IMAGES = 20_000  # that the head is fitted to; more make it no better a start

Ints = npt.NDArray[np.int64]


def start_with_fitted_head(context: RunContext, plan: ModelPlan, rows: Ints, classifier: Classifier) -> None:
    """Replaces the last layer of a network by a head that is fitted to labels on the features of the run's backbone.

    The features are the plain view's, from the user's cache where they are stored. Several processes use the head that
    the main process fits.

    Args:
        context: The run.
        plan: The network's.
        rows: The labeled images whose labels it may know, int64 [N]; at most 20,000 of them are used.
        classifier: The network; its last layer is changed in place.

    Raises:
        ModelError: The network does not end with a linear layer.
    """
    last = last_layer(classifier)
    step = -(-len(rows) // MOST_IMAGES)
    head = context.engine.group.on_main(lambda: _fitted_head(context, plan, rows[::step]))
    head.put_into(last)


def _fitted_head(context: RunContext, plan: ModelPlan, rows: Ints) -> LinearHead:
    images = context.splits.labeled.take(rows)
    features = labeled_features(context, plan, images)
    teachers = FeatureTeachers(features, images.labels, len(context.splits.classes), context.device)
    penalty = choose_penalty(teachers, folds_of_labels(images.labels, context.settings.seed))
    return teachers.fit(np.arange(len(rows)), penalty)
