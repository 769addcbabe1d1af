"""What a run tells while it goes on: a line per round, and scalars where ``runtime.log`` asks for them."""

from __future__ import annotations

from noisystudent.display.wording import percent
from noisystudent.pipeline.checkpoints import TrainedModel
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.score_stage import ScoredCheckpoint
from noisystudent.pipeline.summary import Round
from noisystudent.runtime.event_log import EVENTS, EventLog


def log_events(context: RunContext) -> None:
    """Begins to keep the scalars of a run, if its settings say so; the main process writes them."""
    if context.settings.runtime.log != "none" and not context.dry and context.engine.group.is_main:
        context.reporter.log_to(EventLog(context.folder_of(EVENTS)))


def tell_round(context: RunContext, record: Round) -> None:
    """Says how good a student is and how many stored pseudo labels it used, if any, and logs both."""
    context.reporter.say(round_in_words(record))
    used = {"pseudo_labels_used": float(record.selection.selected)} if record.selection else {}
    right = (record.pseudo_labels or {}).get("selected_top1")
    known = {"pseudo_labels_right": right} if right is not None else {}
    context.reporter.log_round(record.student.round, {**accuracies(record.student), **used, **known})


def tell_teacher(context: RunContext, teacher: ScoredCheckpoint[TrainedModel]) -> None:
    """Logs how good the first teacher is, as round 0."""
    context.reporter.log_round(0, accuracies(teacher))


def accuracies(scored: ScoredCheckpoint[TrainedModel]) -> dict[str, float]:
    """The accuracies of a model on the held-out images, by name of a scalar."""
    return {f"{role}_top1": scores.top1 for role, scores in scored.result.scores.items() if scores}


def round_in_words(record: Round) -> str:
    """The accuracy of a student where there are held-out labels, and how many stored pseudo labels it used, if any."""
    scores = record.student.result.scores
    held_out = scores.get("test") or scores.get("validation")
    told = [f"{percent(held_out.top1)} right"] if held_out else []
    told += [f"{record.selection.selected:,} pseudo labels used"] if record.selection else []
    return f"{record.name}: {', '.join(told) or 'trained'}"
