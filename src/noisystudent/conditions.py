"""Settings that have an effect only while others say so: what the user gives without effect is refused, not ignored.

Values that recipes set, and values that are the defaults anyway, are never refused.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from noisystudent.condition import RUN as _RUN
from noisystudent.condition import TRAINING as _TRAINING
from noisystudent.condition import (
    Condition,
    Values,
    has_trained_weights,
    is_given,
    is_in_suite,
    is_one_of,
    is_pretrained_here,
    names_in,
)
from noisystudent.models.settings import AUTO_BACKBONE, NO_BACKBONE
from noisystudent.noise_conditions import NOISE_CONDITIONS
from noisystudent.student_conditions import STUDENT_CONDITIONS

_MEASURING = (*_RUN, "distill", "robustness", "compare")

OF_ROUNDS = (
    "train.warm_start",
    "noise.teacher",
    "noise.unlabeled.",
    "selection.neighbors",
    "objective.weighting",
    "distillation.",
    "online.",
    "fix.",
    "pretraining.",
    "model.students",
    "model.family",
    "rounds.worse_p",
    "rounds.joint",
    "rounds.teachers",
)
"""Settings that only rounds of networks use: names, and prefixes of sections."""
OF_TRAINING = (
    "train.",  # but train.ratio
    "noise.dropout",
    "noise.stochastic_depth",
    "noise.mixup",
    "noise.cutmix",
    "noise.mixing",
    "model.batch_norm_momentum",
    "runtime.compile",
)
"""Settings that only the training of a network uses, be it a head's small student: names, and prefixes of sections."""


def for_network(names: Collection[str]) -> list[str]:
    """The settings among ``names`` that only rounds of networks use, not those on the features of a frozen one."""
    foreign = OF_ROUNDS if "head.student" in names else OF_ROUNDS + OF_TRAINING
    sections = tuple(name for name in foreign if name.endswith("."))
    return sorted(name for name in names if (name in foreign or name.startswith(sections)) and name != "train.ratio")


_SECTIONS = (
    Condition(
        ("label",),
        ("runtime.engine",),
        "noise.teacher false, because onnx has no noise",
        is_one_of("noise.teacher", False),
    ),
    Condition(("label",), ("noise.",), "noise.teacher true", is_given("noise.teacher"), ("noise.teacher",)),
    Condition(
        _MEASURING,
        ("evaluation.",),
        "evaluation.suite, the benchmarks to run",
        is_given("evaluation.suite"),
        ("evaluation.suite",),
    ),
    Condition(
        _RUN,
        ("distillation.",),
        "distillation.method",
        lambda given: given["distillation.method"] != "none",
        ("distillation.method", "distillation.preset"),
    ),
)

_PRETRAINING = (
    Condition(
        _RUN,
        ("pretraining.",),
        "pretraining.method simclr",
        is_pretrained_here,
        ("pretraining.method",),
    ),
    Condition(
        _RUN,
        ("pretraining.method",),
        "model.backbone none and model.pretrained false, because it makes the weights that models start from",
        is_one_of("model.backbone", NO_BACKBONE),
    ),
)

_TUNE = (
    Condition(
        _TRAINING,
        ("model.pretrained",),
        "model.backbone that is left out, or timm:NAME with the name of the first model",
        lambda given: given["model.backbone"] not in (AUTO_BACKBONE, NO_BACKBONE),
    ),
    Condition(
        _TRAINING,
        ("model.tune",),
        "model.backbone or pretraining.method, the weights that it tunes",
        lambda given: given["model.backbone"] != NO_BACKBONE or is_pretrained_here(given),
    ),
    Condition(
        _RUN,
        ("head.",),
        "model.tune head (or auto), a model.backbone and online.method none",
        lambda given: (
            given["model.tune"] in ("auto", "head")
            and given["model.backbone"] != NO_BACKBONE
            and given["online.method"] == "none"
        ),
    ),
    Condition(
        _RUN,
        ("runtime.engine",),
        "model.tune head, whose features it computes",
        is_one_of("model.tune", "head"),
    ),
    Condition(
        _RUN,
        OF_ROUNDS,
        "model.tune all, last:N or lora, which train a network",
        lambda given: given["model.tune"] != "head",
    ),
    Condition(
        _RUN,
        OF_TRAINING,
        "model.tune all, last:N or lora, which train a network, or a head.student",
        lambda given: given["model.tune"] != "head" or bool(given["head.student"]),
        ("train.ratio", "train.warm_start"),
    ),
)

_TRAINED_WEIGHTS = (
    Condition(
        _TRAINING,
        ("train.head_start",),
        "a model.backbone or pretraining.method, on whose features the head is fitted",
        lambda given: given["model.backbone"] != NO_BACKBONE or is_pretrained_here(given),
    ),
    Condition(
        _RUN,
        names_in("train", "layer_decay", "batch_norm"),
        "weights that were trained before: a model.backbone, pretraining.method, model.pretrained true or "
        "train.warm_start true",
        lambda given: has_trained_weights(given) or given["train.warm_start"],
    ),
    Condition(
        ("train",),
        names_in("train", "layer_decay", "batch_norm"),
        "weights that were trained before: a model.backbone or model.pretrained true",
        has_trained_weights,
    ),
    Condition(
        ("distill",),
        names_in("train", "layer_decay", "batch_norm"),
        "weights that were trained before: a model.backbone, model.pretrained true or a checkpoint as student "
        "(./FOLDER)",
        lambda given: has_trained_weights(given) or any("/" in name for name in given["distillation.students"]),
    ),
)

_STATISTICS = (
    Condition(
        _TRAINING,
        ("model.batch_norm_momentum",),
        "statistics that training changes: train.batch_norm batch, or auto without pretrained weights",
        lambda given: (
            given["train.batch_norm"] == "batch"
            or (given["train.batch_norm"] == "auto" and not has_trained_weights(given))
        ),
    ),
)


def _generates(*measures: str) -> Callable[[Values], bool]:
    """Whether the robustness suite makes the images of one of the measures itself."""
    return lambda given: any(
        measure in given["evaluation.suite"] and not given[f"evaluation.{measure}_dir"] for measure in measures
    )


_EVALUATION = (
    Condition(
        _MEASURING,
        names_in("evaluation", "corruptions", "severities", "corruptions_dir"),
        "corruptions in evaluation.suite",
        is_in_suite("corruptions"),
    ),
    Condition(
        _MEASURING,
        ("evaluation.frost_textures",),
        "corruptions in evaluation.suite that are generated (no evaluation.corruptions_dir)",
        _generates("corruptions"),
    ),
    Condition(
        _MEASURING,
        names_in("evaluation", "perturbations", "difficulty", "perturbations_dir"),
        "perturbations in evaluation.suite",
        is_in_suite("perturbations"),
    ),
    Condition(
        _MEASURING,
        ("evaluation.strengths_for",),
        "corruptions or perturbations in evaluation.suite that are generated (no evaluation.corruptions_dir or "
        "perturbations_dir)",
        _generates("corruptions", "perturbations"),
    ),
    Condition(
        _MEASURING,
        names_in("evaluation", "epsilons", "norm", "attack_steps", "step_size", "restarts", "autoattack"),
        "attacks in evaluation.suite",
        is_in_suite("attacks"),
    ),
    Condition(
        _MEASURING,
        ("evaluation.seed",),
        "attacks in evaluation.suite, or corruptions or perturbations that are generated (no "
        "evaluation.corruptions_dir or perturbations_dir)",
        lambda given: is_in_suite("attacks")(given) or _generates("corruptions", "perturbations")(given),
    ),
)

_SCHEDULE = (
    Condition(_TRAINING, ("train.drops",), "train.schedule steps", is_one_of("train.schedule", "steps")),
    Condition(
        _TRAINING,
        ("train.rule",),
        "weights that were trained before: a model.backbone or model.pretrained true",
        has_trained_weights,
    ),
)

_BATCHES = (
    Condition(("train",), ("train.batch",), "a student, which learns from --unlabeled", is_given("unlabeled")),
    Condition(("distill",), ("train.batch",), "labeled and unlabeled images", is_given("labeled", "unlabeled")),
    Condition(
        _TRAINING,
        ("train.epochs",),
        "labeled images and, beside unlabeled ones, train.batch labeled, so that all stages show a label as often",
        lambda given: bool(given["labeled"]) and (not given["unlabeled"] or given["train.batch"] == "labeled"),
    ),
    Condition(("distill",), ("train.rate_per_256",), "labeled images (--labeled)", is_given("labeled")),
    Condition(
        _RUN,
        ("rounds.control",),
        "train.batch labeled and train.warm_start false, where as many samples are not as many steps",
        lambda given: given["train.batch"] == "labeled" and not given["train.warm_start"],
    ),
    Condition(_RUN, ("rounds.control",), "a rounds.controls above 0", lambda given: given["rounds.controls"] > 0),
)

_FIXING = (*_RUN, "fix")

_FIX = (
    Condition(_RUN, ("fix.",), "fix.size", lambda given: given["fix.size"] != "none", ("fix.size",)),
    Condition(_FIXING, ("fix.norm",), "fix.trains classifier", is_one_of("fix.trains", "classifier")),
    Condition(
        _FIXING,
        names_in("fix", "dropout", "stochastic_depth"),
        "fix.trains last:N, whose blocks they noise",
        lambda given: given["fix.trains"] != "classifier",
    ),
    Condition(_FIXING, ("fix.trained_area",), "fix.size auto", is_one_of("fix.size", "auto")),
)

_READING = (*_TRAINING, "pretrain")
_DATA = (
    Condition(
        _READING,
        ("data.crop",),
        "data.resize aspect; squashed images are seen whole",
        is_one_of("data.resize", "aspect"),
    ),
    Condition(
        _READING,
        names_in("data", "validation_fraction", "few_labels", "few_labels_beside_test"),
        "labels of its own to set aside, so without --validation",
        lambda given: not given["validation"],
    ),
    Condition(
        ("pretrain",),
        names_in("data", "validation_fraction", "few_labels", "few_labels_beside_test"),
        "labeled images (--labeled)",
        is_given("labeled"),
    ),
    Condition(
        _READING,
        names_in("data", "few_labels", "few_labels_beside_test"),
        "a data.validation_fraction above 0",
        lambda given: given["data.validation_fraction"] > 0,
    ),
    Condition(_READING, ("data.few_labels",), "no test source", lambda given: not given["test"]),
    Condition(_READING, ("data.few_labels_beside_test",), "a test source (--test)", is_given("test")),
    Condition(
        (*_RUN, "train", "pretrain"),
        ("data.window",),
        "data.streaming auto or always",
        is_one_of("data.streaming", "auto", "always"),
    ),
    Condition(
        _TRAINING,
        ("train.evaluate_every",),
        "validation images: --validation, or a data.validation_fraction above 0",
        lambda given: bool(given["validation"]) or given["data.validation_fraction"] > 0,
    ),
)

CONDITIONS = (
    *_SECTIONS,
    *_PRETRAINING,
    *_TUNE,
    *_TRAINED_WEIGHTS,
    *_STATISTICS,
    *_EVALUATION,
    *STUDENT_CONDITIONS,
    *_SCHEDULE,
    *_BATCHES,
    *_FIX,
    *_DATA,
    *NOISE_CONDITIONS,
)
