"""The suite inside run and distill: the numbers are those of evaluate, pieces are kept, mistakes are told at once."""

import json
import subprocess
import sys

import numpy as np
import pytest

import noisystudent
from noisystudent.commands.main import main
from noisystudent.data.sources.open import open_source
from noisystudent.errors import ArtifactError, DataError, SettingsError
from noisystudent.models.predictor import Predictor

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
SOURCES = {"labeled": "digits:labeled", "unlabeled": "digits:unlabeled", "test": "digits:test"}


def words_of(settings):
    """The settings, and the sources, as words of the command line."""
    told = {name: ",".join(map(str, value)) if isinstance(value, list) else value for name, value in settings.items()}
    return [f"--{name}={value}" for name, value in {**SOURCES, **told}.items()]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    return out, noisystudent.run(**SOURCES, out=out, settings=SMALL, quiet=True)


def test_everyone_has_what_evaluate_says_of_the_checkpoint(finished, tmp_path):
    out, summary = finished
    found = summary["robustness"]
    assert found["role"] == "test"
    assert list(found["measured"]) == ["control", "teacher", "round 1"]
    assert found["first"] == "control"
    assert set(found["differences"]) == {"teacher", "round 1"}
    for name, folder in (("teacher", "teacher"), ("round 1", "round-1/student")):
        alone = noisystudent.robustness(
            checkpoint=out / folder, source="digits:test", out=tmp_path / name, settings=SUITE, quiet=True
        )
        inside = found["measured"][name]
        for measure in ("clean", "corruptions", "attacks", "calibration"):
            assert inside[measure] == alone[measure]
    assert found["measured"]["teacher"]["clean"]["top1"] == summary["teacher"]["test"]["top1"]
    assert json.loads((out / "summary.json").read_text())["robustness"] == found


def test_a_wider_suite_measures_only_what_is_new(finished, monkeypatch):
    out, summary = finished
    asked = []
    answer = Predictor.log_probabilities
    monkeypatch.setattr(Predictor, "log_probabilities", lambda self, views: asked.append(1) or answer(self, views))
    again = noisystudent.run(**SOURCES, out=out, settings=SMALL, quiet=True)
    assert again["robustness"] == summary["robustness"]
    assert not asked
    wider = {**SMALL, "evaluation.corruptions": ["contrast", "gaussian_noise", "brightness"]}
    again = noisystudent.run(**SOURCES, out=out, settings=wider, quiet=True)
    assert len(asked) == 3 * 2  # of each of three classifiers the new corruption at both severities, one lot each
    before, now = (each["robustness"]["measured"]["control"]["corruptions"] for each in (summary, again))
    assert now["errors"] | before["errors"] == now["errors"]
    assert "brightness" in now["errors"]


def test_other_draws_are_measured_anew_and_the_old_ones_come_back(finished, monkeypatch):
    out, summary = finished
    other = noisystudent.run(**SOURCES, out=out, settings={**SMALL, "evaluation.seed": 1}, quiet=True)
    errors = [each["robustness"]["measured"]["control"]["corruptions"]["errors"] for each in (summary, other)]
    assert errors[0]["gaussian_noise"] != errors[1]["gaussian_noise"]
    monkeypatch.setattr(Predictor, "log_probabilities", lambda *_: pytest.fail("asked again"))
    again = noisystudent.run(**SOURCES, out=out, settings=SMALL, quiet=True)
    assert again["robustness"] == summary["robustness"]


def test_another_baseline_of_the_same_name_divides_anew(finished, tmp_path):
    out, _ = finished
    settings = {**SMALL, "evaluation.suite": ["corruptions"], "evaluation.corruptions": ["contrast"]}
    settings |= {"evaluation.severities": [1, 2, 3, 4, 5], "evaluation.max_images": 20}
    baseline = tmp_path / "baseline.json"

    def corruptions(**more):
        found = noisystudent.run(**SOURCES, out=out, settings={**settings, **more}, quiet=True)["robustness"]
        return found["measured"]["control"]["corruptions"]

    told = corruptions()
    for error in (0.5, 0.25):
        base = {"subject": "other", "corruptions": {**told, "per_corruption": {"contrast": error}}}
        baseline.write_text(json.dumps(base))
        relative = corruptions(**{"evaluation.baseline": str(baseline)})["relative_to_baseline"]
        assert relative["corruption_errors"]["contrast"] == pytest.approx(
            100 * told["per_corruption"]["contrast"] / error
        )


def test_naturally_shifted_sets_are_measured_of_everyone_and_a_changed_one_again(finished, tmp_path):
    out, summary = finished
    digits = [record for record in open_source("digits:test@0", labeled=True).read(0) if record.label in (2, 5, 7)]
    path = tmp_path / "three.npz"

    def measured(few):
        pixels = np.stack([np.asarray(record.image) for record in few])
        np.savez(path, x=pixels, y=np.array([record.label for record in few]), classes=np.arange(10).astype(str))
        settings = {**SMALL, "evaluation.suite": ["natural"], "evaluation.natural": [f"three={path}"]}
        told = noisystudent.run(**SOURCES, out=out, settings=settings, quiet=True)["robustness"]["measured"]
        return {name: each["natural"]["three"] for name, each in told.items()}

    every = measured(digits)
    assert list(every) == ["control", "teacher", "round 1"]
    assert every["teacher"]["clean_top1_10way"] == summary["teacher"]["test"]["top1"]
    assert every["teacher"]["count"] == len(digits)
    assert {name: each["count"] for name, each in measured(digits[:50]).items()} == dict.fromkeys(every, 50)
    assert noisystudent.run(**SOURCES, out=out, settings=SMALL, quiet=True)["robustness"] == summary["robustness"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"evaluation.suite": ["natural"], "evaluation.natural": ["a=no/such"]},
            "natural a=no/such: There is no source",
        ),
        ({"evaluation.corruptions": ["fogg"]}, "names 'fogg'.*Did you mean 'fog'"),
        ({"evaluation.suite": ["perturbations"], "evaluation.perturbations": ["tild"]}, "names 'tild'.*tilt"),
        (
            {"evaluation.corruptions_dir": "no/such"},
            "There is no folder 'no/such', which evaluation.corruptions_dir names",
        ),
        ({"evaluation.baseline": "no/such"}, "evaluation.baseline 'no/such' is not there"),
        ({"evaluation.frost_textures": "no/such"}, "frost textures 'no/such' is not there"),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(tmp_path, changes, message):
    with pytest.raises((SettingsError, DataError, ArtifactError), match=message):
        noisystudent.run(**SOURCES, out=tmp_path / "run", settings={**SMALL, **changes}, quiet=True)
    assert not (tmp_path / "run/teacher").exists()


def test_without_held_out_images_there_is_nothing_to_measure_on(tmp_path):
    sources = {name: SOURCES[name] for name in ("labeled", "unlabeled")}
    settings = {**SMALL, "data.few_labels": 5}
    with pytest.raises(SettingsError, match="there are neither; give --test"):
        noisystudent.run(**sources, out=tmp_path / "run", settings=settings, quiet=True)


def test_plan_names_the_suite_as_its_last_stage(finished, capsys):
    out, _ = finished
    assert main(["plan", *words_of(SMALL), f"--out={out}"]) == 0
    last = [line for line in capsys.readouterr().out.splitlines() if "scores/" in line][-1]
    assert "scores/robustness" in last
    assert last.startswith("done")
    stages = noisystudent.plan(**SOURCES, out=out, settings={**SMALL, "evaluation.seed": 7}, quiet=True)
    assert stages[-1].name == "scores/robustness"
    assert stages[-1].state != "complete"
    assert stages[-2].state == "complete"


def test_a_distillation_is_measured_too(finished, tmp_path):
    out, summary = finished
    told = noisystudent.distill(
        teacher=out / "teacher", student="tiny_resnet", labeled="digits:labeled", test="digits:test",
        out=tmp_path / "d", settings={each: SMALL[each] for each in SMALL if each != "rounds.count"}, quiet=True,
    )  # fmt: skip
    assert list(told["robustness"]["measured"]) == ["control", "teacher 1", "student 1"]
    inside = told["robustness"]["measured"]["teacher 1"]
    assert inside["corruptions"] == summary["robustness"]["measured"]["teacher"]["corruptions"]


@pytest.mark.slow
def test_two_processes_share_the_contenders(finished, tmp_path):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = ["run", *words_of(SMALL), f"--out={tmp_path}"]
    subprocess.run([*torchrun, "-m", "noisystudent", *words], check=True, capture_output=True)
    found = json.loads((tmp_path / "summary.json").read_text())["robustness"]
    assert list(found["measured"]) == list(finished[1]["robustness"]["measured"])
    alone = noisystudent.robustness(
        checkpoint=tmp_path / "control", source="digits:test", out=tmp_path / "alone", settings=SUITE, quiet=True
    )
    assert found["measured"]["control"]["corruptions"] == alone["corruptions"]
