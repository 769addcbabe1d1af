"""The robustness of all models of a run, on images that no training used, compared with the first model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from noisystudent.artifacts.folder import Json, hash_file
from noisystudent.artifacts.typed_json import read_result, to_json, write_result
from noisystudent.data.images import Images
from noisystudent.data.splits import HeldOut
from noisystudent.errors import SettingsError
from noisystudent.evaluation.compare import comparison
from noisystudent.evaluation.eval_dataset import EvalDataset
from noisystudent.evaluation.natural.measure import open_natural
from noisystudent.evaluation.results import ComparisonResult
from noisystudent.evaluation.suite import check_suite, measure
from noisystudent.pipeline.checkpoints import TrainedModel
from noisystudent.pipeline.context import RunContext
from noisystudent.results.run import StageCost
from noisystudent.runtime.progress import Reporter

ROBUSTNESS = "robustness"
STAGE = f"scores/{ROBUSTNESS}"
_COMPARISON = "comparison.json"


def check_measurable(context: RunContext) -> None:
    """Checks the suite before anything is trained; raises ``SettingsError`` without images to measure it on.

    It also raises what ``check_suite`` raises.
    """
    evaluation = context.settings.evaluation
    if not evaluation.suite:
        return
    if not (context.splits.test or context.splits.validation):
        raise SettingsError(
            "evaluation.suite is measured on test images, or else on validation images, and there are neither; "
            "give --test, or leave the suite out."
        )
    check_suite(evaluation, context.splits.classes)


def measure_robustness(
    context: RunContext,
    checkpoints: Mapping[str, TrainedModel],
    contexts: Mapping[str, RunContext] = MappingProxyType({}),
) -> ComparisonResult | None:
    """Measures the suite of every model of a run.

    Finished entries are stored in ``robustness/<name>``, so that a wider suite measures only what is new. Processes
    that work together share the models. ``runtime.precision auto`` means float32 here, so that the results are the
    same on every machine.

    Args:
        context: the run; it is measured on the test images if there are any, else on the validation images.
        checkpoints: the models by name; the others are compared with the first.
        contexts: the same run with images of another size, for the models that need these.

    Returns:
        The results of all models, with the role of the images; None without a suite.
    """
    role, held_out = _held_out(context)
    if not context.settings.evaluation.suite or held_out is None:
        return None
    inputs = _inputs(context, checkpoints, held_out)
    if contexts:
        inputs["images_of"] = {name: _images_of(other).fingerprint for name, other in contexts.items()}
    folder = context.folder_of(STAGE)
    if not context.is_complete(STAGE, inputs):
        folders = {name: context.folder / ROBUSTNESS / name.replace(" ", "-") for name in checkpoints}
        names, group = list(checkpoints), context.engine.group

        def measure_one(index: int) -> None:
            name = names[index]
            _measure_checkpoint(contexts.get(name, context), name, checkpoints[name], folders[name])

        def finish() -> None:
            write_result(folder / _COMPARISON, replace(comparison(folders), role=role))
            context.commit(ROBUSTNESS, inputs, StageCost(name=STAGE))

        for _ in group.map_sharded(len(names), measure_one):
            pass
        group.on_main(finish)
    return read_result(ComparisonResult, folder / _COMPARISON)


def _inputs(context: RunContext, checkpoints: Mapping[str, TrainedModel], held_out: HeldOut) -> dict[str, Any]:
    """Everything that the results depend on; a published set that changes under the same name is not noticed."""
    evaluation = context.settings.evaluation
    inputs = {
        "checkpoints": {name: checkpoint.fingerprint for name, checkpoint in checkpoints.items()},
        "images": held_out.fingerprint,
        "evaluation": evaluation.model_dump(mode="json"),
        "precision": context.settings.runtime.settled().precision,
    }
    if evaluation.baseline:
        inputs["baseline"] = hash_file(Path(evaluation.baseline))
    if evaluation.natural:
        sets = open_natural(evaluation, context.splits.classes)
        inputs["natural"] = {opened.name: opened.fingerprint for opened in sets}
    return inputs


def _measure_checkpoint(context: RunContext, name: str, checkpoint: TrainedModel, folder: Path) -> None:
    """Measures one model; its results stay in the folder."""
    role, held_out = _held_out(context)[0], _images_of(context)
    evaluation, allowed = context.settings.evaluation, context.settings.data.max_corrupt_fraction
    predictor = checkpoint.predictor(name, context.device, context.settings.runtime.settled())
    reporter = context.reporter if context.engine.group.is_main else Reporter(quiet=True)
    reporter.say(f"robustness of {name}:")

    def measured(images: Images) -> dict[str, Json]:
        dataset = EvalDataset.of_images(role, images, max_images=evaluation.max_images, max_corrupt_fraction=allowed)
        result = measure(predictor, dataset, evaluation, folder, reporter, archive_stale=True)
        numbers: dict[str, Json] = to_json(result)
        return numbers

    held_out.examine(measured)


def _images_of(context: RunContext) -> HeldOut:
    held_out = _held_out(context)[1]
    assert held_out is not None
    return held_out


def _held_out(context: RunContext) -> tuple[Literal["test", "validation"], HeldOut | None]:
    if context.splits.test:
        return "test", context.splits.test
    return "validation", context.splits.validation
