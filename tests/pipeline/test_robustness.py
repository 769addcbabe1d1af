"""The suite in run and distill: the results are those of evaluate, finished entries are kept, mistakes stop early."""

from dataclasses import replace

import numpy as np
import pytest

import noisystudent
from noisystudent.artifacts.typed_json import read_result, write_result
from noisystudent.commands.main import main
from noisystudent.data.sources.open import open_source
from noisystudent.errors import ArtifactError, DataError, SettingsError
from noisystudent.models.predictor import Predictor
from noisystudent.results.run import RunSummary
from small_runs import without

SUITE = {
    "evaluation.suite": ["corruptions", "attacks", "calibration"],
    "evaluation.corruptions": ["contrast", "gaussian_noise"],
    "evaluation.severities": [2, 4],
    "evaluation.epsilons": [2],
    "evaluation.attack_steps": 2,
}
SMALL = {
    "train.steps": 8,
    "train.batch_size": 16,
    "rounds.count": 1,
    "noise.strength": 0.25,
    "model.teacher": "tiny_resnet",
    "runtime.threads": 1,
    **SUITE,
}
UNUSED = ("rounds.count", "model.teacher")  # by distill
SOURCES = {"labeled": "digits:labeled", "unlabeled": "digits:unlabeled", "test": "digits:test"}


def words_of(settings):
    """The settings, and the sources, as words of the command line."""
    texts = {name: ",".join(map(str, value)) if isinstance(value, list) else value for name, value in settings.items()}
    return [f"--{name}={value}" for name, value in {**SOURCES, **texts}.items()]


def run(out, settings):
    """The summary of a run, as its file has it."""
    noisystudent.run(**SOURCES, out=out, settings=settings, quiet=True)
    return read_result(RunSummary, out / "summary.json")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    return out, run(out, SMALL)


def test_every_model_has_the_results_that_evaluate_gives(finished, tmp_path):
    out, summary = finished
    comparison = summary.robustness
    assert comparison.role == "test"
    assert list(comparison.measured) == ["control", "teacher", "round 1"]
    assert comparison.first == "control"
    assert set(comparison.differences) == {"teacher", "round 1"}
    for name, folder in (("teacher", "teacher"), ("round 1", "round-1/student")):
        alone = noisystudent.robustness(
            checkpoint=out / folder, source="digits:test", out=tmp_path / name, settings=SUITE, quiet=True
        )
        in_run = comparison.measured[name]
        for measure in ("clean", "corruptions", "attacks", "calibration"):
            assert getattr(in_run, measure) == getattr(alone, measure)
    assert comparison.measured["teacher"].clean.top1 == summary.teacher.test.top1


def test_a_wider_suite_measures_only_what_is_new(finished, monkeypatch):
    out, summary = finished
    calls = []
    predict = Predictor.log_probabilities_of_views
    monkeypatch.setattr(
        Predictor, "log_probabilities_of_views", lambda self, views: calls.append(1) or predict(self, views)
    )
    assert run(out, SMALL).robustness == summary.robustness
    assert not calls
    wider = run(out, {**SMALL, "evaluation.corruptions": ["contrast", "gaussian_noise", "brightness"]})
    assert len(calls) == 3 * 2  # for each of three models the new corruption at both severities, one batch each
    before, now = (result.robustness.measured["control"].corruptions for result in (summary, wider))
    assert now.errors | before.errors == now.errors
    assert "brightness" in now.errors


def test_another_seed_is_measured_again_and_the_old_results_come_back(finished, monkeypatch):
    out, summary = finished
    other = run(out, {**SMALL, "evaluation.seed": 1})
    errors = [result.robustness.measured["control"].corruptions.errors for result in (summary, other)]
    assert errors[0]["gaussian_noise"] != errors[1]["gaussian_noise"]
    monkeypatch.setattr(Predictor, "log_probabilities_of_views", lambda *_: pytest.fail("measured again"))
    assert run(out, SMALL).robustness == summary.robustness


def test_another_baseline_of_the_same_name_divides_again(finished, tmp_path):
    out, _ = finished
    settings = without(SMALL, "evaluation.epsilons", "evaluation.attack_steps")
    settings |= {"evaluation.suite": ["corruptions"], "evaluation.corruptions": ["contrast"]}
    settings |= {"evaluation.severities": [1, 2, 3, 4, 5], "evaluation.max_images": 20}
    baseline = tmp_path / "baseline.json"
    control = run(out, settings).robustness.measured["control"]
    for error in (0.5, 0.25):
        write_result(
            baseline, replace(control, corruptions=replace(control.corruptions, per_corruption={"contrast": error}))
        )
        compared = run(out, {**settings, "evaluation.baseline": str(baseline)}).robustness.measured["control"]
        assert compared.corruptions.relative_to_baseline.corruption_errors["contrast"] == pytest.approx(
            100 * control.corruptions.per_corruption["contrast"] / error
        )


def test_naturally_shifted_sets_are_measured_of_every_model_and_a_changed_one_again(finished, tmp_path):
    out, summary = finished
    digits = [record for record in open_source("digits:test@0", labeled=True).read(0) if record.label in (2, 5, 7)]
    path = tmp_path / "three.npz"

    def measured(records):
        pixels = np.stack([np.asarray(record.image) for record in records])
        np.savez(path, x=pixels, y=np.array([record.label for record in records]), classes=np.arange(10).astype(str))
        others = without(
            SMALL, *(f"evaluation.{name}" for name in ("corruptions", "severities", "epsilons", "attack_steps"))
        )
        settings = {**others, "evaluation.suite": ["natural"], "evaluation.natural": [f"three={path}"]}
        results = run(out, settings).robustness.measured
        return {name: result.natural["three"] for name, result in results.items()}

    by_model = measured(digits)
    assert list(by_model) == ["control", "teacher", "round 1"]
    assert by_model["teacher"].scores["clean_top1_10way"] == summary.teacher.test.top1
    assert by_model["teacher"].count == len(digits)
    assert {name: result.count for name, result in measured(digits[:50]).items()} == dict.fromkeys(by_model, 50)
    assert run(out, SMALL).robustness == summary.robustness


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"evaluation.suite": [*SUITE["evaluation.suite"], "natural"], "evaluation.natural": ["a=no/such"]},
            "natural a=no/such: There is no source",
        ),
        ({"evaluation.corruptions": ["fogg"]}, "names 'fogg'.*Did you mean 'fog'"),
        (
            {"evaluation.suite": [*SUITE["evaluation.suite"], "perturbations"], "evaluation.perturbations": ["tild"]},
            "names 'tild'.*tilt",
        ),
        (
            {"evaluation.corruptions_dir": "no/such"},
            "There is no folder 'no/such', which evaluation.corruptions_dir names",
        ),
        ({"evaluation.baseline": "no/such"}, "evaluation.baseline 'no/such' is missing"),
        ({"evaluation.frost_textures": "no/such"}, "frost textures 'no/such' does not exist"),
    ],
)
def test_mistakes_are_reported_before_anything_is_trained(tmp_path, changes, message):
    with pytest.raises((SettingsError, DataError, ArtifactError), match=message):
        noisystudent.run(**SOURCES, out=tmp_path / "run", settings={**SMALL, **changes}, quiet=True)
    assert not (tmp_path / "run/teacher").exists()


def test_without_held_out_images_there_is_nothing_to_measure_on(tmp_path):
    sources = {name: SOURCES[name] for name in ("labeled", "unlabeled")}
    settings = {**SMALL, "data.few_labels": 5}
    with pytest.raises(SettingsError, match="there are neither; give --test"):
        noisystudent.run(**sources, out=tmp_path / "run", settings=settings, quiet=True)


def test_plan_names_the_suite_after_the_models_and_does_not_estimate_it(finished, capsys):
    out, _ = finished
    run(out, SMALL)  # other tests may have left it with another suite
    assert main(["plan", *words_of(SMALL), f"--out={out}"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if "scores/" in line]
    assert lines[-1] == ["done", "scores/robustness"]
    stages = noisystudent.plan(**SOURCES, out=out, settings={**SMALL, "evaluation.seed": 7}, quiet=True).stages
    *before, suite, findings, other = stages
    assert (suite.name, suite.seconds) == ("scores/robustness", None)
    assert suite.state != "complete"
    assert before[-1].state == "complete"
    assert (findings.name, other.name) == ("findings", "other")


def test_a_distillation_is_measured_too(finished, tmp_path):
    out, summary = finished
    noisystudent.distill(
        teacher=out / "teacher", student="tiny_resnet", labeled="digits:labeled", test="digits:test",
        out=tmp_path / "d", settings={name: SMALL[name] for name in SMALL if name not in UNUSED}, quiet=True,
    )  # fmt: skip
    comparison = read_result(RunSummary, tmp_path / "d/summary.json").robustness
    assert list(comparison.measured) == ["control", "teacher 1", "student 1"]
    assert comparison.measured["teacher 1"].corruptions == summary.robustness.measured["teacher"].corruptions


def test_two_processes_share_the_models(fork_server, finished, tmp_path):
    fork_server.run(["run", *words_of(SMALL), f"--out={tmp_path}"], processes=2)
    comparison = read_result(RunSummary, tmp_path / "summary.json").robustness
    assert list(comparison.measured) == list(finished[1].robustness.measured)
    alone = noisystudent.robustness(
        checkpoint=tmp_path / "control", source="digits:test", out=tmp_path / "alone", settings=SUITE, quiet=True
    )
    assert comparison.measured["control"].corruptions == alone.corruptions
