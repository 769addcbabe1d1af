"""Settings of the robustness benchmarks."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from noisystudent.settings import Settings

Suite = Literal["clean", "calibration", "corruptions", "perturbations", "natural", "attacks"]
Epsilon = Annotated[float, Field(ge=0, le=255)]

OUT_OF_DISTRIBUTION = "imagenet-o"  # its images belong to none of its classes
LABEL_SETS = "real"  # other labels for ImageNet's validation images, without images
PUBLISHED_CLASSES = {  # number of classes of each published set
    "imagenet-a": 200,
    "imagenet-r": 200,
    OUT_OF_DISTRIBUTION: 200,
    "imagenet-sketch": 1000,
    "imagenetv2": 1000,
}
_SET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*=.+", re.DOTALL)


class EvaluationSettings(Settings):
    """The robustness benchmarks to run, on images generated from held-out ones or on published sets."""

    suite: tuple[Suite, ...] = Field(
        (),
        description="benchmarks for every evaluated model: clean (accuracy, always included), calibration, "
        "corruptions (as in ImageNet-C), perturbations (sequences as in ImageNet-P), natural (naturally shifted sets), "
        "attacks (FGSM, PGD and, with autoattack, AutoAttack)",
    )
    max_images: Annotated[int, Field(ge=0)] = Field(
        0, description="number of images to evaluate, evenly spread over each source; 0 = all"
    )
    corruptions: tuple[str, ...] = Field(
        (), description="corruptions by name; empty: all of ImageNet-C's 15 that are available"
    )
    severities: tuple[Annotated[int, Field(ge=1, le=5)], ...] = Field(
        (1, 2, 3, 4, 5), min_length=1, description="severities of the corruptions, from 1 to 5"
    )
    strengths_for: Literal["auto", 32, 64, 224, 299] = Field(
        "auto",
        description="image size in pixels whose published strengths are used to generate corruptions and "
        "perturbations; auto: the size nearest to the model's",
    )
    frost_textures: str = Field(
        "",
        description="folder with photographs of frost for the corruption frost; empty: those of the package "
        "imagecorruptions-imaug, if it is installed",
    )
    corruptions_dir: str = Field(
        "",
        description="folder with a published set of corrupted images: ImageNet-C, Tiny-ImageNet-C, CIFAR-10-C or "
        "CIFAR-100-C; empty: corruptions are generated from the source",
    )
    perturbations_dir: str = Field(
        "",
        description="folder with a published set of perturbation sequences: ImageNet-P, Tiny-ImageNet-P or CIFAR-10-P; "
        "empty: sequences are generated from the source",
    )
    baseline: str = Field(
        "",
        description="path to a reference model's robustness.json; results are also reported as a percentage of its "
        "errors and flip rates",
    )
    perturbations: tuple[str, ...] = Field(
        (), description="perturbations by name; empty: all of ImageNet-P's 10 that are available"
    )
    difficulty: Annotated[int, Field(ge=1, le=3)] = Field(
        1, description="difficulty of the perturbations, from 1 to 3; published means use 1"
    )
    natural: tuple[str, ...] = Field(
        (),
        description="naturally shifted sets, each as NAME=SOURCE: imagenet-a, imagenet-r, imagenet-o, imagenet-sketch, "
        "imagenetv2 or any other name, with a labeled source; real=FILE: reassessed labels of ImageNet's validation "
        "images",
    )
    epsilons: tuple[Epsilon, ...] = Field(
        (0.5, 1.0, 2.0, 4.0, 8.0),
        min_length=1,
        description="largest changes per pixel that attacks may make, in steps of 1/255",
    )
    norm: Literal["linf", "l2"] = Field(
        "linf",
        description="linf: epsilon bounds the change of every pixel value; l2: the Euclidean length of the change is "
        "at most epsilon / 255 times the square root of the number of pixel values",
    )
    attack_steps: Annotated[int, Field(ge=1)] = Field(10, description="PGD steps")
    step_size: Literal["auto"] | Annotated[float, Field(gt=0)] = Field(
        "auto", description="PGD step size as a fraction of epsilon; auto: 2.5 / attack_steps"
    )
    restarts: Annotated[int, Field(ge=1)] = Field(
        1, description="random starts of PGD, of which the worst result counts; 1: start at the image itself"
    )
    autoattack: bool = Field(
        False,
        description="also run AutoAttack's standard version, from its authors' package; it takes minutes to hours, so "
        "set evaluation.max_images",
    )
    seed: Annotated[int, Field(ge=0)] = Field(
        0, description="seed of corruptions, perturbations and random starts of attacks"
    )

    @model_validator(mode="after")
    def _no_duplicates(self) -> Self:
        for name in ("suite", "corruptions", "severities", "perturbations", "epsilons"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name} holds a value twice: {', '.join(map(str, values))}; give each value once")
        return self

    @model_validator(mode="after")
    def _valid_natural_sets(self) -> Self:
        for entry in self.natural:
            if not _SET.fullmatch(entry):
                raise ValueError(
                    f"natural holds {entry!r}, which is not NAME=SOURCE, such as imagenet-a=/data/imagenet-a; a name "
                    "has letters, digits, dots, hyphens and underscores; write a source with a comma as "
                    '["NAME=SOURCE"]'
                )
        names = [entry.partition("=")[0] for entry in self.natural]
        spellings = {_normalize_name(name): name for name in (*PUBLISHED_CLASSES, LABEL_SETS)}
        for name in names:
            expected = spellings.get(_normalize_name(name), name)
            if name != expected:
                raise ValueError(f"natural names {name!r}; write {expected}, the name that its scoring depends on")
        if len(set(names)) < len(names):
            raise ValueError(f"natural names a set twice: {', '.join(names)}; give each set a different name")
        if self.natural and "natural" not in self.suite:
            raise ValueError(
                "natural names sets, but natural is not in the suite; add natural to evaluation.suite, or remove the "
                "sets"
            )
        if "natural" in self.suite and not self.natural:
            raise ValueError(
                "natural is in the suite, but no set is given; give sets as evaluation.natural NAME=SOURCE, such as "
                "imagenet-a=/data/imagenet-a"
            )
        return self

    @property
    def natural_sources(self) -> dict[str, str]:
        """The source of each naturally shifted set, by name."""
        return {name: source for name, _, source in (entry.partition("=") for entry in self.natural)}


def _normalize_name(name: str) -> str:
    """A name in lower case, letters and digits only: what its spellings have in common."""
    return re.sub("[^a-z0-9]", "", name.lower())
