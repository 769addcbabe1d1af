"""Published weights as checkpoints: ``timm:NAME`` works wherever a checkpoint folder does. No network is used."""

import json

import numpy as np
import pytest
import timm
import torch
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import save_file

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

VIT, RESNET = "test_vit.r160_in1k", "test_resnet.r160_in1k"  # timm's smallest with published weights, of 160 px


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """The hub's cache on disk with seeded weights of two models; any use of the network fails the test."""
    for seed, name in enumerate((VIT, RESNET)):
        folder = tmp_path / "hub" / f"models--timm--{name}"
        (folder / "refs").mkdir(parents=True)
        (folder / "refs" / "main").write_text("0123abc")
        (folder / "snapshots" / "0123abc").mkdir(parents=True)
        torch.manual_seed(seed)
        save_file(timm.create_model(name).state_dict(), folder / "snapshots" / "0123abc" / "model.safetensors")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(published, "get_session", lambda: pytest.fail("the network was used"))
    return tmp_path / "hub"


@pytest.fixture
def images(tmp_path):
    """Three of ImageNet's classes in a folder, two images per class."""
    random = np.random.default_rng(0)
    for synset in ("n15075141", "n01440764", "n02123045"):
        folder = tmp_path / "images" / synset
        folder.mkdir(parents=True)
        for number in range(2):
            Image.fromarray(random.integers(0, 256, (192, 192, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    return tmp_path / "images"


def timms_answers(name, images):
    """Logits of timm's own network for the central 160 px of images that are stored at 192, in the folder's order."""
    torch.manual_seed((VIT, RESNET).index(name))
    net = timm.create_model(name).eval()
    files = sorted(images.rglob("*.png"))
    pixels = np.stack([np.asarray(Image.open(file).crop((16, 16, 176, 176))) for file in files])
    with torch.no_grad():
        return net((torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5)


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
    words = [f"--checkpoint=timm:{RESNET}", "--source=digits:test", f"--out={tmp_path / 'out.csv'}"]
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


def test_predict_gives_timms_own_answers_by_synset(cached, images, tmp_path):
    noisystudent.predict(checkpoint=f"timm:{VIT}", source=images, out=tmp_path / "a.csv", quiet=True)
    rows = [line.split(",") for line in (tmp_path / "a.csv").read_text().splitlines()[1:]]
    probabilities = timms_answers(VIT, images).softmax(dim=1)
    assert [row[1] for row in rows] == [imagenet_synsets()[i] for i in probabilities.argmax(dim=1)]
    assert [float(row[2]) for row in rows] == pytest.approx(probabilities.amax(dim=1).tolist(), abs=2e-4)


def test_every_command_that_takes_a_checkpoint_takes_published_weights(cached, images, tmp_path, capsys):
    answer = timms_answers(VIT, images).argmax(dim=1)[-1]
    (images / "n15075141").rename(images / imagenet_synsets()[answer])  # so that some answers are right
    checkpoint, source = f"timm:{VIT}", f"--source={images}"
    suite = ["--suite=corruptions", "--evaluation.corruptions=contrast", "--evaluation.severities=5"]
    assert main(["evaluate", f"--checkpoint={checkpoint}", source, f"--out={tmp_path / 'robust'}", *suite]) == 0
    assert "3 of the model's 1000 classes, found by the names that the model gives them" in capsys.readouterr().out
    robust = json.loads((tmp_path / "robust/robustness.json").read_text())
    scores = json.loads((tmp_path / "robust/scores.json").read_text())
    assert robust["model"] == checkpoint
    columns = [imagenet_synsets().index(file.parent.name) for file in sorted(images.rglob("*.png"))]
    right = timms_answers(VIT, images).argmax(dim=1).numpy() == columns
    assert 0 < right.mean() < 1
    assert robust["clean"]["top1"] == scores["top1"] == right.mean()
    logs = timms_answers(VIT, images).log_softmax(dim=1)
    assert scores["nll"] == pytest.approx(-float(logs[range(6), columns].mean()), rel=1e-4)

    assert main(["label", f"--teacher={checkpoint}", source, f"--out={tmp_path / 'labels'}"]) == 0
    inputs = json.loads((tmp_path / "labels/inputs.json").read_text())
    assert inputs["teacher"] == weights_fingerprint(open_classifier(checkpoint).net.state_dict())
    assert inputs["classes"] == list(imagenet_synsets())

    words = ["compare", checkpoint, f"timm:{RESNET}", source, f"--out={tmp_path / 'compared'}", *suite]
    assert main(words) == 0
    assert set(json.loads((tmp_path / "compared/comparison.json").read_text())["differences"]) == {f"2 timm:{RESNET}"}
    assert "3 of the model&#39;s 1000 classes" in (tmp_path / "compared/comparison.html").read_text()
    # Another model's results are never taken for this one's.
    assert main(["evaluate", f"--checkpoint=timm:{RESNET}", source, f"--out={tmp_path / 'robust'}", *suite]) == 1
    assert "what differs: subject" in capsys.readouterr().err
