"""Every function takes a predictor: one of a checkpoint does what its folder does, one of a module labels alone."""

import csv

import numpy as np
import pytest
import torch
from torch import nn

import noisystudent
from data_images import noise_image, png
from labeling_set import SETTINGS, content, save_folder, save_teacher, save_unlabeled
from noisystudent.commands.main import main
from noisystudent.errors import DataError, ModelError, SettingsError
from noisystudent.models.checkpoint import load_classifier
from noisystudent.models.classifier import UnitPixels
from noisystudent.pseudo_labels.predictions import read_all
from noisystudent.runtime.settings import RuntimeSettings

MODULE = {"classes": ("0", "1", "2"), "size": 8, "channels": 1}


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A teacher for gray images, unlabeled images, and the predictions of one undisturbed worker."""
    root = tmp_path_factory.mktemp("given")
    teacher, source = save_teacher(root / "teacher"), save_unlabeled(root / "unlabeled.npz", 2)
    whole = noisystudent.label(teacher=teacher, source=source, out=root / "whole", settings=SETTINGS, quiet=True)
    return teacher, source, whole


def linear():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval()


def labeled_folder(root):
    for name in MODULE["classes"]:
        (root / name).mkdir(parents=True)
        for number in range(3):
            (root / name / f"{number}.png").write_bytes(png(noise_image(9, 12, seed=number)))
    return root


def test_a_predictor_answers_as_label_and_predict_do_to_the_bit(given, tmp_path):
    teacher, source, whole = given
    predictor = noisystudent.load(teacher, batch_size=256)
    _, stored = read_all(whole, 3)
    assert np.array_equal(predictor.log_probabilities(source), stored)
    files = save_folder(tmp_path / "files", 1030, {})
    noisystudent.predict(checkpoint=predictor, source=files, out=tmp_path / "a.csv", quiet=True)
    with (tmp_path / "a.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert predictor.predict(files) == [row["class"] for row in rows]
    shown = [f"{row.max():.4f}" for row in predictor.predict_proba(files)]
    assert shown == [row["confidence"] for row in rows]


@pytest.mark.parametrize("workers", [None, 2])
def test_a_predictor_of_a_checkpoint_labels_as_its_folder_does(given, tmp_path, workers, monkeypatch):
    teacher, source, whole = given
    monkeypatch.chdir(teacher.parent)
    runtime = RuntimeSettings(device="cpu", label_batch_size=256)
    predictor = noisystudent.Predictor.open("teacher", runtime)
    monkeypatch.chdir(tmp_path)
    noisystudent.label(teacher=predictor, source=source, out=tmp_path / "out", workers=workers, quiet=True)
    assert content(tmp_path / "out") == content(whole)


def test_a_noised_predictor_of_a_checkpoint_labels_as_its_folder_does(given, tmp_path):
    teacher, source, _ = given
    settings = {"noise.teacher": True}
    for name, model in (("folder", teacher), ("predictor", noisystudent.load(teacher))):
        noisystudent.label(teacher=model, source=source, out=tmp_path / name, settings=settings, quiet=True)
    assert content(tmp_path / "folder") == content(tmp_path / "predictor")
    with pytest.raises(SettingsError, match=r"noise\.teacher is true, and Predictor\('Sequential'.* is a module"):
        noisystudent.label(
            teacher=noisystudent.load(linear(), **MODULE), source=source, out=tmp_path / "out", settings=settings
        )
    assert not (tmp_path / "out").exists()


def test_a_module_labels_in_one_process(given, tmp_path):
    _, source, _ = given
    predictor = noisystudent.load(linear(), **MODULE)
    folder = noisystudent.label(teacher=predictor, source=source, out=tmp_path / "out", quiet=True)
    _, stored = read_all(folder, 3)
    assert np.array_equal(stored, predictor.log_probabilities(source))
    noisystudent.select(predictions=folder, out=tmp_path / "selection")


@pytest.mark.parametrize(
    ("arguments", "torchrun", "asked"),
    [
        ({"workers": 2}, False, "2 workers"),
        ({"worker": "2/3"}, False, "3 workers"),
        ({"engine": "ray"}, False, "engine ray"),
        ({}, True, "2 workers"),
    ],
)
def test_a_module_is_refused_where_other_processes_would_have_to_open_it(
    given, tmp_path, monkeypatch, arguments, torchrun, asked
):
    if torchrun:
        monkeypatch.setenv("RANK", "0")
        monkeypatch.setenv("WORLD_SIZE", "2")
    predictor = noisystudent.load(linear(), **MODULE)
    with pytest.raises(SettingsError, match=rf"is a module, .* and {asked} would have to\. Label in one process"):
        noisystudent.label(teacher=predictor, source=given[1], out=tmp_path / "out", quiet=True, **arguments)
    assert not (tmp_path / "out").exists()


def test_answers_that_are_not_finite_are_never_stored(given, tmp_path):
    class Broken(nn.Module):
        def forward(self, pixels):
            logits = pixels.flatten(1)[:, :3]
            return torch.where((pixels[:, 0, 0, 0] == 0)[:, None], torch.nan, logits)

    predictor = noisystudent.load(Broken().eval(), **MODULE)
    for command, model in (("label", "teacher"), ("predict", "checkpoint")):
        with pytest.raises(ModelError, match=r"Broken answers \d+ of 1,024 images with numbers that are not finite"):
            getattr(noisystudent, command)(
                **{model: predictor}, source=given[1], out=tmp_path / f"{command}.csv", quiet=True
            )
    assert not list(tmp_path.rglob("part-*"))
    assert not (tmp_path / "predict.csv").exists()


def test_every_function_refuses_a_bare_module_and_says_how_to_wrap_it(given, tmp_path):
    images = labeled_folder(tmp_path / "images")
    out = {"source": images, "out": tmp_path / "out.csv"}
    calls = [
        lambda: noisystudent.label(teacher=linear(), **out),
        lambda: noisystudent.evaluate(checkpoint=linear(), **out),
        lambda: noisystudent.predict(checkpoint=linear(), **out),
        lambda: noisystudent.robustness(checkpoint=linear(), settings={"evaluation.suite": ["corruptions"]}, **out),
        lambda: noisystudent.compare(checkpoints=[given[0], linear()], **out),
    ]
    for call in calls:
        with pytest.raises(ModelError, match=r"a module \(Sequential\) .* Wrap it: noisystudent\.load\(module"):
            call()
    assert not (tmp_path / "out").exists()


def test_a_module_scores_as_the_checkpoint_that_it_was_taken_from(given, tmp_path):
    images = labeled_folder(tmp_path / "images")
    by_folder = noisystudent.evaluate(checkpoint=given[0], source=images)
    module = UnitPixels(load_classifier(given[0])).eval()
    by_module = noisystudent.evaluate(checkpoint=noisystudent.load(module, **MODULE), source=images)
    assert by_module.confusion == by_folder.confusion
    assert by_module.nll == pytest.approx(by_folder.nll, rel=1e-5)
    with pytest.raises(SettingsError, match=r"runtime\.precision bfloat16 does not apply to Predictor\('UnitPixels'"):
        noisystudent.evaluate(
            checkpoint=noisystudent.load(module, **MODULE), source=images, settings={"runtime.precision": "bfloat16"}
        )


def test_the_folder_of_a_run_stands_for_its_delivered_model(tmp_path, capsys):
    save_teacher(tmp_path / "run" / "best", channels=3)
    files = save_folder(tmp_path / "files", 5, {})
    (tmp_path / "run" / "run.json").write_text("{}")
    for name, checkpoint in (("run", tmp_path / "run"), ("best", tmp_path / "run" / "best")):
        words = ["predict", str(checkpoint), str(files), f"--out={tmp_path / name}.csv"]
        assert main(words) == 0
    assert (tmp_path / "run.csv").read_bytes() == (tmp_path / "best.csv").read_bytes()
    capsys.readouterr()


def test_unreadable_images_have_rows_in_a_table_and_stop_a_predictor(tmp_path):
    teacher = save_teacher(tmp_path / "teacher", channels=3)
    files = save_folder(tmp_path / "files", 200, {7: b""})
    predictor = noisystudent.load(teacher)
    table = tmp_path / "a.csv"
    (failure,) = noisystudent.predict(checkpoint=predictor, source=files, out=table, quiet=True).failures
    assert failure.key == "00007.png"
    with pytest.raises(DataError, match=r"1 of the first 200 images of .* cannot be read, first '00007\.png'"):
        predictor.predict(files)
