"""Classifiers on disk: a folder in timm's hub layout, that timm alone can load.

    config.json        architecture, class names, input size, normalization, ...: what timm writes, and under
                       ``noisystudent`` what the caller adds
    model.safetensors  the network's weights, nothing that could run as code

Whoever needs the folder to appear at once writes to another name and renames it; here files are just written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, contiguous_format, nn

from noisystudent.artifacts.folder import MANIFEST, hash_file, read_manifest
from noisystudent.data.images import ImageFormat
from noisystudent.errors import ModelError
from noisystudent.models.classifier import Classifier
from noisystudent.models.create import build, require_known, size_argument
from noisystudent.models.normalization import Normalization

CHECKPOINT = "checkpoint"  # the kind of artifact
CONFIG = "config.json"
WEIGHTS = "model.safetensors"

Json = Any  # what json.dumps takes; the standard library has no type for it

_PICKLES = (".bin", ".pth", ".pt", ".ckpt", ".tar")
# Constructor arguments that would make timm open another file, or build something that is no classifier.
_REFUSED_ARGUMENTS = frozenset(
    (
        "pretrained",
        "pretrained_cfg",
        "pretrained_cfg_overlay",
        "checkpoint_path",
        "cache_dir",
        "features_only",
    )
)


class _Preprocessing(BaseModel):
    """The part of timm's ``pretrained_cfg`` that is read; what is absent has timm's defaults."""

    model_config = ConfigDict(extra="ignore")

    input_size: tuple[int, int, int] = (3, 224, 224)
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    label_names: list[str] | dict[int, str] | None = None


class _Config(BaseModel):
    """The part of config.json that is read."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())

    architecture: str
    num_classes: int = Field(ge=1)
    label_names: list[str] | dict[int, str] | None = None
    model_args: dict[str, Json] = {}
    pretrained_cfg: _Preprocessing


def save_classifier(classifier: Classifier, folder: Path, *, extra: Mapping[str, Json] = MappingProxyType({})) -> None:
    """Writes ``classifier`` into ``folder``, made if need be; ``extra`` (JSON values) is kept in config.json.

    ``timm.create_model("local-dir:FOLDER", pretrained=True)`` loads the network; for the families for small
    images after ``import noisystudent.models.create``. Raises ``OSError`` as the disk does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: tensor.detach().cpu().clone(memory_format=contiguous_format)
        for name, tensor in classifier.net.state_dict().items()
    }
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    text = json.dumps(_config(classifier) | {"noisystudent": dict(extra)}, indent=2, ensure_ascii=False)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")


def load_classifier(folder: Path, *, expect_classes: tuple[str, ...] | None = None) -> Classifier:
    """The classifier that ``folder`` holds, on the CPU, in evaluation mode, without noise.

    Folders that timm wrote will do: their class names are ``label_names``, or else the numbers from 0. Raises
    ``ModelError`` when a file is missing, damaged or not safetensors, when config and weights disagree, and
    when the classes are not ``expect_classes`` (same names, same order).
    """
    config = _read_config(folder)
    tensors = _read_weights(folder)
    classifier = _build_classifier(config, folder)
    _require_fitting(classifier.net, tensors, folder)
    classifier.net.load_state_dict(tensors)
    if expect_classes is not None and classifier.classes != tuple(expect_classes):
        raise ModelError(
            f"{folder} tells apart other classes than the data. Its classes: {_listed(classifier.classes)}. "
            f"The data's: {_listed(tuple(expect_classes))}. They must be the same names in the same order; "
            "train a model on these classes, or give the data that the model was trained for."
        )
    return classifier.eval()


def checkpoint_fingerprint(folder: Path) -> str:
    """A checkpoint's fingerprint: ours from its manifest, another's from its weights."""
    if (folder / MANIFEST).exists():
        return read_manifest(folder, CHECKPOINT).fingerprint
    return hash_file(folder / WEIGHTS)


def label_smoothing_of(folder: Path) -> float:
    """The label smoothing that a checkpoint of ours was trained with; 0 where nothing is said of it."""
    try:
        said = json.loads((folder / CONFIG).read_bytes()).get("noisystudent", {}).get("label_smoothing", 0.0)
    except (ValueError, AttributeError):
        return 0.0
    return float(said) if isinstance(said, int | float) else 0.0


def _config(classifier: Classifier) -> dict[str, Json]:
    net, size, channels = classifier.net, classifier.size, classifier.channels
    published: dict[str, Any] = net.pretrained_cfg  # type: ignore[assignment]  # timm sets it
    count = len(classifier.classes)
    return {
        "architecture": classifier.name.partition(".")[0],  # without the tag of published weights
        "num_classes": count,
        "num_features": net.num_features,
        "label_names": list(classifier.classes),
        "model_args": {"num_classes": count, "in_chans": channels} | classifier.arguments,
        "pretrained_cfg": {
            "tag": "noisystudent",
            "custom_load": False,
            "input_size": [channels, size, size],
            "fixed_input_size": published.get("fixed_input_size", False),
            "interpolation": "bicubic",
            "crop_pct": size / ImageFormat(size, 1).storage_size,
            "crop_mode": "center",
            "mean": list(classifier.normalization.mean),
            "std": list(classifier.normalization.std),
            "num_classes": count,
            "pool_size": None,
            "first_conv": published.get("first_conv"),
            "classifier": published.get("classifier"),
        },
    }


def _read_config(folder: Path) -> _Config:
    path = folder / CONFIG
    if not path.is_file():
        raise ModelError(
            f"{folder} is not a checkpoint: it has no {CONFIG}. Give a folder that holds {CONFIG} and "
            f"{WEIGHTS}, such as a run's best/; or timm:NAME for a model whose weights timm publishes."
        )
    try:
        config = _Config.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ModelError(
            f"{path} is damaged, or not the {CONFIG} of a timm model: {place}: {first['msg']}. Copy it "
            "again from where it came."
        ) from error
    refused = sorted(_REFUSED_ARGUMENTS & config.model_args.keys())
    if refused:
        raise ModelError(f"{path} has model_args that reach outside the folder: {', '.join(refused)}. Remove them.")
    return config


def _read_weights(folder: Path) -> dict[str, Tensor]:
    path = folder / WEIGHTS
    if not path.is_file():
        pickles = sorted(file.name for file in folder.iterdir() if file.suffix in _PICKLES)
        if pickles:
            raise ModelError(
                f"{folder} has its weights in {', '.join(pickles)}, not in {WEIGHTS}. Such files are "
                "pickles, which can run any code when they are opened, so they are refused. If you trust "
                f"this one, convert it: torch.load('{pickles[0]}', weights_only=True), then "
                f"safetensors.torch.save_file(state_dict, '{WEIGHTS}')."
            )
        raise ModelError(f"{folder} has no {WEIGHTS}. Give a folder that holds {CONFIG} and {WEIGHTS}.")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ModelError(f"{path} is damaged: {error}. Copy it again from where it came.") from error


def _build_classifier(config: _Config, folder: Path) -> Classifier:
    name, summaries = config.architecture, config.pretrained_cfg
    require_known(name)
    channels, height, size = summaries.input_size
    if height != size:
        raise ModelError(
            f"{folder} takes images of {height} x {size} pixels; only square ones are read here. Save it "
            "again with a square input_size."
        )
    own = {"num_classes": config.num_classes, "in_chans": config.model_args.get("in_chans", channels)}
    arguments = size_argument(name, size) | {key: config.model_args[key] for key in config.model_args.keys() - own}
    return Classifier(
        build(name, arguments | own, {"drop_rate": 0.0, "drop_path_rate": 0.0}),
        name=name,
        classes=_class_names(config, folder),
        channels=own["in_chans"],
        size=size,
        normalization=Normalization.published(summaries.mean, summaries.std, own["in_chans"]),
        arguments=arguments,
    )


def _class_names(config: _Config, folder: Path) -> tuple[str, ...]:
    labels = config.label_names or config.pretrained_cfg.label_names
    if labels is None:
        return tuple(str(number) for number in range(config.num_classes))
    names = tuple(labels[key] for key in sorted(labels)) if isinstance(labels, dict) else tuple(labels)
    if len(names) != config.num_classes:
        raise ModelError(
            f"{folder / CONFIG} has num_classes = {config.num_classes} but {len(names)} label_names: "
            f"{_listed(names)}. Correct the one that is wrong."
        )
    return names


def _require_fitting(net: nn.Module, tensors: Mapping[str, Tensor], folder: Path) -> None:
    wanted = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if wanted == found:
        return
    head = _head_weight(net)
    if head in found and found[head][0] != wanted[head][0]:
        raise ModelError(
            f"{folder} contradicts itself: {CONFIG} has {wanted[head][0]} classes, the last layer {head} in "
            f"{WEIGHTS} has {found[head][0]}. Take both files from the same checkpoint."
        )
    differing = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    details = "; ".join(
        f"{name}: {wanted.get(name)} in the model, {found.get(name)} in the file" for name in differing[:3]
    )
    raise ModelError(
        f"The weights in {folder / WEIGHTS} are not those of the model that {CONFIG} describes: "
        f"{len(differing)} tensors differ ({details}). Take both files from the same checkpoint."
    )


def _head_weight(net: nn.Module) -> str | None:
    head = net.get_classifier()  # type: ignore[operator]  # every timm model has it
    return next((f"{name}.weight" for name, module in net.named_modules() if module is head), None)


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:10])
    return f"{shown}, ... ({len(names)} in all)" if len(names) > 10 else f"{shown} ({len(names)})"
