"""The robustness of everyone in a run, on pictures that no training touched, each beside the first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from noisystudent.artifacts.folder import commit, hash_file, read_json, write_json
from noisystudent.data.images import Pictures
from noisystudent.data.splits import HeldOut
from noisystudent.errors import SettingsError
from noisystudent.evaluation.compare import comparison
from noisystudent.evaluation.eval_dataset import Audience
from noisystudent.evaluation.natural.measure import open_natural
from noisystudent.evaluation.preflight import check_suite
from noisystudent.evaluation.subject import Subject
from noisystudent.evaluation.suite import measure
from noisystudent.models.checkpoint import load_classifier
from noisystudent.pipeline.checkpoints import Trained
from noisystudent.pipeline.context import Workshop
from noisystudent.runtime.progress import Reporter
from noisystudent.runtime.settings import RuntimeSettings

ROBUSTNESS = "robustness"
STAGE = f"scores/{ROBUSTNESS}"


def check_measurable(workshop: Workshop) -> None:
    """Raises ``SettingsError`` where there are no pictures to measure the suite on, and what ``check_suite`` raises."""
    evaluation = workshop.settings.evaluation
    if not evaluation.suite:
        return
    if not (workshop.roles.test or workshop.roles.validation):
        raise SettingsError(
            "evaluation.suite is measured on test pictures, or else on validation pictures, and there are neither; "
            "give --test, or leave the suite out."
        )
    check_suite(evaluation, workshop.roles.classes)


def measure_robustness(workshop: Workshop, contenders: Mapping[str, Trained]) -> dict[str, Any] | None:
    """What summary.json holds of the suite that the settings name: ``comparison`` with the first of the contenders.

    On test pictures where there are some (``role`` says so), else on validation pictures; None without a suite. Pieces
    are kept in ``robustness/<name>``, so a wider suite measures only what is new. Processes that work together share
    the contenders. ``runtime.precision auto`` counts as float32, which is the same on every machine.
    """
    role, held_out = _held_out(workshop)
    if not workshop.settings.evaluation.suite or held_out is None:
        return None
    inputs = _inputs(workshop, contenders, held_out)
    if not workshop.is_done(STAGE, inputs):
        folders = {name: workshop.folder / ROBUSTNESS / name.replace(" ", "-") for name in contenders}
        names, ranks = list(contenders), workshop.engine.ranks

        def examine(place: int) -> None:
            name = names[place]
            _examine(workshop, name, contenders[name], folders[name])

        for _ in ranks.in_turns(len(names), examine):
            pass
        ranks.first_says(lambda: _finish(workshop.folder / STAGE, inputs, {"role": role, **comparison(folders)}))
    told: dict[str, Any] = read_json(workshop.folder / STAGE / "comparison.json")
    return told


def _inputs(workshop: Workshop, contenders: Mapping[str, Trained], held_out: HeldOut) -> dict[str, Any]:
    """All that the numbers hang on; a published set that changes under the same name is not noticed."""
    evaluation = workshop.settings.evaluation
    inputs = {
        "checkpoints": {name: trained.fingerprint for name, trained in contenders.items()},
        "pictures": held_out.fingerprint,
        "evaluation": evaluation.model_dump(mode="json"),
        "precision": _runtime(workshop).precision,
    }
    if evaluation.baseline:
        inputs["baseline"] = hash_file(Path(evaluation.baseline))
    if evaluation.natural:
        sets = open_natural(evaluation, workshop.roles.classes)
        inputs["natural"] = {each.name: each.fingerprint for each in sets}
    return inputs


def _examine(workshop: Workshop, name: str, trained: Trained, folder: Path) -> None:
    """Measures one contender into its folder."""
    role, held_out = _held_out(workshop)
    assert held_out is not None
    evaluation, allowed = workshop.settings.evaluation, workshop.settings.data.max_corrupt_fraction
    classifier = load_classifier(trained.folder).to(workshop.device)
    subject = Subject.of_classifier(name, trained.fingerprint, classifier, _runtime(workshop))
    reporter = workshop.reporter if workshop.engine.ranks.first else Reporter(quiet=True)
    reporter.say(f"robustness of {name}:")

    def measured(pictures: Pictures) -> dict[str, Any]:
        audience = Audience.of_pictures(role, pictures, most=evaluation.pictures, max_corrupt_fraction=allowed)
        return measure(subject, audience, evaluation, folder, reporter, renewing=True)

    held_out.examine(measured)


def _held_out(workshop: Workshop) -> tuple[str, HeldOut | None]:
    if workshop.roles.test:
        return "test", workshop.roles.test
    return "validation", workshop.roles.validation


def _runtime(workshop: Workshop) -> RuntimeSettings:
    runtime = workshop.settings.runtime
    return runtime.model_copy(update={"precision": "float32"}) if runtime.precision == "auto" else runtime


def _finish(folder: Path, inputs: dict[str, Any], told: dict[str, Any]) -> None:
    write_json(folder / "comparison.json", told)
    commit(folder, ROBUSTNESS, inputs)
