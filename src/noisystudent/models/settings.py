"""Settings of the models, and the plan of which model is trained when. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field, model_validator

from noisystudent.errors import nearest_name
from noisystudent.settings import Settings

SMALL_SIZE = 64  # pixels: up to here the ImageNet stems, which shrink an image by 4 at once, throw too much away


@dataclass(frozen=True, slots=True)
class FamilyMember:
    """One rung of a family: its models for large and for small images, and what goes with them."""

    large: str
    small: str
    size: int
    dropout: float


def _efficientnet(variant: str, size: int, dropout: float) -> FamilyMember:
    return FamilyMember(f"tf_efficientnet_{variant}", f"efficientnet_small_{variant}", size, dropout)


# Width and depth are in the models themselves; resolution and dropout are the official efficientnet_params
# (L2 is the exception: the paper trains it at 475 pixels).
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


class ModelSettings(Settings):
    """Which model is the teacher, which are the students, and what they start from."""

    teacher: str = Field(
        "auto",
        description="name of the first teacher's model, any of timm's or of those for small images; "
        "auto: up to 16 pixels tiny_resnet, up to 64 resnet_small_20, larger efficientnet_b0",
    )
    students: tuple[str, ...] = Field(
        (),
        description="names of the students' models, one per round, the last repeats; empty: the teacher's. "
        "The paper takes equal or larger ones; to a smaller one the teacher is distilled",
    )
    family: str = Field(
        "",
        description="instead of teacher and students: models that grow along a list, with the paper's "
        "resolution, dropout and stochastic depth, such as efficientnet:b0,b1,b2 (b0 to b7 and l2; the "
        "last repeats)",
    )
    pretrained: bool = Field(
        False,
        description="start every model from timm's published weights, not from scratch (downloads them once; "
        "they must have been trained without the test images)",
    )

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


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """One model of a run, before it exists.

    ``size`` is the input edge in pixels that the family asks for, ``None`` where the data decide. ``dropout``
    and ``stochastic_depth`` are the family's rates, ``None`` where the noise settings decide.
    """

    name: str
    size: int | None = None
    dropout: float | None = None
    stochastic_depth: float | None = None


def family_members(text: str) -> list[FamilyMember]:
    """The members that a setting such as ``efficientnet:b0,b1`` names, in its order.

    Raises ``ValueError`` for an unknown family or member, or an empty list.
    """
    family, _, listed = text.partition(":")
    if family not in FAMILIES:
        raise ValueError(
            f"family {family!r} is not known.{nearest_name(family, FAMILIES)} Known: {', '.join(FAMILIES)}; "
            "write it as in efficientnet:b0,b1,b2."
        )
    members = FAMILIES[family]
    variants = [variant.strip() for variant in listed.split(",")] if listed.strip() else []
    if not variants:
        raise ValueError(f"family {text!r} lists no members; write it as in {family}:{','.join(list(members)[:3])}.")
    for variant in variants:
        if variant not in members:
            raise ValueError(
                f"{variant!r} is not a member of family {family!r}.{nearest_name(variant, members)} "
                f"Known: {', '.join(members)}."
            )
    return [members[variant] for variant in variants]


def choose_model(size: int) -> str:
    """The model that ``auto`` stands for at ``size`` x ``size`` pixels: one that a laptop can train."""
    if size <= 16:
        return "tiny_resnet"
    return "resnet_small_20" if size <= SMALL_SIZE else "efficientnet_b0"


def plan_models(settings: ModelSettings, rounds: int, size: int) -> list[ModelPlan]:
    """The teacher's model and then one per round; ``size`` is the edge of the data's images in pixels.

    A family uses its small-image models, at the data's own size, up to ``SMALL_SIZE`` pixels. Students may
    be smaller than their teacher: who creates them compares ``count_parameters`` and says so.
    """
    if settings.family:
        ladder = [_member_plan(member, size) for member in family_members(settings.family)]
    else:
        names = (settings.teacher, *(settings.students or (settings.teacher,)))
        ladder = [ModelPlan(choose_model(size) if name == "auto" else name) for name in names]
    return [ladder[min(index, len(ladder) - 1)] for index in range(rounds + 1)]


def _member_plan(member: FamilyMember, size: int) -> ModelPlan:
    if size <= SMALL_SIZE:
        return ModelPlan(member.small, None, member.dropout, FAMILY_STOCHASTIC_DEPTH)
    return ModelPlan(member.large, member.size, member.dropout, FAMILY_STOCHASTIC_DEPTH)
