"""Predictions averaged with what an image's neighbors in the teacher's features say, for ``selection.neighbors``.

A network that learns from few labels knows more than its last layer says: labels that spread over the graph of nearest
neighbors in its features are right more often than its answers, and so is the mean of both (NOTEBOOK.md; Iscen et al.
2019 train on such labels alone).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from noisystudent.artifacts.folder import read_manifest, write_json
from noisystudent.data.images import content_fingerprint
from noisystudent.data.unlabeled import InMemoryUnlabeled
from noisystudent.pipeline.checkpoints import Checkpoint
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.features.teachers import LEAST
from noisystudent.pseudo_labels import predictions
from noisystudent.pseudo_labels.neighbors import neighbor_graph, reduce_features
from noisystudent.pseudo_labels.predictions import PREDICTIONS, SUMMARY, list_parts
from noisystudent.results.run import StageCost
from noisystudent.training.linear_head import LEAST_DEVIATION, Scaler

Floats = npt.NDArray[np.float32]


def average_with_neighbors(context: RunContext, stage: str, folder: Path, teacher: Checkpoint) -> Path:
    """The mean of a network's predictions and of its neighbors' labels, in the folder of ``stage``.

    Args:
        context: The run, whose unlabeled images are in memory.
        stage: The name of the stage.
        folder: The predictions.
        teacher: The network in whose features the labels of the labeled images spread.
    """
    labeled, unlabeled = context.splits.labeled, context.splits.unlabeled
    assert isinstance(unlabeled, InMemoryUnlabeled), "settle_neighbors has seen to that"
    inputs = {
        "predictions": read_manifest(folder, PREDICTIONS).fingerprint,
        "teacher": teacher.fingerprint,
        "labeled": content_fingerprint(labeled),
        "unlabeled": unlabeled.fingerprint,
        "classes": list(context.splits.classes),
    }
    mean = context.folder_of(stage)
    if context.is_complete(stage, inputs):
        return mean

    def write() -> None:
        neighbors = _spread_labels(context, teacher, unlabeled)
        first = 0
        for part in list_parts(folder):
            first += predictions.rewrite_part(
                part, mean / part.name, len(context.splits.classes), partial(_mean, neighbors[first:])
            )
        stats = [predictions.read_part_stats(path) for path in list_parts(mean)]
        failed = len(unlabeled.images.failures)
        write_json(mean / SUMMARY, predictions.summarize(stats, len(context.splits.classes), failed=failed))
        images = len(labeled) + len(unlabeled.images)
        context.commit(PREDICTIONS, inputs, StageCost(name=stage, images_predicted=images))

    context.engine.group.on_main(write)
    return mean


def _spread_labels(context: RunContext, teacher: Checkpoint, unlabeled: InMemoryUnlabeled) -> Floats:
    """Class probabilities of the unlabeled images, float32 [U, K], from the labels of near images."""
    labeled, classes = context.splits.labeled, context.splits.classes
    features = teacher.predictor(teacher.name, context.device, context.settings.runtime).features
    points = np.concatenate([features(labeled), features(unlabeled.images)])
    scaler = Scaler.of([points], least=LEAST_DEVIATION)
    graph = neighbor_graph(reduce_features((points - scaler.mean) / scaler.deviation))
    return graph.spread(np.arange(len(labeled)), labeled.labels, len(classes))[len(labeled) :]


def _mean(neighbors: Floats, own: Floats) -> Floats:
    """The log of the mean of the first probabilities and of those that ``own`` has the logarithms of, [N, K]."""
    return np.log(np.maximum((np.exp(own) + neighbors[: len(own)]) / 2, LEAST)).astype(np.float32)
