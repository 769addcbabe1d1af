"""The robustness of everyone in a run, on pictures that no training touched, each beside the first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from noisystudent.artifacts import commit, hash_file, read_json, write_json
from noisystudent.data.pictures import Pictures
from noisystudent.data.roles import HeldOut
from noisystudent.errors import SettingsError
from noisystudent.models.checkpoint import load_classifier
from noisystudent.rounds.trained import Trained
from noisystudent.rounds.workshop import Workshop
from noisystudent.runtime.progress import Reporter
from noisystudent.runtime.settings import RuntimeSettings
from noisystudent.suites.audience import Audience
from noisystudent.suites.checks import check_suite
from noisystudent.suites.comparison import comparison
from noisystudent.suites.natural import open_natural
from noisystudent.suites.subject import Subject
from noisystudent.suites.suite import measure

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
    evaluation = workshop.settings.evaluation
    role, held_out = _held_out(workshop)
    if not evaluation.suite or held_out is None:
        return None
    runtime = _to_predict(workshop.settings.runtime)
    inputs = {
        "checkpoints": {name: trained.fingerprint for name, trained in contenders.items()},
        "pictures": held_out.fingerprint,
        "evaluation": evaluation.model_dump(mode="json"),
        "precision": runtime.precision,
    }
    if evaluation.baseline:
        inputs["baseline"] = hash_file(Path(evaluation.baseline))
    if evaluation.natural:
        sets = open_natural(evaluation, workshop.roles.classes)
        inputs["natural"] = {each.name: each.fingerprint for each in sets}
    if not workshop.is_done(STAGE, inputs):
        folders = {name: workshop.folder / ROBUSTNESS / name.replace(" ", "-") for name in contenders}
        names, ranks = list(contenders), workshop.engine.ranks
        reporter = workshop.reporter if ranks.first else Reporter(quiet=True)

        def examine(place: int) -> None:
            name = names[place]
            subject = _subject(workshop, name, contenders[name], runtime)
            reporter.say(f"robustness of {name}:")

            def taken(pictures: Pictures) -> dict[str, Any]:
                allowed = workshop.settings.data.max_corrupt_fraction
                audience = Audience.of_pictures(role, pictures, most=evaluation.pictures, max_corrupt_fraction=allowed)
                return measure(subject, audience, evaluation, folders[name], reporter, renewing=True)

            held_out.examine(taken)

        for _ in ranks.in_turns(len(names), examine):
            pass
        ranks.first_says(lambda: _finish(workshop.folder / STAGE, inputs, {"role": role, **comparison(folders)}))
    told: dict[str, Any] = read_json(workshop.folder / STAGE / "comparison.json")
    return told


def _held_out(workshop: Workshop) -> tuple[str, HeldOut | None]:
    if workshop.roles.test:
        return "test", workshop.roles.test
    return "validation", workshop.roles.validation


def _to_predict(runtime: RuntimeSettings) -> RuntimeSettings:
    return runtime.model_copy(update={"precision": "float32"}) if runtime.precision == "auto" else runtime


def _subject(workshop: Workshop, name: str, trained: Trained, runtime: RuntimeSettings) -> Subject:
    classifier = load_classifier(trained.folder).to(workshop.device)
    return Subject.of_classifier(name, trained.fingerprint, classifier, runtime)


def _finish(folder: Path, inputs: dict[str, Any], told: dict[str, Any]) -> None:
    write_json(folder / "comparison.json", told)
    commit(folder, ROBUSTNESS, inputs)
