"""Settings that have an effect only while others say so: what the user gives without effect is refused, not ignored.

Values that recipes set, and values that are the defaults anyway, are never refused.
"""

from __future__ import annotations

from collections.abc import Collection

from noisystudent.condition import LEARNING as _LEARNING
from noisystudent.condition import RUN as _RUN
from noisystudent.condition import TRAINING as _TRAINING
from noisystudent.condition import (
    Condition,
    has_teacher_term,
    has_trained_weights,
    is_given,
    is_in_suite,
    is_one_of,
    models_of_students,
    names_in,
)
from noisystudent.losses.settings import METHODS_WITH
from noisystudent.models.settings import NO_BACKBONE
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
    "online.",
    "model.students",
    "model.family",
    "rounds.rollback_p",
    "rounds.joint",
    "runtime.compile",
)
"""Settings that only the training of a network uses: names, and prefixes of sections."""


def for_network(names: Collection[str]) -> list[str]:
    """The settings among ``names`` that only the training of a network uses."""
    sections = tuple(name for name in NOT_FOR_HEADS if name.endswith("."))
    return sorted(
        name for name in names if (name in NOT_FOR_HEADS or name.startswith(sections)) and name != "train.ratio"
    )


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
        names_in("train", "layer_decay", "batch_norm"),
        "weights that were trained before: a model.backbone, model.pretrained true or train.warm_start true",
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

_EVALUATION = (
    Condition(
        _MEASURING,
        names_in("evaluation", "corruptions", "severities", "corruptions_dir", "frost_textures"),
        "corruptions in evaluation.suite",
        is_in_suite("corruptions"),
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
        "corruptions or perturbations in evaluation.suite",
        is_in_suite("corruptions", "perturbations"),
    ),
    Condition(
        _MEASURING,
        names_in("evaluation", "epsilons", "norm", "attack_steps", "step_size", "restarts", "autoattack"),
        "attacks in evaluation.suite",
        is_in_suite("attacks"),
    ),
    Condition(
        _MEASURING,
        names_in("evaluation", "seed"),
        "corruptions, perturbations or attacks in evaluation.suite",
        is_in_suite("corruptions", "perturbations", "attacks"),
    ),
)

_DISTILLATION = (
    Condition(
        (*_RUN, "distill"),
        names_in("distillation", "dkd_alpha", "dkd_beta"),
        "distillation.method dkd",
        is_one_of("distillation.method", "dkd"),
    ),
    Condition(
        (*_RUN, "distill"),
        names_in("distillation", "dist_beta", "dist_gamma"),
        "distillation.method dist",
        is_one_of("distillation.method", "dist"),
    ),
    Condition(
        (*_RUN, "distill"),
        names_in("distillation", "true_class_probability", "tempering"),
        "distillation.method virtual_teacher or matched_smoothing",
        is_one_of("distillation.method", "virtual_teacher", "matched_smoothing"),
    ),
    Condition(
        (*_RUN, "distill"),
        names_in("distillation", "temperature", "reduction"),
        "a distillation.method other than hard and confidence_penalty",
        lambda given: given["distillation.method"] not in ("hard", "confidence_penalty"),
    ),
    Condition(
        (*_RUN, "distill"),
        names_in("distillation", "scale_by_t_squared"),
        "distillation.method kd, dkd, dist, standardized_kd or virtual_teacher",
        is_one_of("distillation.method", "kd", "dkd", "dist", "standardized_kd", "virtual_teacher"),
    ),
    Condition(
        (*_RUN, "distill"),
        names_in("distillation", "teacher_logits"),
        "a distillation.method with a teacher, and distillation.soft_weight above 0",
        has_teacher_term,
    ),
    Condition(
        (*_RUN, "distill"),
        names_in("distillation", "cache"),
        "distillation.teacher_logits cached_views",
        is_one_of("distillation.teacher_logits", "cached_views"),
    ),
    Condition(
        ("distill",),
        names_in("distillation", "weights", "mean"),
        "several distillation.teachers",
        lambda given: len(given["distillation.teachers"]) > 1,
    ),
    Condition(
        _RUN,
        names_in("objective", "labels", "temperature", "weighting"),
        "distillation.method none",
        is_one_of("distillation.method", "none"),
    ),
    Condition(
        ("distill",),
        ("distillation.hard_weight",),
        "labeled images (--labeled)",
        lambda given: bool(given["labeled"]) or given["distillation.hard_weight"] == 0,
    ),
    Condition(("distill",), ("train.ratio",), "labeled and unlabeled images", is_given("labeled", "unlabeled")),
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

_STUDENTS = (
    Condition(
        ("train",),
        (*names_in("objective", "labels", "temperature", "weighting"), "train.ratio", "model.students"),
        "a student, which learns from --unlabeled, --predictions and --selection",
        is_given("unlabeled"),
    ),
    Condition(
        ("train", "distill"),
        names_in("data", "streaming", "window"),
        "unlabeled images (--unlabeled)",
        is_given("unlabeled"),
    ),
    Condition(("distill",), ("data.unlabeled_share",), "unlabeled images (--unlabeled)", is_given("unlabeled")),
    Condition(
        (*_RUN, "train"),
        names_in("objective", "temperature"),
        "objective.labels soft or auto",
        is_one_of("objective.labels", "soft", "auto"),
    ),
    Condition(
        _RUN,
        names_in("model", "students", "family"),
        "at least as many rounds (rounds.count), the online student counted, as there are models of students",
        lambda given: models_of_students(given) <= given["rounds.count"] + (given["online.method"] != "none"),
    ),
    Condition(_RUN, ("rounds.joint",), "distillation.method none", is_one_of("distillation.method", "none")),
    Condition(
        _RUN,
        ("objective.weighting",),
        "rounds.joint true, which adds two losses up",
        is_one_of("rounds.joint", True),
    ),
    Condition(_RUN, ("selection.once",), "a rounds.count above 1", lambda given: given["rounds.count"] > 1),
    Condition(
        _SELECTING, ("selection.fraction",), "selection.rule curriculum", is_one_of("selection.rule", "curriculum")
    ),
    Condition(
        _SELECTING,
        names_in("selection", "per_class", "max_copies"),
        "selection.rule threshold",
        is_one_of("selection.rule", "threshold"),
    ),
    Condition(
        _SELECTING,
        ("selection.max_copies",),
        "a selection.per_class other than none",
        lambda given: given["selection.per_class"] != "none",
    ),
)

_ONLINE = (
    Condition(
        _LEARNING,
        ("online.",),
        "online.method",
        lambda given: given["online.method"] != "none",
        ("online.method",),
    ),
    Condition(("train",), ("online.method",), "unlabeled images (--unlabeled)", is_given("unlabeled")),
    *(
        Condition(
            _LEARNING,
            (f"online.{name}",),
            f"online.method {' or '.join(methods)}",
            is_one_of("online.method", *methods),
        )
        for name, methods in METHODS_WITH.items()
    ),
    Condition(
        _LEARNING,
        ("online.momentum",),
        "online.method freematch or softmatch, or online.alignment uniform or labeled",
        lambda given: (
            given["online.method"] in ("freematch", "softmatch") or given["online.alignment"] in ("uniform", "labeled")
        ),
    ),
    Condition(_LEARNING, ("online.temperature",), "online.labels soft", is_one_of("online.labels", "soft")),
    Condition(_RUN, ("distillation.",), "online.method none", is_one_of("online.method", "none")),
    Condition(
        _LEARNING, names_in("noise", "mixup", "cutmix"), "online.method none", is_one_of("online.method", "none")
    ),
    Condition(
        _RUN,
        ("selection.", "noise.teacher", *names_in("objective", "labels", "temperature", "weighting")),
        "a rounds.count above 0",
        lambda given: given["rounds.count"] > 0,
    ),
    Condition(
        ("train",),
        names_in("objective", "labels", "temperature", "weighting"),
        "online.method none",
        is_one_of("online.method", "none"),
    ),
)

_DATA = (
    Condition(
        _TRAINING,
        names_in("data", "validation_fraction", "few_labels", "few_labels_beside_test"),
        "labels of its own to set aside, so without --validation",
        lambda given: not given["validation"],
    ),
    Condition(
        _TRAINING,
        names_in("data", "few_labels", "few_labels_beside_test"),
        "a data.validation_fraction above 0",
        lambda given: given["data.validation_fraction"] > 0,
    ),
    Condition(_TRAINING, ("data.few_labels",), "no test source", lambda given: not given["test"]),
    Condition(_TRAINING, ("data.few_labels_beside_test",), "a test source (--test)", is_given("test")),
    Condition(
        (*_RUN, "train"),
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
    *_TUNE,
    *_TRAINED_WEIGHTS,
    *_STATISTICS,
    *_EVALUATION,
    *_DISTILLATION,
    *_BATCHES,
    *_STUDENTS,
    *_ONLINE,
    *_DATA,
    *NOISE_CONDITIONS,
)
