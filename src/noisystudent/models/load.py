"""Opens a classifier by its name: a checkpoint folder, or ``timm:NAME`` for published weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from noisystudent.errors import ModelError
from noisystudent.models.checkpoint import checkpoint_fingerprint, load_classifier
from noisystudent.models.classifier import Classifier
from noisystudent.models.create import (
    create_model,
    load_published,
    normalization_of,
    published_config,
    require_known,
    size_argument,
)
from noisystudent.models.imagenet import published_classes


def weights_fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """A 32-character hash of named tensors, such as a state dict: of names, types, shapes and values.

    The same for the same numbers on any device, in any memory layout and in any order of the mapping.
    """
    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        total.update(f"{name}\0{tensor.dtype}\0{list(tensor.shape)}\0".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()[:32]


PUBLISHED = "timm:"

Place = str | Path
"""Text is a folder or ``timm:NAME``; a ``Path`` is a folder, whatever it is called. ``./timm:x`` as text is one too."""


def open_classifier(checkpoint: Place) -> Classifier:
    """The classifier of a checkpoint's folder, or of ``timm:NAME``, on the CPU, in evaluation mode, without noise.

    Errors of a folder are those of ``load_classifier``. Published weights keep their own image size (timm's
    ``input_size``), channels, normalization and classes (see ``published_classes``); they are downloaded once. Raises
    ``ModelError`` for a name that timm has not (the nearest is named), for weights that are not published or cannot be
    had, and for a network that gives features and tells no classes apart.
    """
    name = _published_name(checkpoint)
    return load_classifier(Path(checkpoint)) if name is None else _published_classifier(name)


def fingerprint_at(checkpoint: Place, weights: Mapping[str, Tensor]) -> str:
    """The fingerprint of what is opened by ``checkpoint``: a folder's own, or that of the published ``weights``.

    Those are the state dict of the network that was opened.
    """
    if _published_name(checkpoint) is None:
        return checkpoint_fingerprint(Path(checkpoint))
    return weights_fingerprint(weights)


def short_name(checkpoint: Place) -> str:
    """What a checkpoint is called in reports: its folder's name, or ``timm:NAME``."""
    return Path(checkpoint).name if _published_name(checkpoint) is None else str(checkpoint)


def _published_name(checkpoint: Place) -> str | None:
    """The model of ``timm:NAME``; None for a folder."""
    named = isinstance(checkpoint, str) and checkpoint.startswith(PUBLISHED)
    return str(checkpoint).removeprefix(PUBLISHED) if named else None


def _published_classifier(name: str) -> Classifier:
    require_known(name)
    advice = (
        "Choose another model, one of timm.list_models(pretrained=True), or give a checkpoint's folder; one that is "
        f"itself called {PUBLISHED}{name} is ./{PUBLISHED}{name}."
    )
    config = published_config(name, advice=advice)
    channels, height, size = config.input_size
    if not config.num_classes:
        raise ModelError(f"The published weights of model {name!r} give features and tell no classes apart. {advice}")
    if height != size:
        raise ModelError(
            f"The published weights of model {name!r} take images of {height} x {size} pixels; only square ones are "
            f"read here. {advice}"
        )
    arguments = size_argument(name, size)
    net = create_model(name, classes=config.num_classes, channels=channels, size=size)
    load_published(net, name, {"num_classes": config.num_classes, "in_chans": channels} | arguments, advice=advice)
    return Classifier(
        net,
        name=name,
        classes=published_classes(config.num_classes),
        channels=channels,
        size=size,
        normalization=normalization_of(net, channels),
        arguments=arguments,
    ).eval()
