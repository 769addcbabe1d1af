"""What a fix did to the accuracy of one model from elsewhere, on validation images."""

from __future__ import annotations

from noisystudent.artifacts.typed_json import read_result, write_result
from noisystudent.data.source import Source
from noisystudent.evaluation.resolution import at_sizes, score_at_sizes
from noisystudent.models.predictor import Predictor
from noisystudent.pipeline.checkpoints import Checkpoint, GivenModel
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.fix.size import FixSize
from noisystudent.pipeline.score_stage import SCORES
from noisystudent.results.fix import FixResult, FixScores
from noisystudent.results.run import StageCost

FIX = "fix"  # the stage, which names the random streams
_FILE = "resolution.json"


def measure_fix(
    context: RunContext, given: GivenModel, fixed: Checkpoint, chosen: FixSize, validation: Source | None
) -> FixResult:
    """Scores a model before and after its fix on validation images, where there are any, and keeps the result.

    Args:
        context: that of the fix.
        given: the model before.
        fixed: the model after.
        chosen: the sizes.
        validation: the images.
    """
    inputs = {
        "before": given.fingerprint,
        "after": fixed.fingerprint,
        "sizes": [given.given.size, chosen.size],
        "validation": validation.fingerprint if validation else None,
        "precision": context.settings.runtime.precision,
    }
    folder, stage = context.folder_of(SCORES), SCORES
    if not context.is_complete(stage, inputs):
        scores = _scores(context, given.given, fixed, chosen.size, validation) if validation else ()
        result = FixResult(
            model=given.model,
            checkpoint=fixed.folder.name,
            trained_size=given.given.size,
            size=chosen.size,
            ratio_before=chosen.before,
            ratio=chosen.after,
            scores=scores,
        )

        def write() -> None:
            write_result(folder / _FILE, result)
            predicted = sum(at.validation.count for at in scores if at.validation)
            context.commit(SCORES, inputs, StageCost(name=stage, images_predicted=predicted))

        context.engine.group.on_main(write)
    return read_result(FixResult, folder / _FILE)


def _scores(
    context: RunContext, before: Predictor, fixed: Checkpoint, size: int, validation: Source
) -> tuple[FixScores, ...]:
    after = fixed.predictor(fixed.name, context.device, context.settings.runtime)
    sizes = list(dict.fromkeys((before.size, size)))
    rows = []
    for is_fixed, predictor, measured_at in ((False, before, sizes), (True, after, [size])):
        measured = score_at_sizes(
            at_sizes(predictor, measured_at),
            validation,
            max_corrupt_fraction=context.settings.data.max_corrupt_fraction,
            group=context.engine.group,
        )
        rows += [FixScores(size=at.size, fixed=is_fixed, validation=at) for at in measured]
    return tuple(rows)
