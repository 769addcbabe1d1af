"""The backbone of a run: what it decides where the settings leave it open, and which models start from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from noisystudent.errors import ModelError, SettingsError
from noisystudent.models.backbones import Backbone, open_backbone
from noisystudent.models.settings import (
    AUTO_BACKBONE,
    NO_BACKBONE,
    PUBLISHED,
    ModelPlan,
    family_members,
    is_model_name,
)
from noisystudent.pipeline.backbones.auto import reason_of_choice
from noisystudent.results.facts import StartFacts
from noisystudent.run_settings import RunSettings
from noisystudent.runtime.progress import Reporter


def decide_with_backbone(settings: RunSettings, reporter: Reporter) -> tuple[RunSettings, Backbone | None]:
    """The settings as the backbone that they name decides them, and the backbone; says both.

    A file of weights is of the model that the settings name, the teacher first.
    """
    names = (settings.model.teacher, *settings.distillation.students)
    backbone = open_backbone(settings.model.backbone, next((name for name in names if name != "auto"), None))
    if backbone is None:
        return settings, None
    if settings.model.pretrained:
        backbone = replace(backbone, others=_published_for_others(settings, backbone))
    decided = with_backbone(settings, backbone)
    _say_backbone(backbone, settings, decided, reporter)
    return decided, backbone


def _published_for_others(settings: RunSettings, backbone: Backbone) -> dict[str, Backbone]:
    """What timm publishes for the named models that do not start from ``backbone``, by name."""
    model, distillation = settings.model, settings.distillation
    names = [member.large for member in family_members(model.family)] if model.family else [*model.students]
    names += [model.teacher, settings.head.student, *distillation.teachers, *distillation.students]
    published = {name: f"{PUBLISHED}{name}" for name in names if is_model_name(name)}
    return {
        name: opened
        for name, weights in published.items()
        if weights != backbone.name and (opened := open_backbone(weights))
    }


def open_teacher_backbones(settings: RunSettings) -> tuple[Backbone, ...]:
    """The further backbones whose teachers label; raises ``SettingsError`` for auto, none, and what is named twice."""
    names, opened = settings.head.teacher_backbones, []
    for number, name in enumerate(names):
        if name in (settings.model.backbone, *names[:number]):
            raise SettingsError(f"head.teacher_backbones: {name!r} is used twice; give each backbone once.")
        backbone = None if name in (AUTO_BACKBONE, NO_BACKBONE) else open_backbone(name)
        if backbone is None:
            raise SettingsError(
                f"head.teacher_backbones holds {name!r}; name each backbone, like model.backbone: a model of timm, a "
                "package, or a folder of weights."
            )
        opened.append(backbone)
    return tuple(opened)


def with_backbone(settings: RunSettings, backbone: Backbone) -> RunSettings:
    """The settings with ``auto`` replaced where the backbone decides: the model, the size and color of images.

    Raises ``SettingsError`` for channels that the backbone does not take.
    """
    data, model = settings.data, settings.model
    needed = "rgb" if backbone.channels == 3 else "gray"
    if data.channels not in ("auto", needed):
        raise SettingsError(
            f"data.channels is {data.channels}, and the backbone {backbone.name} takes {needed} images; leave "
            "data.channels out (gray images then repeat their channel), or give another backbone."
        )
    if data.size == "auto" and data.resize != "squash":  # squashed images have BiT's own rule
        data = data.model_copy(update={"size": backbone.size})
    if needed == "rgb":  # where the backbone is gray, colors are not dropped unasked: require_channels refuses
        data = data.model_copy(update={"channels": needed})
    if model.teacher == "auto" and not model.family:
        model = model.model_copy(update={"teacher": backbone.architecture})
    return settings.model_copy(update={"data": data, "model": model})


def require_channels(backbone: Backbone | None, channels: int) -> None:
    """Raises ``SettingsError`` if the images of a run have other channels than a gray backbone takes."""
    if backbone and channels != backbone.channels:
        raise SettingsError(
            f"the backbone {backbone.name} takes gray images, and these have {channels} channels; give data.channels "
            "gray, which drops their colors, or another backbone."
        )


def _say_backbone(backbone: Backbone, asked: RunSettings, used: RunSettings, reporter: Reporter) -> None:
    """Says what the models start from, and what that decided."""
    for weights in (backbone, *backbone.others.values()):
        reporter.say(
            f"backbone: {weights.name}, the weights of a {weights.architecture} trained on {weights.trained_on}; if "
            "test images were among that, test scores are too high"
        )
    if "data.channels" in decided_by_backbone(asked, used, backbone):
        reporter.say("note: images are read in color, as the backbone takes them; gray images repeat their channel")


def announce_size(
    settings: RunSettings, backbone: Backbone | None, origins: Mapping[str, str], reporter: Reporter
) -> None:
    """Says that the backbone decided the size of the images, where no budget did; ``origins``: by dotted name."""
    if backbone and origins.get("data.size") == _by(backbone):
        size, own = settings.data.size, backbone.size
        why = "the size of the images that the backbone was trained on"
        why = why if size == own else f"at which {AUTO_BACKBONE} uses this backbone"
        reporter.say(f"note: data.size is {size}, {why}")


def decided_by_backbone(asked: RunSettings, used: RunSettings, backbone: Backbone | None) -> dict[str, str]:
    """Where the values came from that the backbone decided, by dotted name, and the backbone that ``auto`` took."""
    auto = {}
    if asked.model.backbone == AUTO_BACKBONE:
        auto["model.backbone"] = f"{AUTO_BACKBONE}: {reason_of_choice(used.model.backbone)}"
        if asked.train.learning_rate != used.train.learning_rate:
            auto["train.learning_rate"] = "default"
    if backbone is None:
        return auto
    changed = {
        "data.size": asked.data.size != used.data.size,
        "data.channels": asked.data.channels != used.data.channels,
        "model.teacher": asked.model.teacher != used.model.teacher,
    }
    return auto | {name: _by(backbone) for name, differs in changed.items() if differs}


def _by(backbone: Backbone) -> str:
    """The origin of a value that the backbone decided."""
    return f"model.backbone {backbone.name}"


def start_facts(asked: RunSettings, backbone: Backbone | None) -> StartFacts | None:
    """The weights that the models start from, as run.json has them."""
    if backbone is None:
        return None
    return StartFacts(
        weights=backbone.name,
        reason=reason_of_choice(backbone.name) if asked.model.backbone == AUTO_BACKBONE else "",
        architecture=backbone.architecture,
        trained_on=backbone.trained_on,
        fingerprint=backbone.fingerprint,
        notice=backbone.notice,
    )


def announce_start(backbone: Backbone | None, plans: Sequence[ModelPlan], reporter: Reporter) -> None:
    """Says which models start from scratch beside a backbone.

    Raises ``ModelError`` if none starts from it.
    """
    if backbone is None:
        return
    names = list(dict.fromkeys(plan.name for plan in plans))
    if not any(backbone.start_of(name) is backbone for name in names):
        others = [name for name in names if backbone.start_of(name) is None]
        found = f"the models are {', '.join(others)}" if others else "every model is given with its weights"
        raise ModelError(
            f"the backbone {backbone.name} is a {backbone.architecture}, and {found}: none "
            "could start from it. Leave out model.teacher and model.students (of distill: --student), or give weights "
            "of these models."
        )
    for name in (name for name in names if backbone.start_of(name) is None):
        reporter.say(
            f"note: {name} starts from scratch, because the backbone {backbone.name} is a {backbone.architecture}"
        )
