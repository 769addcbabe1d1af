"""Settings of what is measured beyond the scores on clean images."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from noisystudent.settings import Settings

Suite = Literal["clean", "calibration", "corruptions", "perturbations", "natural", "attacks"]
Epsilon = Annotated[float, Field(ge=0, le=255)]

OUT_OF_DISTRIBUTION = "imagenet-o"  # the set whose images are of none of its classes
LABEL_SETS = "real"  # no images, but other labels for ImageNet's validation images
PUBLISHED_CLASSES = {  # how many classes the published sets have
    "imagenet-a": 200,
    "imagenet-r": 200,
    OUT_OF_DISTRIBUTION: 200,
    "imagenet-sketch": 1000,
    "imagenetv2": 1000,
}
_SET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*=.+", re.DOTALL)


class EvaluationSettings(Settings):
    """Which robustness is measured, on images made from the held-out ones or on published ones, and how."""

    suite: tuple[Suite, ...] = Field(
        (),
        description="what is measured of every scored model: clean accuracy (which is always there), calibration, "
        "corruptions (ImageNet-C's), perturbations (ImageNet-P's sequences), natural (shifted sets), attacks (FGSM, "
        "PGD and, with autoattack, AutoAttack)",
    )
    max_images: Annotated[int, Field(ge=0)] = Field(
        0, description="images that are taken for the suite, evenly spread; 0 = all"
    )
    corruptions: tuple[str, ...] = Field(
        (), description="corruptions by name; empty: those of ImageNet-C's 15 that can be had"
    )
    severities: tuple[Annotated[int, Field(ge=1, le=5)], ...] = Field(
        (1, 2, 3, 4, 5), min_length=1, description="severities of the corruptions, 1 to 5"
    )
    strengths_for: Literal["auto", 32, 64, 224, 299] = Field(
        "auto",
        description="which published strengths corruptions and perturbations are made with: for images of so many "
        "pixels; auto: the nearest",
    )
    frost_textures: str = Field(
        "",
        description="a folder of photographs of frost; empty: those of the package imagecorruptions-imaug, if "
        "installed",
    )
    corruptions_dir: str = Field(
        "",
        description="a folder of images that were corrupted already, as ImageNet-C, Tiny-ImageNet-C, CIFAR-10-C and "
        "CIFAR-100-C are published; empty: they are made from the source",
    )
    perturbations_dir: str = Field(
        "",
        description="a folder of sequences that were made already, as ImageNet-P, Tiny-ImageNet-P and CIFAR-10-P are "
        "published; empty: they are made from the source",
    )
    baseline: str = Field(
        "",
        description="the robustness.json of a classifier, measured the same way, that is to have 100 percent; its "
        "errors and flips then divide",
    )
    perturbations: tuple[str, ...] = Field(
        (), description="perturbations by name; empty: those of ImageNet-P's 10 that can be had"
    )
    difficulty: Annotated[int, Field(ge=1, le=3)] = Field(
        1, description="of the perturbations; published means are of 1"
    )
    natural: tuple[str, ...] = Field(
        (),
        description="naturally shifted sets, each as NAME=PLACE: imagenet-a, imagenet-r, imagenet-o, imagenet-sketch, "
        "imagenetv2 or a name of your own, with a labeled source; real=FILE with the source's reassessed labels",
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
    restarts: Annotated[int, Field(ge=1)] = Field(1, description="random starts of PGD; 1 begins at the image itself")
    autoattack: bool = Field(
        False,
        description="also AutoAttack's standard version, by its authors' package: minutes to hours, so take "
        "evaluation.max_images",
    )
    seed: Annotated[int, Field(ge=0)] = Field(0, description="seed of corruptions, perturbations and random starts")

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        for name in ("suite", "corruptions", "severities", "perturbations", "epsilons"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name} holds a value twice: {', '.join(map(str, values))}; give each once")
        return self

    @model_validator(mode="after")
    def _sets_that_are_measured(self) -> Self:
        for each in self.natural:
            if not _SET.fullmatch(each):
                raise ValueError(
                    f"natural holds {each!r}, which is not NAME=PLACE, such as imagenet-a=/data/imagenet-a; a name has "
                    'letters, digits, dots, hyphens and underscores; a place with a comma is written ["NAME=PLACE"]'
                )
        names = [each.partition("=")[0] for each in self.natural]
        for name in names:
            meant = {_letters(known): known for known in (*PUBLISHED_CLASSES, LABEL_SETS)}.get(_letters(name), name)
            if name != meant:
                raise ValueError(f"natural names {name!r}; write {meant}, by which its own way of scoring is known")
        if len(set(names)) < len(names):
            raise ValueError(f"natural names a set twice: {', '.join(names)}; give each a name of its own")
        if self.natural and "natural" not in self.suite:
            raise ValueError(
                "natural names sets, and the suite has no natural; add natural to evaluation.suite, or leave them out"
            )
        if "natural" in self.suite and not self.natural:
            raise ValueError(
                "natural is in the suite, and no set is given; give them as evaluation.natural NAME=PLACE, such as "
                "imagenet-a=/data/imagenet-a"
            )
        return self

    @property
    def natural_places(self) -> dict[str, str]:
        """The place of each naturally shifted set, by name."""
        return {name: place for name, _, place in (each.partition("=") for each in self.natural)}


def _letters(name: str) -> str:
    """A name without the signs and capitals in which its spellings differ."""
    return re.sub("[^a-z0-9]", "", name.lower())
