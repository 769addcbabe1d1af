"""Classifiers on disk: folders in timm's hub layout, which timm loads without this package where it has the model.

    README.md          the card: what the model is, and how to open it with this package and with timm
    config.json        timm's fields (architecture, class names, input size, normalization, ...), and further values of
                       the caller under ``noisystudent``
    model.safetensors  the network's weights, without anything that could run as code

The files are written directly. A caller that needs the folder to appear at once writes to another name and renames it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, contiguous_format, nn

from noisystudent.artifacts.damage import require_whole
from noisystudent.artifacts.folder import MANIFEST, hash_file
from noisystudent.errors import ModelError
from noisystudent.models.card import CARD, card_text
from noisystudent.models.checkpoint_config import CheckpointConfig, read_config
from noisystudent.models.classifier import Classifier
from noisystudent.models.create import build, require_known, size_argument
from noisystudent.models.factory import ModelFactory, classifier_from_factory
from noisystudent.models.finite import require_finite_weights
from noisystudent.models.normalization import Normalization

CHECKPOINT = "checkpoint"  # the kind of artifact
CONFIG = "config.json"
WEIGHTS = "model.safetensors"

Json = Any  # a value that json.dumps accepts; the standard library has no type for it

_PICKLES = (".bin", ".pth", ".pt", ".ckpt", ".tar")


def save_classifier(classifier: Classifier, folder: Path, *, extra: Mapping[str, Json] = MappingProxyType({})) -> None:
    """Writes a classifier into a folder.

    The card in it says how to open it: timm's architectures with timm alone, the models for small images with timm
    after an import, a user's own architecture with its factory.

    Args:
        classifier: the classifier.
        folder: the folder, which is made if needed.
        extra: JSON values that config.json keeps under ``noisystudent``.

    Raises:
        OSError: the files cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: tensor.detach().cpu().clone(memory_format=contiguous_format)
        for name, tensor in classifier.net.state_dict().items()
    }
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    card = card_text(classifier, factory=str(extra.get("factory", "")))
    (folder / CARD).write_text(card, encoding="utf-8")
    known = {"bits": classifier.bits, "trained_area": classifier.trained_area, "squash": classifier.squash or None}
    own = dict(extra) | {name: value for name, value in known.items() if value is not None}
    text = json.dumps(config_of(classifier) | {"noisystudent": own}, indent=2, ensure_ascii=False)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")


def load_classifier(
    folder: Path, *, expect_classes: tuple[str, ...] | None = None, factory: ModelFactory | None = None
) -> Classifier:
    """Loads the classifier of a folder, on the CPU, in evaluation mode, without noise.

    Args:
        folder: a checkpoint of this package or of timm; timm's class names are ``label_names``, or else the numbers
            from 0.
        expect_classes: the required class names, in order.
        factory: builds the network of a user's own architecture.

    Raises:
        ModelError: a file is missing, damaged or not safetensors, config and weights disagree, the network gives
            features and no logits, the classes are not ``expect_classes``, or the network needs a factory that is not
            given, or none.
    """
    config = _read_config(folder)
    if not config.num_classes:
        raise ModelError(
            f"{folder} holds a network that was pretrained without labels: it gives features and has no classifier. "
            f"Train one from it first: noisystudent train --start {folder} --labeled ... (or run --start {folder})."
        )
    classifier = _load(config, folder, factory)
    if expect_classes is not None and classifier.classes != tuple(expect_classes):
        raise ModelError(
            f"{folder} has other classes than the data. Its classes: {_list_names(classifier.classes)}. "
            f"The data's: {_list_names(tuple(expect_classes))}. They must be the same names in the same order; "
            "train a model on these classes, or give the data that the model was trained for."
        )
    return classifier


def load_network(folder: Path) -> Classifier:
    """Loads the network of a folder as ``load_classifier``, also one without classes, whose logits are features."""
    return _load(_read_config(folder), folder, None)


def is_encoder(folder: Path) -> bool:
    """Whether a folder holds a network without a classifier; False for a folder that is no checkpoint."""
    return (folder / CONFIG).is_file() and not read_config(folder / CONFIG).num_classes


def is_frozen_head(folder: Path) -> bool:
    """Whether a folder holds a last layer that was fitted on the features of a frozen backbone."""
    return (folder / CONFIG).is_file() and read_config(folder / CONFIG).noisystudent.tuned == "head"


def _load(config: CheckpointConfig, folder: Path, factory: ModelFactory | None) -> Classifier:
    """The network of a folder, on the CPU, in evaluation mode."""
    if factory is not None and not config.noisystudent.factory:
        raise ModelError(
            f"{folder} holds a {config.architecture}, which needs no factory; leave it out, or give the folder of "
            "your own model."
        )
    if not config.noisystudent.factory:
        require_known(config.architecture)
    tensors = _read_weights(folder)
    classifier = (
        _build_from_factory(config, folder, factory)
        if config.noisystudent.factory
        else _build_classifier(config, tensors, folder)
    )
    classifier.bits, classifier.trained_area = config.noisystudent.bits, config.noisystudent.trained_area
    classifier.squash = config.noisystudent.squash
    _require_matching_weights(classifier.net, tensors, folder)
    classifier.net.load_state_dict(tensors)
    require_finite_weights(classifier.net, str(folder / WEIGHTS))
    return classifier.eval()


def checkpoint_fingerprint(folder: Path) -> str:
    """Returns the fingerprint of a checkpoint, from its manifest if this package wrote it, else from its weights.

    Raises ``ArtifactError`` if a file is not the one that the manifest lists.
    """
    if (folder / MANIFEST).exists():
        return require_whole(folder, CHECKPOINT, full=True).fingerprint
    return hash_file(folder / WEIGHTS)


def label_smoothing_of(folder: Path) -> float:
    """Returns the label smoothing with which a checkpoint of this package was trained; 0 if it is unknown."""
    try:
        smoothing = json.loads((folder / CONFIG).read_bytes()).get("noisystudent", {}).get("label_smoothing", 0.0)
    except (ValueError, AttributeError, RecursionError):
        return 0.0
    return float(smoothing) if isinstance(smoothing, int | float) else 0.0


def config_of(classifier: Classifier) -> dict[str, Json]:
    """Timm's fields of a classifier's ``config.json``."""
    net, size, channels = classifier.net, classifier.size, classifier.channels
    published: dict[str, Any] = getattr(net, "pretrained_cfg", None) or {}  # timm sets it, a user's model may not
    count = len(classifier.classes)
    return {
        "architecture": classifier.name.partition(".")[0],  # without the tag of published weights
        "num_classes": count,
        "num_features": getattr(net, "num_features", None),
        "label_names": list(classifier.classes),
        "model_args": {"num_classes": count, "in_chans": channels} | classifier.arguments,
        "pretrained_cfg": {
            "tag": "noisystudent",
            "custom_load": False,
            "input_size": [channels, size, size],
            "fixed_input_size": published.get("fixed_input_size", False),
            "interpolation": "bicubic",
            "crop_pct": classifier.crop_share,
            "crop_mode": "squash" if classifier.squash else "center",
            "mean": list(classifier.normalization.mean),
            "std": list(classifier.normalization.std),
            "num_classes": count,
            "pool_size": None,
            "first_conv": published.get("first_conv"),
            "classifier": published.get("classifier"),
        },
    }


def _read_config(folder: Path) -> CheckpointConfig:
    path = folder / CONFIG
    if not path.is_file():
        raise ModelError(
            f"{folder} is not a checkpoint: it has no {CONFIG}. Give a folder that holds {CONFIG} and "
            f"{WEIGHTS}, such as a run's best/; or timm:NAME for a model whose weights timm publishes."
        )
    return read_config(path)


def _read_weights(folder: Path) -> dict[str, Tensor]:
    path = folder / WEIGHTS
    if not path.is_file():
        pickles = sorted(file.name for file in folder.iterdir() if file.suffix in _PICKLES)
        if pickles:
            raise ModelError(
                f"{folder} has its weights in {', '.join(pickles)}, not in {WEIGHTS}. Such files are pickles, which "
                "can run any code when they are opened, so they are refused. If you trust the file, convert it: "
                f"torch.load('{pickles[0]}', weights_only=True), then "
                f"safetensors.torch.save_file(state_dict, '{WEIGHTS}')."
            )
        raise ModelError(f"{folder} has no {WEIGHTS}. Give a folder that holds {CONFIG} and {WEIGHTS}.")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ModelError(f"{path} is damaged: {error}. Copy it again from its source.") from error


def _build_classifier(config: CheckpointConfig, tensors: Mapping[str, Tensor], folder: Path) -> Classifier:
    name, preprocessing = config.architecture, config.pretrained_cfg
    channels, height, size = preprocessing.input_size
    if height != size:
        raise ModelError(
            f"{folder} takes images of {height} x {size} pixels, but only square images are supported. Save it again "
            "with a square input_size."
        )
    own = {"num_classes": config.num_classes, "in_chans": config.model_args.get("in_chans", channels)}
    arguments = size_argument(name, size) | {key: config.model_args[key] for key in config.model_args.keys() - own}
    noise = {"drop_rate": 0.0, "drop_path_rate": 0.0}
    with torch.device("meta"):  # without memory: a hostile config may describe a model of any size
        _require_matching_weights(build(name, arguments | own, noise), tensors, folder)
    return Classifier(
        build(name, arguments | own, noise),
        name=name,
        classes=_class_names(config, folder),
        channels=own["in_chans"],
        size=size,
        normalization=Normalization.published(preprocessing.mean, preprocessing.std, own["in_chans"]),
        arguments=arguments,
        crop=preprocessing.crop_pct,
    )


def _build_from_factory(config: CheckpointConfig, folder: Path, factory: ModelFactory | None) -> Classifier:
    """Builds the classifier of a user's architecture, which only its factory can build."""
    if factory is None:
        raise ModelError(
            f"{folder} holds a model of your own, {config.noisystudent.factory}, which only its factory can build. "
            "Give that too: noisystudent.load(folder, factory=factory), or open_run(folder, factory=...)."
        )
    channels, _, size = config.pretrained_cfg.input_size
    return classifier_from_factory(factory, classes=_class_names(config, folder), channels=channels, size=size)


def _class_names(config: CheckpointConfig, folder: Path) -> tuple[str, ...]:
    labels = config.label_names or config.pretrained_cfg.label_names
    if labels is None:
        return tuple(str(number) for number in range(config.num_classes))
    names = tuple(labels[key] for key in sorted(labels)) if isinstance(labels, dict) else tuple(labels)
    if len(names) != config.num_classes:
        raise ModelError(
            f"{folder / CONFIG} has num_classes = {config.num_classes} but {len(names)} label_names: "
            f"{_list_names(names)}. Correct the wrong one."
        )
    return names


def _require_matching_weights(net: nn.Module, tensors: Mapping[str, Tensor], folder: Path) -> None:
    in_model = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    in_file = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if in_model == in_file:
        return
    head = _head_weight(net)
    if head in in_file and in_file[head][0] != in_model[head][0]:
        raise ModelError(
            f"{folder} contradicts itself: {CONFIG} has {in_model[head][0]} classes, the last layer {head} in "
            f"{WEIGHTS} has {in_file[head][0]}. Use both files of the same checkpoint."
        )
    differing = sorted(name for name in in_model.keys() | in_file.keys() if in_model.get(name) != in_file.get(name))
    details = "; ".join(
        f"{name}: {in_model.get(name)} in the model, {in_file.get(name)} in the file" for name in differing[:3]
    )
    raise ModelError(
        f"The weights in {folder / WEIGHTS} are not those of the model that {CONFIG} describes: "
        f"{len(differing)} tensors differ ({details}). Use both files of the same checkpoint."
    )


def _head_weight(net: nn.Module) -> str | None:
    get_classifier = getattr(net, "get_classifier", None)  # every timm model has it, a user's model may not
    if get_classifier is None:
        return None
    head = get_classifier()
    return next((f"{name}.weight" for name, module in net.named_modules() if module is head), None)


def _list_names(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:10])
    return f"{shown}, ... ({len(names)} in all)" if len(names) > 10 else f"{shown} ({len(names)})"
