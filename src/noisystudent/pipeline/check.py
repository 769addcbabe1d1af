"""An audit of the sources of a run before anything is trained."""

from __future__ import annotations

import numpy as np

from noisystudent.config import Resolved
from noisystudent.data.decode import read_header
from noisystudent.data.sample import SpreadSource
from noisystudent.data.source import Record, Source
from noisystudent.errors import DataError
from noisystudent.findings.label_issues import label_issue, suspicious_labels
from noisystudent.models.settings import plan_teacher
from noisystudent.pipeline.build_context import decide_settings, read_data
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.extensions import Extensions
from noisystudent.pipeline.features.cross_fit import choose_penalty, folds_of
from noisystudent.pipeline.features.stage import labeled_features
from noisystudent.pipeline.features.teachers import FeatureTeachers
from noisystudent.results.check import DataCheck, ImageSizes
from noisystudent.results.findings import LabelIssue
from noisystudent.runtime.progress import Reporter

MOST_HEADERS = 2000  # that are read per source
SMALL, LONG = 0.5, 3.0  # of the median short edge; of the short edge


def check(resolved: Resolved, *, reporter: Reporter, extensions: Extensions | None = None) -> DataCheck:
    """Reads all sources of a run as the run would, and looks for what a user should mend first; writes nothing.

    Raises ``NoisyStudentError``.
    """
    decided = decide_settings(resolved, reporter, dry=True, extensions=extensions)
    context = read_data(decided, dry=True)
    found = {role: sizes for role, source in decided.sources.items() if (sizes := sizes_of(source))}
    return DataCheck(
        sources=context.splits.summaries,
        sizes=found,
        backbone=context.backbone.name if context.backbone else None,
        label_issues=_label_issues(context),
    )


def sizes_of(source: Source) -> ImageSizes | None:
    """The sizes of the images of a source; None where none can be read."""
    sample = SpreadSource(source, MOST_HEADERS) if sum(source.shard_sizes) > MOST_HEADERS else source
    edges: dict[str, tuple[int, int]] = {}
    for shard in range(len(sample.shard_sizes)):
        for record in sample.read(shard):
            if (size := _size_of(record)) is not None:
                edges[record.key] = size
    if not edges:
        return None
    median = float(np.median([min(size) for size in edges.values()]))
    return ImageSizes(
        read=len(edges),
        median=round(median),
        smallest=min(min(size) for size in edges.values()),
        largest=max(max(size) for size in edges.values()),
        small=tuple(key for key, size in edges.items() if min(size) < SMALL * median),
        long=tuple(key for key, size in edges.items() if max(size) > LONG * min(size)),
    )


def _size_of(record: Record) -> tuple[int, int] | None:
    if record.problem:
        return None
    try:
        header = read_header(record.image)
    except DataError:  # it is among the unreadable ones
        return None
    return header.height, header.width


def _label_issues(context: RunContext) -> tuple[LabelIssue, ...] | None:
    """Labels that heads on the backbone's features contradict, each answered by a head that did not learn from it."""
    splits, folds = context.splits, folds_of(context)
    if not context.backbone or not folds:
        return None
    plan = plan_teacher(context.settings.model, splits.format.size)
    features = labeled_features(context, plan, splits.labeled)
    teachers = FeatureTeachers(features, splits.labeled.labels, len(splits.classes), context.device)
    penalty = choose_penalty(teachers, folds)
    answers = np.zeros((len(splits.labeled), len(splits.classes)), np.float32)
    for fold in folds:
        head = teachers.fit(fold.rest, penalty)
        answers[fold.held_out] = head.log_probabilities(features.labeled[0][fold.held_out])
    return tuple(
        label_issue(splits.labeled.keys[row], answers[row], int(splits.labeled.labels[row]), splits.classes)
        for row in suspicious_labels(answers, splits.labeled.labels)
    )
