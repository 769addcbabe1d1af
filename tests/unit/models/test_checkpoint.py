"""Checkpoints: the same predictions after a round trip, for this package and for timm; unsafe files are refused."""

import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from noisystudent.errors import ModelError
from noisystudent.models.checkpoint import load_classifier, save_classifier
from noisystudent.models.classifier import Classifier, create_classifier
from noisystudent.models.teacher import Teacher

CLASSES = ("cat", "dog", "größer")


def trained(name: str = "tiny_resnet", size: int = 8, channels: int = 3) -> Classifier:
    """A classifier with random weights and statistics, and with noise."""
    classifier = create_classifier(
        name, classes=CLASSES, channels=channels, size=size, dropout=0.5, stochastic_depth=0.2
    )
    for module in classifier.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return classifier


def images(classifier: Classifier) -> torch.Tensor:
    return torch.randint(0, 256, (2, classifier.channels, classifier.size, classifier.size), dtype=torch.uint8)


def edit(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_classifier(trained(), tmp_path)
    return tmp_path


def test_the_bits_of_sixteen_bit_images_are_kept(tmp_path):
    classifier = trained()
    assert classifier.bits is None
    classifier.bits = 12
    save_classifier(classifier, tmp_path)
    loaded = load_classifier(tmp_path)
    assert loaded.bits == Teacher(loaded).format.bits == 12


@pytest.mark.parametrize(
    ("name", "size", "channels"),
    [
        ("tiny_resnet", 8, 1),
        ("wrn_16_2", 32, 3),
        ("efficientnet_small_b0", 32, 3),
        ("vit_tiny_patch16_224", 48, 1),
        ("mobilenetv3_small_050", 96, 3),
    ],
)
def test_a_checkpoint_is_loaded_as_it_was_saved(tmp_path, name, size, channels):
    classifier = trained(name, size, channels)
    save_classifier(classifier, tmp_path, extra={"round": 2})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    loaded = load_classifier(tmp_path, expect_classes=CLASSES)
    assert (loaded.name, loaded.classes, loaded.size, loaded.channels) == (name, CLASSES, size, channels)
    assert loaded.normalization == classifier.normalization
    assert not loaded.training
    pixels = images(classifier)
    with torch.no_grad():
        assert torch.equal(loaded(pixels), classifier.eval()(pixels))
    again = tmp_path / "again"
    save_classifier(loaded, again, extra={"round": 2})
    assert (again / "config.json").read_text() == (tmp_path / "config.json").read_text()
    assert (again / "model.safetensors").read_bytes() == (tmp_path / "model.safetensors").read_bytes()


def test_the_config_has_the_fields_that_timm_reads(folder):
    save_classifier(trained("mobilenetv3_small_050", 224), folder, extra={"recipe": "paper"})
    config = json.loads((folder / "config.json").read_text())
    preprocessing = config["pretrained_cfg"]
    assert config["architecture"] == "mobilenetv3_small_050"
    assert config["label_names"] == list(CLASSES)
    assert config["num_classes"] == config["model_args"]["num_classes"] == 3
    assert config["num_features"] == 288
    assert config["noisystudent"] == {"recipe": "paper"}
    assert preprocessing["input_size"] == [3, 224, 224]
    assert preprocessing["crop_pct"] == 224 / 256
    assert (preprocessing["interpolation"], preprocessing["mean"], preprocessing["std"]) == (
        "bicubic",
        [0.5] * 3,
        [0.5] * 3,
    )
    save_classifier(trained("tiny_resnet", 64), folder)
    assert json.loads((folder / "config.json").read_text())["pretrained_cfg"]["crop_pct"] == 1.0


def test_timm_loads_the_small_families_once_they_are_registered(folder):
    classifier = load_classifier(folder)
    net = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    pixels = images(classifier)
    with torch.no_grad():
        torch.testing.assert_close(net(pixels / 127.5 - 1), classifier(pixels), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("labels", [None, ["cat", "dog", "eel"]])
def test_a_folder_that_timm_wrote_is_loaded(tmp_path, labels):
    net = timm.create_model("resnet18", num_classes=3).eval()
    timm.models.save_for_hf(net, str(tmp_path), model_config={"label_names": labels}, safe_serialization=True)
    classifier = load_classifier(tmp_path)
    assert classifier.classes == tuple(labels or ("0", "1", "2"))
    assert (classifier.size, classifier.normalization.mean) == (224, (0.485, 0.456, 0.406))
    pixels = images(classifier)
    mean, std = (torch.tensor(classifier.normalization.mean), torch.tensor(classifier.normalization.std))
    normalized = (pixels / 255 - mean[:, None, None]) / std[:, None, None]
    with torch.no_grad():
        torch.testing.assert_close(classifier(pixels), net(normalized), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("file", ["pytorch_model.bin", "model.pth", "last.pt", "epoch.ckpt"])
def test_pickles_are_refused_with_advice_to_convert_them(folder, file):
    (folder / "model.safetensors").rename(folder / file)
    with pytest.raises(ModelError, match=rf"(?s){file}.*pickles.*run any code.*convert.*safetensors"):
        load_classifier(folder)


def test_missing_files_are_named(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"has no model\.safetensors"):
        load_classifier(folder)
    (folder / "config.json").unlink()
    with pytest.raises(ModelError, match=r"is not a checkpoint.*config\.json"):
        load_classifier(folder)
    with pytest.raises(ModelError, match="is not a checkpoint"):
        load_classifier(folder / "nowhere")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"architecture": "tiny_resnet"}', '{"num_classes": 3}'])
def test_a_damaged_config_is_named(folder, text):
    (folder / "config.json").write_text(text)
    with pytest.raises(ModelError, match=r"config\.json is damaged"):
        load_classifier(folder)


def test_damaged_weights_are_named(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"model\.safetensors is damaged"):
        load_classifier(folder)


def test_a_class_count_that_differs_from_the_weights_is_refused(folder):
    edit(folder, num_classes=4, label_names=None)
    with pytest.raises(ModelError, match=r"config\.json has 4 classes.*classifier\.weight.*has 3"):
        load_classifier(folder)


def test_weights_of_another_model_are_refused(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors["surplus"] = tensors.pop("blocks.0.conv1.weight")
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(ModelError, match=r"2 tensors differ.*blocks\.0\.conv1\.weight.*surplus"):
        load_classifier(folder)


def test_label_names_must_be_as_many_as_classes(folder):
    edit(folder, label_names=["cat", "dog"])
    with pytest.raises(ModelError, match=r"num_classes = 3 but 2 label_names: cat, dog \(2\)"):
        load_classifier(folder)


@pytest.mark.parametrize("expected", [("cat", "dog"), ("dog", "cat", "größer"), ("cat", "dog", "eel")])
def test_other_classes_than_expected_are_refused_with_both_lists(folder, expected):
    with pytest.raises(ModelError, match=rf"cat, dog, größer \(3\).*{', '.join(expected)} \({len(expected)}\)"):
        load_classifier(folder, expect_classes=expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "tiny_resnot"}, "Did you mean 'tiny_resnet'"),
        ({"architecture": "local-dir:/elsewhere"}, "not known"),
        ({"model_args": {"checkpoint_path": "/elsewhere/model.pth"}}, "checkpoint_path"),
        ({"model_args": {"pretrained_cfg": {"url": "http://elsewhere"}}}, "pretrained_cfg"),
        ({"model_args": {"no_such_argument": 1}}, "no_such_argument"),
        ({"pretrained_cfg": {"input_size": [3, 8, 9]}}, "8 x 9 pixels"),
    ],
)
def test_a_config_with_unknown_or_unsafe_content_is_refused(folder, changes, message):
    edit(folder, **changes)
    with pytest.raises(ModelError, match=message):
        load_classifier(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pretrained_cfg": {"input_size": [3, 20_000, 20_000]}}, "less than or equal to 4096"),
        ({"pretrained_cfg": {"input_size": [3, 0, 0]}}, "greater than or equal to 1"),
        ({"pretrained_cfg": {"input_size": [7, 8, 8]}}, "input_size"),
        ({"pretrained_cfg": {"input_size": [3, 8, 8], "mean": [0.5], "std": [0.5, 0.5, 0.5]}}, "mean has 1 .* std 3"),
        ({"pretrained_cfg": {"input_size": [3, 8, 8], "mean": [], "std": []}}, "mean"),
        ({"pretrained_cfg": {"input_size": [3, 8, 8], "std": [0, 0, 0]}}, "std"),
        ({"pretrained_cfg": {"input_size": [3, 8, 8], "std": [1e-300] * 3}}, "std"),
        ({"pretrained_cfg": {"input_size": [3, 8, 8], "mean": [float("nan")] * 3}}, "mean"),
        ({"pretrained_cfg": {"input_size": [3, 8, 8], "mean": [1e300] * 3}}, "mean"),
        ({"pretrained_cfg": []}, "pretrained_cfg"),
        ({"num_classes": 10**12, "label_names": None}, "num_classes"),
        ({"num_classes": 900_000, "label_names": None, "model_args": {}}, "900000 classes"),
        ({"num_classes": True}, "contradicts itself|num_classes"),
        ({"label_names": [1, 2, 3]}, "label_names"),
        ({"label_names": {"a": "cat"}}, "label_names"),
        ({"label_names": "cat"}, "label_names"),
        ({"architecture": "x" * 10**6}, "architecture"),
        ({"architecture": ["tiny_resnet"]}, "architecture"),
        ({"architecture": "vit_giant_patch14_dinov2"}, "tensors differ"),
        ({"model_args": {"in_chans": 10**9}}, "in_chans"),
        ({"model_args": {"in_chans": "3"}}, "in_chans"),
        ({"model_args": {"width": 10**9}}, "'width' has a value that no model has"),
        ({"model_args": {"depths": [10**5]}}, "'depths' has a value that no model has"),
        ({"model_args": {"x": [[[[[[[[1]]]]]]]]}}, "'x' has a value"),
        ({"model_args": {"x": "y" * 10**5}}, "'x' has a value"),
        ({"noisystudent": {"factory": 3}}, "factory"),
    ],
)
def test_a_hostile_config_is_one_line_before_it_costs_anything(folder, changes, message):
    edit(folder, **changes)
    with pytest.raises(ModelError, match=message) as caught:
        load_classifier(folder)
    assert len(str(caught.value)) < 2000


def test_deep_json_is_one_line(folder):
    (folder / "config.json").write_text('{"model_args": ' + '{"a": ' * 100_000 + "1" + "}" * 100_001)
    with pytest.raises(ModelError, match=r"config\.json is damaged"):
        load_classifier(folder)


@pytest.mark.parametrize(
    ("name", "value"), [("blocks.0.conv1.weight", float("nan")), ("classifier.bias", float("inf"))]
)
def test_weights_that_are_no_numbers_are_refused(folder, name, value):
    tensors = load_file(folder / "model.safetensors")
    tensors[name].view(-1)[0] = value
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(ModelError, match=rf"broken model: 1 of its \d+ tensors .*first {name}.*diverged"):
        load_classifier(folder)
