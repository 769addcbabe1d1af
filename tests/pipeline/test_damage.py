"""Finished work that was damaged is named, and its stage alone is made again; a user's files stay where they are."""

import shutil
from pathlib import Path

import pytest

import noisystudent
from noisystudent.artifacts import folder
from noisystudent.artifacts.folder import hash_file
from noisystudent.commands.main import main
from noisystudent.errors import ArtifactError

QUICK = {
    "train.steps": 2,
    "train.batch_size": 8,
    "noise.strength": 0.25,
    "model.teacher": "tiny_resnet",
    "rounds.count": 1,
    "runtime.threads": 1,
}
SOURCES = {"labeled": "digits:labeled", "unlabeled": "digits:unlabeled", "test": "digits:test"}


def run(out: Path, **more: bool) -> None:
    noisystudent.run(**SOURCES, out=out, settings=QUICK, **more)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "run"
    run(out)
    return out


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    return shutil.copytree(finished, tmp_path / "run")


def zero(path: Path, start: int, length: int) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(bytes(length))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:2000])


DAMAGE = {
    "a lost block of the teacher": (
        lambda run: zero(run / "teacher" / "model.safetensors", 400 * 1024, 64 * 1024),
        "teacher: made again where it is damaged: model.safetensors was changed after it was written",
    ),
    "the delivered model is gone": (
        lambda run: (run / "best" / "model.safetensors").unlink(),
        "best: made again where it is damaged: model.safetensors is missing",
    ),
    "a part of the predictions is cut": (
        lambda run: truncate(run / "round-1" / "predictions" / "part-00000.parquet"),
        "round-1/predictions: made again where it is damaged: part-00000.parquet was changed",
    ),
    "half a record of the training": (
        lambda run: (run / "teacher" / "training.json").write_text('{"model"'),
        "teacher: made again where it is damaged: training.json was changed",
    ),
    "that record was deleted, as a message advised": (
        lambda run: (run / "teacher" / "training.json").unlink(),
        "teacher: made again where it is damaged: training.json is missing",
    ),
    "the scores are empty": (
        lambda run: (run / "scores" / "teacher" / "scores.json").write_text(""),
        "scores/teacher: made again where it is damaged: scores.json was changed",
    ),
    "a manifest is no JSON": (
        lambda run: (run / "round-1" / "selection" / "manifest.json").write_text("{"),
        "round-1/selection: made again where it is damaged: manifest.json is damaged",
    ),
    "the inputs are gone": (lambda run: (run / "control" / "inputs.json").unlink(), "control: done before"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named_and_only_its_stage_is_made_again(name, finished, copied, capsys):
    harm, message = DAMAGE[name]
    harm(copied)
    run(copied)
    printed = capsys.readouterr().err
    assert message in printed
    stage = message.split(":")[0]
    again = [line.split(":")[0] for line in printed.splitlines() if "made again" in line]
    assert again == ([] if message.endswith("before") else [stage])
    for model in ("teacher", "best"):
        weights = Path(model) / "model.safetensors"
        assert hash_file(copied / weights) == hash_file(finished / weights)


def test_verify_reads_every_byte_of_finished_work(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(folder, "_SAMPLE_BLOCK", 8)  # so that the samples do not cover so small a file
    run(tmp_path)
    path = tmp_path / "round-1" / "selection" / "summary.json"
    text, sample = path.read_text(), folder.sample_of(path)
    for position in (index for index, character in enumerate(text) if character in "12345678"):
        path.write_text(text[:position] + "9" + text[position + 1 :])
        if folder.sample_of(path) == sample:
            break
    capsys.readouterr()
    run(tmp_path)
    assert "made again" not in capsys.readouterr().err
    run(tmp_path, verify=True)
    assert "round-1/selection: made again where it is damaged: summary.json was changed" in capsys.readouterr().err
    assert path.read_text() == text


def test_a_damaged_model_is_refused_by_every_command(copied, tmp_path, capsys):
    zero(copied / "teacher" / "model.safetensors", 100_000, 4096)
    teacher, source = str(copied / "teacher"), "digits:test"
    commands = (
        ["predict", teacher, source, "--out", str(tmp_path / "p.csv")],
        ["evaluate", "--checkpoint", teacher, "--source", source],
        ["label", "--teacher", teacher, "--source", source, "--out", str(tmp_path / "labels")],
        ["distill", "--teacher", teacher, "--labeled", "digits:labeled", "--out", str(tmp_path / "distilled")],
    )
    for words in commands:
        assert main(words) == 1
        assert "model.safetensors was changed after it was written, so it is damaged" in capsys.readouterr().err


def test_predictions_that_are_damaged_are_refused_and_mended_by_label(copied, tmp_path, capsys):
    words = ["label", "--teacher", str(copied / "teacher"), "--source", "digits:unlabeled"]
    out = str(tmp_path / "labels")
    assert main([*words, "--out", out]) == 0
    before = hash_file(tmp_path / "labels" / "part-00000.parquet")
    truncate(tmp_path / "labels" / "part-00000.parquet")
    with pytest.raises(ArtifactError, match=r"part-00000\.parquet was changed .* Run the command that made"):
        noisystudent.select(predictions=out, out=tmp_path / "selection")
    capsys.readouterr()
    assert main([*words, "--out", out]) == 0
    assert "is made again where it is damaged: part-00000.parquet" in capsys.readouterr().err
    assert hash_file(tmp_path / "labels" / "part-00000.parquet") == before
    assert noisystudent.select(predictions=out, out=tmp_path / "selection").rows == 1257


def test_no_command_writes_among_files_of_others(copied, tmp_path, capsys):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("weeks of work")
    model, digits = str(copied / "best"), "digits:test"
    steps = [f"--{name}={value}" for name, value in QUICK.items() if name != "rounds.count"]
    commands = (
        ["run", "--labeled", "digits:labeled", "--unlabeled", digits, *steps],
        ["plan", "--labeled", "digits:labeled", "--unlabeled", digits, *steps],
        ["train", "--labeled", "digits:labeled", *steps],
        ["distill", "--labeled", "digits:labeled", "--teacher", model],
        ["label", "--teacher", model, "--source", digits],
        ["select", "--predictions", str(copied / "round-1" / "predictions")],
        ["evaluate", "--checkpoint", model, "--source", digits, "--suite", "calibration"],
        ["compare", model, model, "--source", digits, "--suite", "calibration"],
    )
    for words in commands:
        assert main([*words, "--out", str(mine)]) in (1, 2)
        assert "did not write: notes.txt" in capsys.readouterr().err, words[0]
    assert main(["pack", digits, str(mine)]) == 1
    assert [path.name for path in mine.iterdir()] == ["notes.txt"]
    files = (
        ["predict", model, digits],
        ["evaluate", "--checkpoint", model, "--source", digits],
        ["show-noise", digits],
    )
    for words in files:
        assert main([*words, "--out", str(mine / "notes.txt")]) == 2
        assert main([*words, "--out", str(mine)]) == 2
    assert (mine / "notes.txt").read_text() == "weeks of work"
