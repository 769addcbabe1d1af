"""How close unlabeled images are to labeled ones in the features of a trained network, for ``selection.foreign``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from noisystudent.artifacts.folder import fingerprint_of
from noisystudent.data.images import Images, content_fingerprint
from noisystudent.data.sample import evenly_spread
from noisystudent.data.splits import DataSplits
from noisystudent.errors import SettingsError
from noisystudent.pipeline.checkpoints import Checkpoint
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.extensions import Extensions
from noisystudent.pipeline.features.teachers import MOST_COMPARED
from noisystudent.pseudo_labels.neighbors import Typicality
from noisystudent.run_settings import RunSettings

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class NetworkTypicality:
    """How typical images are for a network.

    Attributes:
        fingerprint: Identifies the network and the images that it compares with.
        compared: The images whose features the comparison takes, beside those that are asked about.
        open: Opens the network and returns a function from images to their typicality, float32 [N].
    """

    fingerprint: str
    compared: int
    open: Callable[[], Callable[[Images], Floats]]


def network_typicality(context: RunContext, model: Checkpoint) -> NetworkTypicality | None:
    """How typical images are in the features of ``model`` before its last layer; None where the settings keep all.

    The network was trained on the labeled images, so they lie closer together than others of their classes. What is
    typical is said by the validation images, which it has not seen, as for nearest neighbors in Sun et al. 2022,
    "Out-of-distribution detection with deep nearest neighbors".
    """
    if context.settings.selection.foreign == "keep":
        return None
    labeled, validation = context.splits.labeled, context.splits.validation
    assert validation, "require_known_images has checked"
    compared = labeled.take(evenly_spread(len(labeled), MOST_COMPARED))

    def opened() -> Callable[[Images], Floats]:
        features = model.predictor(model.name, context.device, context.settings.runtime).features
        typicality = Typicality.beside(features(compared), validation.answers(features))
        return lambda images: typicality(features(images))

    fingerprint = fingerprint_of([model.fingerprint, content_fingerprint(compared), validation.fingerprint])
    return NetworkTypicality(fingerprint, len(compared) + len(validation), opened)


def require_known_images(settings: RunSettings, splits: DataSplits, extensions: Extensions) -> None:
    """Raises ``SettingsError`` where networks should find foreign images, and cannot know what others look like."""
    if settings.selection.foreign == "keep":
        return
    if why := extensions.why_no_features(splits):
        raise SettingsError(f"selection.foreign drop cannot be: {why}. Leave it out.")
    if splits.validation is None:
        raise SettingsError(
            "selection.foreign drop needs images of the classes that the network did not learn from, and this run has "
            "no validation images; give --validation or a smaller data.few_labels (beside a test source "
            "data.few_labels_beside_test), or a backbone that stays frozen (model.tune head), which needs none."
        )
