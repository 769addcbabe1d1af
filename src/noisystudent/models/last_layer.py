"""The linear layer that ends a network, where a head on its features has its place."""

from __future__ import annotations

from torch import nn

from noisystudent.errors import ModelError
from noisystudent.models.classifier import Classifier


def last_layer(classifier: Classifier, *, needed_by: str = "model.tune head") -> nn.Linear:
    """The linear layer that ends a network; raises ``ModelError``, which names ``needed_by``, if none does."""
    get = getattr(classifier.net, "get_classifier", None)
    last = get() if get else None
    if not isinstance(last, nn.Linear):
        raise ModelError(
            f"{needed_by} needs a network that ends with a linear layer, as most of timm's do, and "
            f"{classifier.name} ends with {type(last).__name__}. Give model.tune all, or another backbone."
        )
    return last
