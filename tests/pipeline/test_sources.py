"""What whole commands say about their sources, and that classes of any order give the same results."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import noisystudent
from data_images import class_folders, write_image
from noisystudent.commands.main import main
from noisystudent.errors import DataError, MismatchError

TRAIN = {"train.steps": 2, "train.batch_size": 8, "noise.strength": 0.25, "model.teacher": "tiny_resnet"}
RUN = {**TRAIN, "rounds.count": 1}
LINE = "6 images from {}; 2 classes: cat (3), dog (3)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Labeled images with a text file and a broken image, unlabeled ones, test ones of one class, and a model."""
    root = tmp_path_factory.mktemp("sources")
    class_folders(root / "labeled")
    (root / "labeled/cat/notes.txt").write_text("x")
    for number in range(6):
        write_image(root / "unlabeled" / f"{number}.png", seed=900 + number)
    (root / "unlabeled/list.csv").write_text("x")
    (root / "unlabeled/broken.png").write_bytes(b"no image")
    for number in range(2):
        write_image(root / "test/dog" / f"{number}.png", seed=700 + number)
    write_image(root / "test/cat/0.png", seed=750)
    noisystudent.train(root / "labeled", out=root / "model", settings=TRAIN, quiet=True)
    return root


def options(settings: dict[str, object]) -> list[str]:
    return [f"--{name}={value}" for name, value in settings.items()]


def command(*words: object) -> None:
    assert main([str(word) for word in words]) == 0


def test_every_command_names_its_sources_first(folder, tmp_path, capsys):
    labeled, unlabeled, model = folder / "labeled", folder / "unlabeled", folder / "model"
    lenient = "--data.max_corrupt_fraction=0.5"
    given = ["--labeled", labeled, "--unlabeled", unlabeled, lenient]
    commands = {
        "run": [*given, "--out", tmp_path / "run", *options(RUN)],
        "plan": [*given, "--out", tmp_path / "run", *options(RUN)],
        "train": ["--labeled", labeled, "--out", tmp_path / "train", *options(TRAIN)],
        "distill": ["--labeled", labeled, "--teacher", model, "--out", tmp_path / "distill", "--train.steps=2",
                    "--noise.strength=0.25", "--train.batch_size=8"],
        "evaluate": ["--checkpoint", model, "--source", labeled],
        "compare": [model, model, "--source", labeled, "--out", tmp_path / "compare", "--suite=clean"],
        "pack": [labeled, tmp_path / "pack", "--labeled"],
    }  # fmt: skip
    for name, words in commands.items():
        command(name, *words)
        first, second, *_ = capsys.readouterr().err.splitlines()
        assert LINE.format(labeled) in first, name
        assert second == "  passed over: files that end in .txt (1): 'cat/notes.txt'", name
    without_labels = {
        "label": ["--teacher", model, "--source", unlabeled, "--out", tmp_path / "label", lenient],
        "predict": [model, unlabeled, "--out", tmp_path / "p.csv", lenient],
        "show-noise": [unlabeled, "--out", tmp_path / "noise.png", lenient],
    }
    for name, words in without_labels.items():
        command(name, *words)
        output = capsys.readouterr()
        first, second, *_ = output.err.splitlines()
        assert (first, second) == (
            f"source: 7 images from {unlabeled}",
            "  passed over: files that end in .csv (1): 'list.csv'",
        ), name
        assert output.out.strip().endswith(str(words[words.index("--out") + 1])), name


def test_quiet_functions_say_nothing(folder, tmp_path, capsys):
    lenient = {"data.max_corrupt_fraction": 0.5}
    labeled, unlabeled, model = folder / "labeled", folder / "unlabeled", folder / "model"
    noisystudent.run(labeled, unlabeled, out=tmp_path / "run", settings={**RUN, **lenient}, quiet=True)
    noisystudent.label(teacher=model, source=unlabeled, out=tmp_path / "label", settings=lenient, quiet=True)
    noisystudent.predict(checkpoint=model, source=unlabeled, out=tmp_path / "p.csv", settings=lenient, quiet=True)
    output = capsys.readouterr()
    assert output.out == output.err == ""


def test_the_table_of_predict_has_a_row_for_everything_in_the_source(folder, tmp_path, capsys):
    failures = noisystudent.predict(
        checkpoint=folder / "model", source=folder / "unlabeled", out=tmp_path / "p.csv",
        settings={"data.max_corrupt_fraction": 0.5},
    ).failures  # fmt: skip
    with (tmp_path / "p.csv").open(newline="") as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    assert set(rows) == {*(f"{number}.png" for number in range(6)), "broken.png", "list.csv"}
    assert {bool(row["class"]) == (row["problem"] == "") for row in rows.values()} == {True}
    assert rows["broken.png"]["problem"] == failures[0].reason
    assert rows["list.csv"] == {
        "file": "list.csv", "class": "", "confidence": "", "problem": "passed over: files that end in .csv"
    }  # fmt: skip
    assert f"unreadable: broken.png: {failures[0].reason}" in capsys.readouterr().err


def test_labels_that_are_test_images_and_labels_that_contradict_are_named_everywhere(folder, tmp_path, capsys):
    shutil.copytree(folder / "labeled", tmp_path / "labeled")
    shutil.copy(folder / "test/dog/0.png", tmp_path / "labeled/dog/leak.png")
    shutil.copy(folder / "labeled/cat/1.png", tmp_path / "labeled/dog/copy.png")
    words = ["--labeled", tmp_path / "labeled", "--unlabeled", folder / "unlabeled", "--test", folder / "test"]
    command("run", *words, "--out", tmp_path / "run", *options(RUN), "--data.max_corrupt_fraction=0.5")
    said = capsys.readouterr().err
    assert "left out of the labeled set: 1 image, also among the validation or test images (1 identical" in said
    assert "1 image is in two or more classes: 'cat/1.png' (cat) and 'dog/copy.png' (dog)" in said
    facts = json.loads((tmp_path / "run/run.json").read_text())["sources"]["labeled"]
    assert facts["left_out"] == [{"key": "dog/leak.png", "same_as": "dog/0.png", "found": "identical"}]
    assert facts["conflicts"] == [{"keys": ["cat/1.png", "dog/copy.png"], "classes": ["cat", "dog"]}]
    assert facts["passed_over"] == [{"what": "files that end in .txt", "count": 1, "names": ["cat/notes.txt"]}]
    page = (tmp_path / "run/report.html").read_text()
    for text in ("dog/leak.png", "dog/copy.png", "cat/notes.txt"):
        assert text in page


def test_a_run_of_test_images_only_is_refused(folder, tmp_path):
    with pytest.raises(DataError, match="all labeled images of 'cat', 'dog' are also test images"):
        noisystudent.run(
            folder / "labeled", folder / "unlabeled", test=folder / "labeled", out=tmp_path / "run",
            settings={**RUN, "data.max_corrupt_fraction": 0.5}, quiet=True,
        )  # fmt: skip
    assert not (tmp_path / "run" / "teacher").exists()


# ---- classes in another order ----


def save_arrays(path: Path, classes: tuple[str, ...], *, first: int = 0, rows: int = 12) -> Path:
    """Random images whose class is told by their brightness, with labels in the order of ``classes``."""
    random = np.random.default_rng(first)
    names = [("eight", "three")[row % 2] for row in range(rows)]
    images = [random.integers(0, 100, (8, 8)) + 100 * (name == "three") for name in names]
    np.savez(
        path,
        x=np.stack(images).astype(np.uint8),
        y=np.array([classes.index(name) for name in names]),
        classes=np.array(classes),
    )
    return path


def test_test_images_in_another_class_order_are_scored_alike(tmp_path):
    labeled = save_arrays(tmp_path / "labeled.npz", ("eight", "three"))
    unlabeled = save_arrays(tmp_path / "unlabeled.npz", ("three", "eight"), first=1)
    scores = []
    for name, classes in (("a", ("eight", "three")), ("b", ("three", "eight"))):
        test = save_arrays(tmp_path / f"{name}.npz", classes, first=2)
        run = noisystudent.run(labeled, unlabeled, test=test, out=tmp_path / name, settings=RUN, quiet=True)
        scores.append((run.student.test, run.rounds[0].pseudo_labels))
    assert scores[0] == scores[1]


def test_a_student_takes_predictions_and_labels_in_different_class_orders(tmp_path):
    labeled = save_arrays(tmp_path / "labeled.npz", ("eight", "three"))
    swapped = save_arrays(tmp_path / "swapped.npz", ("three", "eight"))
    unlabeled = save_arrays(tmp_path / "unlabeled.npz", ("eight", "three"), first=1)
    teacher, predictions, selection = (tmp_path / name for name in ("teacher", "predictions", "selection"))
    noisystudent.train(labeled, out=teacher, settings=TRAIN, quiet=True)
    noisystudent.label(teacher=teacher, source=unlabeled, out=predictions, quiet=True)
    noisystudent.select(predictions=predictions, out=selection, settings={"selection.fraction": 1.0})
    given = {"unlabeled": unlabeled, "predictions": predictions, "selection": selection, "settings": TRAIN}
    weights = []
    for name, labels in (("a", labeled), ("b", swapped)):
        noisystudent.train(labels, out=tmp_path / name, quiet=True, **given)
        weights.append((tmp_path / name / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]
    other = save_arrays(tmp_path / "other.npz", ("eight", "three", "nine"))
    with np.load(other) as arrays:
        images, labels = arrays["x"], arrays["y"].copy()
    labels[0] = 2
    np.savez(other, x=images, y=labels, classes=np.array(["eight", "three", "nine"]))
    with pytest.raises(MismatchError, match=r"made for the classes 'eight', 'three', and the labeled images are of"):
        noisystudent.train(other, out=tmp_path / "c", quiet=True, **given)
