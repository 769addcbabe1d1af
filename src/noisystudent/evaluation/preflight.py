"""Whether what a suite needs is there: asked before hours of other work, and of training."""

from __future__ import annotations

from collections.abc import Sequence

from noisystudent.errors import SettingsError
from noisystudent.evaluation.adversarial.autoattack import check_autoattack
from noisystudent.evaluation.baseline import read_baseline
from noisystudent.evaluation.corruptions.measure import corruptions_to_make
from noisystudent.evaluation.corruptions.published import conditions_to_measure
from noisystudent.evaluation.natural.measure import open_natural
from noisystudent.evaluation.perturbations.measure import perturbations_to_make
from noisystudent.evaluation.perturbations.published import perturbations_to_measure
from noisystudent.evaluation.settings import EvaluationSettings

_BASED = ("corruptions", "perturbations")  # the measures that a baseline divides


def check_suite(settings: EvaluationSettings, classes: Sequence[str]) -> None:
    """Raises what measuring the suite would, of a model with these classes, for all that is known without an image.

    Names of corruptions and perturbations, photographs of frost, published sets, naturally shifted ones, AutoAttack's
    package and the file of the baseline: ``SettingsError``, ``DataError`` or ``ArtifactError``.
    """
    if "corruptions" in settings.suite:
        if settings.corruptions_dir:
            conditions_to_measure(settings, classes)
        else:
            corruptions_to_make(settings)
    if "perturbations" in settings.suite:
        if settings.perturbations_dir:
            perturbations_to_measure(settings)
        else:
            perturbations_to_make(settings)
    open_natural(settings, classes)
    if settings.autoattack and "attacks" in settings.suite:
        check_autoattack(len(classes))
    based = [name for name in _BASED if name in settings.suite]
    for name in based if settings.baseline else ():
        read_baseline(settings.baseline, name)
    if settings.baseline and not based:
        raise SettingsError(
            f"evaluation.baseline {settings.baseline!r} is for corruptions and perturbations, and the suite has "
            "neither. Add one to evaluation.suite, or leave the baseline out."
        )
