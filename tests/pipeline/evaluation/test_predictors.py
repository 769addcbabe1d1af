"""Any module can be measured like a checkpoint, on sources with some of its classes in any order."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.transforms.v2 import Normalize

import noisystudent
from noisystudent.data.sources.open import open_source
from noisystudent.errors import DataError, MismatchError, ModelError
from noisystudent.evaluation.eval_dataset import EvalDataset
from noisystudent.models.checkpoint import load_classifier
from noisystudent.models.classifier import UnitPixels
from noisystudent.models.imagenet import imagenet_synsets
from noisystudent.models.predictor import Predictor
from noisystudent.noise.crop import PlainView
from noisystudent.runtime.settings import RuntimeSettings
from suite_images import learned_a_little

SUITE = {"evaluation.suite": ["corruptions"], "evaluation.corruptions": ["contrast"], "evaluation.severities": [1, 5]}


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A checkpoint for digits of 16 px that has learned a little, and 48 images of them."""
    return learned_a_little(tmp_path_factory.mktemp("given"), count=48, every=10)


def looked_at(given):
    """The checkpoint as a subject, and all the images as it sees them."""
    predictor = Predictor.open(given[0], RuntimeSettings())
    dataset = EvalDataset.of_source(open_source(given[1], labeled=True), predictor.format)
    (batch,) = dataset.batches(PlainView(16), torch.device("cpu"))
    return predictor, batch


def linear(*, seed=0, slope=0.01, mean=0.5):
    """A module for gray images of 8 px, with its normalization inside."""
    torch.manual_seed(seed)
    net = nn.Sequential(Normalize([mean], [0.5]), nn.Flatten(), nn.LeakyReLU(slope), nn.Linear(64, 10))
    return net.eval()


DIGITS = {"classes": tuple("0123456789"), "size": 8, "channels": 1}


@pytest.mark.parametrize(
    ("module", "changes", "message"),
    [
        (linear(), {"size": 16}, r"Sequential was tried with images of shape \(2, 1, 16, 16\)"),
        (linear(), {"channels": 3, "name": "mine"}, r"mine was tried with images of shape \(2, 3, 8, 8\)"),
        (linear(), {"channels": 4}, "4 channels, and images have 1 or 3"),
        (nn.Identity().eval(), {}, r"answers 2 images with shape \(2, 1, 8, 8\), and 10 classes are named"),
        (nn.MaxPool2d(8, return_indices=True).eval(), {}, "with a tuple, and 10 classes"),
    ],
)
def test_a_module_that_does_not_fit_is_refused_with_what_it_was_tried_with(module, changes, message):
    with pytest.raises(ModelError, match=message):
        Predictor.of_module(module, **{**DIGITS, **changes})


def test_modules_that_answer_otherwise_have_other_fingerprints():
    def fingerprint(module, **changes):
        return Predictor.of_module(module, **DIGITS, **changes).fingerprint

    moved = linear()
    moved.register_buffer("unsaved", torch.zeros(1), persistent=False)
    different = [
        fingerprint(linear()),
        fingerprint(linear(seed=1)),
        fingerprint(linear(slope=0.2)),
        fingerprint(linear(mean=0.4)),
        fingerprint(moved),
        fingerprint(linear(), name="other"),
    ]
    assert len(set(different)) == 6
    assert fingerprint(linear()) == different[0]
    # An address in what a module prints is of this process alone.
    odd = linear()
    here, there = object(), object()
    assert str(here) != str(there)
    odd[2].extra_repr = lambda: str(here)
    first = fingerprint(odd)
    odd[2].extra_repr = lambda: str(there)
    assert fingerprint(odd) == first


def test_modules_are_measured_and_compared_beside_checkpoints(given, tmp_path):
    checkpoint, source = given
    classifier = load_classifier(checkpoint)
    whole = Predictor.of_module(UnitPixels(classifier).eval(), classes=classifier.classes, size=16, channels=1)
    settings = {key: value for key, value in SUITE.items() if key != "evaluation.suite"}  # corruptions by default
    comparison = noisystudent.compare(
        checkpoints=[checkpoint, whole, Predictor.of_module(linear(), **DIGITS, name="linear")],
        source=source, out=tmp_path / "out", settings=settings, quiet=True,
    )  # fmt: skip
    first, same, other = comparison.measured.values()
    assert list(comparison.differences) == ["2 UnitPixels", "3 linear"]
    assert same.clean == first.clean
    assert same.corruptions.errors == first.corruptions.errors
    assert other.model == "linear"
    assert other.corruptions.errors != first.corruptions.errors
    with pytest.raises(MismatchError, match="what differs: subject"):
        noisystudent.robustness(
            checkpoint=Predictor.of_module(linear(seed=1), **DIGITS, name="linear"), source=source,
            out=tmp_path / "out" / "3", settings=SUITE, quiet=True,
        )  # fmt: skip


def test_the_python_of_the_page_on_scores_runs(tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parents[3] / "docs/evaluation.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (shown,) = re.findall(r"It prints\n\n```\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/evaluation.md", "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) == len(shown.splitlines())
    assert (tmp_path / "robust/robustness.json").exists()


def test_some_of_the_classes_in_any_order_are_measured_among_all(given, tmp_path):
    checkpoint, source = given
    whole = np.load(source, allow_pickle=False)
    wanted = ["7", "3", "0"]  # rows are of the source's own order
    chosen = np.isin(whole["y"], [7, 3, 0])
    labels = np.array([wanted.index(str(label)) for label in whole["y"][chosen]])
    np.savez(tmp_path / "some.npz", x=whole["x"][chosen], y=labels, classes=np.array(wanted))
    predictor, batch = looked_at(given)
    values = predictor.log_probabilities_of_views(batch.views[torch.from_numpy(chosen)])
    correct = values.argmax(axis=1) == whole["y"][chosen]
    settings = {"evaluation.suite": ["attacks"], "evaluation.epsilons": [0], "evaluation.attack_steps": 1}
    result = noisystudent.robustness(
        checkpoint=checkpoint, source=tmp_path / "some.npz", out=tmp_path / "out", settings=settings, quiet=True
    )
    assert result.count == chosen.sum() < len(chosen)
    assert result.clean.top1 == result.attacks.clean == correct.mean()
    assert result.classes == "3 of the model's 10 classes, found by the names that the model gives them"
    scores = noisystudent.evaluate(checkpoint=checkpoint, source=tmp_path / "some.npz")
    assert scores.top1 == correct.mean()
    assert scores.classes == result.classes
    assert {name for name, recall in scores.per_class.items() if recall is None} == set("12456") | set("89")
    # The same images under the same names in the model's order need no explanation.
    assert noisystudent.evaluate(checkpoint=checkpoint, source=source).classes == ""


def test_numbered_folders_are_a_models_of_imagenet_by_number(tmp_path):
    """A module that reads its answer off the image is right on all 1,000 folders of ImageNetV2's kind."""

    class Reader(nn.Module):
        def forward(self, pixels):
            value = (pixels[:, :2, 0, 0] * 255).round().long() @ torch.tensor([1, 256])
            return nn.functional.one_hot(value.clamp(0, 999), 1000).float()

    for number in range(1000):
        (tmp_path / "v2" / str(number)).mkdir(parents=True)
        color = (number % 256, number // 256, 0)
        Image.new("RGB", (8, 8), color).save(tmp_path / "v2" / str(number) / "a.png")
    predictor = Predictor.of_module(Reader().eval(), classes=imagenet_synsets(), size=8)
    settings = {"evaluation.suite": ["corruptions"], "evaluation.corruptions": ["contrast"]}
    result = noisystudent.robustness(
        checkpoint=predictor, source=tmp_path / "v2", out=tmp_path / "out",
        settings={**settings, "evaluation.severities": [1]}, quiet=True,
    )  # fmt: skip
    assert result.clean.top1 == 1
    assert result.classes.startswith("1000 of the model's 1000 classes, found by their numbers")


def test_classes_that_the_model_does_not_know_are_refused(given, tmp_path):
    for name in ("3", "cat"):
        (tmp_path / "images" / name).mkdir(parents=True)
        Image.new("L", (16, 16)).save(tmp_path / "images" / name / "a.png")
    with pytest.raises(DataError, match=r"The evaluated source has .* unknown to the model \(1 of 2\): 'cat'"):
        noisystudent.robustness(
            checkpoint=given[0], source=tmp_path / "images", out=tmp_path / "a", settings=SUITE, quiet=True
        )
    with pytest.raises(DataError, match=r"unknown to the model \(1 of 2\): 'cat'"):
        noisystudent.evaluate(checkpoint=given[0], source=tmp_path / "images")
