"""Models at another image size than they were trained at, and how large objects look to them there.

A training crop of a random area, resized to the input, magnifies what is in it; the plain view does not. So objects
look smaller in the test than in training, and a larger test size makes up for it (Touvron et al. 2019, "Fixing the
train-test resolution discrepancy", section 3).
"""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import torch

from noisystudent.data.images import stored_edge
from noisystudent.errors import ModelError
from noisystudent.models.classifier import Classifier, UnitPixels
from noisystudent.models.create import refusal, size_argument
from noisystudent.models.onnx_engine import OnnxNetwork
from noisystudent.models.predictor import Predictor
from noisystudent.models.wrapped_module import check_module

USUAL_STRIDE = 32  # pixels per feature, of networks that do not tell
_ROUNDING = 1e-9


def mean_edge(area: float) -> float:
    """The mean edge of a training crop as a share of the image's: of sqrt(a) with a uniform from ``area`` to 1.

    Args:
        area: the smallest area of a crop, above 0 to 1.
    """
    return 1.0 if area == 1.0 else (2 / 3) * (1 - area**1.5) / (1 - area)


def apparent_size_ratio(size: int, test_size: int, *, share: float, area: float) -> float:
    """How large an object looks in a test view, divided by how large it looks in a training crop on average.

    Args:
        size: edge of the training crops in pixels.
        test_size: edge of the test views in pixels.
        share: share of an image's short edge that a test view shows.
        area: smallest area of a training crop; at 1 the training has the views of the test, and only sizes differ.
    """
    stored = test_size / share
    return test_size / size if area == 1.0 else mean_edge(area) * stored / size


def matching_size(size: int, *, share: float, area: float, multiple: int) -> int:
    """The test size at which objects look as large as in training, rounded up to a multiple; as the ratio's arguments.

    224 pixels with crops from an area of 0.08 and views of 0.875 give 276.8, so 288 as a multiple of 32.
    """
    exact = float(size) if area == 1.0 else size * share / mean_edge(area)
    return multiple * math.ceil(exact / multiple - _ROUNDING)


def stride_of(classifier: Classifier) -> int:
    """The pixels per row of features of a convolutional network; 32 where the network does not tell."""
    forward_features = getattr(classifier.net, "forward_features", None)
    if forward_features is None:
        return USUAL_STRIDE
    modes = [(module, module.training) for module in classifier.net.modules()]
    classifier.net.eval()
    with torch.no_grad():
        shape = (1, classifier.channels, classifier.size, classifier.size)
        features = forward_features(torch.zeros(shape, device=classifier.device))
    for module, training in modes:
        module.training = training
    if getattr(features, "ndim", 0) != 4 or features.shape[2] != features.shape[3]:
        return USUAL_STRIDE
    return max(1, round(classifier.size / int(features.shape[2])))


def at_size(classifier: Classifier, size: int) -> Classifier:
    """The same network, not a copy of it, for images of another size; its views show the same share of an image.

    Args:
        classifier: the classifier.
        size: edge of the square images in pixels.

    Raises:
        ModelError: the network's input size is fixed, as that of most transformers, or it does not take such images.
    """
    if size == classifier.size:
        return classifier
    if size_argument(classifier.name, size):
        raise ModelError(
            f"{classifier.name} takes images of {classifier.size} px and was asked for {size} px: its size is fixed, "
            "since its positions are learned for it. Give its own size, or a convolutional network, such as a ResNet "
            "or EfficientNet, which takes any."
        )
    if reason := refusal(classifier.net, torch.Size((1, classifier.channels, size, size))):
        raise ModelError(f"{classifier.name} does not take images of {size} px ({reason}).{_nearest(classifier, size)}")
    resized = copy.copy(classifier)
    resized.size, resized.crop = size, classifier.crop_share
    return resized


def predictor_at(predictor: Predictor, size: int) -> Predictor:
    """The same predictor for images of another size, in pixels, of which it sees the same share.

    Raises ``ModelError`` where it does not take them.
    """
    if size == predictor.size:
        return predictor
    batch_size = max(1, predictor.batch_size * predictor.size**2 // max(size, predictor.size) ** 2)
    if predictor.classifier is None:
        shape = (2, predictor.channels, size, size)
        check_module(predictor.unit, predictor.name, predictor.classes, shape, predictor.device)
        crop = predictor.crop or predictor.size / stored_edge(predictor.size, None)
        return replace(predictor, size=size, batch_size=batch_size, crop=crop)
    classifier = at_size(predictor.classifier, size)
    return replace(
        predictor,
        size=size,
        batch_size=batch_size,
        classifier=classifier,
        unit=UnitPixels(classifier).eval(),
        onnx=OnnxNetwork(classifier) if predictor.onnx else None,
    )


def _nearest(classifier: Classifier, size: int) -> str:
    """The nearest sizes that a network takes, as a sentence; empty where there are none near."""
    for multiple in (stride_of(classifier), 2 * USUAL_STRIDE):
        low, high = size // multiple * multiple, -(-size // multiple) * multiple
        shapes = {edge: torch.Size((1, classifier.channels, edge, edge)) for edge in (low, high) if edge > 0}
        taken = [f"{edge} px" for edge, shape in shapes.items() if not refusal(classifier.net, shape)]
        if taken:
            return f" It takes {' and '.join(taken)}; give one of its sizes."
    return " Give another size."
