"""The robustness of everyone in a run, on images that no training touched, each beside the first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from noisystudent.artifacts.folder import commit, hash_file, read_json, write_json
from noisystudent.data.images import Images
from noisystudent.data.splits import HeldOut
from noisystudent.errors import SettingsError
from noisystudent.evaluation.compare import comparison
from noisystudent.evaluation.eval_dataset import EvalDataset
from noisystudent.evaluation.natural.measure import open_natural
from noisystudent.evaluation.preflight import check_suite
from noisystudent.evaluation.suite import measure
from noisystudent.models.checkpoint import load_classifier
from noisystudent.models.predictor import Predictor
from noisystudent.pipeline.checkpoints import Checkpoint
from noisystudent.pipeline.context import RunContext
from noisystudent.runtime.progress import Reporter
from noisystudent.runtime.settings import RuntimeSettings

ROBUSTNESS = "robustness"
STAGE = f"scores/{ROBUSTNESS}"


def check_measurable(context: RunContext) -> None:
    """Raises ``SettingsError`` where there are no images to measure the suite on, and what ``check_suite`` raises."""
    evaluation = context.settings.evaluation
    if not evaluation.suite:
        return
    if not (context.splits.test or context.splits.validation):
        raise SettingsError(
            "evaluation.suite is measured on test images, or else on validation images, and there are neither; "
            "give --test, or leave the suite out."
        )
    check_suite(evaluation, context.splits.classes)


def measure_robustness(context: RunContext, evaluated_models: Mapping[str, Checkpoint]) -> dict[str, Any] | None:
    """What summary.json holds of the suite that the settings name: ``comparison`` with the first of the contenders.

    On test images where there are some (``role`` says so), else on validation images; None without a suite. Pieces
    are kept in ``robustness/<name>``, so a wider suite measures only what is new. Processes that work together share
    the contenders. ``runtime.precision auto`` counts as float32, which is the same on every machine.
    """
    role, held_out = _held_out(context)
    if not context.settings.evaluation.suite or held_out is None:
        return None
    inputs = _inputs(context, evaluated_models, held_out)
    if not context.is_done(STAGE, inputs):
        folders = {name: context.folder / ROBUSTNESS / name.replace(" ", "-") for name in evaluated_models}
        names, group = list(evaluated_models), context.engine.group

        def examine(place: int) -> None:
            name = names[place]
            _examine(context, name, evaluated_models[name], folders[name])

        for _ in group.map_sharded(len(names), examine):
            pass
        group.on_main(lambda: _finish(context.folder / STAGE, inputs, {"role": role, **comparison(folders)}))
    told: dict[str, Any] = read_json(context.folder / STAGE / "comparison.json")
    return told


def _inputs(context: RunContext, evaluated_models: Mapping[str, Checkpoint], held_out: HeldOut) -> dict[str, Any]:
    """All that the numbers hang on; a published set that changes under the same name is not noticed."""
    evaluation = context.settings.evaluation
    inputs = {
        "checkpoints": {name: checkpoint.fingerprint for name, checkpoint in evaluated_models.items()},
        "images": held_out.fingerprint,
        "evaluation": evaluation.model_dump(mode="json"),
        "precision": _runtime(context).precision,
    }
    if evaluation.baseline:
        inputs["baseline"] = hash_file(Path(evaluation.baseline))
    if evaluation.natural:
        sets = open_natural(evaluation, context.splits.classes)
        inputs["natural"] = {each.name: each.fingerprint for each in sets}
    return inputs


def _examine(context: RunContext, name: str, checkpoint: Checkpoint, folder: Path) -> None:
    """Measures one contender into its folder."""
    role, held_out = _held_out(context)
    assert held_out is not None
    evaluation, allowed = context.settings.evaluation, context.settings.data.max_corrupt_fraction
    classifier = load_classifier(checkpoint.folder).to(context.device)
    predictor = Predictor.of_classifier(name, checkpoint.fingerprint, classifier, _runtime(context))
    reporter = context.reporter if context.engine.group.is_main else Reporter(quiet=True)
    reporter.say(f"robustness of {name}:")

    def measured(images: Images) -> dict[str, Any]:
        dataset = EvalDataset.of_images(role, images, most=evaluation.max_images, max_corrupt_fraction=allowed)
        return measure(predictor, dataset, evaluation, folder, reporter, renewing=True)

    held_out.examine(measured)


def _held_out(context: RunContext) -> tuple[str, HeldOut | None]:
    if context.splits.test:
        return "test", context.splits.test
    return "validation", context.splits.validation


def _runtime(context: RunContext) -> RuntimeSettings:
    runtime = context.settings.runtime
    return runtime.model_copy(update={"precision": "float32"}) if runtime.precision == "auto" else runtime


def _finish(folder: Path, inputs: dict[str, Any], told: dict[str, Any]) -> None:
    write_json(folder / "comparison.json", told)
    commit(folder, ROBUSTNESS, inputs)
