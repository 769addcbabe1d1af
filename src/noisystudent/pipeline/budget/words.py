"""What a budget chose for networks, in words: the reasons that a run prints and keeps."""

from __future__ import annotations

from noisystudent.pipeline.budget.lengths import Lengths
from noisystudent.pipeline.budget.outline import Outline
from noisystudent.pipeline.stages.online_checks import is_online
from noisystudent.run_settings import RunSettings


def steps_in_words(settings: RunSettings, steps: int) -> str:
    """How long a stage is."""
    counted = "labeled images" if settings.train.batch == "labeled" else "images"
    return f"{steps:,} steps of {settings.train.batch_size} {counted} per stage"


def students_in_words(run: Outline, labeled: int, lengths: Lengths) -> str:
    """The students of a run and what they start from, or why there is none.

    Args:
        run: The run.
        labeled: The number of labeled images.
        lengths: How long its stages must be.
    """
    if not run.has_student:
        return _no_student_in_words(run, labeled, lengths)
    settings, rounds = run.settings, run.rounds
    start = " from the teacher's weights" if run.train.warm_start else ""
    by = ", taught by its averaged weights" if settings.online.asks_average else ""
    online = f"an online student ({settings.online.method}{by})" if is_online(settings) else ""
    if not rounds:
        return f"{online}{start}"
    text = f"{rounds} round{'s' if rounds > 1 else ''}{start}"
    text += " on soft labels of all images" if run.learns_from_all else ""
    text += ", averaged with those of their neighbors" if settings.selection.neighbors == "mean" else ""
    return f"{text}, then {online}" if online else text


def _no_student_in_words(run: Outline, labeled: int, lengths: Lengths) -> str:
    looks = lengths.epochs * labeled >= lengths.with_student * run.settings.train.batch_size
    short = (
        f"see each of the {labeled:,} labeled images fewer than {lengths.epochs} times"
        if looks
        else f"have fewer than {lengths.with_student:.0f} steps"
    )
    return (
        f"no student: beside one, a teacher would {short}, and its pseudo labels would cost more than they give, "
        "so all steps are labels-only training. A larger budget has students, and --rounds.count 1 insists on one"
    )


def controls_in_words(student: Outline, chosen: Outline, enough: float) -> tuple[str, ...]:
    """Why a run with a student has no control, or several; nothing where it has as many as its student asked for.

    Args:
        student: The run before its controls were chosen.
        chosen: The run as it will be.
        enough: The steps that a stage needs.
    """
    if chosen.has_student and not chosen.can_compare and not chosen.controls:
        return (
            "no control, because there is no held-out label to compare it by, so all steps are for teacher and "
            "students; --test or --validation brings both",
        )
    if chosen.controls < student.controls:
        return (
            f"no control, which would leave every stage fewer than {enough:.0f} steps; --rounds.controls 1 has one, "
            "and so does a larger budget",
        )
    if chosen.controls > student.controls:
        return (
            f"{chosen.controls} controls, because longer stages gain nothing, and each further control makes the "
            "verdict surer; --rounds.controls 1 is done sooner",
        )
    return ()
