"""Opens a checkpoint by its name: a folder, the folder of a run, ``timm:NAME`` or ``local-dir:FOLDER``."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from noisystudent.errors import ModelError
from noisystudent.models.calibration import Calibration, read_calibration
from noisystudent.models.checkpoint import CONFIG, checkpoint_fingerprint, load_classifier
from noisystudent.models.classifier import Classifier
from noisystudent.models.create import (
    create_model,
    load_published,
    normalization_of,
    published_config,
    require_known,
    size_argument,
)
from noisystudent.models.factory import ModelFactory
from noisystudent.models.finite import require_finite_weights
from noisystudent.models.imagenet import published_classes
from noisystudent.models.settings import PUBLISHED
from noisystudent.models.training_images import Digests, read_training_images

LOCAL = "local-dir:"
PREFIXES = (PUBLISHED, LOCAL)
BEST = "best"  # the delivered checkpoint of a run, in the run's folder
RUN_FACTS = "run.json"  # written when a run starts

CheckpointName = str | Path
"""Text is a folder, ``timm:NAME`` or ``local-dir:FOLDER``; a ``Path`` is always a folder, and so is ``./timm:x``."""


def open_classifier(checkpoint: CheckpointName, factory: ModelFactory | None = None) -> Classifier:
    """Opens a checkpoint on the CPU, in evaluation mode, without model noise.

    Published weights keep the image size (timm's ``input_size``), channels, normalization and classes (see
    ``published_classes``) that they were trained with. They are downloaded once.

    Args:
        checkpoint: a checkpoint's folder, ours or in timm's hub layout; the folder of a run, whose ``best/`` is
            opened; ``timm:NAME`` for the weights that timm publishes; ``local-dir:FOLDER`` for a folder in timm's hub
            layout, as timm writes it.
        factory: builds the network of a checkpoint whose architecture is the user's own.

    Raises:
        ModelError: the checkpoint is missing, damaged or not safetensors; the run is not finished; timm does not know
            the name (the message has the nearest one); the weights are not published or cannot be downloaded; or the
            network gives features and no logits.
    """
    name = _published_name(checkpoint)
    if name is None:
        return load_classifier(checkpoint_folder(checkpoint), factory=factory)
    if factory is not None:
        raise ModelError(f"{checkpoint} names an architecture that timm builds; leave out the factory.")
    return _open_published(name)


def fingerprint_at(checkpoint: CheckpointName, weights: Mapping[str, Tensor]) -> str:
    """The fingerprint of a checkpoint: a folder's own, or that of the published ``weights`` (a state dict)."""
    if _published_name(checkpoint) is None:
        return checkpoint_fingerprint(checkpoint_folder(checkpoint))
    return weights_fingerprint(weights)


def training_images_of(checkpoint: CheckpointName) -> Digests | None:
    """The digests of the labeled images that a checkpoint was trained on, where its folder has them."""
    return None if _published_name(checkpoint) is not None else read_training_images(checkpoint_folder(checkpoint))


def calibration_of(checkpoint: CheckpointName) -> Calibration | None:
    """The temperature of a checkpoint, where its folder has one."""
    return None if _published_name(checkpoint) is not None else read_calibration(checkpoint_folder(checkpoint))


def short_name(checkpoint: CheckpointName) -> str:
    """The name of a checkpoint in reports: its folder's name (of a run: the run's), or ``timm:NAME``."""
    if _published_name(checkpoint) is not None:
        return str(checkpoint)
    return _named_folder(checkpoint).absolute().name


def absolute_name(checkpoint: CheckpointName) -> str:
    """Text that opens the same checkpoint in another process, whatever its working folder is."""
    if _published_name(checkpoint) is not None:
        return str(checkpoint)
    return os.path.abspath(checkpoint_folder(checkpoint))


def checkpoint_folder(checkpoint: CheckpointName) -> Path:
    """The folder that holds a checkpoint's files; for the folder of a run, its ``best/``.

    Raises ``ModelError`` for a run that is not finished.
    """
    folder = _named_folder(checkpoint)
    best = folder / BEST
    if (folder / CONFIG).exists():
        return folder
    if best.is_dir() and any((folder / name).is_file() for name in (RUN_FACTS, "summary.json")):
        return best
    if (folder / RUN_FACTS).is_file():
        raise ModelError(
            f"{folder} is the folder of a run that is not finished: it has no {BEST}/. Run the same command again to "
            "finish it, or give the folder of one of its checkpoints."
        )
    return folder


def weights_fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """A 32-character hash of named tensors, such as a state dict: of names, types, shapes and values.

    It does not depend on the device, the memory layout or the order of the mapping.
    """
    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        total.update(f"{name}\0{tensor.dtype}\0{list(tensor.shape)}\0".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()[:32]


def _named_folder(checkpoint: CheckpointName) -> Path:
    if isinstance(checkpoint, str):
        return Path(checkpoint.removeprefix(LOCAL))
    return checkpoint


def _published_name(checkpoint: CheckpointName) -> str | None:
    """The model of ``timm:NAME``; None for a folder."""
    if isinstance(checkpoint, str) and checkpoint.startswith(PUBLISHED):
        return checkpoint.removeprefix(PUBLISHED)
    return None


def _open_published(name: str) -> Classifier:
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
    require_finite_weights(net, f"{PUBLISHED}{name}")
    return Classifier(
        net,
        name=name,
        classes=published_classes(config.num_classes),
        channels=channels,
        size=size,
        normalization=normalization_of(net, channels),
        arguments=arguments,
        crop=config.crop_pct,
    ).eval()
