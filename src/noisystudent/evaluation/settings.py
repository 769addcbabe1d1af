"""Settings of what is measured beyond the scores on clean pictures."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from noisystudent.settings import Settings

Suite = Literal["clean", "calibration", "corruptions", "perturbations", "attacks"]
Epsilon = Annotated[float, Field(ge=0, le=255)]


class EvaluationSettings(Settings):
    """Which robustness is measured, on pictures made from the held-out ones or on published ones, and how."""

    suite: tuple[Suite, ...] = Field(
        (),
        description="what is measured of every scored model: clean accuracy (which is always there), calibration, "
        "corruptions (ImageNet-C's), perturbations (ImageNet-P's sequences), attacks (FGSM and PGD)",
    )
    pictures: Annotated[int, Field(ge=0)] = Field(
        0, description="pictures that are taken for the suite, evenly spread; 0 = all"
    )
    corruptions: tuple[str, ...] = Field((), description="corruptions by name; empty: ImageNet-C's 15")
    severities: tuple[Annotated[int, Field(ge=1, le=5)], ...] = Field(
        (1, 2, 3, 4, 5), min_length=1, description="severities of the corruptions, 1 to 5"
    )
    table: Literal["auto", 32, 64, 224, 299] = Field(
        "auto",
        description="which published strengths are taken: for pictures of so many pixels; auto: the nearest",
    )
    frost_textures: str = Field(
        "", description="a folder of photographs of frost; empty: those of the package imagecorruptions, if installed"
    )
    corrupted: str = Field(
        "",
        description="a folder of pictures that were corrupted already, as ImageNet-C, Tiny-ImageNet-C, CIFAR-10-C and "
        "CIFAR-100-C are published; empty: they are made from the source",
    )
    perturbed: str = Field(
        "",
        description="a folder of sequences that were made already, as ImageNet-P, Tiny-ImageNet-P and CIFAR-10-P are "
        "published; empty: they are made from the source",
    )
    baseline: str = Field(
        "",
        description="the robustness.json of a classifier, measured the same way, that is to have 100 percent; its "
        "errors and flips then divide",
    )
    perturbations: tuple[str, ...] = Field((), description="perturbations by name; empty: ImageNet-P's 10")
    difficulty: Annotated[int, Field(ge=1, le=3)] = Field(
        1, description="of the perturbations; published means are of 1"
    )
    epsilons: tuple[Epsilon, ...] = Field(
        (0.5, 1.0, 2.0, 4.0, 8.0), min_length=1, description="how far attacks may move a pixel, in steps of 255"
    )
    norm: Literal["linf", "l2"] = Field(
        "linf", description="linf: epsilon bounds every pixel; l2: epsilon / 255 times the root of the number of values"
    )
    attack_steps: Annotated[int, Field(ge=1)] = Field(10, description="steps of PGD")
    step_size: Literal["auto"] | Annotated[float, Field(gt=0)] = Field(
        "auto", description="a step of PGD, as a fraction of epsilon; auto: 2.5 / steps"
    )
    restarts: Annotated[int, Field(ge=1)] = Field(1, description="random starts of PGD; 1 begins at the picture itself")
    autoattack: bool = Field(
        False,
        description="also AutoAttack's standard version, by its authors' package: minutes to hours, so take "
        "evaluation.pictures",
    )
    seed: Annotated[int, Field(ge=0)] = Field(0, description="seed of corruptions, perturbations and random starts")

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        for name in ("suite", "corruptions", "severities", "perturbations", "epsilons"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name} holds a value twice: {', '.join(map(str, values))}; give each once")
        return self
