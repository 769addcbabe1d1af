"""The commands runs, open and clean, on folders that were written by hand."""

import json

import pytest

from noisystudent.artifacts.archives import prepare
from noisystudent.artifacts.folder import commit
from noisystudent.artifacts.typed_json import write_result
from noisystudent.commands.main import main
from summaries import parsed_summary, summary


@pytest.fixture
def runs(tmp_path):
    """A finished run and an unfinished one."""
    for name in ("finished", "begun"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text("{}")
    write_result(tmp_path / "finished" / "summary.json", parsed_summary(summary()))
    return tmp_path


def test_runs_lists_what_each_delivered(runs, capsys):
    assert main(["runs", str(runs)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["run", "state", "top-1"]
    by_name = {line.split()[0]: line for line in lines[1:]}
    assert "unfinished" in by_name["begun"]
    result = parsed_summary(summary())
    assert f"{100 * result.student.test.top1:.1f}" in by_name["finished"]
    assert result.verdict.decision in by_name["finished"]


def test_a_damaged_result_is_said_and_does_not_stop_the_list(runs, capsys):
    (runs / "finished" / "summary.json").write_text("{")
    assert main(["runs", str(runs)]) == 0
    assert "unreadable" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["runs", "open", "clean"])
def test_a_folder_that_is_none_is_named(command, tmp_path, capsys):
    assert main([command, str(tmp_path / "gone")]) == 1
    assert "gone" in capsys.readouterr().err


def test_open_opens_the_page(runs, monkeypatch, capsys):
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or True)
    page = runs / "finished" / "report.html"
    page.write_text("<html></html>")
    assert main(["open", str(runs / "finished")]) == 0
    assert opened == [page.as_uri()]
    assert main(["open", str(runs / "begun")]) == 1
    assert "run the same command again" in capsys.readouterr().err


@pytest.fixture
def set_aside(tmp_path):
    """A stage whose earlier work was archived, beside a folder that only looks like an archive."""
    stage = tmp_path / "run" / "teacher"
    for steps in (1, 2):
        prepare(stage, {"steps": steps})
        (stage / "weights").write_bytes(b"x" * 1000)
        commit(stage, "checkpoint", {"steps": steps})
    (tmp_path / "run" / "mine.0123456789ab").mkdir()
    return tmp_path / "run"


@pytest.mark.parametrize(("answer", "left"), [("n", 1), ("", 1), ("y", 0)])
def test_clean_removes_what_was_set_aside_once_one_agrees(set_aside, answer, left, monkeypatch, capsys):
    monkeypatch.setattr("builtins.input", lambda _: answer)
    assert main(["clean", str(set_aside)]) == 0
    archived = [path for path in set_aside.glob("teacher.*") if path.is_dir()]
    assert len(archived) == left
    assert (set_aside / "teacher" / "weights").exists()
    assert (set_aside / "mine.0123456789ab").exists()
    assert "MB" in capsys.readouterr().out


def test_clean_has_nothing_to_do_twice(set_aside, capsys):
    assert main(["clean", str(set_aside), "--yes"]) == 0
    assert main(["clean", str(set_aside), "--yes"]) == 0
    assert capsys.readouterr().out.endswith("nothing was set aside\n")


def test_a_damaged_command_file_is_no_run(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({}))
    assert main(["runs", str(tmp_path)]) == 0
