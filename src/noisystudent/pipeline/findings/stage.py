"""The stage ``findings``: labels that look wrong, images of no class, what to label next, and the map of all images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from noisystudent.artifacts.folder import atomic_write
from noisystudent.artifacts.typed_json import read_result, write_result
from noisystudent.data.images import content_fingerprint
from noisystudent.findings.embedding import embed
from noisystudent.findings.label_issues import label_issue, suspicious_labels
from noisystudent.findings.label_next import choose_to_label
from noisystudent.findings.out_of_class import OutOfClass, find_out_of_class
from noisystudent.pipeline.backbones.tune import HEAD
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.findings.images import (
    MOST_LABELED_ON_MAP,
    MOST_ON_MAP,
    SeenImages,
    copy_edge,
    opened_eyes,
    see_all,
    shards_to_see,
    sprite_of,
)
from noisystudent.pipeline.summary import RunResult
from noisystudent.pseudo_labels.shift import HeldOutAnswers
from noisystudent.random_streams import generator
from noisystudent.results.findings import Findings, ImageToLabel, OutOfClassImage
from noisystudent.results.run import StageCost
from noisystudent.training.linear_head import Scaler

FINDINGS = "findings"
MAP, SPRITE = "map.parquet", "map.jpg"
LABEL_NEXT = 200
LABEL_FOR_TEST = 50

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


def find_in_images(context: RunContext, result: RunResult) -> Findings:
    """Looks at the images of training once with the delivered model, and writes what it finds to ``findings/``.

    Test and validation images are not looked at: the lists are for people who change the images of training.
    """
    splits, checkpoint = context.splits, result.delivered.checkpoint
    inputs: dict[str, Any] = {
        "checkpoint": checkpoint.fingerprint,
        "labeled": content_fingerprint(splits.labeled),
        "unlabeled": splits.unlabeled.fingerprint,
        "cross_fit": dict(result.cross_fit.inputs) if result.cross_fit else None,
        "precision": context.settings.runtime.precision,
        "seed": context.settings.seed,
    }
    folder = context.folder_of(FINDINGS)
    if not context.is_complete(FINDINGS, inputs):
        held_out = result.cross_fit.answers() if result.cross_fit else None

        def write() -> None:
            labeled, unlabeled = _look(context, result)
            outside = _write_map(folder, splits.labeled.labels, labeled, unlabeled)
            findings = _findings(context, labeled, unlabeled, outside, held_out)
            write_result(folder / "summary.json", findings)
            predicted = len(labeled.keys) * (2 if held_out else 1) + len(unlabeled.keys)
            cached = context.settings.model.tune == HEAD  # the features were computed before
            context.commit(FINDINGS, inputs, StageCost(name=FINDINGS, images_predicted=0 if cached else predicted))

        context.engine.group.on_main(write)
    return read_result(Findings, folder / "summary.json")


def _look(context: RunContext, result: RunResult) -> tuple[SeenImages, SeenImages]:
    """The labeled and the unlabeled images as the delivered model sees them, with standardized features."""
    splits, classes = context.splits, len(context.splits.classes)
    see = opened_eyes(context, result.delivered.checkpoint)
    shards = shards_to_see(splits.unlabeled)
    rows = len(splits.labeled) + sum(splits.unlabeled.shard_sizes[shard] for shard in shards)
    labeled_on_map = min(len(splits.labeled), MOST_LABELED_ON_MAP)
    per_shard = (MOST_ON_MAP - labeled_on_map) // max(len(shards), 1)
    edge = copy_edge(labeled_on_map + min(rows, per_shard * len(shards)))
    with context.reporter.bar(FINDINGS, rows, "images") as bar:
        labeled = see_all(see, iter([splits.labeled]), labeled_on_map, edge, bar.advance, classes)
        parts = (splits.unlabeled.read(shard) for shard in shards)
        unlabeled = see_all(see, parts, per_shard, edge, bar.advance, classes)
    if not len(unlabeled.keys):
        unlabeled = SeenImages((), labeled.features[:0], labeled.log_probabilities[:0], unlabeled.on_map, ())
    scaler = Scaler.of([labeled.features, unlabeled.features])
    return _standardized(labeled, scaler), _standardized(unlabeled, scaler)


def _standardized(seen: SeenImages, scaler: Scaler) -> SeenImages:
    features = np.asarray((seen.features - scaler.mean) / scaler.deviation, np.float32)
    return SeenImages(seen.keys, features, seen.log_probabilities, seen.on_map, seen.copies)


def _findings(
    context: RunContext,
    labeled: SeenImages,
    unlabeled: SeenImages,
    outside: OutOfClass,
    held_out: HeldOutAnswers | None,
) -> Findings:
    classes, labels = context.splits.classes, context.splits.labeled.labels
    answers = held_out.log_probabilities if held_out else labeled.log_probabilities
    issues = suspicious_labels(answers, labels)
    inside = np.flatnonzero(~outside.outside)
    chosen = inside[choose_to_label(unlabeled.log_probabilities[inside], unlabeled.features[inside], LABEL_NEXT)]
    drawn = generator(context.settings.seed, "label-for-test").permutation(len(unlabeled.keys))[:LABEL_FOR_TEST]
    confidence = np.exp(unlabeled.log_probabilities.max(axis=1, initial=-np.inf))
    return Findings(
        labels=len(labels),
        labels_by="cross-fitting" if held_out else "own answers",
        label_issues=tuple(label_issue(labeled.keys[row], answers[row], int(labels[row]), classes) for row in issues),
        unlabeled=sum(context.splits.unlabeled.shard_sizes),
        checked=len(unlabeled.keys),
        threshold=outside.threshold,
        out_of_class=tuple(_foreign(unlabeled, outside, classes)),
        label_next=tuple(_to_label(unlabeled.keys[row], unlabeled.log_probabilities[row], classes) for row in chosen),
        label_for_test=tuple(unlabeled.keys[row] for row in drawn),
        confidence_counts=tuple(int((confidence >= level / 100).sum()) for level in range(101)),
    )


def _foreign(seen: SeenImages, outside: OutOfClass, classes: Sequence[str]) -> list[OutOfClassImage]:
    """The images of no class, the farthest first."""
    rows = np.flatnonzero(outside.outside)
    return [
        OutOfClassImage(
            key=seen.keys[row],
            prediction=classes[int(seen.log_probabilities[row].argmax())],
            confidence=float(np.exp(seen.log_probabilities[row].max())),
            distance=float(outside.distances[row]),
        )
        for row in rows[np.argsort(-outside.distances[rows], kind="stable")]
    ]


def _to_label(key: str, log_probabilities: Floats, classes: Sequence[str]) -> ImageToLabel:
    first, second = np.argsort(-log_probabilities, kind="stable")[:2]
    return ImageToLabel(
        key=key,
        first=classes[first],
        first_confidence=float(np.exp(log_probabilities[first])),
        second=classes[second],
        second_confidence=float(np.exp(log_probabilities[second])),
    )


def _write_map(folder: Path, labels: Ints, labeled: SeenImages, unlabeled: SeenImages) -> OutOfClass:
    """Writes the map and its small copies; returns which unlabeled images are of no class."""
    outside = find_out_of_class(unlabeled.features, labeled.features)
    points = np.concatenate([labeled.features[labeled.on_map], unlabeled.features[unlabeled.on_map]])
    places = embed(points)
    answers = np.concatenate([labeled.log_probabilities[labeled.on_map], unlabeled.log_probabilities[unlabeled.on_map]])
    known = np.arange(len(points)) < len(labeled.on_map)
    shown = np.where(known, np.pad(labels[labeled.on_map], (0, int((~known).sum()))), answers.argmax(axis=1))
    table = pa.table(
        {
            "key": [*(labeled.keys[row] for row in labeled.on_map), *(unlabeled.keys[row] for row in unlabeled.on_map)],
            "labeled": known,
            "x": places[:, 0],
            "y": places[:, 1],
            "class": shown.astype(np.uint16),
            "confidence": np.exp(answers.max(axis=1)),
            "out_of_class": np.concatenate([np.zeros(int(known.sum()), bool), outside.outside[unlabeled.on_map]]),
        }
    )
    copies = (*labeled.copies, *unlabeled.copies)
    with atomic_write(folder / MAP) as temporary:
        pq.write_table(table, temporary)
    with atomic_write(folder / SPRITE) as temporary:
        sprite_of(copies, copy_edge(len(copies))).save(temporary, format="JPEG", quality=72)
    return outside
