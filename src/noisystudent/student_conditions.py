"""Conditions under which settings of students have an effect: pseudo labels, distillation, online objectives."""

from __future__ import annotations

from noisystudent.condition import LEARNING as _LEARNING
from noisystudent.condition import RUN as _RUN
from noisystudent.condition import (
    Condition,
    has_teacher_term,
    is_given,
    is_one_of,
    models_of_students,
    names_in,
)
from noisystudent.losses.settings import METHODS_WITH

_SELECTING = (*_RUN, "select")

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
        names_in("objective", "labels", "temperature", "weighting", "logit_adjustment"),
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
    Condition(
        ("distill", "pretrain"), ("data.unlabeled_share",), "unlabeled images (--unlabeled)", is_given("unlabeled")
    ),
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
        ("rounds.teachers",),
        "distillation.method none and noise.teacher false, which are for one teacher",
        lambda given: given["distillation.method"] == "none" and not given["noise.teacher"],
    ),
    Condition(
        _RUN,
        ("rounds.teachers",),
        "a rounds.count of at least 2, or of 1 beside a model from elsewhere",
        lambda given: given["rounds.count"] > (given["rounds.teachers"] == ("all",)),
    ),
    Condition(
        _RUN,
        ("objective.weighting",),
        "rounds.joint true, which adds two losses up",
        is_one_of("rounds.joint", True),
    ),
    Condition(
        _RUN,
        names_in("selection", "foreign", "neighbors"),
        "noise.teacher false, because images are compared without noise",
        is_one_of("noise.teacher", False),
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
    Condition(
        _SELECTING,
        ("selection.prior",),
        "classes that are balanced: selection.rule curriculum, or a selection.per_class other than none",
        lambda given: given["selection.rule"] == "curriculum" or given["selection.per_class"] != "none",
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
    Condition(
        _LEARNING,
        ("objective.logit_adjustment",),
        "online.method none",
        is_one_of("online.method", "none"),
    ),
    Condition(("train",), ("online.weak_teacher",), "the command run, whose teacher decides", lambda given: False),
    Condition(_RUN, ("online.weak_teacher",), "rounds.count 0", is_one_of("rounds.count", 0)),
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

STUDENT_CONDITIONS = (*_DISTILLATION, *_STUDENTS, *_ONLINE)
