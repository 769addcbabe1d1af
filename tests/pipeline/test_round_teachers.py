"""``rounds.teachers``: several models label in a round, from the run itself and from elsewhere."""

import json

import numpy as np
import pytest

import noisystudent as ns
from noisystudent.config import resolve
from noisystudent.errors import ModelError, SettingsError
from noisystudent.evaluation.metrics.ensemble import mean_log_probabilities
from noisystudent.pipeline.repeat import repeat_command
from noisystudent.pseudo_labels.predictions import read_all
from small_backbone import save_backbone
from small_runs import DIGITS, SMALL, weights

FAST = {
    **SMALL,
    "rounds.controls": 0,
    "rounds.baselines": False,
    "model.backbone": "none",
    "data.near_duplicates": "none",
}
WITH_VALIDATION = {**FAST, "data.few_labels_beside_test": 2}


def run(out, **settings):
    return ns.run(**DIGITS, out=out, settings={**FAST, **settings}, quiet=True)


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A model from elsewhere: another architecture, from another seed."""
    settings = {"train.steps": 8, "train.batch_size": 32, "model.teacher": "resnet_small_8", "noise.strength": 0.25}
    out = tmp_path_factory.mktemp("other") / "model"
    return ns.train("digits:labeled", out=out, settings={**settings, "seed": 3}, quiet=True).folder


def answers(folder):
    return read_all(folder, 10)[1]


def test_pseudo_labels_are_the_mean_of_the_runs_models_and_one_from_elsewhere(other, tmp_path):
    mean = run(tmp_path / "mean", **{"rounds.teachers": ["last:2", str(other)]})
    rounds = [
        [(teacher.name, teacher.model, teacher.weight) for teacher in record.teachers] for record in mean.summary.rounds
    ]
    assert rounds[0] == [("teacher", "tiny_resnet", 0.5), (str(other), "resnet_small_8", 0.5)]
    assert [name for name, _, _ in rounds[1]] == ["teacher", "round-1/student", str(other)]
    separate = []
    for model in (tmp_path / "mean/teacher", tmp_path / "mean/round-1/student", other):
        ns.label(teacher=model, source="digits:unlabeled", out=tmp_path / f"labels-{len(separate)}", quiet=True)
        separate.append(answers(tmp_path / f"labels-{len(separate)}"))
    found = answers(tmp_path / "mean/round-2/predictions")
    np.testing.assert_allclose(np.exp(found), np.exp(mean_log_probabilities(separate)), atol=1e-3)


def test_one_teacher_is_the_run_as_it_was(tmp_path):
    plain = run(tmp_path / "plain")
    same = run(tmp_path / "same", **{"rounds.teachers": "last:1"})
    for stage in ("round-1/student", "round-2/student"):
        assert weights(tmp_path / "plain" / stage) == weights(tmp_path / "same" / stage)
    assert plain.summary.rounds[1].teachers == same.summary.rounds[1].teachers == ()


def test_validation_labels_weigh_them_and_a_finished_run_is_found(other, tmp_path, capsys):
    sources = {"labeled": "digits:labeled", "unlabeled": "digits:unlabeled", "validation": "digits:test"}
    settings = {**FAST, "rounds.teachers": ["all", str(other)], "rounds.count": 1}
    first = ns.run(**sources, out=tmp_path / "run", settings=settings)
    assert "weighted by their accuracy on validation labels" in capsys.readouterr().err
    own, given = first.summary.rounds[0].teachers
    ratio = np.exp(20 * (own.validation_top1 - given.validation_top1))
    assert own.weight / given.weight == pytest.approx(ratio)
    assert own.weight + given.weight == pytest.approx(1.0)
    again = ns.run(**sources, out=tmp_path / "run", settings=settings)
    assert "round-1/predictions: done before" in capsys.readouterr().err
    assert again.summary.rounds[0].teachers == (own, given)
    plan = ns.plan(**sources, out=tmp_path / "run", settings=settings, quiet=True)
    assert all(stage.state == "complete" for stage in plan.stages)
    assert {"scores/given-1", "round-1/predictions"} <= {stage.name for stage in plan.stages}
    cost = json.loads((tmp_path / "run/round-1/predictions/cost.json").read_text())
    assert cost["images_predicted"] == 2 * len(answers(tmp_path / "run/round-1/predictions"))


def test_the_command_to_repeat_a_run_has_absolute_folders_and_keeps_the_runs_own(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "all").mkdir()
    values = {"labeled": "a", "unlabeled": "b", "out": "c", "rounds.teachers": ["all", "./mine"]}
    words = repeat_command(resolve(values), "run")
    assert f"--rounds.teachers=all,{tmp_path / 'mine'}" in words


def test_a_model_that_has_learned_validation_images_counts_as_much_as_the_others(other, tmp_path, capsys):
    settings = {**WITH_VALIDATION, "rounds.teachers": ["all", str(other)], "rounds.count": 1}
    found = ns.run(**DIGITS, out=tmp_path / "run", settings=settings)
    assert f"equally, because {other} has learned some of the validation images" in capsys.readouterr().err
    assert [teacher.weight for teacher in found.summary.rounds[0].teachers] == [0.5, 0.5]


@pytest.mark.parametrize(
    ("teachers", "reason"),
    [
        (["last:3"], r"last:3 needs 3 models, and the last of 2 rounds \(rounds.count\) has 2 .* at most last:2"),
        (["last:0"], r"'last:0' is no model; write last:N"),
        (["last"], r"'last' is no model; write last:N"),
        (["all", "last:2"], r"give one of last:N and all, and each model once"),
        (["./a", "./a"], r"each model once"),
        ([], r"rounds.teachers"),
        (["wrn_28_2"], r"rounds.teachers holds 'wrn_28_2', which is no finished model: give last:N, all"),
    ],
)
def test_a_wrong_list_is_refused(teachers, reason, tmp_path):
    with pytest.raises(SettingsError, match=reason):
        run(tmp_path / "run", **{"rounds.teachers": teachers})


def test_a_teacher_of_other_classes_or_none_is_refused(tmp_path):
    with pytest.raises(ModelError, match="has other classes than the data"):
        run(tmp_path / "run", **{"rounds.teachers": [str(save_backbone(tmp_path / "abcd"))]})
    with pytest.raises(ModelError, match="nothing"):
        run(tmp_path / "none", **{"rounds.teachers": [str(tmp_path / "nothing")]})
