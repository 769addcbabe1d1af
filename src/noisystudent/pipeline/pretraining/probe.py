"""How good the features of an encoder are: classifiers on them while the encoder stays frozen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from noisystudent.artifacts.typed_json import read_result, write_result
from noisystudent.data.images import Images, content_fingerprint
from noisystudent.data.stratified import cross_fit_folds, single_labels
from noisystudent.models.checkpoint import load_network
from noisystudent.models.classifier import Classifier
from noisystudent.noise.crop import PlainView
from noisystudent.pipeline.checkpoints import Checkpoint
from noisystudent.pipeline.context import RunContext
from noisystudent.results.run import StageCost
from noisystudent.training.linear_head import FOLDS, PENALTIES, HeadData, LinearHead, Scaler, fit_head

PROBE = "probe"  # the kind in a manifest, and the name of the stage
NEIGHBORS, SHARPNESS = 200, 0.07  # k and the temperature of the similarities in Wu et al. 2018, section 3.4
_AT_ONCE = 256  # images

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """``probe/summary.json``: accuracies on held-out labels, 0 to 1, of classifiers on an encoder's frozen features.

    ``linear``: logistic regression with the weight decay ``penalty``, which is chosen on a fifth of the labels;
    ``neighbors``: the nearest labeled images by cosine similarity, weighted by exp(similarity / 0.07). ``labels`` were
    learned from, ``images`` of the source ``held_out`` were predicted.
    """

    linear: float
    neighbors: float
    penalty: float
    labels: int
    images: int
    held_out: Literal["test", "validation"]


def probe(context: RunContext, checkpoint: Checkpoint) -> ProbeResult | None:
    """Scores the features of an encoder on the test images, else on those for validation; None without labels."""
    splits = context.splits
    held_out = splits.test or splits.validation
    if not len(splits.labeled) or held_out is None:
        return None
    inputs = {
        "encoder": checkpoint.fingerprint,
        "labeled": content_fingerprint(splits.labeled),
        "held_out": held_out.fingerprint,
        "seed": context.settings.seed,
    }
    path = context.folder_of(PROBE) / "summary.json"
    if not context.is_complete(PROBE, inputs):

        def write() -> None:
            encoder = load_network(checkpoint.folder).to(context.device)
            measured = held_out.examine(lambda images: _measure(encoder, splits.labeled, images, context.settings.seed))
            counts = {"labels": len(splits.labeled), "images": len(held_out)}
            role: Literal["test", "validation"] = "test" if splits.test else "validation"
            write_result(path, ProbeResult(**measured, **counts, held_out=role))
            context.commit(PROBE, inputs, StageCost(name=PROBE, images_predicted=sum(counts.values())))

        context.engine.group.on_main(write)
    return read_result(ProbeResult, path)


def _measure(encoder: Classifier, labeled: Images, held_out: Images, seed: int) -> dict[str, Any]:
    own, other = features_of(encoder, labeled), features_of(encoder, held_out)
    classes = int(max(labeled.labels.max(), held_out.labels.max())) + 1
    penalty, head = fit_probe(own, labeled.labels, classes, encoder.device, seed)
    return {
        "linear": float((head.log_probabilities(other).argmax(axis=1) == held_out.labels).mean()),
        "neighbors": float((nearest_classes(own, labeled.labels, other, classes) == held_out.labels).mean()),
        "penalty": penalty,
    }


def features_of(encoder: Classifier, images: Images) -> Floats:
    """The features of images by their views without noise: float32 [N, F]."""
    view, parts = PlainView(encoder.size, encoder.crop), []
    with torch.no_grad():
        for first in range(0, len(images), _AT_ONCE):
            rows = slice(first, first + _AT_ONCE)
            pixels = torch.from_numpy(images.pixels[rows]).to(encoder.device)
            sizes = torch.from_numpy(images.sizes[rows].astype(np.int64))
            parts.append(encoder(view(pixels, sizes)).float().cpu().numpy())
    return np.concatenate(parts)


def fit_probe(
    features: Floats, labels: Ints, classes: int, device: torch.device, seed: int
) -> tuple[float, LinearHead]:
    """The weight decay that does best on a fifth of the labels, and logistic regression with it on all of them."""

    def fit_on(rows: Ints, penalty: float) -> LinearHead:
        targets = np.eye(classes, dtype=np.float32)[labels[rows]]
        data = HeadData((features[rows],), targets, np.ones(len(rows), np.float32))
        return fit_head([data], Scaler.of([features[rows]]), penalty, device)

    def accuracy(penalty: float) -> float:
        head = fit_on(np.setdiff1d(every, left_out), penalty)
        return float((head.log_probabilities(features[left_out]).argmax(axis=1) == labels[left_out]).mean())

    every = np.arange(len(labels))
    left_out = every[:0] if single_labels(labels) else cross_fit_folds(labels, FOLDS, seed)[0]
    best = max(PENALTIES, key=accuracy) if len(left_out) else PENALTIES[0]
    return best, fit_on(every, best)


def nearest_classes(known: Floats, labels: Ints, asked: Floats, classes: int) -> Ints:
    """The class of each image by a weighted vote of its nearest labeled images (Wu et al. 2018, section 3.4).

    Args:
        known: features of the labeled images, [L, F].
        labels: their classes, [L].
        asked: features of the images, [N, F].
        classes: the number of classes K.
    """
    unit_known, unit_asked = _unit(known), _unit(asked)
    count = min(NEIGHBORS, len(known))
    found = []
    for rows in np.array_split(unit_asked, -(-len(unit_asked) // _AT_ONCE)):
        similarity = rows @ unit_known.T
        nearest = np.argpartition(-similarity, count - 1, axis=1)[:, :count]
        weights = np.exp((np.take_along_axis(similarity, nearest, axis=1) - 1) / SHARPNESS)
        votes = np.zeros((len(rows), classes))
        np.add.at(votes, (np.arange(len(rows))[:, None], labels[nearest]), weights)
        found.append(votes.argmax(axis=1))
    return np.concatenate(found)


def _unit(features: Floats) -> Floats:
    return np.asarray(features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12), np.float32)
