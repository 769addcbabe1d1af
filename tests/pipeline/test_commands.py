"""The command line as a user meets it: commands on the same artifacts, and one clear line for every mistake."""

import csv
import errno
import json
import os
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file

from noisystudent.commands.main import COMMANDS, main

QUICK_TRAIN = ["--train.steps=4", "--train.batch_size=16", "--noise.strength=0.5"]
QUICK = [*QUICK_TRAIN, "--rounds.count=1"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two classes of bright and dark images: labeled, unlabeled (flat), test."""
    root = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for part, count in (("labeled", 6), ("test", 8)):
        for name, level in (("dark", 60), ("light", 180)):
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                save(root / part / name / f"{i}.png", random, level)
    (root / "unlabeled").mkdir()
    for i in range(30):
        save(root / "unlabeled" / f"{i}.png", random, 60 if i % 2 else 180)
    return root


def save(path: Path, random, level: int) -> None:
    pixels = np.clip(random.normal(level, 20, (12, 12, 3)), 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path)


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def command(*words: object) -> int:
    return main([str(word) for word in words])


@pytest.fixture(scope="module")
def teacher(folders, tmp_path_factory):
    out = tmp_path_factory.mktemp("models") / "teacher"
    assert command("train", "--labeled", folders / "labeled", "--out", out, *QUICK_TRAIN) == 0
    return out


def fails(capsys, *words: object) -> str:
    """Runs a command that must fail with one line and no traceback; returns that line."""
    code = command(*words)
    error = capsys.readouterr().err
    assert code in (1, 2)
    lines = [line for line in error.splitlines() if line.startswith("noisystudent: ")]
    assert len(lines) == 1
    assert "Traceback" not in error
    return lines[0]


def test_run_prints_the_table_the_verdict_and_the_page(folders, tmp_path, capsys):
    arguments = ["--labeled", folders / "labeled", "--unlabeled", folders / "unlabeled", "--test", folders / "test"]
    assert command("run", *arguments, "--out", tmp_path / "run", *QUICK) == 0
    printed = capsys.readouterr().out
    assert "Teacher" in printed
    assert "Control (labels only)" in printed
    assert str(tmp_path / "run" / "report.html") in printed
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["verdict"]["labels"] == 16
    assert command("report", tmp_path / "run") == 0
    assert command("plan", *arguments, "--out", tmp_path / "run", *QUICK) == 0
    assert "to do" not in capsys.readouterr().out


def test_the_commands_of_single_stages_make_a_student_step_by_step(folders, teacher, tmp_path, capsys):
    unlabeled, predicted, selected = folders / "unlabeled", tmp_path / "predictions", tmp_path / "selection"
    assert command("label", "--teacher", teacher, "--source", unlabeled, "--out", predicted) == 0
    assert command("select", "--predictions", predicted, "--out", selected, "--selection.fraction=0.5") == 0
    assert "selected" in capsys.readouterr().out
    student = tmp_path / "student"
    words = ["--unlabeled", unlabeled, "--predictions", predicted, "--selection", selected, "--out", student]
    assert command("train", "--labeled", folders / "labeled", *words, *QUICK_TRAIN) == 0
    scores = tmp_path / "scores.json"
    assert command("evaluate", "--checkpoint", student, "--source", folders / "test", "--out", scores) == 0
    assert "top1" in capsys.readouterr().out
    assert json.loads(scores.read_text())["count"] == 16
    table = tmp_path / "answers.csv"
    assert command("predict", student, unlabeled, "--out", table) == 0
    rows = read_table(table)
    assert len(rows) == 30
    assert {row["class"] for row in rows} <= {"dark", "light"}
    assert all(0 < float(row["confidence"]) <= 1 for row in rows)
    assert rows[0].keys() == {"file", "class", "confidence", "problem"}


def test_images_that_the_model_was_trained_on_are_announced(folders, teacher, tmp_path, capsys):
    mixed = tmp_path / "mixed"
    for name in ("dark", "light"):
        (mixed / name).mkdir(parents=True)
        for i in range(3):
            (mixed / name / f"{i}.png").write_bytes((folders / "test" / name / f"{i}.png").read_bytes())
        Image.open(folders / "labeled" / name / "0.png").save(mixed / name / "again.bmp")
    scores = tmp_path / "scores.json"
    words = ["evaluate", "--checkpoint", teacher, "--source", mixed, "--out", scores]
    assert command(*words) == 0
    printed = capsys.readouterr().out
    assert "warning: 2 of the 8 images are among the labeled images that the model was trained on" in printed
    assert json.loads(scores.read_text())["training_images"] == 2
    assert command("predict", teacher, mixed, "--out", tmp_path / "a.csv") == 0
    assert "warning: 2 of the 8 images are among the labeled images" in capsys.readouterr().err
    assert command("predict", teacher, folders / "test", "--out", tmp_path / "b.csv") == 0
    assert "labeled images" not in capsys.readouterr().err


def test_a_temperature_is_not_fitted_on_training_images(folders, teacher, tmp_path, capsys):
    words = ["--source", folders / "test", "--calibrate", folders / "labeled", "--out", tmp_path / "scores.json"]
    line = fails(capsys, "evaluate", "--checkpoint", teacher, *words)
    assert "12 of the 12 images of --calibrate" in line
    assert "Give other labeled images" in line
    assert not (tmp_path / "scores.json").exists()


def test_two_classes_print_no_top_5_accuracy(folders, teacher, capsys):
    assert command("evaluate", "--checkpoint", teacher, "--source", folders / "test") == 0
    assert "top5" not in capsys.readouterr().out


def test_a_student_takes_predictions_of_unlabeled_images_that_hold_validation_images(
    folders, teacher, tmp_path, capsys
):
    unlabeled, predicted, selected = tmp_path / "unlabeled", tmp_path / "predictions", tmp_path / "selection"
    unlabeled.mkdir()
    for path in (folders / "unlabeled").iterdir():
        (unlabeled / path.name).write_bytes(path.read_bytes())
    Image.open(folders / "test" / "dark" / "0.png").save(unlabeled / "0-leak.bmp")
    assert command("label", "--teacher", teacher, "--source", unlabeled, "--out", predicted) == 0
    assert command("select", "--predictions", predicted, "--out", selected, "--selection.fraction=1") == 0
    words = [
        "--unlabeled",
        unlabeled,
        "--predictions",
        predicted,
        "--selection",
        selected,
        "--labeled",
        folders / "labeled",
    ]
    assert command("train", *words, "--out", tmp_path / "s", "--validation", folders / "test", *QUICK_TRAIN) == 0
    assert "left out of the unlabeled set: 1 image, also among" in capsys.readouterr().err

    label = ["label", "--teacher", teacher, "--source", folders / "unlabeled"]
    assert command(*label, "--out", tmp_path / "other") == 0
    assert command("select", "--predictions", tmp_path / "other", "--out", tmp_path / "chosen") == 0
    words[5] = tmp_path / "chosen"
    message = fails(capsys, "train", *words, "--out", tmp_path / "t", *QUICK_TRAIN)
    assert "chosen was made from other predictions than those given" in message


def test_labeling_again_labels_nothing(folders, teacher, tmp_path):
    words = ["label", "--teacher", teacher, "--source", folders / "unlabeled", "--out", tmp_path / "p"]
    assert command(*words) == 0
    before = (tmp_path / "p" / "part-00000.parquet").stat().st_mtime_ns
    assert command(*words) == 0
    assert (tmp_path / "p" / "part-00000.parquet").stat().st_mtime_ns == before


def test_a_noised_teacher_labels_by_its_seed_and_otherwise_than_a_plain_one(folders, teacher, tmp_path):
    words = ["label", "--teacher", teacher, "--source", folders / "unlabeled"]
    noised = ["--noise.teacher=true", "--noise.strength=1"]
    for out, more in {"plain": [], "a": noised, "same": noised, "b": [*noised, "--seed", 1]}.items():
        assert command(*words, "--out", tmp_path / out, *more) == 0
    rows = {path.name: (path / "part-00000.parquet").read_bytes() for path in tmp_path.iterdir()}
    assert rows["a"] == rows["same"]
    assert len({rows["plain"], rows["a"], rows["b"]}) == 3


def test_unreadable_images_are_named_counted_and_left_out_everywhere(folders, teacher, tmp_path, capsys):
    unlabeled = tmp_path / "unlabeled"
    unlabeled.mkdir()
    for path in (folders / "unlabeled").iterdir():
        (unlabeled / path.name).write_bytes(path.read_bytes())
    (unlabeled / "broken.jpg").write_bytes(b"\xff\xd8 not a jpeg")
    arguments = ["--labeled", folders / "labeled", "--unlabeled", unlabeled, "--out", tmp_path / "run", *QUICK]
    assert command("run", *arguments) == 0
    assert "30 images" in (errors := capsys.readouterr().err)
    assert "1 unreadable" in errors
    summaries = json.loads((tmp_path / "run" / "run.json").read_text())["sources"]["unlabeled"]
    assert [failure["key"] for failure in summaries["failures"]] == ["broken.jpg"]
    assert "broken.jpg" in (tmp_path / "run" / "report.html").read_text()
    assert command("predict", teacher, unlabeled, "--out", tmp_path / "a.csv") == 0
    assert "broken.jpg" in capsys.readouterr().err
    rows = {row["file"]: row["class"] for row in read_table(tmp_path / "a.csv")}
    assert len(rows) == 31
    assert rows["broken.jpg"] == ""
    for i in range(3):
        (unlabeled / f"bad-{i}.png").write_bytes(b"")
    assert "data.max_corrupt_fraction" in fails(capsys, "run", *arguments)
    assert command("run", *arguments, "--data.max_corrupt_fraction=0.5") == 0


def test_test_images_among_the_unlabeled_ones_are_left_out_and_counted(folders, tmp_path, capsys):
    unlabeled = tmp_path / "unlabeled"
    unlabeled.mkdir()
    for path in (folders / "unlabeled").iterdir():
        (unlabeled / path.name).write_bytes(path.read_bytes())
    Image.open(folders / "test" / "dark" / "0.png").save(unlabeled / "leak.bmp")
    words = ["--labeled", folders / "labeled", "--unlabeled", unlabeled, "--test", folders / "test"]
    assert command("run", *words, "--out", tmp_path / "run", *QUICK) == 0
    assert "left out of the unlabeled set: 1 image, also among" in capsys.readouterr().err
    left_out = json.loads((tmp_path / "run" / "run.json").read_text())["sources"]["unlabeled"]["left_out"]
    assert left_out == [{"key": "leak.bmp", "same_as": "dark/0.png", "found": "identical"}]


def bad_inputs(folders: Path, root: Path) -> dict[str, tuple[list[object], str]]:
    """Every mistake of a user that has a clear answer: the words, and what the answer must name."""
    (root / "empty").mkdir()
    for name in ("dark", "light", "nothing"):
        (root / "holey" / name).mkdir(parents=True)
    (root / "holey" / "nothing" / "0.txt").write_text("an empty folder would only be passed over")
    (root / "one" / "dark").mkdir(parents=True)
    for folder in ("holey/dark", "holey/light", "one/dark"):
        (root / folder / "0.png").write_bytes((folders / "labeled" / "dark" / "0.png").read_bytes())
    for name in ("dark", "bright"):
        (root / "other" / name).mkdir(parents=True)
        (root / "other" / name / "0.png").write_bytes((folders / "test" / "dark" / "0.png").read_bytes())
    labeled, unlabeled, out = folders / "labeled", folders / "unlabeled", root / "out"
    both = ["--labeled", labeled, "--unlabeled", unlabeled, "--out", out]
    return {
        "no command": (["trian"], "train"),
        "missing folder": (["run", "--labeled", root / "gone", "--unlabeled", unlabeled, "--out", out], "gone"),
        "empty class": (["run", "--labeled", root / "holey", "--unlabeled", unlabeled, "--out", out], "nothing"),
        "one class": (["run", "--labeled", root / "one", "--unlabeled", unlabeled, "--out", out], "one"),
        "no unlabeled images": (["run", "--labeled", labeled, "--unlabeled", root / "empty", "--out", out], "empty"),
        "other classes": (["run", *both, "--test", root / "other"], "bright"),
        "unknown option": (["run", *both, "--train.stepz=3"], "train.steps"),
        "out of range": (["run", *both, "--noise.dropout=1.5"], "noise.dropout"),
        "unknown model": (["run", *both, "--noise.strength=1", "--model.teacher=efficientnet_b00"], "efficientnet_b0"),
        "no weights": (
            [
                "run",
                *both,
                "--noise.strength=1",
                "--model.teacher=resnet18",
                "--model.pretrained=true",
                "--budget=none",
            ],
            "model.pretrained false",
        ),
        "no stochastic depth": (
            ["run", *both, "--noise.strength=1", "--model.teacher=vgg11", "--data.size=32", "--budget=none"],
            "noise.stochastic_depth",
        ),
        "no run to report": (["report", root / "gone"], "gone"),
        "no checkpoint": (
            ["predict", root / "gone", unlabeled, "--out", root / "classes.csv"],
            "gone",
        ),
    }


def test_every_mistake_gets_one_clear_line(folders, tmp_path, capsys):
    for name, (words, named) in bad_inputs(folders, tmp_path).items():
        line = fails(capsys, *words)
        assert named in line, f"{name}: {line}"


UNUSED = [
    (
        "label",
        "--data.size=64",
        "label does not use data.size, which run, plan, check, study, train, pretrain, distill and show-noise use",
    ),
    ("label", "--noise.flip=true", "label uses noise.flip only with noise.teacher true"),
    (
        "evaluate",
        "--data.size=8",
        "evaluate does not use data.size, which run, plan, check, study, train, pretrain, distill and show-noise use",
    ),
    ("evaluate", "--train.steps=8", "evaluate does not use train.steps, which run, plan, study, train and distill use"),
    ("predict", "--data.near_duplicates=none", "predict does not use data.near_duplicates"),
    ("train", "--train.warm_start=true", "train does not use train.warm_start, which run, plan and study use"),
    ("train", "--rounds.count=1", "train does not use rounds.count"),
    ("distill", "--model.teacher=wrn_28_2", "In distill, --teacher and --student name the models"),
    ("select", "--selection.once=true", "select does not use selection.once"),
    ("compare", "--runtime.compile=true", "compare does not use runtime.compile"),
    ("show-noise", "--data.window=8", "show-noise does not use data.window"),
    ("plan", "--distillation.teachers=x", "plan does not use distillation.teachers, which distill uses"),
]
NEEDED = {
    "label": ["--teacher=x", "--source=digits", "--out=out"],
    "evaluate": ["--checkpoint=x", "--source=digits"],
    "predict": ["x", "digits", "--out=out.csv"],
    "select": ["--predictions=x", "--out=out"],
    "compare": ["x", "y", "--source=digits", "--out=out"],
    "show-noise": ["digits"],
}


@pytest.mark.parametrize(("name", "option", "message"), UNUSED, ids=[" ".join(row[:2]) for row in UNUSED])
def test_an_option_that_the_command_does_not_use_is_refused(name, option, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in fails(capsys, name, *NEEDED.get(name, []), option)
    assert message in fails(capsys, name, *NEEDED.get(name, []), *option.split("="))
    assert not list(tmp_path.iterdir())


def test_a_settings_file_with_a_setting_that_the_command_does_not_use_is_refused(folders, tmp_path, capsys):
    file = tmp_path / "run.yaml"
    file.write_text("train: {steps: 4}\nrounds: {count: 1}\n")
    line = fails(capsys, "train", "--config", file, "--labeled", folders / "labeled", "--out", tmp_path / "out")
    assert "train does not use rounds.count (file run.yaml), which run, plan and study use" in line


def test_other_classes_lists_both(folders, tmp_path, capsys):
    words, _ = bad_inputs(folders, tmp_path)["other classes"]
    line = fails(capsys, *words)
    for name in ("'dark'", "'light'", "'bright'"):
        assert name in line


def test_a_checkpoint_of_other_classes_or_another_format_is_refused(folders, teacher, tmp_path, capsys):
    other = tmp_path / "images"
    for name in ("dark", "light", "medium"):
        (other / name).mkdir(parents=True)
        (other / name / "0.png").write_bytes((folders / "test" / "dark" / "0.png").read_bytes())
    assert "medium" in fails(capsys, "evaluate", "--checkpoint", teacher, "--source", other)
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "config.json").write_text((teacher / "config.json").read_text())
    (pickled / "pytorch_model.bin").write_bytes(b"\x80\x04")
    assert "safetensors" in fails(capsys, "predict", pickled, folders / "unlabeled", "--out", "x.csv")
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    (wrong / "config.json").write_text((teacher / "config.json").read_text())
    save_file({"weight": np.zeros(3, np.float32)}, wrong / "model.safetensors")
    assert str(wrong) in fails(capsys, "predict", wrong, folders / "unlabeled", "--out", "x.csv")


def test_a_loss_that_is_not_finite_stops_at_its_step(folders, tmp_path, capsys):
    words = ["--labeled", folders / "labeled", "--out", tmp_path / "teacher", "--noise.strength=0.5"]
    line = fails(capsys, "train", *words, "--train.learning_rate=1e30", "--train.warmup=0", "--train.steps=60")
    assert "not finite at step" in line
    assert "train.learning_rate" in line


def test_a_full_disk_in_mid_training_is_one_line_and_the_run_goes_on_later(folders, tmp_path, capsys, monkeypatch):
    words = [
        "train",
        "--labeled",
        folders / "labeled",
        "--out",
        tmp_path / "teacher",
        *QUICK_TRAIN,
        "--train.save_every=0.001",
    ]

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        line = fails(capsys, *words)
    assert "training-state.pt" in line
    assert not list((tmp_path / "teacher").glob("*.tmp*"))
    assert command(*words) == 0


def test_predictions_of_another_source_are_refused(folders, teacher, tmp_path, capsys):
    predicted, selected = tmp_path / "p", tmp_path / "s"
    assert command("label", "--teacher", teacher, "--source", folders / "labeled", "--out", predicted) == 0
    assert command("select", "--predictions", predicted, "--out", selected) == 0
    words = [
        "--unlabeled",
        folders / "unlabeled",
        "--predictions",
        predicted,
        "--selection",
        selected,
        "--out",
        tmp_path / "c",
    ]
    line = fails(capsys, "train", "--labeled", folders / "labeled", *words, *QUICK_TRAIN)
    assert "unlabeled" in line


def test_debug_shows_where_an_error_came_from(tmp_path, capsys):
    assert command("report", tmp_path / "gone", "--debug") == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_settings_file_gives_the_whole_run(folders, tmp_path, capsys):
    file = tmp_path / "run.yaml"
    lines = [f"labeled: {folders / 'labeled'}", f"unlabeled: {folders / 'unlabeled'}", f"out: {tmp_path / 'run'}"]
    lines += ["train: {steps: 4, batch_size: 16}", "rounds: {count: 1}", "noise: {strength: 0.5}"]
    file.write_text("\n".join(lines))
    assert command("run", "--config", file) == 0
    assert str(tmp_path / "run" / "best") in capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name, capsys):
    assert command(name, "--help") == 0
    assert f"noisystudent {name}" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"]], ids=" ".join)
def test_help_is_quick(words):
    """What it loads takes its time: no library but these, which define and read settings."""
    listed = "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    code = f"import sys; from noisystudent.commands.main import main; main({words}); {listed}"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    libraries = packages_distributions().keys() & set(done.stderr.split())
    of_pydantic = {"pydantic", "pydantic_core", "typing_extensions", "typing_inspection", "annotated_types"}
    assert "noisystudent" in libraries
    assert libraries - {"noisystudent", "_distutils_hack"} <= {"yaml", "_yaml", *of_pydantic}


@pytest.mark.parametrize(("given", "expected"), [(None, "passive"), ("active", "active")])
def test_threads_wait_asleep_unless_the_environment_says_otherwise(monkeypatch, given, expected):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if given:
        monkeypatch.setenv("OMP_WAIT_POLICY", given)
    assert main(["--version"]) == 0
    assert os.environ["OMP_WAIT_POLICY"] == expected
