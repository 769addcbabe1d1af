"""Where predictions can be averaged with those of neighbors: images are compared in features, all in memory."""

from __future__ import annotations

from noisystudent.data.splits import DataSplits
from noisystudent.data.unlabeled import InMemoryUnlabeled
from noisystudent.errors import SettingsError
from noisystudent.pipeline.extensions import Extensions
from noisystudent.pipeline.features.teachers import MOST_POINTS
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


def why_not_comparable(splits: DataSplits, extensions: Extensions) -> str | None:
    """Why the images of a run cannot be compared with each other in its teachers' features; None where they can.

    Args:
        splits: The images.
        extensions: The user's own parts.
    """
    unlabeled = splits.unlabeled
    is_small = isinstance(unlabeled, InMemoryUnlabeled) and len(splits.labeled) + len(unlabeled.images) <= MOST_POINTS
    if not is_small:
        return f"all images are compared with each other, which needs them in memory, {MOST_POINTS:,} of them at most"
    return extensions.why_no_features(splits)


def settle_neighbors(
    settings: RunSettings,
    splits: DataSplits,
    extensions: Extensions,
    explicit: frozenset[str],
    reporter: Reporter,
) -> RunSettings:
    """The settings without ``selection.neighbors`` where a budget chose it and these images or networks forbid it.

    Args:
        settings: The settings.
        splits: The images.
        extensions: The user's own parts.
        explicit: The settings that the user gave.
        reporter: Says it.

    Raises:
        SettingsError: The user gave it.
    """
    if settings.selection.neighbors == "none" or (why := why_not_comparable(splits, extensions)) is None:
        return settings
    if "selection.neighbors" in explicit:
        raise SettingsError(f"selection.neighbors mean cannot be: {why}. Leave it out.")
    reporter.say(f"note: predictions are not averaged with those of neighbors, because {why}")
    selection = settings.selection.model_copy(update={"neighbors": "none"})
    return settings.model_copy(update={"selection": selection})
