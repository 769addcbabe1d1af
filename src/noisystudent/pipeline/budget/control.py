"""When a budget has a control, which takes half of all samples: what the student is compared with.

Where that leaves the stages of a single student too short, the student ends below labels-only training with all
samples, and without a control above it (NOTEBOOK.md). The student is then worth more than the verdict.
"""

from __future__ import annotations

from noisystudent.pipeline.online_checks import is_online
from noisystudent.pipeline.tune import with_values
from noisystudent.run_settings import RunSettings


def controls_of(settings: RunSettings, explicit: frozenset[str], rounds: int) -> int:
    """One control where the user gave no number: each costs as much as teacher and students together.

    Without a student, there is nothing to compare.
    """
    if not rounds and not is_online(settings):
        return 0
    return settings.rounds.controls if "rounds.controls" in explicit else 1


def without_control(settings: RunSettings, explicit: frozenset[str], rounds: int) -> tuple[RunSettings, frozenset[str]]:
    """Settings without a control, and what is decided in them; both as they are where the run needs a control.

    It does if it has more than one student, whose stages are long enough, or if the user speaks of controls.

    Args:
        settings: The settings.
        explicit: Those that are decided.
        rounds: The number of rounds.
    """
    is_given = any(name.startswith("rounds.control") for name in explicit)
    if is_given or rounds + is_online(settings) != 1:
        return settings, explicit
    return with_values(settings, {"rounds.controls": 0}), explicit | {"rounds.controls"}


def no_control_in_words(enough: float) -> str:
    """Why a run has no control; ``enough``: the steps that a stage needs."""
    return (
        f"no control, which would leave every stage fewer than {enough:.0f} steps; --rounds.controls 1 has one, and so "
        "does a larger budget"
    )
