"""What can be said of a round's pseudo labels: how right they are where the truth is known, and signs without it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from noisystudent.evaluation.metrics.diagnostics import label_free_signs
from noisystudent.pipeline.context import Workshop
from noisystudent.pseudo_labels.predictions import list_parts, read_copies, read_labels


def judge_labels(workshop: Workshop, predicted: Path, selected: Path) -> dict[str, float | None] | None:
    """How many of the pile's labels, and of the selected ones, are right; None where the truth is not known."""
    truth = workshop.roles.truth
    if truth is None:
        return None
    labels = np.concatenate([read_labels(path)[0] for path in list_parts(predicted)])
    chosen = np.concatenate([read_copies(path) > 0 for path in list_parts(selected)])
    return {"pseudo_label_top1": truth.accuracy(labels), "selected_top1": truth.accuracy(labels, chosen)}


def find_signs(workshop: Workshop, predicted: Path, before: Path | None) -> dict[str, float | None]:
    """The label-free signs of a round's labels, beside those of the round ``before``, a part at a time."""
    parts = (
        (*read_labels(path), read_labels(before / path.name)[0] if before else None) for path in list_parts(predicted)
    )
    return label_free_signs(parts, len(workshop.roles.classes))
