"""A study of two cells on the digits: shared stages are trained once, cells are paired, a study resumes."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest

import noisystudent
from noisystudent.artifacts.folder import parse_manifest, read_json
from noisystudent.artifacts.tables import read_table
from noisystudent.commands.main import main
from noisystudent.errors import NothingSelectedError
from small_backbone import save_backbone
from small_runs import SMALL, weights

SOURCES = {"labeled": "digits:labeled@{seed}", "unlabeled": "digits:unlabeled@{seed}", "test": "digits:test@{seed}"}
COMMON = {**SMALL, "rounds.count": 1, "data.near_duplicates": "none", "rounds.controls": 1, "train.steps": 4}
STUDY = noisystudent.Study(
    "labels",
    "Labels",
    "Hard or soft?",
    "soft",
    (
        noisystudent.Cell("soft", {"objective.labels": "soft"}),
        noisystudent.Cell("hard", {"objective.labels": "hard"}),
    ),
)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The folder and the result of a study with two seeds."""
    out = tmp_path_factory.mktemp("study") / "own"
    return out, noisystudent.study(STUDY, **SOURCES, seeds=(0, 3), out=out, settings=COMMON, quiet=True)


def test_a_stage_that_both_cells_have_is_trained_once(done):
    out, _ = done
    for seed in (0, 3):
        teachers = [parse_manifest(out / f"seed-{seed}" / cell / "teacher") for cell in ("soft", "hard")]
        costs = [(out / f"seed-{seed}" / cell / "teacher" / "cost.json").read_bytes() for cell in ("soft", "hard")]
        assert teachers[0].fingerprint == teachers[1].fingerprint
        assert costs[0] == costs[1]  # another training would have taken another time
        assert weights(out / f"seed-{seed}/soft/round-1/student") != weights(out / f"seed-{seed}/hard/round-1/student")
    assert weights(out / "seed-0/soft/teacher") != weights(out / "seed-3/soft/teacher")


def test_differences_are_those_of_the_stored_predictions(done):
    out, result = done

    def accuracy(seed, cell, model):
        table = read_table(out / f"seed-{seed}" / cell / "scores" / model / "test.parquet")
        return float(np.mean(table["label"].to_numpy() == table["prediction"].to_numpy()))

    soft, hard = ([accuracy(seed, cell, "round-1") for seed in (0, 3)] for cell in ("soft", "hard"))
    rows = {row.name: row for row in result.rows}
    assert rows["soft"].top1 == pytest.approx(soft)
    assert rows["hard"].difference == pytest.approx(np.mean(hard) - np.mean(soft))
    assert rows["labels only"].top1 == pytest.approx([accuracy(seed, "soft", "control") for seed in (0, 3)])
    assert rows["hard"].interval[0] < rows["hard"].difference < rows["hard"].interval[1]


def test_a_finished_study_is_not_run_again_and_its_files_say_what_it_returned(done, capfd):
    out, result = done
    before = weights(out / "seed-0/hard/round-1/student")

    again = noisystudent.study(STUDY, **SOURCES, seeds=(0, 3), out=out, settings=COMMON)

    assert again.rows == result.rows
    assert weights(out / "seed-0/hard/round-1/student") == before
    assert "round-1/student: done before" in capfd.readouterr().err
    rows = list(csv.DictReader(io.StringIO((out / "study.csv").read_text())))
    assert [row["cell"] for row in rows] == [row.name for row in result.rows]
    assert float(rows[-1]["difference"]) == pytest.approx(result.rows[-1].difference, rel=1e-5)
    assert read_json(out / "study.json")["seeds"] == [0, 3]
    assert "Hard or soft?" in (out / "study.html").read_text()


def test_a_plan_counts_shared_stages_once(tmp_path):
    cells = noisystudent.plan_study(STUDY, **SOURCES, seeds=(0,), out=tmp_path, settings=COMMON, quiet=True)

    assert "teacher" in [stage.name for stage in cells["soft"]]
    assert {"teacher", "control"}.isdisjoint(stage.name for stage in cells["hard"])
    assert "round-1/student" in [stage.name for stage in cells["hard"]]


def test_on_the_command_line_a_file_is_a_study(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("own.yaml").write_text("cells:\n  one: {rounds: {count: 1}}\n  two: {rounds: {count: 2}}\n")
    options = [f"--{name}={value}" for name, value in {**COMMON, **SOURCES}.items() if name != "rounds.count"]

    assert main(["study", "own.yaml", "--seeds", "1", *options]) == 0

    printed = capsys.readouterr()
    out = printed.out
    assert "minus one" in out
    assert "teacher: taken over from runs/study-own/seed-0/one/teacher" in printed.err
    assert out.splitlines()[-1] == "page: runs/study-own/study.html"
    assert parse_manifest(Path("runs/study-own/seed-0/one/round-1/student")).fingerprint == (
        parse_manifest(Path("runs/study-own/seed-0/two/round-1/student")).fingerprint
    )


def test_a_cell_may_end_with_an_online_student(tmp_path):
    online = {"rounds.count": 0, "online.method": "fixmatch", "objective.label_smoothing": 0.0}
    cells = (noisystudent.Cell("rounds", {"rounds.count": 1}), noisystudent.Cell("online", online))
    study = noisystudent.Study("online", "Online", "?", "rounds", cells)
    settings = {name: value for name, value in COMMON.items() if name != "rounds.count"}

    result = noisystudent.study(study, **SOURCES, seeds=(0,), out=tmp_path, settings=settings, quiet=True)

    scores = read_json(tmp_path / "seed-0/online/scores/online/scores.json")
    assert result.rows[-1].top1[0] == pytest.approx(scores["test"]["top1"])


def of_thresholds(folder, reference):
    """The result of a study in which one cell selects nothing."""
    high = {"selection.rule": "threshold", "selection.threshold": 0.9999}
    cells = (noisystudent.Cell("all", {**high, "selection.threshold": 0.0}), noisystudent.Cell("sure", high))
    study = noisystudent.Study("threshold", "Threshold", "?", reference, cells)
    return noisystudent.study(study, **SOURCES, seeds=(0,), out=folder, settings=COMMON, quiet=True)


def test_a_cell_that_selects_nothing_has_no_result_and_the_others_have_theirs(tmp_path):
    result = of_thresholds(tmp_path, "all")

    missing = result.rows[-1]
    assert (missing.name, missing.top1, missing.mean, missing.difference) == ("sure", (), None, None)
    assert missing.missing.startswith("Seed 0: no pseudo label was selected in round-1")
    assert [len(row.top1) for row in result.rows[:-1]] == [1, 1]  # labels only, and the reference
    assert "sure has no result. Seed 0: no pseudo label" in (tmp_path / "study.md").read_text()
    assert of_thresholds(tmp_path, "all").rows == result.rows


def test_a_reference_that_selects_nothing_is_an_error(tmp_path):
    with pytest.raises(NothingSelectedError, match="no pseudo label was selected in round-1"):
        of_thresholds(tmp_path, "sure")


@pytest.mark.usefixtures("feature_cache")
def test_heads_on_a_frozen_backbone_have_no_luck_and_their_teacher_is_the_control(tmp_path):
    backbone = save_backbone(tmp_path / "weights")
    heads = {"model.backbone": backbone, "model.tune": "head", "data.near_duplicates": "none", "head.views": 1}
    rounds = tuple(noisystudent.Cell(f"{count} rounds", {"rounds.count": count}) for count in (1, 2))
    study = noisystudent.Study("rounds", "Rounds", "?", "1 rounds", rounds)

    result = noisystudent.study(study, **SOURCES, seeds=(0,), out=tmp_path / "study", settings=heads, quiet=True)

    teacher = read_json(tmp_path / "study/seed-0/1-rounds/scores/teacher/scores.json")
    assert result.rows[0].name == "labels only"
    assert result.rows[0].top1[0] == pytest.approx(teacher["test"]["top1"])
    low, high = result.rows[-1].interval
    assert high - low < 0.07  # with the luck of training it would be at least 0.078


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["nois"], "unknown study 'nois'. Did you mean 'noise'?"),
        (["rounds", "--seeds", "1,1"], "seed 1 is given twice"),
        (["rounds", "--rounds.count", "2"], "rounds.count cannot be given: study rounds varies it"),
        (["rounds", "--seed", "1"], "study does not use seed"),
        (["rounds", "--budget", "5m"], "study does not use budget"),
        (["noise", "--selection.fraction", "0.5"], "cell 'noisy student': run uses selection.fraction only with"),
    ],
)
def test_a_mistake_gets_one_clear_line(words, named, capsys):
    assert main(["study", *words, *(f"--{role}={source}" for role, source in SOURCES.items())]) == 2

    assert named in capsys.readouterr().err


def test_cells_with_the_same_settings_are_refused(tmp_path, capsys):
    file = tmp_path / "own.yaml"
    file.write_text("cells:\n  plain: {rounds.count: 2}\n  named: {rounds.count: 1}\n  other: {rounds.count: 2}\n")
    assert main(["study", str(file), *(f"--{role}={source}" for role, source in SOURCES.items())]) == 2

    assert "the cells 'plain' and 'other' have the same settings" in capsys.readouterr().err


def test_a_study_needs_a_test_source(capsys):
    assert main(["study", "rounds", "--labeled", "digits:labeled", "--unlabeled", "digits:unlabeled"]) == 2

    assert "a study needs --test" in capsys.readouterr().err
