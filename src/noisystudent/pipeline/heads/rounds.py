"""Noisy Student training on a frozen backbone: heads teach and learn on features that were computed once.

The loop is that of ``pipeline/noisy_student``: teachers label, a noised student learns from both, the student becomes a
teacher. A student sees noised views, its teachers the plain one. A fit is convex and takes seconds, so two heads differ
by what they learned from, and by no luck of training.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from noisystudent.artifacts.typed_json import read_result
from noisystudent.data.images import Images
from noisystudent.data.stratified import single_labels
from noisystudent.display.wording import percent
from noisystudent.models.settings import ModelPlan, plan_teacher
from noisystudent.pipeline.checkpoints import Checkpoint
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.controls import Controls
from noisystudent.pipeline.events import tell_round, tell_teacher
from noisystudent.pipeline.features.cross_fit import choose_head, choose_penalty, folds_of, held_out_answers
from noisystudent.pipeline.features.stage import RunFeatures, compute_features, features_to_label
from noisystudent.pipeline.features.teachers import LEAST, FeatureTeachers, OtherTeachers
from noisystudent.pipeline.heads.checkpoint import head_stage
from noisystudent.pipeline.heads.evidence import calibration_of, cross_fit_student
from noisystudent.pipeline.heads.labels import fit_student, head_fingerprint, label_and_select, student_inputs
from noisystudent.pipeline.heads.small_student import check_small_student, train_small_student
from noisystudent.pipeline.labels.class_shares import CLASS_SHARES, class_shares
from noisystudent.pipeline.labels.pseudo_labels import diagnose_labels, pseudo_label_accuracy, say_drift
from noisystudent.pipeline.score_stage import Floats, ScoredCheckpoint, score_checkpoint
from noisystudent.pipeline.summary import CrossFit, Round, RunResult
from noisystudent.pseudo_labels.selection.results import SelectionSummary
from noisystudent.pseudo_labels.shift import ClassShares, HeldOutAnswers
from noisystudent.results.facts import HeadChoice, HeadEvidence
from noisystudent.training.linear_head import LinearHead


def run_head_rounds(context: RunContext) -> RunResult:
    """Features, teacher and rounds, each stage by name."""
    settings, labels = context.settings, context.splits.labeled.labels
    plan = plan_teacher(settings.model, context.splits.format.size)
    check_small_student(context)
    features = compute_features(context, plan)
    others = other_teachers(context, plan)
    tau = settings.objective.logit_adjustment
    teachers = FeatureTeachers(features, labels, len(context.splits.classes), context.device, others, tau)
    choice = choose_head(context, teachers)
    say_choice(context, choice)
    rows = np.arange(len(labels))
    inputs = {"labels": "given", "penalty": choice.penalty} | ({"logit_adjustment": tau} if tau else {})
    checkpoint, head = head_stage(context, "teacher", features, inputs, partial(teachers.fit, rows, choice.penalty))
    teacher = current = _scored(context, features, "teacher", 0, checkpoint, head)
    tell_teacher(context, teacher)
    labels_only = head  # the last head that learned from labels alone
    aim = shares_for_heads(context, teachers, choice, head)
    rounds: list[Round] = []
    first: Path | None = None
    previous: Path | None = None

    for number in range(1, settings.rounds.count + 1):
        prefix = f"round-{number}"
        chosen = first if settings.selection.once else None
        predictions, selection = label_and_select(
            context, prefix, teachers, choice.weights, rows, head, number, chosen, aim
        )
        first = first or selection
        inputs = student_inputs(context, predictions, selection, number)
        fit = partial(fit_student, context, teachers, rows, predictions, selection, number)
        checkpoint, head = head_stage(context, f"{prefix}/student", features, inputs, fit)
        current = _scored(context, features, prefix, number, checkpoint, head)
        rounds.append(
            Round(
                current,
                False,
                summary := read_result(SelectionSummary, selection / "summary.json"),
                pseudo_label_accuracy(context, predictions, selection),
                diagnose_labels(context, predictions, previous),
                say_drift(context, [*(record.selection for record in rounds if record.selection), summary]),
            )
        )
        tell_round(context, rounds[-1])
        previous = predictions

    # The teacher is the control: a fit has no luck, so another labels-only head would be the same.
    evidence = cross_fit_student(context, teachers, choice, aim)
    if is_labels_only := _prefers_labels_only(context, evidence):
        current, head = teacher, labels_only
    calibration = current.result.calibration
    if evidence and not calibration:
        calibration = calibration_of(evidence, student=not is_labels_only)
    return RunResult(
        teacher, rounds, Controls((teacher,), luck=False), current, "cross-fitting" if evidence else "nothing",
        calibration, cross_fit_of_heads(context, teachers, choice), train_small_student(context, teachers, head),
    )  # fmt: skip


def _prefers_labels_only(context: RunContext, evidence: HeadEvidence | None) -> bool:
    """Whether the labels show that the labels-only teacher is better than the student; says so."""
    if not evidence or not evidence.student_is_worse(context.settings.rounds.worse_p):
        return False
    context.reporter.say(
        f"cross-fitting on the labels shows the labels-only teacher to be better ({percent(evidence.labels_only)} "
        f"right against {percent(evidence.student)}): it is delivered"
    )
    return True


def cross_fit_of_heads(context: RunContext, teachers: FeatureTeachers, choice: HeadChoice) -> CrossFit | None:
    """What labels-only heads answer to labeled images that they did not see; None where no fold can be left out."""
    if single_labels(teachers.labels):
        return None
    decided_by = {"features": teachers.fingerprint, "teachers": choice.weights, "penalty": choice.penalty}
    return CrossFit(decided_by, partial(held_out_answers, context, teachers, choice))


def shares_for_heads(
    context: RunContext, teachers: FeatureTeachers, choice: HeadChoice, head: LinearHead
) -> ClassShares | None:
    """The class shares that all rounds aim at, from the answers of the first teachers; None is the rule's own aim."""
    labels = teachers.labels
    inputs = {"features": teachers.fingerprint, "teachers": choice.weights, "head": head_fingerprint(head)}

    def unlabeled() -> Floats:
        mean = teachers.mean(choice.weights, np.arange(len(labels)), head)[len(labels) :]
        return np.log(np.maximum(mean, LEAST))

    def held_out() -> HeldOutAnswers | None:
        return None if single_labels(labels) else held_out_answers(context, teachers, choice)

    return class_shares(context, CLASS_SHARES, inputs, unlabeled, held_out)


def other_teachers(context: RunContext, plan: ModelPlan) -> tuple[OtherTeachers, ...]:
    """The teachers on ``head.teacher_backbones``, each with the weight decay that is given or preferred there."""
    found = []
    for number, backbone in enumerate(context.teacher_backbones, start=1):
        features = features_to_label(context, plan, number)
        labels = context.splits.labeled.labels
        tau = context.settings.objective.logit_adjustment
        teachers = FeatureTeachers(features, labels, len(context.splits.classes), context.device, logit_adjustment=tau)
        penalty = choose_penalty(teachers, folds_of(context), context.settings.head.penalty)
        found.append(OtherTeachers(backbone.name, teachers, penalty))
    return tuple(found)


def say_choice(context: RunContext, choice: HeadChoice) -> None:
    """Says how the teachers share the labeling, and by what that was decided."""
    shares = ", ".join(f"{member.name.replace('_', ' ')} {percent(member.weight, 0)}" for member in choice.teachers)
    by = f"by cross-fitting on {choice.labels} labels" if choice.labels else "equally: a class has a single label"
    context.reporter.say(f"teachers on features: {shares} ({by}); weight decay {choice.penalty:g}")


def _scored(
    context: RunContext, features: RunFeatures, name: str, number: int, checkpoint: Checkpoint, head: LinearHead
) -> ScoredCheckpoint[Checkpoint]:
    """A head's scores on held-out images, from their stored features."""

    def answer(images: Images) -> Floats:
        return head.log_probabilities(features.plain.features(images))

    return ScoredCheckpoint(number, checkpoint, score_checkpoint(context, name, checkpoint, answer))
