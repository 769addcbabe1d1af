"""Exports answer as the predictor does, without this package where another can run them, and say what they are."""

import json
import re
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import noisystudent as ns
from noisystudent.artifacts.typed_json import write_result
from noisystudent.commands.main import main
from noisystudent.errors import ModelError, SettingsError
from noisystudent.models import export as exporting
from noisystudent.models.calibration import Calibration, write_calibration
from noisystudent.models.checkpoint import save_classifier
from noisystudent.models.classifier import create_classifier
from noisystudent.results.facts import RunFacts, SourceFacts, StartFacts
from summaries import parsed_summary, summary

needs_onnx = pytest.mark.skipif(
    not all(map(find_spec, ("onnxruntime", "onnxscript"))), reason="needs noisystudent[onnx]"
)
CLASSES = ("<b>cat</b>", "[dog](http://x)", "owl\u202e\n# title")
FITTED = Calibration(temperature=0.5, labels=40, fitted_on="validation labels")
GRAPHS = [pytest.param("onnx", marks=needs_onnx), "torch-export"]


def save_run(folder, name="test_efficientnet", size=96, channels=3, squash=False):
    """The folder of a run that delivered an untrained model."""
    torch.manual_seed(0)
    classifier = create_classifier(name, classes=CLASSES, channels=channels, size=size)
    with torch.no_grad():
        classifier.net.get_classifier().weight *= 3000  # sure answers, which differ from image to image
    if squash:
        classifier.squash, classifier.crop = True, 1.0
    save_classifier(classifier, folder / "best")
    write_calibration(folder / "best", FITTED)
    write_result(folder / "summary.json", parsed_summary(summary()))
    sources = {
        "labeled": SourceFacts(name="/home/someone/photos/labeled", images=9, per_class={"a": 4, "b": 5}),
        "test": SourceFacts(name="/home/someone/photos/test", images=300),
    }
    start = StartFacts(weights="Lite0", architecture="x", trained_on="ImageNet-1k", fingerprint="", notice="Free 2.0")
    facts = RunFacts(version="0.1.0", command=(), settings={}, sources=sources, start=start)
    write_result(folder / "run.json", facts)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return save_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Photographs that are larger than the model's images, square, wide and tall."""
    root = tmp_path_factory.mktemp("photos")
    for number, (height, width) in enumerate([(128, 128), (256, 256), (150, 210), (200, 140)]):
        smooth = np.random.default_rng(number).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(smooth).resize((width, height)).save(root / f"{number}.png")
    return sorted(root.iterdir())


def code_of(card):
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    return code


def run_code_of_card(out, photos):
    """What the code on the card of an export prints for photographs; it must not need this package."""
    (out / "try.py").write_text(code_of((out / "README.md").read_text()))
    (out / "noisystudent.py").write_text("raise ImportError")
    words = [sys.executable, "try.py", *map(str, photos)]
    return subprocess.run(words, cwd=out, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("preprocessing", [False, True])
@pytest.mark.parametrize("to", GRAPHS)
def test_the_code_on_the_card_gives_the_answers_of_the_predictor(run, photos, tmp_path, to, preprocessing):
    out = ns.export(run, to=to, out=tmp_path / "out", preprocessing=preprocessing)
    printed = run_code_of_card(out, photos)
    expected = ns.load(run).predict_proba(photos, calibrated=True)
    assert np.ptp(expected.max(axis=1)) > 0.1
    found = re.findall(r"([0-9.]+)$", printed, re.MULTILINE)
    np.testing.assert_allclose([float(value) for value in found], expected.max(axis=1), atol=1e-4)
    for row in expected.argmax(axis=1):
        assert CLASSES[row].splitlines()[0] in printed


def test_the_code_on_the_card_squashes_images_where_the_predictor_does(photos, tmp_path):
    run = save_run(tmp_path / "run", squash=True)
    printed = run_code_of_card(ns.export(run, to="torch-export", out=tmp_path / "out"), photos)
    found = [float(value) for value in re.findall(r"([0-9.]+)$", printed, re.MULTILINE)]
    expected = ns.load(run).predict_proba(photos, calibrated=True).max(axis=1)
    np.testing.assert_allclose(found, expected, atol=0.01)  # Pillow and torch round bytes differently
    cropped = ns.load(save_run(tmp_path / "cropped")).predict_proba(photos, calibrated=True).max(axis=1)
    assert np.abs(found - cropped).max() > 0.05


def test_timm_alone_opens_an_export_of_its_architecture(run, photos, tmp_path):
    out = ns.export(run, to="timm", out=tmp_path / "out")
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md", "calibration.json", "config.json", "model.safetensors"
    ]  # fmt: skip
    code = (
        "import sys, timm, torch\n"
        "network = timm.create_model('local-dir:.', pretrained=True).eval()\n"
        "assert not any(name.startswith('noisystudent') for name in sys.modules)\n"
        "with torch.inference_mode():\n"
        "    print(network(torch.linspace(-1, 1, 3 * 96 * 96).view(1, 3, 96, 96)).tolist()[0])\n"
    )
    printed = subprocess.run([sys.executable, "-c", code], cwd=out, capture_output=True, text=True, check=True).stdout
    with torch.inference_mode():
        expected = ns.load(run).classifier.net(torch.linspace(-1, 1, 3 * 96 * 96).view(1, 3, 96, 96))[0]
    np.testing.assert_allclose(json.loads(printed), expected, rtol=1e-4, atol=1e-5)
    again = ns.load(out)
    assert (again.classes, again.calibration) == (CLASSES, FITTED)


def test_the_card_says_what_is_known_and_no_name_formats_it_or_shows_a_folder_of_the_machine(run, tmp_path):
    out = ns.export(run, to="timm", out=tmp_path / "out", license="cc-by-4.0")
    card = (out / "README.md").read_text()
    header = card.split("---\n")[1]
    assert 'license: "cc-by-4.0"' in header
    for heading in ("Use", "Data", "Training", "Scores", "Limits", "License"):
        assert f"\n## {heading}\n" in card
    for text in (
        "| labeled: labeled | 9 | trained on, with labels |", "Labels per class: 4 to 5", "Lite0", "ImageNet-1k",
        "Lite0, have a license of their own: Free 2.0.",
        "Noisy Student training", "| test images | 300 | 85.0% |", "temperature 0.5, fitted on 40 validation labels",
        r"\<b\>cat\</b\>", r"\[dog\](http://x)", r"owl\\u202e\\n# title",
    ):  # fmt: skip
        assert text in card, text
    assert "/home/someone" not in card
    assert "\u202e" not in card


def test_without_a_run_the_card_says_that_nothing_is_recorded(run, tmp_path):
    ns.export(ns.load(run / "best"), to="timm", out=tmp_path / "a")
    assert "Not recorded: the model was exported without its run." in (tmp_path / "a" / "README.md").read_text()
    ns.export(run / "best", to="timm", out=tmp_path / "b")
    assert "85.0%" in (tmp_path / "b" / "README.md").read_text()


def test_an_own_architecture_names_the_import(tmp_path):
    out = ns.export(save_run(tmp_path / "run", "tiny_resnet", 12, channels=1), to="timm", out=tmp_path / "out")
    assert "import noisystudent.models.create" in (out / "README.md").read_text()


def test_another_answer_than_torchs_leaves_no_folder(run, tmp_path, monkeypatch):
    write = exporting._write

    def wrong(*arguments):
        answer = write(*arguments)
        return lambda pixels: answer(pixels) + (len(pixels) == 3)  # at the second batch size

    monkeypatch.setattr(exporting, "_write", wrong)
    with pytest.raises(ModelError, match="logits of 3 images differ by 1"):
        ns.export(run, to="torch-export", out=tmp_path / "out")
    assert not list(tmp_path.iterdir())


class Branching(nn.Module):
    """A network that no exporter can trace: what it computes depends on the values."""

    def forward(self, pixels):
        return torch.full((len(pixels), 3), float(len(str(float(pixels.sum())))))


def test_what_cannot_be_exported_is_one_clear_message(run, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    for arguments, error, message in (
        ({"to": "tim"}, SettingsError, r"there are timm, onnx, torch-export\. Did you mean"),
        ({"to": "timm", "preprocessing": True}, ModelError, "Leave out the preprocessing"),
        ({"to": "timm", "out": tmp_path / "mine"}, (SettingsError, ModelError, ns.NoisyStudentError), "mine"),
        ({"to": "timm", "out": run}, SettingsError, "which the command reads"),
    ):
        with pytest.raises(error, match=message):
            ns.export(run, **{"out": tmp_path / "out", **arguments})
    module = ns.load(nn.Sequential(nn.Flatten(), nn.Linear(192, 3)).eval(), classes=(*CLASSES[:2], "owl"), size=8)
    with pytest.raises(ModelError, match="is a module"):
        ns.export(module, to="onnx", out=tmp_path / "out")
    factory = tmp_path / "factory"
    classifier = create_classifier("tiny_resnet", classes=CLASSES, channels=3, size=8)
    classifier.net, classifier.name = Branching(), "mine"
    predictor = ns.Predictor.of_classifier("mine", "", classifier, ns.RuntimeSettings(device="cpu"))
    with pytest.raises(ModelError, match="timm does not know"):
        ns.export(predictor, to="timm", out=factory)
    with pytest.raises(ModelError, match=r"mine cannot be exported to torch-export .* Nothing was written"):
        ns.export(predictor, to="torch-export", out=factory)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert main(["export", str(tmp_path / "gone"), "--to", "timm", "--out", str(tmp_path / "out")]) == 1
    assert "is not a checkpoint" in capsys.readouterr().err


def test_the_command_exports(run, tmp_path, capsys):
    assert main(["export", str(run), "--to", "timm", "--out", str(tmp_path / "out"), "--license", "mit"]) == 0
    assert "export: " in capsys.readouterr().out
