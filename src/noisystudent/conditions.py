"""Settings that have an effect only while others say so: what the user gives without effect is refused, not ignored.

Values that recipes set, and values that are the defaults anyway, are never refused.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from noisystudent.condition import RUN as _RUN
from noisystudent.condition import TRAINING as _TRAINING
from noisystudent.condition import Condition, Values
from noisystudent.condition import are_given as _given
from noisystudent.condition import is_one_of as _is
from noisystudent.condition import names as _names
from noisystudent.models.settings import NO_BACKBONE, family_members
from noisystudent.noise_conditions import NOISE_CONDITIONS

_MEASURING = (*_RUN, "distill", "robustness", "compare")
_SELECTING = (*_RUN, "select")

NOT_FOR_HEADS = (
    "train.",  # but train.ratio
    "noise.teacher",
    "noise.dropout",
    "noise.stochastic_depth",
    "noise.mixup",
    "noise.cutmix",
    "noise.unlabeled.",
    "model.batch_norm_momentum",
    "objective.weighting",
    "distillation.",
    "model.students",
    "model.family",
    "rounds.rollback_p",
    "runtime.compile",
)
"""Settings that only the training of a network uses: names, and prefixes of sections."""


def for_network(names: Collection[str]) -> list[str]:
    """The settings among ``names`` that only the training of a network uses."""
    sections = tuple(name for name in NOT_FOR_HEADS if name.endswith("."))
    return sorted(
        name for name in names if (name in NOT_FOR_HEADS or name.startswith(sections)) and name != "train.ratio"
    )


def _in_suite(*measures: str) -> Callable[[Values], bool]:
    return lambda given: any(measure in given["evaluation.suite"] for measure in measures)


def _models_of_students(given: Values) -> int:
    if given["model.family"]:
        return len(family_members(given["model.family"])) - 1
    return len(given["model.students"])


def _has_teacher_term(given: Values) -> bool:
    methods = ("kd", "dkd", "dist", "standardized_kd", "hard")
    return given["distillation.method"] in methods and given["distillation.soft_weight"] > 0


def _has_trained_weights(given: Values) -> bool:
    return given["model.backbone"] != NO_BACKBONE or given["model.pretrained"] is True


_SECTIONS = (
    Condition(
        ("label",), ("runtime.engine",), "noise.teacher false, because onnx has no noise", _is("noise.teacher", False)
    ),
    Condition(("label",), ("noise.",), "noise.teacher true", _given("noise.teacher"), ("noise.teacher",)),
    Condition(
        _MEASURING,
        ("evaluation.",),
        "evaluation.suite, the benchmarks to run",
        _given("evaluation.suite"),
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

_TUNE = (
    Condition(
        _TRAINING,
        ("model.tune",),
        "model.backbone, the weights that it tunes",
        lambda given: given["model.backbone"] != NO_BACKBONE,
    ),
    Condition(
        _RUN,
        ("head.",),
        "model.tune head (or auto) and a model.backbone",
        lambda given: given["model.tune"] in ("auto", "head") and given["model.backbone"] != NO_BACKBONE,
    ),
    Condition(
        _RUN,
        ("runtime.engine",),
        "model.tune head, whose features it computes",
        _is("model.tune", "head"),
    ),
    Condition(
        _RUN,
        NOT_FOR_HEADS,
        "model.tune all or last:N, which train a network",
        lambda given: given["model.tune"] != "head",
        ("train.ratio",),
    ),
)

_TRAINED_WEIGHTS = (
    Condition(
        _TRAINING,
        ("train.head_start",),
        "a model.backbone, on whose features the head is fitted",
        lambda given: given["model.backbone"] != NO_BACKBONE,
    ),
    Condition(
        _RUN,
        _names("train", "layer_decay", "batch_norm"),
        "weights that were trained before: a model.backbone, model.pretrained true or train.warm_start true",
        lambda given: _has_trained_weights(given) or given["train.warm_start"],
    ),
    Condition(
        ("train",),
        _names("train", "layer_decay", "batch_norm"),
        "weights that were trained before: a model.backbone or model.pretrained true",
        _has_trained_weights,
    ),
    Condition(
        ("distill",),
        _names("train", "layer_decay", "batch_norm"),
        "weights that were trained before: a model.backbone, model.pretrained true or a checkpoint as student "
        "(./FOLDER)",
        lambda given: _has_trained_weights(given) or any("/" in name for name in given["distillation.students"]),
    ),
)

_STATISTICS = (
    Condition(
        _TRAINING,
        ("model.batch_norm_momentum",),
        "statistics that training changes: train.batch_norm batch, or auto without pretrained weights",
        lambda given: (
            given["train.batch_norm"] == "batch"
            or (given["train.batch_norm"] == "auto" and not _has_trained_weights(given))
        ),
    ),
)

_EVALUATION = (
    Condition(
        _MEASURING,
        _names("evaluation", "corruptions", "severities", "corruptions_dir", "frost_textures"),
        "corruptions in evaluation.suite",
        _in_suite("corruptions"),
    ),
    Condition(
        _MEASURING,
        _names("evaluation", "perturbations", "difficulty", "perturbations_dir"),
        "perturbations in evaluation.suite",
        _in_suite("perturbations"),
    ),
    Condition(
        _MEASURING,
        ("evaluation.strengths_for",),
        "corruptions or perturbations in evaluation.suite",
        _in_suite("corruptions", "perturbations"),
    ),
    Condition(
        _MEASURING,
        _names("evaluation", "epsilons", "norm", "attack_steps", "step_size", "restarts", "autoattack"),
        "attacks in evaluation.suite",
        _in_suite("attacks"),
    ),
    Condition(
        _MEASURING,
        _names("evaluation", "seed"),
        "corruptions, perturbations or attacks in evaluation.suite",
        _in_suite("corruptions", "perturbations", "attacks"),
    ),
)

_DISTILLATION = (
    Condition(
        (*_RUN, "distill"),
        _names("distillation", "dkd_alpha", "dkd_beta"),
        "distillation.method dkd",
        _is("distillation.method", "dkd"),
    ),
    Condition(
        (*_RUN, "distill"),
        _names("distillation", "dist_beta", "dist_gamma"),
        "distillation.method dist",
        _is("distillation.method", "dist"),
    ),
    Condition(
        (*_RUN, "distill"),
        _names("distillation", "true_class_probability", "tempering"),
        "distillation.method virtual_teacher or matched_smoothing",
        _is("distillation.method", "virtual_teacher", "matched_smoothing"),
    ),
    Condition(
        (*_RUN, "distill"),
        _names("distillation", "temperature", "reduction"),
        "a distillation.method other than hard and confidence_penalty",
        lambda given: given["distillation.method"] not in ("hard", "confidence_penalty"),
    ),
    Condition(
        (*_RUN, "distill"),
        _names("distillation", "scale_by_t_squared"),
        "distillation.method kd, dkd, dist, standardized_kd or virtual_teacher",
        _is("distillation.method", "kd", "dkd", "dist", "standardized_kd", "virtual_teacher"),
    ),
    Condition(
        (*_RUN, "distill"),
        _names("distillation", "teacher_logits"),
        "a distillation.method with a teacher, and distillation.soft_weight above 0",
        _has_teacher_term,
    ),
    Condition(
        (*_RUN, "distill"),
        _names("distillation", "cache"),
        "distillation.teacher_logits cached_views",
        _is("distillation.teacher_logits", "cached_views"),
    ),
    Condition(
        ("distill",),
        _names("distillation", "weights", "mean"),
        "several distillation.teachers",
        lambda given: len(given["distillation.teachers"]) > 1,
    ),
    Condition(
        _RUN,
        _names("objective", "labels", "temperature", "weighting"),
        "distillation.method none",
        _is("distillation.method", "none"),
    ),
    Condition(
        ("distill",),
        ("distillation.hard_weight",),
        "labeled images (--labeled)",
        lambda given: bool(given["labeled"]) or given["distillation.hard_weight"] == 0,
    ),
    Condition(("distill",), ("train.ratio",), "labeled and unlabeled images", _given("labeled", "unlabeled")),
)

_BATCHES = (
    Condition(("train",), ("train.batch",), "a student, which learns from --unlabeled", _given("unlabeled")),
    Condition(("distill",), ("train.batch",), "labeled and unlabeled images", _given("labeled", "unlabeled")),
    Condition(
        _TRAINING,
        ("train.epochs",),
        "labeled images and, beside unlabeled ones, train.batch labeled, so that all stages show a label as often",
        lambda given: bool(given["labeled"]) and (not given["unlabeled"] or given["train.batch"] == "labeled"),
    ),
    Condition(("distill",), ("train.rate_per_256",), "labeled images (--labeled)", _given("labeled")),
    Condition(
        _RUN,
        ("rounds.control",),
        "train.batch labeled and train.warm_start false, where as many samples are not as many steps",
        lambda given: given["train.batch"] == "labeled" and not given["train.warm_start"],
    ),
    Condition(_RUN, ("rounds.control",), "a rounds.controls above 0", lambda given: given["rounds.controls"] > 0),
)

_STUDENTS = (
    Condition(
        ("train",),
        (*_names("objective", "labels", "temperature", "weighting"), "train.ratio", "model.students"),
        "a student, which learns from --unlabeled, --predictions and --selection",
        _given("unlabeled"),
    ),
    Condition(
        ("train", "distill"),
        _names("data", "streaming", "window"),
        "unlabeled images (--unlabeled)",
        _given("unlabeled"),
    ),
    Condition(("distill",), ("data.unlabeled_share",), "unlabeled images (--unlabeled)", _given("unlabeled")),
    Condition(
        (*_RUN, "train"),
        _names("objective", "temperature"),
        "objective.labels soft or auto",
        _is("objective.labels", "soft", "auto"),
    ),
    Condition(
        _RUN,
        _names("model", "students", "family"),
        "at least as many rounds (rounds.count) as there are models of students",
        lambda given: _models_of_students(given) <= given["rounds.count"],
    ),
    Condition(_RUN, ("selection.once",), "a rounds.count above 1", lambda given: given["rounds.count"] > 1),
    Condition(_SELECTING, ("selection.fraction",), "selection.rule curriculum", _is("selection.rule", "curriculum")),
    Condition(
        _SELECTING,
        _names("selection", "per_class", "max_copies"),
        "selection.rule threshold",
        _is("selection.rule", "threshold"),
    ),
    Condition(
        _SELECTING,
        ("selection.max_copies",),
        "a selection.per_class other than none",
        lambda given: given["selection.per_class"] != "none",
    ),
)

_DATA = (
    Condition(
        _TRAINING,
        _names("data", "validation_fraction", "few_labels", "few_labels_beside_test"),
        "labels of its own to set aside, so without --validation",
        lambda given: not given["validation"],
    ),
    Condition(
        _TRAINING,
        _names("data", "few_labels", "few_labels_beside_test"),
        "a data.validation_fraction above 0",
        lambda given: given["data.validation_fraction"] > 0,
    ),
    Condition(_TRAINING, ("data.few_labels",), "no test source", lambda given: not given["test"]),
    Condition(_TRAINING, ("data.few_labels_beside_test",), "a test source (--test)", _given("test")),
    Condition(
        (*_RUN, "train"),
        ("data.window",),
        "data.streaming auto or always",
        _is("data.streaming", "auto", "always"),
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
    *_TUNE,
    *_TRAINED_WEIGHTS,
    *_STATISTICS,
    *_EVALUATION,
    *_DISTILLATION,
    *_BATCHES,
    *_STUDENTS,
    *_DATA,
    *NOISE_CONDITIONS,
)
