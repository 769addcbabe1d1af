"""Conditions under which settings of the noise have an effect."""

from __future__ import annotations

from collections.abc import Callable

from noisystudent.condition import NOISING, TRAINING, Condition, Values, is_given, is_one_of, names_in


def _draws(operations: str) -> Callable[[Values], bool]:
    def is_met(given: Values) -> bool:
        chosen = given["noise.operations"]
        with_pixels = given["noise.policy"] in ("graded", "paper", "released")
        return with_pixels and (not chosen or any(name.startswith(operations) for name in chosen))

    return is_met


def _of_unlabeled(given: Values, name: str) -> object:
    """What a setting of the input noise is for unlabeled images."""
    own = given[f"noise.unlabeled.{name}"]
    return given[f"noise.{name}"] if own == "same" else own


def _on_some_images(name: str, has_effect: Callable[[object], bool]) -> Callable[[Values], bool]:
    """Whether a setting of the input noise has some value for labeled or for unlabeled images."""
    return lambda given: has_effect(given[f"noise.{name}"]) or has_effect(_of_unlabeled(given, name))


_has_strength = _on_some_images("strength", lambda strength: strength != 0)
_OF_STRENGTH = (
    "pad", "resized_area", "interpolation", "crop_last", "policy", "layers", "magnitude", "operations", "translation",
    "cutout", "pixel_reference",
)  # fmt: skip

_OF_ALL = (
    Condition(TRAINING, ("noise.strengths",), "noise.strength auto", is_one_of("noise.strength", "auto")),
    Condition(
        (*TRAINING, "label"),
        names_in("noise", *_OF_STRENGTH),
        "a noise.strength above 0",
        _has_strength,
    ),
    Condition(
        (*TRAINING, "label"),
        ("noise.crop",),
        "a noise.strength above 0",
        lambda given: _has_strength(given) or given["noise.crop"] == "none",
    ),
    Condition(
        NOISING,
        ("noise.pad",),
        "noise.crop pad or auto",
        _on_some_images("crop", lambda crop: crop in ("pad", "auto")),
    ),
    Condition(
        NOISING,
        names_in("noise", "resized_area", "interpolation"),
        "noise.crop resized or auto",
        _on_some_images("crop", lambda crop: crop in ("resized", "auto")),
    ),
    Condition(
        TRAINING,
        ("noise.mixing",),
        "a noise.mixup or noise.cutmix above 0",
        lambda given: given["noise.mixup"] > 0 or given["noise.cutmix"] > 0 or given["train.rule"] == "bit",
    ),
    Condition(
        (*TRAINING, "label"),
        names_in("noise", "policy", "layers", "magnitude", "operations", "translation", "cutout", "pixel_reference"),
        "noise.randaugment true",
        _on_some_images("randaugment", bool),
    ),
    Condition(
        NOISING,
        ("noise.translation",),
        "noise.policy graded, paper or released, and its translations",
        _draws("Translate"),
    ),
    Condition(NOISING, ("noise.cutout",), "noise.policy graded, paper or released, and its Cutout", _draws("Cutout")),
    Condition(
        NOISING,
        ("noise.pixel_reference",),
        "noise.policy graded, paper or released, and its translations or Cutout",
        lambda given: _draws("Translate")(given) or _draws("Cutout")(given),
    ),
)

_OF_UNLABELED = (
    Condition(
        ("train", "distill"),
        ("noise.unlabeled.",),
        "labeled and unlabeled images in one batch",
        is_given("labeled", "unlabeled"),
    ),
    Condition(
        ("run", "plan"),
        ("noise.unlabeled.",),
        "a rounds.count above 0, whose students learn from pseudo labels",
        lambda given: given["rounds.count"] > 0,
    ),
    Condition(
        ("train",),
        ("noise.unlabeled.",),
        "online.method none, which has two views of its own",
        is_one_of("online.method", "none"),
    ),
    Condition(
        TRAINING,
        names_in("noise.unlabeled", "crop", "randaugment", "magnitude"),
        "a noise.unlabeled.strength above 0",
        lambda given: _of_unlabeled(given, "strength") != 0,
    ),
    Condition(
        TRAINING,
        names_in("noise.unlabeled", "magnitude"),
        "noise.unlabeled.randaugment true",
        lambda given: bool(_of_unlabeled(given, "randaugment")),
    ),
    Condition(NOISING, ("noise.crop_last",), "noise.crop pad", _on_some_images("crop", lambda crop: crop == "pad")),
)

NOISE_CONDITIONS = (*_OF_ALL, *_OF_UNLABELED)
