"""The engine onnx gives torch's answers, or says in one line why it cannot; results know by which they were made."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import noisystudent as ns
from noisystudent.data.images import ImageFormat, decode_shard
from noisystudent.data.sources.open import open_source
from noisystudent.errors import ModelError, SettingsError
from noisystudent.models import onnx_engine
from noisystudent.models.checkpoint import save_classifier
from noisystudent.models.classifier import create_classifier
from noisystudent.models.onnx_engine import OnnxNetwork
from noisystudent.pipeline.features.store import FeatureStore, FeatureView

needs_onnx = pytest.mark.skipif(
    not all(map(find_spec, ("onnxruntime", "onnxscript"))), reason="needs noisystudent[onnx]"
)


def classifier_of(name="tiny_resnet", size=12):
    torch.manual_seed(0)
    return create_classifier(name, classes=("a", "b", "c"), channels=3, size=size).eval()


def opened(checkpoint, **runtime):
    return ns.Predictor.open(checkpoint, ns.RuntimeSettings(engine="onnx", **runtime))


@pytest.fixture
def checkpoint(tmp_path):
    save_classifier(classifier_of(), tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (50, 12, 12, 3), dtype=np.uint8)


@needs_onnx
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("tiny_resnet", 12),
        ("test_vit", 160),
        ("test_efficientnet", 160),
        ("test_convnext", 160),
        ("resnet_small_20", 32),
    ],
)
def test_logits_and_features_are_torchs_for_any_number_of_images(name, size):
    classifier = classifier_of(name, size)
    network = OnnxNetwork(classifier)
    for count in (1, 7):
        pixels = torch.randn(count, 3, size, size)
        with torch.inference_mode():
            maps = classifier.net.forward_features(pixels)
            features = classifier.net.forward_head(maps, pre_logits=True)
            torch.testing.assert_close(network.logits(pixels), classifier.net(pixels), atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(network.features(pixels), features, atol=1e-5, rtol=1e-4)


@needs_onnx
def test_a_predictor_answers_alike_with_both_engines(checkpoint, images):
    by_torch, by_onnx = ns.load(checkpoint), opened(checkpoint, label_batch_size=16)
    assert (by_torch.engine, by_onnx.engine) == ("torch", "onnx")
    np.testing.assert_allclose(by_onnx.predict_proba(images), by_torch.predict_proba(images), atol=1e-5)
    np.testing.assert_allclose(by_onnx.features(images), by_torch.features(images), atol=1e-4)


@needs_onnx
def test_features_of_the_engines_are_stored_apart(checkpoint, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    images = decode_shard(open_source("digits:test", labeled=False), 0, ImageFormat(12, 3)).take(np.arange(20))
    stores = [
        FeatureStore.open(network, FeatureView({"view": "plain"}))
        for network in (ns.load(checkpoint), opened(checkpoint))
    ]
    first, second = (store.features(images).astype(np.float32) for store in stores)
    assert stores[0].folder != stores[1].folder
    np.testing.assert_allclose(second, first, atol=2e-3)


@needs_onnx
def test_predictions_record_the_engine_and_are_made_again_with_another(checkpoint, tmp_path):
    def inputs(**settings):
        out = ns.label(teacher=checkpoint, source="digits:test", out=tmp_path / "labels", quiet=True, settings=settings)
        return json.loads((Path(out) / "inputs.json").read_text())

    assert "engine" not in inputs()
    assert inputs(**{"runtime.engine": "onnx"})["engine"] == "onnx"
    assert len(list(tmp_path.glob("labels.*"))) == 1  # the first, archived


@needs_onnx
def test_other_answers_are_refused(monkeypatch):
    network = OnnxNetwork(classifier_of())
    with torch.no_grad():
        next(network._network.parameters()).mul_(2)  # torch's weights alone
    with pytest.raises(ModelError, match=r"onnxruntime computes other logits of tiny_resnet than torch.*Leave out"):
        network.logits(torch.randn(3, 3, 12, 12))


@needs_onnx
def test_a_network_that_cannot_be_translated():
    class Odd(nn.Module):
        def forward(self, pixels):
            return pixels.mean((2, 3)) * (1 if float(pixels.sum()) > 0 else 2)

    classifier = classifier_of()
    classifier.net = Odd()
    with pytest.raises(ModelError, match=r"onnxruntime cannot compute tiny_resnet \(.*Leave out runtime\.engine"):
        OnnxNetwork(classifier)


def test_without_the_extra(monkeypatch, checkpoint):
    monkeypatch.setattr(onnx_engine, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"needs onnxruntime and onnxscript: pip install 'noisystudent\[onnx\]'"):
        opened(checkpoint)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"runtime.precision": "bfloat16"}, "engine onnx computes in float32, and precision is bfloat16"),
        ({"runtime.device": "cuda"}, "engine onnx computes on a CPU, and device is cuda"),
        ({"noise.teacher": True}, "uses runtime.engine only with noise.teacher false"),
    ],
)
def test_what_does_not_go_with_it(settings, message, checkpoint, tmp_path):
    with pytest.raises(SettingsError, match=message):
        ns.label(
            teacher=checkpoint,
            source="digits:test",
            out=tmp_path / "out",
            settings={"runtime.engine": "onnx", **settings},
        )


def test_a_run_that_trains_the_network_refuses_it(tmp_path):
    with pytest.raises(SettingsError, match=r"run uses runtime\.engine only with model\.tune head"):
        ns.run("digits:labeled", "digits:unlabeled", out=tmp_path / "run", settings={"runtime.engine": "onnx"})


def test_a_predictor_keeps_its_engine(checkpoint):
    with pytest.raises(SettingsError, match=r"runtime\.engine onnx does not apply to Predictor"):
        opened(ns.load(checkpoint))
