"""Where predictions can be averaged with those of neighbors: all images are compared with each other, in memory."""

from __future__ import annotations

from noisystudent.data.splits import DataSplits
from noisystudent.data.unlabeled import InMemoryUnlabeled
from noisystudent.errors import SettingsError
from noisystudent.pipeline.heads.teachers import MOST_POINTS
from noisystudent.run_settings import RunSettings
from noisystudent.runtime.progress import Reporter


def may_average(settings: RunSettings, decided: frozenset[str]) -> bool:
    """Whether a budget may average the predictions of its rounds with those of neighbors: nothing given is against it.

    Args:
        settings: The settings.
        decided: Those that are not open to the budget.
    """
    selection = settings.selection
    changed = selection.prior == "estimated" or selection.align == "prior" or settings.noise.teacher
    return "selection.neighbors" not in decided and not changed


def are_comparable(splits: DataSplits) -> bool:
    """Whether all images can be compared with each other: they are in memory, and not too many."""
    unlabeled = splits.unlabeled
    return isinstance(unlabeled, InMemoryUnlabeled) and len(splits.labeled) + len(unlabeled.images) <= MOST_POINTS


def settle_neighbors(
    settings: RunSettings, splits: DataSplits, explicit: frozenset[str], reporter: Reporter
) -> RunSettings:
    """The settings without ``selection.neighbors`` where a budget chose it and the images are too many for it.

    Args:
        settings: The settings.
        splits: The images.
        explicit: The settings that the user gave.
        reporter: Says it.

    Raises:
        SettingsError: The user gave it.
    """
    if settings.selection.neighbors == "none" or are_comparable(splits):
        return settings
    why = f"all images are compared with each other, which needs them in memory, {MOST_POINTS:,} of them at most"
    if "selection.neighbors" in explicit:
        raise SettingsError(f"selection.neighbors mean cannot be: {why}; leave it out, or give fewer images.")
    reporter.say(f"note: predictions are not averaged with those of neighbors, because {why}")
    selection = settings.selection.model_copy(update={"neighbors": "none"})
    return settings.model_copy(update={"selection": selection})
