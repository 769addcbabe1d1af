"""The resolution fix in a run: of the student that it judges and of a labels-only model alike, and of no teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from noisystudent.data.images import ImageFormat
from noisystudent.data.splits import require_memory_at
from noisystudent.evaluation.metrics.results import Scores, ScoresAtSize
from noisystudent.models.classifier import Classifier
from noisystudent.models.resolution import at_size
from noisystudent.models.settings import ModelPlan
from noisystudent.models.teacher import Teacher
from noisystudent.pipeline.build_context import open_sources
from noisystudent.pipeline.checkpoints import Checkpoint
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.delivery import choose_delivered, is_worse
from noisystudent.pipeline.fix.size import FixSize, choose_size
from noisystudent.pipeline.fix.stage import context_at, fix_checkpoint, format_at, prepare_fix, with_training
from noisystudent.pipeline.score_stage import EvalResult, ScoredCheckpoint, predict, score_checkpoint
from noisystudent.pipeline.stages.train import new_classifier, trained_area
from noisystudent.results.fix import FixResult, FixScores

FIXED = "fixed"  # the folder of fixed models, by the stage of the model before
RESIZED = "resized"  # of the scores of models at the size for which they are fixed, before that


@dataclass(frozen=True)
class FixedModel:
    """A model of a run before and after its fix, and its accuracy over resolution; ``context`` has larger images."""

    before: ScoredCheckpoint[Checkpoint]
    after: ScoredCheckpoint[Checkpoint]
    result: FixResult
    context: RunContext = field(repr=False)

    @property
    def name(self) -> str:
        """How results call it: ``round 1 fixed``."""
        return f"{self.result.model} {FIXED}"

    @property
    def is_labels_only(self) -> bool:
        """Whether it learned from the labels alone."""
        return self.before.round == 0


def planned_size(context: RunContext, plan: ModelPlan) -> int | None:
    """For which size a run will fix its models, in pixels, as far as it is known before; None where it will not.

    With a search for the noise strength, the strongest of those that it tries stands for the one that it finds.
    """
    settings = context.settings
    if settings.fix.size == "none":
        return None
    noise = settings.noise
    strength = max(noise.strengths) if noise.strength == "auto" else noise.strength
    classifier = new_classifier(context, plan, 0, None)
    classifier.trained_area = trained_area(context, plan, strength)
    chosen = choose_size(classifier, settings.fix, plan.name)
    return None if isinstance(chosen, str) else chosen.size


def check_fix(context: RunContext, plan: ModelPlan, strength: float) -> None:
    """Says, before anything is trained, whether a run's models will be fixed, and raises what would stop it then.

    Args:
        context: the run.
        plan: the model of its last student.
        strength: the noise strength of the run.

    Raises:
        NoisyStudentError: as ``choose_size``, ``train_classifier_alone`` and ``splits_at``.
    """
    settings = context.settings
    if settings.fix.size == "none" or context.dry:
        return
    classifier = new_classifier(context, plan, 0, None)
    classifier.trained_area = trained_area(context, plan, strength)
    chosen = choose_size(classifier, settings.fix, plan.name)
    if isinstance(chosen, str):
        context.reporter.say(f"note: {chosen}")
        return
    with_training(context)
    format = format_at(context, classifier, chosen.size)
    require_memory_at(open_sources(settings, context.extensions), format, settings.data)
    prepare_fix(at_size(classifier, chosen.size), settings.fix)
    shown = f" (objects look {chosen.before:.2f} times as large in the test as in training)" if chosen.before else ""
    context.reporter.say(f"at the end, student and control are fixed for {chosen.size} px{shown}")


def fix_models(
    context: RunContext, models: Sequence[ScoredCheckpoint[Checkpoint]], plan: ModelPlan, strength: float
) -> tuple[FixedModel, ...]:
    """Fixes models of a run and scores them at both sizes; none where the settings ask for none.

    Args:
        context: the run.
        models: the models with their scores.
        plan: what they were trained as.
        strength: the noise strength of the run.
    """
    settings = context.settings
    if settings.fix.size == "none":
        return ()
    fixed = []
    larger: dict[ImageFormat, RunContext] = {}  # decoded once for all models of a size
    for model in models:
        classifier = model.checkpoint.load()
        classifier.trained_area = trained_area(context, plan, strength)  # earlier versions did not write it
        chosen = choose_size(classifier, settings.fix, model.checkpoint.model)
        if isinstance(chosen, str):
            continue
        fixed.append(_fix_model(context, larger, model, classifier, chosen))
    return tuple(fixed)


def _fix_model(
    context: RunContext,
    larger: dict[ImageFormat, RunContext],
    model: ScoredCheckpoint[Checkpoint],
    classifier: Classifier,
    chosen: FixSize,
) -> FixedModel:
    format, name = format_at(context, classifier, chosen.size), model.checkpoint.name.removesuffix("/student")

    def at() -> RunContext:
        if format not in larger:
            larger[format] = context_at(context, open_sources(context.settings, context.extensions), format)
        return larger[format]

    checkpoint = fix_checkpoint(context, f"{FIXED}/{name}", model.checkpoint, format, at)
    before = _score_resized(at(), name, model, classifier) if chosen.size != classifier.size else None
    after = ScoredCheckpoint(model.round, checkpoint, score_checkpoint(at(), f"{FIXED}/{name}", checkpoint))
    result = FixResult(
        model=name.replace("-", " "),
        checkpoint=f"{FIXED}/{name}",
        trained_size=classifier.size,
        size=chosen.size,
        ratio_before=chosen.before,
        ratio=chosen.after,
        scores=(
            _at_size(model.result, classifier.size, is_fixed=False),
            *([_at_size(before, chosen.size, is_fixed=False)] if before else []),
            _at_size(after.result, chosen.size, is_fixed=True),
        ),
    )
    return FixedModel(model, after, result, at())


def _score_resized(
    context: RunContext, name: str, model: ScoredCheckpoint[Checkpoint], classifier: Classifier
) -> EvalResult:
    """The scores of a model before its fix, at the size of the context's images."""
    resized = Teacher(at_size(classifier, context.splits.format.size)).to(context.device)
    return score_checkpoint(
        context, f"{RESIZED}/{name}", model.checkpoint, lambda images: predict(context, resized, images), passes=1
    )


def _at_size(result: EvalResult, size: int, *, is_fixed: bool) -> FixScores:
    def brief(scores: Scores | None) -> ScoresAtSize | None:
        return ScoresAtSize.of(size, scores) if scores else None

    validation, test = (result.scores.get(role) for role in ("validation", "test"))
    return FixScores(size=size, fixed=is_fixed, validation=brief(validation), test=brief(test))


def deliver_fixed(
    context: RunContext, delivered: ScoredCheckpoint[Checkpoint], fixed: Sequence[FixedModel]
) -> ScoredCheckpoint[Checkpoint]:
    """The model to deliver: the fixed form of the delivered one, unless validation shows that to be worse.

    A labels-only model that was fixed, too, takes its place where validation shows it to be better.
    """
    for model in fixed:
        if model.before.checkpoint.name != delivered.checkpoint.name:
            continue
        if is_worse(model.after, model.before, context.settings.rounds.worse_p):
            context.reporter.say(
                f"validation shows {model.after.checkpoint.name} to be worse than {model.before.checkpoint.name}, "
                "which is delivered as it was trained"
            )
            return delivered
        labels_only = [other.after for other in fixed if other.is_labels_only]
        return choose_delivered(context, model.after, labels_only) if labels_only else model.after
    return delivered
