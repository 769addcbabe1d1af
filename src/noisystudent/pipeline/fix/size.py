"""For which size a model is fixed, and whether there is anything to fix."""

from __future__ import annotations

from dataclasses import dataclass

from noisystudent.errors import SettingsError
from noisystudent.models.classifier import Classifier
from noisystudent.models.resolution import apparent_size_ratio, at_size, matching_size, stride_of
from noisystudent.models.settings import PUBLISHED
from noisystudent.training.fix_settings import FixSettings

PUBLISHED_AREA = 0.08  # of the crops with which timm's weights are trained as a rule (Szegedy et al. 2015)


@dataclass(frozen=True)
class FixSize:
    """The size for which a model is fixed, in pixels, and how large objects look in the test, relative to training.

    ``before``: at the size of its training; ``after``: at ``size``; both None where the training's crops are unknown.
    """

    size: int
    before: float | None = None
    after: float | None = None


def known_area(classifier: Classifier, settings: FixSettings, name: str = "") -> float | None:
    """The smallest share of an image that a crop of a model's training showed; None where it is unknown.

    Args:
        classifier: the model.
        settings: the settings, which may say it.
        name: what the user calls the model, such as ``timm:resnet50``.
    """
    if settings.trained_area != "auto":
        return settings.trained_area
    if classifier.trained_area is None and name.startswith(PUBLISHED):
        return PUBLISHED_AREA
    return classifier.trained_area


def choose_size(classifier: Classifier, settings: FixSettings, name: str) -> FixSize | str:
    """The size for which a model is fixed; text that says why there is nothing to fix, where ``fix.size`` is auto.

    Args:
        classifier: the model.
        settings: the settings.
        name: what the user calls the model.

    Raises:
        SettingsError: ``fix.size`` is auto, and how the model was trained is unknown; or it is below the model's own.
        ModelError: the model does not take images of that size.
    """
    own, share, area = classifier.size, classifier.crop_share, known_area(classifier, settings, name)
    size = settings.size
    assert size != "none"
    if size == "auto":
        if area is None:
            raise SettingsError(
                f"{name} does not say which crops its training had, so the size at which objects look as they did "
                "there is unknown. Give fix.size N, or fix.trained_area, the smallest share of an image that a crop "
                "showed (1: its crops did not change sizes; 0.08 is usual with random resized crops)."
            )
        if area == 1.0:
            return (
                f"there is nothing to fix: the crops that {name} was trained on do not change the size of objects, so "
                f"these look in the test as in training. Give fix.size N for more than its {own} px"
            )
        size = matching_size(own, share=share, area=area, multiple=stride_of(classifier))
        before = apparent_size_ratio(own, own, share=share, area=area)
        if size <= own or before >= 1:
            return (
                f"there is nothing to fix: objects look {before:.2f} times as large to {name} in the test as in "
                f"training, since its crops show at least {area:.2f} of an image. Give fix.size N for more than its "
                f"{own} px"
            )
    if size < own:
        raise SettingsError(f"fix.size {size} is below the {own} px at which {name} was trained; give at least {own}.")
    at_size(classifier, size)
    if area is None:
        return FixSize(size)
    ratios = [apparent_size_ratio(own, edge, share=share, area=area) for edge in (own, size)]
    return FixSize(size, ratios[0], ratios[1])
