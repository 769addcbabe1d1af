"""Backbones: pretrained weights that the models of a run start from; only the last layer is drawn anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import timm
from timm.models import get_pretrained_cfg, is_model_pretrained
from torch import Tensor, nn

from noisystudent.artifacts.folder import fingerprint_of
from noisystudent.errors import ModelError, nearest_name
from noisystudent.models.checkpoint import load_network
from noisystudent.models.classifier import Arguments, Classifier, create_classifier
from noisystudent.models.create import (
    build,
    create_model,
    crop_of,
    draw_head,
    head_modules,
    load_published,
    normalization_of,
    published_config,
    require_known,
    size_argument,
)
from noisystudent.models.load import LOCAL, checkpoint_folder, weights_fingerprint
from noisystudent.models.normalization import Normalization
from noisystudent.models.settings import NO_BACKBONE, PUBLISHED, WITHOUT_LABELS
from noisystudent.models.weights_file import WEIGHTS_FILES, read_weights_file
from noisystudent.models.weights_package import (
    LITE0,
    PACKAGES,
    TRAINED_ON,
    with_timms_names,
)

SETTING = "model.backbone"
_KINDS = (
    f"Give {NO_BACKBONE}, {LITE0.name}, {PUBLISHED}NAME for weights that timm publishes, the folder of a checkpoint or "
    f"run, {LOCAL}FOLDER, or a file of weights ({', '.join(WEIGHTS_FILES)})"
)
_USUAL_SIZE = 224  # pixels
_DECIDED_BY_RUNS = ("img_size", "drop_rate", "drop_path_rate")  # arguments of a folder's model that do not go along
_COUNTER = "num_batches_tracked"  # of batch normalization; old files lack it, and nothing here reads it


@dataclass(frozen=True)
class Backbone:
    """Pretrained weights, and how the images were prepared that they were trained on.

    Attributes:
        name: What the user gave.
        architecture: Name of the model in timm, without a tag.
        size: Edge of its square input in pixels.
        channels: Channels of its images.
        normalization: Mean and standard deviation per channel.
        crop: The share of an image's short edge that its view shows; None: size of size + 32 pixels.
        fingerprint: Identifies all that a model takes from it.
        trained_on: What it was trained on, in words.
        tensors: The weights by name, without the last layer.
        further: Further arguments of timm's constructor with which the model was built.
        notice: The license of the weights and whose they are, where that is known.
        others: What models of other names start from, by the model's name in timm.
    """

    name: str
    architecture: str
    size: int
    channels: Literal[1, 3]
    normalization: Normalization
    crop: float | None
    fingerprint: str
    trained_on: str
    tensors: Mapping[str, Tensor] = field(repr=False)
    further: Arguments = field(default_factory=dict)
    notice: str = ""
    others: Mapping[str, Backbone] = field(default_factory=dict, repr=False)

    def start_of(self, model: str) -> Backbone | None:
        """The weights that a model, by its name in timm, starts from; None: it starts from scratch."""
        return self.others.get(model) or (self if self.fits(model) else None)

    def fits(self, model: str) -> bool:
        """Whether a model, by its name in timm, is of this architecture."""
        return model.partition(".")[0] == self.architecture

    def new_classifier(
        self,
        model: str,
        *,
        classes: tuple[str, ...],
        size: int,
        dropout: float = 0.0,
        stochastic_depth: float = 0.0,
    ) -> Classifier:
        """A classifier that starts from these weights, with a new last layer from torch's random generator.

        Args:
            model: Name of the model in timm, with or without a tag, of this architecture.
            classes: Class names, in the order of the logits.
            size: Edge of its images in pixels.
            dropout: Dropout rate before the last layer.
            stochastic_depth: Drop rate of the last residual block.

        Raises:
            ModelError: The network cannot take images of this size, or has no such noise.
        """
        assert self.fits(model)
        tensors = self.tensors if size == self.size else self._tensors_at(size)
        classifier = create_classifier(
            model,
            classes=classes,
            channels=self.channels,
            size=size,
            dropout=dropout,
            stochastic_depth=stochastic_depth,
            further=self.further,
        )
        draw_head(classifier.net)
        classifier.net.load_state_dict(classifier.net.state_dict() | dict(tensors))
        classifier.renormalize(self.normalization)
        classifier.crop = self.crop
        return classifier

    def _tensors_at(self, size: int) -> Mapping[str, Tensor]:
        """The weights for another input size; timm interpolates embeddings of positions."""
        try:
            wanted = create_model(self.architecture, classes=1, channels=self.channels, size=size, further=self.further)
            if not _differing(_body(wanted), self.tensors):
                return self.tensors
            net = _build(self.architecture, self.channels, self.size, self.further)
            net.load_state_dict(net.state_dict() | dict(self.tensors))
            net.set_input_size(img_size=(size, size))  # type: ignore[operator]  # timm's networks of fixed size have it
            tensors = _body(net)
            if differing := _differing(_body(wanted), tensors):
                raise ModelError(f"{differing[0]} does not fit")
        except (ModelError, AttributeError, AssertionError, RuntimeError, ValueError) as error:
            raise ModelError(
                f"The backbone {self.name} ({self.architecture}) cannot take images of {size} px ({error}); its own "
                f"size is {self.size}. Leave out data.size, which then is {self.size}, or give another backbone."
            ) from error
        return tensors


def open_backbone(name: str, architecture: str | None = None) -> Backbone | None:
    """Opens pretrained weights.

    Args:
        name: ``none``, the name of a weights package, ``timm:NAME``, the folder of a checkpoint or run (also of other
            classes), ``local-dir:FOLDER``, or a file of weights.
        architecture: Name of the model in timm to which a file of weights belongs.

    Returns:
        The weights; None for ``none``.

    Raises:
        ModelError: The name is unknown, the weights are missing, damaged, of another architecture or unsafe to open.
    """
    if name == NO_BACKBONE:
        return None
    if package := PACKAGES.get(name):
        size = _size_of(package.architecture)
        found = _of_tensors(name, package.architecture, package.read(), size, TRAINED_ON)
        return replace(found, notice=package.notice)
    if name.startswith(PUBLISHED):
        return _of_published(name)
    path = Path(name.removeprefix(LOCAL))
    if path.suffix.lower() in WEIGHTS_FILES and not path.is_dir():
        return _of_file(name, path, architecture)
    if path.is_dir() or name.startswith(LOCAL):
        return _of_folder(name, path)
    if "/" in name:
        raise ModelError(f"{SETTING} {name} does not exist. {_KINDS}.")
    raise ModelError(f"{SETTING} {name!r} is not known.{_hint(name)} {_KINDS}.")


def _hint(name: str) -> str:
    """What an unknown name was probably meant to be."""
    if not timm.is_model(name):
        published = (f"{PUBLISHED}{model}" for model in timm.list_models(pretrained=True))
        return nearest_name(name, (NO_BACKBONE, *PACKAGES, *published))
    if is_model_pretrained(name):
        return f" Did you mean '{PUBLISHED}{name}'?"
    return " It is the name of a model, of which there are no published weights."


def _of_published(name: str) -> Backbone:
    model = name.removeprefix(PUBLISHED)
    require_known(model)
    advice = f"Give another backbone, or {SETTING} none and model.pretrained false."
    config = published_config(model, advice=advice)
    channels, height, size = config.input_size
    if height != size:
        raise ModelError(f"The weights {name} take images of {height} x {size} pixels, and only square ones are read.")
    arguments = {"num_classes": config.num_classes, "in_chans": channels} | size_argument(model, size)
    net = build(model, arguments, {})
    load_published(net, model, arguments, advice=advice)
    tag = config.tag or "timm's own"
    return _of_tensors(name, model, net.state_dict(), size, f"the data of timm's weights {tag!r} (see its model card)")


def _of_folder(name: str, path: Path) -> Backbone:
    classifier = load_network(checkpoint_folder(path))
    further = {key: value for key, value in classifier.arguments.items() if key not in _DECIDED_BY_RUNS}
    shown = ", ".join(classifier.classes[:10]) + (", ..." if len(classifier.classes) > 10 else "")
    trained_on = f"images of {len(classifier.classes)} classes: {shown}" if shown else WITHOUT_LABELS
    return _of_tensors(
        name,
        classifier.name,
        classifier.net.state_dict(),
        classifier.size,
        trained_on,
        preprocessing=(classifier.normalization, classifier.crop),
        further=further,
    )


def _of_file(name: str, path: Path, architecture: str | None) -> Backbone:
    tensors = read_weights_file(path)
    if architecture is None:
        raise ModelError(
            f"{path} holds weights without the name of their model; give that too: --model.teacher NAME (of distill: "
            "--student NAME), one of timm.list_models()."
        )
    require_known(architecture)
    model = architecture.partition(".")[0]
    if any(package.architecture == model for package in PACKAGES.values()):
        tensors = with_timms_names(tensors, model)
    return _of_tensors(name, architecture, tensors, _size_of(architecture), "data that the file does not name")


def _of_tensors(
    name: str,
    model: str,
    tensors: Mapping[str, Tensor],
    size: int,
    trained_on: str,
    *,
    preprocessing: tuple[Normalization, float | None] | None = None,
    further: Arguments = MappingProxyType({}),
) -> Backbone:
    """The backbone of the weights, once they are those of the model; normalization and crop are timm's if not given."""
    architecture = model.partition(".")[0]
    net = _build(model, 3, size, further)
    channels = _channels_of(tensors, net, name)
    if channels != 3:
        net = _build(model, channels, size, further)
    expected, heads = _body(net), head_modules(net)
    body = {key: tensor for key, tensor in tensors.items() if not key.startswith(tuple(f"{head}." for head in heads))}
    body |= {key: expected[key] for key in expected.keys() - body.keys() if key.endswith(_COUNTER)}
    if differing := _differing(expected, body):
        raise ModelError(
            f"The weights {name} are not those of {architecture}: {len(differing)} tensors differ, first "
            f"{differing[0]}. Give the model to which they belong, or other weights."
        )
    if broken := sorted(key for key, tensor in body.items() if tensor.is_floating_point() and tensor.isnan().any()):
        raise ModelError(
            f"The weights {name} hold numbers that are none (NaN), first in {broken[0]}; they are damaged."
        )
    found, crop = preprocessing or (normalization_of(net, channels), crop_of(net))
    body = {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in body.items()}
    return Backbone(
        name=name,
        architecture=architecture,
        size=size,
        channels=channels,
        normalization=found,
        crop=crop,
        fingerprint=fingerprint_of(
            [architecture, found.mean, found.std, crop, dict(further), weights_fingerprint(body)]
        ),
        trained_on=trained_on,
        tensors=body,
        further=further,
    )


def _size_of(model: str) -> int:
    """The input size that timm has for a model."""
    config = get_pretrained_cfg(model)
    return int(config.input_size[-1]) if config else _USUAL_SIZE


def _build(model: str, channels: int, size: int, further: Arguments) -> nn.Module:
    return build(model, {**further, "num_classes": 1, "in_chans": channels} | size_argument(model, size), {})


def _body(net: nn.Module) -> dict[str, Tensor]:
    """The tensors of a network without its last layer."""
    heads = tuple(f"{head}." for head in head_modules(net))
    return {name: tensor for name, tensor in net.state_dict().items() if not name.startswith(heads)}


def _channels_of(tensors: Mapping[str, Tensor], net: nn.Module, name: str) -> Literal[1, 3]:
    """The channels of the images that the weights take; 3 where the first layer does not tell."""
    config: object = getattr(net, "pretrained_cfg", {})
    first = config.get("first_conv") if isinstance(config, Mapping) else None
    weight = tensors.get(f"{first}.weight")
    if weight is None or weight.ndim != 4 or weight.shape[1] == 3:
        return 3
    if weight.shape[1] == 1:
        return 1
    raise ModelError(
        f"The weights {name} take images with {weight.shape[1]} channels; images have 1 or 3. Give others."
    )


def _differing(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    """What differs in names and shapes, in words."""
    names = sorted(
        name
        for name in expected.keys() | found.keys()
        if name not in expected or name not in found or expected[name].shape != found[name].shape
    )
    return [f"{name} ({_shape(expected, name)} in the model, {_shape(found, name)} in the weights)" for name in names]


def _shape(tensors: Mapping[str, Tensor], name: str) -> str:
    return "x".join(map(str, tensors[name].shape)) or "a number" if name in tensors else "absent"
