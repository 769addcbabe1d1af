"""What the models of a run started from and learned from, in the words of a table."""

from __future__ import annotations

from pathlib import PurePath

from noisystudent.display.wording import plural
from noisystudent.models.settings import WITHOUT_LABELS
from noisystudent.reporting.article.runs import FinishedRun

BIT, SIMCLR = "BiT transfer", "SimCLR"
_SHOWN_PARTS = 2  # of the path of weights, the last ones: a table is no place for a machine's folders


def labels_only_name(run: FinishedRun) -> str:
    """The method of a run's labels-only model."""
    origin = _origin(run)
    if origin == BIT:
        return f"{BIT}, labels only"
    if origin == SIMCLR:
        return f"{SIMCLR}, fine-tuned on labels"
    return "transfer, labels only" if origin else "labels only"


def teacher_name(run: FinishedRun) -> str:
    """The method of a run's teacher."""
    origin = _origin(run)
    return f"teacher from {origin}" if origin in (BIT, SIMCLR) else "teacher"


def student_name(run: FinishedRun, student: str) -> str:
    """The method of a run's student, which results call ``round 1`` or ``online``."""
    origin = _origin(run)
    if student == "online":
        return str(run.setting("online.method"))
    if run.summary.recipe == "simclrv2":
        return f"SimCLRv2, {'distilled' if student == 'round 1' else student}"
    return f"Noisy Student{f' from {origin}' if origin in (BIT, SIMCLR) else ''}, {student}"


def baseline_name(run: FinishedRun, baseline: str) -> str:
    """The method of a simple classifier beside a run."""
    return f"{SIMCLR}, {baseline}" if pretrains(run) else baseline


def extra_data(run: FinishedRun, *, uses_unlabeled: bool) -> str:
    """What a model of a run learned from beside the labels, in words."""
    start = run.facts.start
    parts = [f"weights of {'/'.join(PurePath(start.weights).parts[-_SHOWN_PARTS:])}"] if start else []
    if uses_unlabeled or pretrains(run):
        parts.append(plural(run.images("unlabeled"), "unlabeled image"))
    return ", ".join(parts) or "none"


def pretrains(run: FinishedRun) -> bool:
    """Whether a run pretrained what its models start from."""
    return run.setting("pretraining.method") not in (None, "none")


def _origin(run: FinishedRun) -> str:
    """What all models of a run start from; empty for random weights."""
    start = run.facts.start
    if run.summary.recipe == "bit":
        return BIT
    if pretrains(run) or (start and start.trained_on == WITHOUT_LABELS):
        return SIMCLR
    return "pretrained weights" if start else ""
