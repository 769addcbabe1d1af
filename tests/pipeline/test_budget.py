"""Runs with a budget: chosen once, told, kept; refused in one line where it cannot be."""

import json

import numpy as np
import pytest

import noisystudent as ns
from noisystudent.commands.main import main
from noisystudent.config import resolve
from noisystudent.display.wording import percent
from noisystudent.errors import SettingsError
from noisystudent.pipeline.budget import costs, heads, lengths
from noisystudent.pipeline.build_context import decide_settings
from noisystudent.pipeline.extensions import Extensions
from noisystudent.reporting.headline import headline
from noisystudent.reporting.table import advice_sentence
from noisystudent.runtime.progress import Reporter
from small_backbone import save_backbone
from small_runs import DIGITS

pytestmark = pytest.mark.usefixtures("feature_cache")


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return save_backbone(tmp_path_factory.mktemp("backbone") / "weights")


def options(**settings):
    return [f"--{name}={value}" for name, value in {**DIGITS, "runtime.threads": 1, **settings}.items()]


def test_the_choice_is_told_kept_and_used_again_on_a_slower_machine(tmp_path, backbone, capsys, monkeypatch):
    given = options(out=tmp_path / "run", **{"model.backbone": backbone})
    assert main(["run", *given, "--budget", "5m"]) == 0
    told = capsys.readouterr().err
    assert "budget of 5 min 0 s (--budget): images of 8 px" in told
    assert "note: data.size is" not in told  # what the backbone would decide does not hold here
    kept = json.loads((tmp_path / "run" / "budget" / "summary.json").read_text())
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["settings"]["head"]["views"] == kept["values"]["head.views"] == 3
    assert facts["origins"]["head.views"] == "budget of 5 min 0 s"
    monkeypatch.setattr(heads, "seconds_per_view", lambda *_: 100.0)
    assert main(["run", *given, "--budget", "5m"]) == 0
    again = capsys.readouterr().err
    assert "features: done before" in again
    assert main(["run", *given, "--budget", "4m"]) == 2
    assert "a budget of 4 min 0 s is too small" in capsys.readouterr().err


def test_a_plan_names_the_stages_of_a_frozen_backbone_with_their_time(tmp_path, backbone, capsys):
    given = options(out=tmp_path / "run", **{"model.backbone": backbone})
    assert main(["plan", *given]) == 0
    printed = capsys.readouterr()
    assert "budget of 15 min 0 s" in printed.err
    assert "to do       features" in printed.out
    assert "3 min 45 s would buy: images of 8 px" in printed.err
    assert "1 h 0 min would buy: images of 8 px" in printed.err
    assert not (tmp_path / "run").exists()
    assert main(["run", *given]) == 0
    assert main(["plan", *given]) == 0
    assert "left: 0 samples seen in training, 0 images" in capsys.readouterr().out


def test_a_run_from_scratch_takes_its_steps_from_the_budget(tmp_path, monkeypatch):
    monkeypatch.setattr(costs, "seconds_per_sample", lambda *_: 1 / 400)
    run = ns.run(**DIGITS, out=tmp_path / "run", settings={"budget": "60s", "train.batch_size": 8}, quiet=True)
    chosen = json.loads((run.path / "budget" / "summary.json").read_text())["values"]
    assert run.facts.settings["train"]["steps"] == chosen["train.steps"] > 50
    assert run.facts.settings["train"]["warm_start"] is True
    assert len(run.summary.rounds) == 1


def test_auto_is_what_the_budget_chooses_whether_given_or_not(tmp_path, monkeypatch):
    monkeypatch.setattr(costs, "seconds_per_sample", lambda classifier, *_: 1e-6 * classifier.size**2)
    pixels = np.zeros((8, 64, 64, 3), np.uint8)
    np.savez(tmp_path / "labeled.npz", x=pixels, y=np.arange(8) % 2, classes=["a", "b"])
    np.savez(tmp_path / "unlabeled.npz", x=pixels)
    settings = {
        "labeled": f"{tmp_path}/labeled.npz", "unlabeled": f"{tmp_path}/unlabeled.npz", "out": f"{tmp_path}/run",
        "model.backbone": "none", "budget": "150s",
    }  # fmt: skip

    def decided(**given):
        return decide_settings(resolve({**settings, **given}), Reporter(quiet=True), dry=True, budgeted=True).settings

    left_open = decided()
    assert left_open.data.size == 32
    assert left_open.noise.strength == 0.5  # that of an online student
    assert decided(**{"data.size": "auto", "noise.strength": "auto"}) == left_open
    assert decided(**{"data.size": 64}).data.size == 64


def test_a_plan_from_scratch_says_what_other_budgets_buy(tmp_path, monkeypatch, capsys):
    timed = []
    monkeypatch.setattr(costs, "seconds_per_sample", lambda *_: timed.append(1) or 1 / 400)
    given = options(out=tmp_path / "run", **{"train.batch_size": 8, "budget": "4s"})
    assert main(["plan", *given]) == 0
    printed = " ".join(capsys.readouterr().err.split())
    assert "1.0 s would buy: too little for this run" in printed
    assert "16.0 s would buy: tiny_resnet on images of" in printed
    assert "; no student: beside one, a teacher would see each of the 40 labeled images fewer than 40 times" in printed
    assert len(timed) == 1  # the digits have one size


def test_a_budget_of_samples_is_what_training_sees(tmp_path, monkeypatch):
    monkeypatch.setattr(costs, "seconds_per_sample", None)  # nothing is measured
    run = ns.run(
        **DIGITS, out=tmp_path / "run", quiet=True,
        settings={"budget": "12800samples", "train.batch_size": 64, "model.teacher": "tiny_resnet", "data.size": 8},
    )  # fmt: skip
    assert run.summary.cost.samples_seen == 12_800


def test_without_held_out_labels_a_budget_has_no_control_and_the_page_says_what_is_missing(tmp_path, capsys):
    sources = {role: source for role, source in DIGITS.items() if role != "test"}
    words = [f"--{name}={value}" for name, value in {**sources, "runtime.threads": 1, "out": tmp_path}.items()]
    given = ["--model.backbone=none", "--model.teacher=tiny_resnet", "--recipe=curriculum", "--noise.strength=0.25"]
    assert main(["run", *words, *given, "--budget=14000samples"]) == 0
    told = capsys.readouterr().err
    assert "no control, because there is no held-out label to compare it by" in told
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["control"] is None
    assert summary["verdict"]["reason"].startswith("no held-out labels: give --test or --validation")
    assert len(summary["rounds"]) == 1
    assert not (tmp_path / "control").exists()
    assert "Trained, but not checked" in (tmp_path / "report.html").read_text()


def test_a_frozen_backbone_counts_no_samples(tmp_path, backbone):
    with pytest.raises(SettingsError, match="is for the training of networks"):
        ns.run(
            **DIGITS, out=tmp_path / "run", quiet=True,
            settings={"budget": "12800samples", "model.backbone": backbone, "model.tune": "head"},
        )  # fmt: skip


def test_given_steps_mean_no_budget(tmp_path):
    run = ns.run(
        **DIGITS,
        out=tmp_path / "run",
        settings={"train.steps": 2, "rounds.count": 1, "noise.strength": 0.2},
        quiet=True,
    )
    assert not (run.path / "budget").exists()
    assert run.facts.settings["train"]["steps"] == 2


@pytest.mark.parametrize("budget", ["0m", "-5m", "15", "a while", "15 min"])
def test_nonsense_is_refused_in_one_line(tmp_path, capsys, budget):
    assert main(["run", *options(out=tmp_path / "run"), f"--budget={budget}"]) == 2
    assert "budget" in capsys.readouterr().err


def test_a_command_without_a_budget_refuses_it(tmp_path):
    with pytest.raises(SettingsError, match="train does not use budget, which run and plan use"):
        ns.train(labeled="digits:labeled", out=tmp_path / "t", settings={"budget": "5m"}, quiet=True)


def test_a_budget_too_small_for_a_student_goes_into_labels_only_training(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(lengths, "FEWEST_EPOCHS", 1_000)
    settings = {"budget": "6400samples", "train.batch_size": 32, "model.teacher": "tiny_resnet", "data.size": 8}
    planned = ns.plan(**DIGITS, out=tmp_path / "run", settings=settings, quiet=True)
    run = ns.run(**DIGITS, out=tmp_path / "run", settings=settings)
    assert [stage.samples_seen for stage in planned.stages if stage.samples_seen] == [6_400]
    summary = run.summary
    assert (summary.rounds, summary.control, summary.delivered) == ((), None, "teacher")
    assert summary.cost.samples_seen == 6_400
    assert summary.student.test == summary.teacher.test
    assert summary.verdict.reason == "no student was trained, because the budget went into labels-only training"
    first = headline(summary, 1257)
    assert first.title == f"Trained on the labels alone: {percent(summary.teacher.test.top1)} right"
    assert first.lead.endswith("labels-only training. A larger --budget has students.")
    assert first.title in (run.path / "report.html").read_text()
    printed = " ".join(capsys.readouterr().err.split())
    assert "would see each of the 40 labeled images fewer than 1000 times" in printed
    assert advice_sentence(summary).endswith("the only model of this run. A larger --budget has students.")
    before = (run.path / "best" / "model.safetensors").stat().st_mtime_ns
    again = ns.run(**DIGITS, out=tmp_path / "run", settings=settings, quiet=True)
    assert again.summary.student == summary.student
    assert (run.path / "best" / "model.safetensors").stat().st_mtime_ns == before


def test_what_was_chosen_without_own_parts_is_chosen_again_with_them(tmp_path):
    def choose(**parts):
        resolved = resolve({**DIGITS, "out": str(tmp_path), "budget": "5m", "model.backbone": "none"})
        extensions = Extensions(**parts)
        decide_settings(resolved, Reporter(quiet=True), budgeted=True, extensions=extensions)
        return json.loads((tmp_path / "budget" / "inputs.json").read_text())

    plain = choose()
    assert "own" not in plain  # what was chosen before own parts were among the inputs stays valid
    assert choose(select=lambda rows: rows)["own"] == [True, False]
    assert choose(objective=lambda logits, batch: logits.sum())["own"] == [False, True]
    assert choose() == plain
