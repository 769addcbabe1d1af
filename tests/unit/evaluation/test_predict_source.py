"""predict: counts, tables of three kinds with the same content, and copies that move and replace nothing."""

import csv
import json
import os

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import noisystudent as ns
from data_images import noise_image, png
from noisystudent.commands.main import main
from noisystudent.errors import ArtifactError, DataError, ModelError, NoisyStudentError, SettingsError
from noisystudent.models.calibration import Calibration, write_calibration
from noisystudent.models.checkpoint import save_classifier
from noisystudent.models.classifier import create_classifier

CLASSES = ("../up", "<b>cat</b>", "שלום\u202e")  # that leads out, has markup, has a direction character
PROBABILITIES = [f"probability_{name}" for name in CLASSES]


def save_model(folder, classes=CLASSES):
    torch.manual_seed(0)
    save_classifier(create_classifier("tiny_resnet", classes=classes, channels=3, size=8), folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("model") / "best")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Seven images in two folders, one unreadable file, one text."""
    root = tmp_path_factory.mktemp("images")
    for number in range(7):
        path = root / f"part-{number % 2}" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(png(noise_image(8, 8, seed=number)))
    (root / "broken.png").write_bytes(b"")
    (root / "notes.txt").write_text("text")
    return root


def predict(model, images, **arguments):
    return ns.predict(model, images, settings={"data.max_corrupt_fraction": 0.5}, quiet=True, **arguments)


def test_counts_are_those_of_the_predictor(model, images):
    summary = predict(model, images)
    answers = ns.load(model).predict(sorted((images).rglob("part-*/*.png")))
    assert summary.counts == {name: answers.count(name) for name in CLASSES}
    assert summary.images == 7
    assert [failure.key for failure in summary.failures] == ["broken.png"]
    assert summary.top == ()


def test_the_three_kinds_of_tables_have_the_same_content(model, images, tmp_path):
    for ending in ("csv", "jsonl", "parquet"):
        for _ in range(2):  # a table of this program is replaced
            predict(model, images, out=tmp_path / f"a.{ending}", top=3, probabilities=True)
    table = pq.read_table(tmp_path / "a.parquet")
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = ["file", "class", "confidence", "problem", "class_2", "confidence_2", "class_3", "confidence_3"]
    assert list(rows[0]) == list(lines[0]) == table.column_names == [*names, *PROBABILITIES]
    assert len(rows) == len(lines) == table.num_rows == 9
    for row, line, exact in zip(rows, lines, table.to_pylist(), strict=True):
        for name in names:
            value = exact[name]
            if isinstance(value, float):
                assert float(row[name]) == pytest.approx(value, abs=6e-5)
                assert line[name] == pytest.approx(value, abs=6e-7)
            else:
                assert (row[name] or None, line[name]) == (value or None, value)
    answered = [row for row in table.to_pylist() if row["class"] is not None]
    assert len(answered) == 7
    for row in answered:
        assert sum(row[name] for name in PROBABILITIES) == pytest.approx(1, abs=1e-6)
        assert row[f"probability_{row['class_2']}"] == row["confidence_2"]
        assert row["confidence"] >= row["confidence_2"] >= row["confidence_3"]


def test_one_image_has_its_most_probable_classes_without_a_table(model, images):
    file = images / "part-0" / "0.png"
    summary = predict(model, file, top=2)
    probabilities = ns.load(model).predict_proba(file)[0]
    order = np.argsort(-probabilities)[:2]
    assert summary.top == tuple((CLASSES[label], probabilities[label]) for label in order)


def test_calibrated_confidences_are_at_the_temperature_of_the_checkpoint(images, tmp_path):
    model = save_model(tmp_path / "best")
    with pytest.raises(ModelError, match="has no temperature"):
        predict(model, images, calibrated=True)
    write_calibration(model, Calibration(temperature=0.5, labels=9, fitted_on="validation labels"))
    predict(model, images, out=tmp_path / "a.parquet", probabilities=True)
    predict(model, images, out=tmp_path / "b.parquet", probabilities=True, calibrated=True)
    plain, calibrated = (
        np.array([[row[name] for name in PROBABILITIES] for row in pq.read_table(path).to_pylist() if row["class"]])
        for path in (tmp_path / "a.parquet", tmp_path / "b.parquet")
    )
    np.testing.assert_allclose(calibrated, plain**2 / (plain**2).sum(axis=1, keepdims=True), rtol=1e-5)
    files = sorted(images.rglob("part-*/*.png"))
    np.testing.assert_allclose(ns.load(model).predict_proba(files, calibrated=True), calibrated, rtol=1e-6)


def copies_of(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.png")}


def test_copies_lie_in_folders_of_their_class_with_safe_names(model, images, tmp_path):
    out = tmp_path / "sorted"
    summary = predict(model, images, copy_to=out)
    table = tmp_path / "a.csv"
    predict(model, images, out=table)
    with table.open(newline="") as file:
        answers = {row["file"]: row["class"] for row in csv.DictReader(file) if row["class"]}
    folders = dict(zip(CLASSES, ("%2E.%2Fup", "%3Cb%3Ecat%3C%2Fb%3E", "שלום%E2%80%AE"), strict=True))
    assert copies_of(out) == {f"{folders[name]}/{key}" for key, name in answers.items()}
    assert summary.copied == 7
    for key, name in answers.items():
        assert (out / folders[name] / key).read_bytes() == (images / key).read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "sorted"]
    one = next(out.rglob("*.png"))
    one.write_bytes(b"mine")
    again = predict(model, images, copy_to=out)
    assert (again.copied, again.present, again.others) == (0, 6, 1)
    assert one.read_bytes() == b"mine"


def test_only_confident_images_are_copied(model, images, tmp_path):
    confidences = ns.load(model).predict_proba(sorted(images.rglob("part-*/*.png"))).max(axis=1)
    least = float(np.sort(confidences)[3])
    assert predict(model, images, copy_to=tmp_path / "sorted", min_confidence=least).copied == 4


def test_nothing_is_copied_into_a_folder_of_the_user_or_of_the_images(model, images, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("weeks of work")
    with pytest.raises(ArtifactError, match=r"did not write: notes\.txt"):
        predict(model, images, copy_to=tmp_path / "mine")
    with pytest.raises(SettingsError, match=r"--copy-to .* lies in the source"):
        predict(model, images, copy_to=images / "sorted")
    with pytest.raises(SettingsError, match="only pixels"):
        predict(model, "digits:test", copy_to=tmp_path / "digits")
    out = tmp_path / "sorted"
    predict(model, images, copy_to=out)
    for folder in [path for path in out.iterdir() if path.is_dir()]:
        for path in sorted(folder.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        folder.rmdir()
        os.symlink(tmp_path / "mine", folder)
    with pytest.raises(ArtifactError, match="leads out of --copy-to"):
        predict(model, images, copy_to=out)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"out": "a.txt"}, r"must end in \.csv, \.jsonl, \.parquet"),
        ({"top": 4, "out": "a.csv"}, "tells 3 classes apart; give a number from 1 to 3"),
        ({"top": 0}, "give a number from 1 to 3"),
        ({"top": 2}, "--top 2 of 8 images goes into a table; give --out"),
        ({"probabilities": True}, "--probabilities of 8 images goes into a table"),
        ({"min_confidence": 0.9}, "give --copy-to FOLDER"),
        ({"min_confidence": 90}, "give a number from 0 to 1"),
        ({"min_confidence": float("nan")}, "give a number from 0 to 1"),
    ],
)
def test_what_has_no_effect_or_does_not_fit_is_one_clear_message(
    model, images, arguments, message, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match=message):
        predict(model, images, **arguments)
    assert not list(tmp_path.iterdir())


def test_a_file_of_the_user_is_not_replaced(model, images, tmp_path):
    for name, content in (("a.csv", b"mine"), ("a.jsonl", b'{"mine": 1}'), ("a.parquet", b"PAR1mine")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SettingsError, match="did not write"):
            predict(model, images, out=tmp_path / name)
        assert (tmp_path / name).read_bytes() == content


def test_the_terminal_shows_counts_and_at_most_twenty_classes(images, tmp_path, capsys):
    model = save_model(tmp_path / "best", [f"class {number}\x1b" for number in range(1000)])
    assert main(["predict", str(model), str(images), "--data.max_corrupt_fraction=0.5"]) == 0
    printed = capsys.readouterr().out
    assert "7 images, 1 unreadable" in printed
    assert "\x1b" not in printed
    assert main(["predict", str(model), str(images / "part-0" / "0.png"), "--top", "5"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_an_unfinished_run_one_of_another_version_and_a_missing_one_are_one_clear_message(model, images, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text("{}")
    with pytest.raises(NoisyStudentError, match="not finished: it has no best/"):
        predict(run, images)
    os.symlink(model, run / "best")
    assert predict(run, images).images == 7
    save_model(tmp_path / "later")
    (tmp_path / "later" / "manifest.json").write_text('{"format": 99, "kind": "checkpoint"}')
    with pytest.raises(NoisyStudentError, match="99"):
        predict(tmp_path / "later", images)
    with pytest.raises(NoisyStudentError, match="is not a checkpoint"):
        predict(tmp_path / "gone", images)
    with pytest.raises(DataError, match="There is no source"):
        predict(model, tmp_path / "gone")
