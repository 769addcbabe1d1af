"""A user's own architecture: a factory that builds the network, checked before anything is trained."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from noisystudent.errors import ModelError
from noisystudent.models.classifier import Classifier
from noisystudent.models.normalization import Normalization


class ModelFactory(Protocol):
    """Builds an untrained network from float images [B, channels, size, size] to logits [B, classes].

    The images are normalized to mean 0.5 and standard deviation 0.5 per channel, that is to -1..1. The weights must
    come from torch's random generator, which is seeded before every call.
    """

    def __call__(self, *, classes: int, channels: int, size: int) -> nn.Module:
        """The network for so many classes and channels, and images of ``size`` x ``size`` pixels."""


def classifier_from_factory(factory: ModelFactory, *, classes: tuple[str, ...], channels: int, size: int) -> Classifier:
    """A new classifier around the network that ``factory`` builds; raises ``ModelError`` where it does not fit."""
    return Classifier(
        build_from_factory(factory, classes=len(classes), channels=channels, size=size),
        name=name_of(factory),
        classes=classes,
        channels=channels,
        size=size,
        normalization=Normalization.halves(channels),
    )


def build_from_factory(factory: ModelFactory, *, classes: int, channels: int, size: int) -> nn.Module:
    """The network that ``factory`` builds, tried with two gray images.

    Raises ``ModelError`` when the factory fails, or builds something that is no trainable module, cannot take such
    images, or does not answer with finite logits [2, classes].
    """
    name = name_of(factory)
    try:
        net = factory(classes=classes, channels=channels, size=size)
    except Exception as error:  # a user's factory may fail in any way
        raise ModelError(
            f"the model factory {name} failed for classes={classes}, channels={channels}, size={size} "
            f"({type(error).__name__}: {error}). It must take these three keyword arguments."
        ) from error
    if not isinstance(net, nn.Module):
        raise ModelError(f"the model factory {name} returned a {type(net).__name__}; it must return an nn.Module.")
    if not any(parameter.requires_grad for parameter in net.parameters()):
        raise ModelError(f"the model that the factory {name} built has no parameter to train.")
    shape = (2, channels, size, size)
    try:
        with torch.no_grad():
            logits = net.eval()(torch.zeros(shape))
    except Exception as error:  # a user's module may fail in any way
        raise ModelError(
            f"the model that the factory {name} built failed on images of shape {shape} (batch, channels, height, "
            f"width): {type(error).__name__}: {error}."
        ) from error
    finally:
        net.train()
    if not isinstance(logits, Tensor) or tuple(logits.shape) != (2, classes):
        given = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
        raise ModelError(
            f"the model that the factory {name} built answers two images with {given}; it must give logits "
            f"(2, {classes}), one per class."
        )
    if not logits.isfinite().all():
        raise ModelError(
            f"the model that the factory {name} built answers gray images with numbers that are not finite."
        )
    return net


def name_of(factory: ModelFactory) -> str:
    """What a factory is called in messages, summaries and checkpoints."""
    return str(getattr(factory, "__name__", type(factory).__name__))
