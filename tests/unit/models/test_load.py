"""Published weights as checkpoints: ``timm:NAME`` works wherever a checkpoint folder does. No network is used."""

import pytest
import timm
import torch
from huggingface_hub import constants
from PIL import Image

import noisystudent
from noisystudent.commands.main import main
from noisystudent.errors import ModelError
from noisystudent.models import create as published
from noisystudent.models import load as loading
from noisystudent.models.checkpoint import save_classifier
from noisystudent.models.classifier import create_classifier
from noisystudent.models.imagenet import imagenet_synsets, published_classes
from noisystudent.models.load import fingerprint_at, open_classifier, short_name, weights_fingerprint
from noisystudent.models.predictor import Predictor
from published_models import RESNET, VIT, cached, images

__all__ = ["cached", "images"]  # fixtures


@pytest.mark.parametrize("name", [VIT, RESNET])
def test_a_published_model_has_what_timm_says_of_it(cached, name):
    classifier = open_classifier(f"timm:{name}")
    config = timm.get_pretrained_cfg(name)
    assert (classifier.channels, classifier.size, classifier.size) == config.input_size == (3, 160, 160)
    assert (classifier.normalization.mean, classifier.normalization.std) == (config.mean, config.std)
    assert classifier.classes == imagenet_synsets()
    assert not classifier.training
    torch.manual_seed((VIT, RESNET).index(name))
    expected = timm.create_model(name).state_dict()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in classifier.net.state_dict().items())


def test_a_model_of_another_size_and_normalization_keeps_them(monkeypatch):
    asked = []
    monkeypatch.setattr(loading, "load_published", lambda net, name, arguments, *, advice: asked.append(arguments))
    classifier = open_classifier("timm:inception_v3.tv_in1k")
    assert classifier.size == 299
    assert classifier.normalization.mean == timm.get_pretrained_cfg("inception_v3.tv_in1k").mean
    assert asked == [{"num_classes": 1000, "in_chans": 3}]
    # This one is evaluated at 288 pixels by timm when it is asked to; its size here is that of its training.
    assert timm.get_pretrained_cfg("resnet50.a1_in1k").test_input_size == (3, 288, 288)
    assert open_classifier("timm:resnet50").size == 224


@pytest.mark.parametrize("count", [11221, 11821, 21841, 21842, 21843])
def test_classes_of_imagenets_relatives_are_synsets(count):
    classes = published_classes(count)
    assert len(set(classes)) == count
    assert all(name[0] == "n" and name[1:].isdigit() for name in classes)


def test_outputs_that_nothing_names_are_numbers():
    assert published_classes(1000) == imagenet_synsets()
    assert published_classes(12) == tuple(map(str, range(12)))


@pytest.mark.parametrize(
    ("checkpoint", "message"),
    [
        ("timm:resnet5O.tv_in1k", "Did you mean 'resnet50'"),
        ("timm:resnet50.tv_in2k", "Did you mean 'resnet50.tv"),
        ("timm:tiny_resnet", r"no published weights for model 'tiny_resnet'.*folder; one .* is \./timm:tiny_resnet"),
        ("timm:vit_small_patch14_dinov2.lvd142m", "tell no classes apart"),
        ("./timm:resnet50", "timm:resnet50 is not a checkpoint"),
        ("resnet50", "is not a checkpoint.*or timm:NAME"),
    ],
)
def test_what_cannot_be_opened_is_said(checkpoint, message):
    with pytest.raises(ModelError, match=message):
        open_classifier(checkpoint)


def test_without_a_network_one_line_says_so_and_speaks_of_no_training(monkeypatch, capsys, tmp_path):
    class Offline:
        def head(self, url, *, timeout):
            raise OSError("the hub cannot be reached")

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(published, "get_session", Offline)
    words = [f"timm:{RESNET}", "digits:test", f"--out={tmp_path / 'out.csv'}"]
    assert main(["predict", *words]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"weights of model '{RESNET}' could not be downloaded (OSError: the hub cannot be reached)" in line
    assert "a checkpoint's folder" in line
    assert "pretrained false" not in line
    assert "scratch" not in line


def test_a_folder_of_that_name_is_a_path_or_begins_with_a_dot(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "timm:mine"
    save_classifier(create_classifier("tiny_resnet", classes=("a", "b"), channels=1, size=8), folder)
    for place in ("./timm:mine", folder, folder.relative_to(tmp_path)):
        classifier = open_classifier(place)
        assert classifier.classes == ("a", "b")
        assert short_name(place) == "timm:mine"
        assert len(fingerprint_at(place, {})) == 64  # of the file
    with pytest.raises(ModelError, match="'mine' is not known"):
        open_classifier("timm:mine")
    images = tmp_path / "images"
    images.mkdir()
    Image.new("L", (8, 8)).save(images / "a.png")
    for out, place in (("one", "./timm:mine"), ("two", folder.relative_to(tmp_path))):
        noisystudent.label(teacher=place, source=images, out=tmp_path / out, quiet=True)


def test_a_fingerprint_is_of_names_types_shapes_and_values():
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3), "c": torch.zeros(0)}
    first = weights_fingerprint(tensors)
    assert first == weights_fingerprint(dict(reversed(tensors.items())))
    assert first == weights_fingerprint({**tensors, "a": torch.arange(6.0).reshape(2, 3).t().contiguous().t()})
    others = [
        {**tensors, "a": torch.arange(6.0).reshape(3, 2)},
        {**tensors, "a": torch.arange(6.0).reshape(2, 3) + 1e-6},
        {**tensors, "b": torch.tensor(3, dtype=torch.int32)},
        {**tensors, "c": torch.zeros(0, dtype=torch.bfloat16)},
        {"a": tensors["a"], "b": tensors["b"], "d": tensors["c"]},
    ]
    assert len({first, *map(weights_fingerprint, others)}) == 6


def test_a_fingerprint_knows_weights_that_changed(cached):
    first, again = (open_classifier(f"timm:{VIT}").net.state_dict() for _ in range(2))
    assert fingerprint_at(f"timm:{VIT}", first) == fingerprint_at(f"timm:{VIT}", again)
    changed = {**first, "norm.weight": first["norm.weight"] + 1}
    assert fingerprint_at(f"timm:{VIT}", first) != fingerprint_at(f"timm:{VIT}", changed)
    assert Predictor.open(f"timm:{VIT}").fingerprint == fingerprint_at(f"timm:{VIT}", first)
