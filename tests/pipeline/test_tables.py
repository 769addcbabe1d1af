"""``compare --table`` on runs and distillations that really ran, and on models with a source."""

import json

import pytest

import noisystudent as ns
from noisystudent.commands.main import main
from noisystudent.errors import SettingsError
from small_runs import DIGITS, SMALL, without

SUITE = {
    "evaluation.suite": ["corruptions", "attacks"],
    "evaluation.corruptions": ["fog"],
    "evaluation.severities": [1],
    "evaluation.epsilons": [2.0, 8.0],
    "evaluation.attack_steps": 1,
    "evaluation.max_images": 40,
}
OWN = {"model.backbone": "none", "data.near_duplicates": "none", "rounds.controls": 1, "rounds.count": 1}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    settings = {**SMALL, **OWN, **SUITE, "rounds.baselines": False}
    for seed in (0, 1):
        ns.run(**DIGITS, out=root / f"run-{seed}", settings={**settings, "seed": seed}, quiet=True)
    sources = without(DIGITS, "unlabeled")
    settings = {**without(SMALL, "rounds.count", "model.teacher"), "data.near_duplicates": "none", "rounds.controls": 1}
    for name, more in (("kd", {}), ("virtual", {"recipe": "virtual-teacher"})):
        teacher = None if more else "tiny_resnet"
        settings |= more
        models = {"teacher": teacher, "student": "tiny_resnet"}
        ns.distill(**sources, **models, out=root / name, settings=settings, quiet=True)
    return root


def test_the_methods_of_two_seeds_are_those_of_their_summaries(runs, tmp_path):
    table = ns.table("methods", [runs / "run-0", runs / "run-1"], out=tmp_path / "table")
    summaries = [json.loads((runs / f"run-{seed}/summary.json").read_text()) for seed in (0, 1)]
    rows = {row.method: row for row in table.rows}
    assert list(rows) == ["teacher", "labels only", "Noisy Student, round 1"]
    accuracies = tuple(summary["rounds"][0]["test"]["top1"] for summary in summaries)
    controls = [summary["control"]["test"]["top1"] for summary in summaries]
    cell = rows["Noisy Student, round 1"].cells["top-1"]
    assert cell.by_seed == accuracies
    expected = sum(mine - other for mine, other in zip(accuracies, controls, strict=True)) / 2
    assert cell.difference == pytest.approx(expected)
    assert {path.name for path in (tmp_path / "table").iterdir()} >= {
        "table.json",
        "table.md",
        "table.csv",
        "table.tex",
    }


def test_the_command_makes_every_kind_of_table(runs, tmp_path, capsys):
    two = [str(runs / "run-0"), str(runs / "run-1")]
    for kind in ("methods", "robustness", "attack"):
        out = str(tmp_path / kind)
        assert main(["compare", *two, "--table", kind, "--published", "article", "--out", out]) == 0
        assert "Published, set apart and in no mean" in capsys.readouterr().out
    assert (tmp_path / "attack/attack.svg").is_file()
    distilled = [str(runs / "kd"), str(runs / "virtual")]
    assert main(["compare", *distilled, "--table", "distillation", "--out", str(tmp_path / "distillation")]) == 0
    heading, row = capsys.readouterr().out.splitlines()[:2]
    assert heading.split()[3:] == ["alone", "KD", "Tf-KD", "reg"]
    assert row.startswith("tiny_resnet")


def test_models_are_scored_on_a_source(runs, tmp_path):
    models = [runs / "run-0/best", runs / "kd/best"]
    table = ns.table("methods", models, source="digits:test", out=tmp_path / "table", quiet=True)
    expected = [ns.evaluate(checkpoint=model, source="digits:test").top1 for model in models]
    assert [row.cells["top-1"].value for row in table.rows] == expected
    assert all(row.parameters and row.test_size == 8 and row.samples_seen for row in table.rows)
    settings = {
        "evaluation": {name: SUITE[f"evaluation.{name}"] for name in ("epsilons", "attack_steps", "max_images")}
    }
    attacked = ns.table("attack", models, source="digits:test", out=tmp_path / "attack", settings=settings, quiet=True)
    assert [column.name for column in attacked.columns] == ["eps 0", "eps 2", "eps 8"]


def test_what_does_not_go_together_is_refused(runs, tmp_path, capsys):
    with pytest.raises(SettingsError, match="a table of runs takes their folders and no settings"):
        ns.table("methods", [runs / "run-0"], out=tmp_path / "t", settings={"evaluation.suite": ["clean"]})
    with pytest.raises(SettingsError, match="a table needs at least one run"):
        ns.table("methods", [], out=tmp_path / "t")
    with pytest.raises(SettingsError, match=r"a table of kind attack compares models .* give at least 2"):
        ns.table("attack", [runs / "kd/best"], source="digits:test", out=tmp_path / "t")
    with pytest.raises(SettingsError, match="a model is given twice"):
        ns.table("methods", [runs / "kd/best"] * 2, source="digits:test", out=tmp_path / "t")
    assert main(["compare", str(runs / "run-0"), "--published", "article", "--out", str(tmp_path / "t")]) == 2
    assert "--published adds rows to a --table" in capsys.readouterr().err
    assert main(["compare", str(runs / "run-0"), "--out", str(tmp_path / "t")]) == 2
    assert "compare needs --source" in capsys.readouterr().err
