"""Users' mistakes when robustness is measured are reported by name, before anything else is done."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import noisystudent
from noisystudent.artifacts.typed_json import read_result, to_json
from noisystudent.commands.main import main
from noisystudent.errors import ArtifactError, DataError, ModelError, SettingsError
from noisystudent.evaluation.results import RobustnessResult
from noisystudent.evaluation.settings import EvaluationSettings
from noisystudent.evaluation.suite import check_suite
from noisystudent.models.predictor import Predictor

CLASSES = tuple("0123456789")


class Wrapped(nn.Module):
    """A module whose outputs are changed by a function."""

    def __init__(self, net, change):
        super().__init__()
        self.net, self.change = net, change

    def forward(self, pixels):
        """The changed outputs."""
        return self.change(self.net(pixels))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A checkpoint for digits of 16 px that has hardly learned."""
    out = tmp_path_factory.mktemp("given") / "checkpoint"
    settings = {"train.steps": 2, "train.batch_size": 32, "data.size": 16, "noise.strength": 0}
    noisystudent.train(
        labeled="digits:labeled", out=out, settings={**settings, "model.teacher": "tiny_resnet"}, quiet=True
    )
    return out


@pytest.fixture
def images(tmp_path):
    """Four images of each digit, as folders."""
    random = np.random.default_rng(0)
    for name in CLASSES:
        folder = tmp_path / "images" / name
        folder.mkdir(parents=True)
        for number in range(4):
            Image.fromarray(random.integers(0, 256, (16, 16), np.uint8)).save(folder / f"{number}.png")
    return tmp_path / "images"


def linear():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()


def predictor(module, classes=CLASSES):
    return Predictor.of_module(module, classes=classes, size=8, channels=1, name="mine")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--suite="], r"--suite names no benchmark"),
        (["--evaluation.epsilons=1"], r"uses evaluation\.epsilons only with evaluation\.suite"),
        (["--suite=attacks", "--evaluation.baseline=no/such"], "the suite has neither"),
        (["--suite=corruptions", "--evaluation.baseline=no/such"], "'no/such' is missing or is not JSON"),
        (["--suite=corruptions", "--evaluation.corruptions=fogg"], "names 'fogg'"),
        (["--suite=corruptions", "--evaluation.frost_textures=no/such"], "frost textures 'no/such' does not exist"),
        (["--suite=corruptions", "--evaluation.corruptions_dir=no/such"], "There is no folder 'no/such'"),
        (["--suite=perturbations", "--evaluation.perturbations_dir=no/such"], "There is no folder 'no/such'"),
        (["--suite=attacks", "--evaluation.epsilons=1,1"], r"setting evaluation: epsilons holds a value twice"),
    ],
)
def test_mistakes_are_reported_before_anything_is_scored(checkpoint, images, tmp_path, capsys, words, message):
    out = tmp_path / "out"
    assert main(["evaluate", f"--checkpoint={checkpoint}", f"--source={images}", f"--out={out}", *words]) != 0
    printed = capsys.readouterr()
    assert re.search(message, printed.err)
    assert not printed.out
    assert not out.exists()


def test_a_published_perturbation_that_cannot_be_generated_is_no_mistake(tmp_path):
    np.save(tmp_path / "spatter.npy", np.zeros((2, 5, 16, 16, 3), np.uint8))
    settings = EvaluationSettings(suite=("perturbations",), perturbations=("spatter",))
    with pytest.raises(SettingsError, match="names 'spatter'"):
        check_suite(settings, CLASSES)
    check_suite(settings.model_copy(update={"perturbations_dir": str(tmp_path)}), CLASSES)
    named = {"perturbations_dir": str(tmp_path), "perturbations": ("rotate",)}
    with pytest.raises(DataError, match=r"has no 'rotate'.*It has spatter"):
        check_suite(settings.model_copy(update=named), CLASSES)


def test_a_suite_needs_a_folder_and_not_a_file(checkpoint, images, tmp_path, capsys):
    (tmp_path / "scores.json").write_text("{}")
    words = ["evaluate", f"--checkpoint={checkpoint}", f"--source={images}", "--suite=clean"]
    for out in ("scores.json", "scores.json/deeper"):
        assert main([*words, f"--out={tmp_path / out}"]) == 2
        assert "is a file" in capsys.readouterr().err
    assert (tmp_path / "scores.json").read_text() == "{}"


def test_no_model_is_measured_if_one_of_several_cannot_be(checkpoint, images, tmp_path):
    wrong = predictor(linear(), [f"class {number}" for number in range(10)])
    for other, error in ((tmp_path / "no-checkpoint", ModelError), (wrong, DataError)):
        with pytest.raises(error):
            noisystudent.compare(
                checkpoints=[checkpoint, other], source=images, out=tmp_path / "out", settings={}, quiet=True
            )
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("module", "classes", "message"),
    [
        (Wrapped(linear(), lambda logits: logits.softmax(1)), CLASSES, "mine gives probabilities"),
        (Wrapped(linear(), lambda logits: logits / 0), CLASSES, "numbers that are not finite"),
        (linear(), tuple("0012345678"), "the class '0' more than once"),
    ],
)
def test_a_module_that_gives_no_logits_is_refused(module, classes, message):
    with pytest.raises(ModelError, match=message):
        predictor(module.eval(), classes)


def test_logarithms_of_probabilities_are_logits():
    assert predictor(Wrapped(linear(), lambda logits: logits.log_softmax(1)).eval()).classes == CLASSES


def test_a_source_with_other_classes_is_refused_with_both_sides(checkpoint, images, tmp_path):
    (images / "3").rename(images / "three")
    with pytest.raises(DataError, match=r"unknown to the model \(1 of 10\): 'three'\. The model's classes are '0',"):
        noisystudent.evaluate(checkpoint=checkpoint, source=images)


def test_severities_around_corruptions_are_refused_with_the_right_layout(checkpoint, images, tmp_path):
    settings = {"evaluation.suite": ["corruptions"], "evaluation.corruptions_dir": str(tmp_path / "set")}

    def measure():
        return noisystudent.robustness(
            checkpoint=checkpoint, source=images, out=tmp_path / "out", settings=settings, quiet=True
        )

    (tmp_path / "set/1/fog").mkdir(parents=True)
    with pytest.raises(DataError, match=r"has fog without severities\. A severity is a folder named 1 to 5 inside"):
        measure()
    (tmp_path / "set/2/fog").mkdir(parents=True)
    with pytest.raises(DataError, match=r"twice.*Severities must be folders inside .*, such as fog/1: move"):
        measure()
    (tmp_path / "set/2/fog").rmdir()
    (tmp_path / "set/2/fog").parent.rmdir()
    (tmp_path / "set/1/fog").rename(tmp_path / "set/fog")
    (tmp_path / "set/1").rmdir()
    images.rename(tmp_path / "set/fog/1")
    (tmp_path / "set/fog/1/3").rename(tmp_path / "set/fog/1/three")
    with pytest.raises(DataError, match=r"evaluation\.corruptions_dir, fog at severity 1: .*'three'"):
        noisystudent.robustness(
            checkpoint=checkpoint, source="digits:test", out=tmp_path / "out", settings=settings, quiet=True
        )


def test_a_damaged_array_gets_no_advice_to_unpickle_it(checkpoint, images, tmp_path):
    (tmp_path / "fog.npy").write_bytes(b"no array")
    np.save(tmp_path / "labels.npy", np.zeros(5, np.int64))
    settings = {"evaluation.suite": ["corruptions"], "evaluation.corruptions_dir": str(tmp_path)}
    with pytest.raises(DataError, match=r"fog\.npy' is not a \.npy file of plain numbers: it is damaged") as raised:
        noisystudent.robustness(
            checkpoint=checkpoint, source=images, out=tmp_path / "out", settings=settings, quiet=True
        )
    assert "pickle" not in str(raised.value)


def test_sequences_that_are_too_short_are_named(checkpoint, images, tmp_path):
    np.save(tmp_path / "rotate.npy", np.zeros((2, 1, 16, 16, 3), np.uint8))
    settings = {"evaluation.suite": ["perturbations"], "evaluation.perturbations_dir": str(tmp_path)}
    with pytest.raises(DataError, match=r"evaluation\.perturbations_dir, rotate: A sequence has 1 frames"):
        noisystudent.robustness(
            checkpoint=checkpoint, source=images, out=tmp_path / "out", settings=settings, quiet=True
        )


def test_a_baseline_with_half_of_a_perturbation_is_refused(checkpoint, images, tmp_path):
    settings = {"evaluation.suite": ["perturbations"], "evaluation.perturbations": ["rotate"]}

    def measure(**more):
        return noisystudent.robustness(
            checkpoint=checkpoint, source=images, out=tmp_path / "out", settings={**settings, **more}, quiet=True
        )

    content = to_json(measure())
    del content["perturbations"]["perturbations"]["rotate"]["top5_distance"]
    (tmp_path / "baseline.json").write_text(json.dumps(content))
    with pytest.raises(ArtifactError, match=r"baseline\.json' is not what .*rotate\.top5_distance: Field required"):
        measure(**{"evaluation.baseline": str(tmp_path / "baseline.json")})


def test_unreadable_images_are_named_and_counted(checkpoint, images, tmp_path, capsys):
    corrupted = tmp_path / "set/fog/1"
    corrupted.parent.mkdir(parents=True)
    for name in CLASSES:
        (corrupted / name).mkdir(parents=True)
        for path in (images / name).iterdir():
            (corrupted / name / path.name).write_bytes(path.read_bytes())
    (images / "3/1.png").write_bytes(b"no image")
    for name in ("5/0.png", "7/2.png"):
        (corrupted / name).write_bytes(b"no image")
    words = ["evaluate", f"--checkpoint={checkpoint}", f"--source={images}", f"--out={tmp_path / 'out'}"]
    words += ["--suite=corruptions,perturbations", f"--evaluation.corruptions_dir={tmp_path / 'set'}"]
    words += ["--evaluation.perturbations=rotate", "--data.max_corrupt_fraction=0.1"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "left out, since it could not be read: 3/1.png (not a JPEG" in printed
    assert "1 image could not be read" in printed
    assert "left out: 2 in 1 condition, such as fog-1" in printed
    result = read_result(RobustnessResult, tmp_path / "out/robustness.json")
    assert result.unreadable == 1
    assert result.count == result.perturbations.count == 39
    assert result.corruptions.unreadable == {"fog-1": 2}
    assert list(json.loads((tmp_path / "out/scores.json").read_text())["unreadable"]) == ["3/1.png"]


def test_settings_that_do_not_fit_together_are_reported_without_a_dump():
    with pytest.raises(SettingsError) as raised:
        noisystudent.robustness(
            checkpoint="x", source="digits", out="unused", settings={"evaluation.suite": ["natural"]}, quiet=True
        )
    assert str(raised.value).startswith("setting evaluation: natural is in the suite, but no set is given")
