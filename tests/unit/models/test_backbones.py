"""Backbones of every kind give the weights that timm itself loads; what does not fit is refused in one line."""

import json

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from noisystudent.errors import ModelError
from noisystudent.models.backbones import open_backbone
from noisystudent.models.checkpoint import load_classifier, save_classifier
from noisystudent.models.classifier import create_classifier
from noisystudent.models.create import HEAD_STD, head_modules
from noisystudent.models.normalization import Normalization
from published_models import RESNET, VIT, cached  # noqa: F401  (a fixture)

CLASSES = ("a", "b", "c")


def network(name="test_resnet", seed=0, **arguments):
    torch.manual_seed(seed)
    net = timm.create_model(name, **arguments)
    with torch.no_grad():
        for tensor in net.buffers():
            if tensor.is_floating_point() and tensor.ndim == 1:  # running statistics that are not those of a new model
                tensor.uniform_(0.5, 1.5)
    return net.eval()


def write_folder(folder, name="test_resnet", **arguments):
    """A folder in timm's hub layout, of 1000 classes."""
    net = network(name, **arguments)
    folder.mkdir()
    save_file(net.state_dict(), folder / "model.safetensors")
    config = {"architecture": name, "num_classes": 1000, "pretrained_cfg": {**net.pretrained_cfg, "mean": [0.4] * 3}}
    (folder / "config.json").write_text(json.dumps(config))
    return net


def features_of(net, pixels, mean=0.5):
    std = torch.tensor(net.pretrained_cfg["std"])[:, None, None]
    with torch.no_grad():
        return net.forward_head(net.forward_features((pixels / 255 - mean) / std), pre_logits=True)


def our_features(classifier, pixels):
    net = classifier.eval().net
    with torch.no_grad():
        return net.forward_head(net.forward_features(classifier.normalize(pixels)), pre_logits=True)


def assert_close(found, expected):
    """Equal up to 1e-5 of the largest feature."""
    torch.testing.assert_close(found, expected, atol=1e-5 * float(expected.abs().max()), rtol=0)


def pixels_of(size, channels=3):
    random = np.random.default_rng(0)
    return torch.from_numpy(random.integers(0, 256, (2, channels, size, size), dtype=np.uint8))


def started(backbone, size=None):
    return backbone.new_classifier(backbone.architecture, classes=CLASSES, size=size or backbone.size)


def test_none_is_no_backbone():
    assert open_backbone("none") is None


@pytest.mark.parametrize("prefix", ["", "local-dir:"])
@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet"])
def test_a_folder_of_timm_gives_timms_features(tmp_path, prefix, name):
    net = write_folder(tmp_path / "hub", name)
    backbone = open_backbone(f"{prefix}{tmp_path / 'hub'}")
    assert (backbone.architecture, backbone.size, backbone.normalization.mean) == (name, 160, (0.4,) * 3)
    assert_close(our_features(started(backbone), pixels_of(160)), features_of(net, pixels_of(160), 0.4))


@pytest.mark.parametrize("name", [VIT, RESNET])
def test_weights_that_timm_publishes(cached, name):  # noqa: F811
    torch.manual_seed((VIT, RESNET).index(name))
    net = timm.create_model(name).eval()
    backbone = open_backbone(f"timm:{name}")
    assert "r160_in1k" in backbone.trained_on
    assert_close(our_features(started(backbone), pixels_of(160)), features_of(net, pixels_of(160)))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_file_of_weights_of_a_named_model(tmp_path, suffix):
    net, path = network(), tmp_path / f"w{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in net.state_dict().items()}}, path)
    else:
        save_file(net.state_dict(), path)
    backbone = open_backbone(str(path), "test_resnet")
    assert_close(our_features(started(backbone), pixels_of(160)), features_of(net, pixels_of(160)))


def test_a_checkpoint_of_other_classes_loses_its_head_only(tmp_path):
    given = create_classifier("tiny_resnet", classes=tuple("12345"), channels=1, size=8)
    given.renormalize(Normalization((0.3,), (0.2,)))
    save_classifier(given, tmp_path / "checkpoint")
    backbone = open_backbone(str(tmp_path / "checkpoint"))
    assert (backbone.size, backbone.channels, backbone.normalization) == (8, 1, given.normalization)
    assert backbone.trained_on == "images of 5 classes: 1, 2, 3, 4, 5"
    classifier = started(backbone, 12)
    assert classifier.normalization == given.normalization
    assert_close(our_features(classifier, pixels_of(12, 1)), our_features(given, pixels_of(12, 1)))


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "tf_efficientnet_lite0"])
def test_the_head_is_drawn_anew_and_small(tmp_path, name):
    save_file(network(name).state_dict(), tmp_path / "w.safetensors")
    backbone = open_backbone(str(tmp_path / "w.safetensors"), name)
    torch.manual_seed(1)
    first, second = started(backbone).net, started(backbone).net
    (head,) = head_modules(first)
    assert not torch.equal(first.get_submodule(head).weight, second.get_submodule(head).weight)
    assert float(first.get_submodule(head).weight.detach().std()) == pytest.approx(HEAD_STD, rel=0.2)
    assert not first.get_submodule(head).bias.any()
    others = [key for key in first.state_dict() if not key.startswith(f"{head}.")]
    assert all(torch.equal(first.state_dict()[key], second.state_dict()[key]) for key in others)


def test_both_heads_of_a_distilled_transformer_are_new(tmp_path):
    name = "deit_tiny_distilled_patch16_224"
    save_file(network(name).state_dict(), tmp_path / "w.safetensors")
    net = started(open_backbone(str(tmp_path / "w.safetensors"), name)).net
    assert [head.out_features for head in (net.head, net.head_dist)] == [3, 3]
    assert float(net.head_dist.weight.detach().std()) == pytest.approx(HEAD_STD, rel=0.2)


def test_a_transformer_at_another_size_is_interpolated_as_timm_does_it(tmp_path):
    net = network("test_vit")
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    classifier = started(open_backbone(str(tmp_path / "w.safetensors"), "test_vit"), 96)
    net.set_input_size(img_size=(96, 96))
    assert_close(our_features(classifier, pixels_of(96)), features_of(net, pixels_of(96)))


def test_gray_weights_are_recognized(tmp_path):
    save_file(network(in_chans=1).state_dict(), tmp_path / "w.safetensors")
    assert open_backbone(str(tmp_path / "w.safetensors"), "test_resnet").channels == 1


def test_half_precision_becomes_float32(tmp_path):
    save_file({name: tensor.half() for name, tensor in network().state_dict().items()}, tmp_path / "w.safetensors")
    backbone = open_backbone(str(tmp_path / "w.safetensors"), "test_resnet")
    assert {tensor.dtype for tensor in started(backbone).net.parameters()} == {torch.float32}


def test_the_fingerprint_is_of_the_weights_and_the_normalization_not_of_the_file_or_the_head(tmp_path):
    weights = network().state_dict()
    torch.save(weights, tmp_path / "same.pth")
    save_file(weights, tmp_path / "same.safetensors")
    save_file(weights | {"fc.weight": torch.zeros(2, 128), "fc.bias": torch.zeros(2)}, tmp_path / "head.safetensors")
    save_file(network(seed=1).state_dict(), tmp_path / "other.safetensors")
    write_folder(tmp_path / "hub")  # the same weights, with another mean
    prints = {
        name: open_backbone(str(tmp_path / name), "test_resnet").fingerprint
        for name in ("same.pth", "same.safetensors", "head.safetensors", "other.safetensors", "hub")
    }
    assert prints["same.pth"] == prints["same.safetensors"] == prints["head.safetensors"]
    assert len(set(prints.values())) == 3


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("efficientnet-lite-0", "'efficientnet-lite-0' is not known. Did you mean 'efficientnet-lite0'?"),
        ("resnet18", "'resnet18' is not known. Did you mean 'timm:resnet18'?"),
        (
            "tiny_resnet",
            "'tiny_resnet' is not known. It is the name of a model, of which there are no published weights",
        ),
        ("timm:resnet1", "'resnet1' is not known. Did you mean 'resnet18'?"),
        ("timm:resnet18.no", "no published weights 'no'"),
        ("timm:tiny_resnet", "no published weights for model 'tiny_resnet'"),
        ("nowhere/folder", "nowhere/folder does not exist. Give none, efficientnet-lite0, timm:NAME"),
        ("local-dir:nowhere", "nowhere is not a checkpoint"),
        ("nowhere.pth", "nowhere.pth does not exist"),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(ModelError) as caught:
        open_backbone(name)
    assert message in str(caught.value)


def test_a_file_without_the_name_of_its_architecture(tmp_path):
    save_file(network().state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=r"w\.safetensors holds weights without the name.*--model\.teacher NAME"):
        open_backbone(str(tmp_path / "w.safetensors"))
    with pytest.raises(ModelError, match=r"'test_resne' is not known\. Did you mean 'test_resnet'"):
        open_backbone(str(tmp_path / "w.safetensors"), "test_resne")


@pytest.mark.parametrize("model", ["resnet18", "test_vit", "test_resnet.r160_in1k"])
def test_weights_of_another_architecture(tmp_path, model):
    path = tmp_path / "w.safetensors"
    save_file(network("test_convnext").state_dict(), path)
    with pytest.raises(ModelError, match=rf"w\.safetensors are not those of {model.partition('.')[0]}: \d+ tensors"):
        open_backbone(str(path), model)


def test_weights_of_another_number_of_channels(tmp_path):
    save_file(network(in_chans=4).state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match="take images with 4 channels; images have 1 or 3"):
        open_backbone(str(tmp_path / "w.safetensors"), "test_resnet")


def test_weights_that_are_no_numbers(tmp_path):
    weights = network().state_dict()
    weights["conv1.0.weight"][0] = float("nan")
    save_file(weights, tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=r"numbers that are none \(NaN\), first in conv1\.0\.weight"):
        open_backbone(str(tmp_path / "w.safetensors"), "test_resnet")


@pytest.mark.parametrize(("name", "size"), [("test_vit", 100), ("mixer_s32_224", 96)])
def test_a_size_that_the_network_cannot_take(tmp_path, name, size):
    save_file(network(name).state_dict(), tmp_path / "w.safetensors")
    backbone = open_backbone(str(tmp_path / "w.safetensors"), name)
    with pytest.raises(ModelError, match=rf"\({name}\) cannot take images of {size} px.*own size is {backbone.size}"):
        started(backbone, size)


def write_folder_with_arguments(folder, name, **arguments):
    net = write_folder(folder, name, **arguments)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_args": {**arguments, "drop_rate": 0.5}}))
    return net


@pytest.mark.parametrize(("name", "size"), [("test_resnet", 96), ("test_vit", 96), ("test_resnet", 160)])
def test_a_folders_own_constructor_arguments_go_along(tmp_path, name, size):
    arguments = {"global_pool": "max"} if name == "test_resnet" else {"global_pool": "avg", "fc_norm": False}
    net = write_folder_with_arguments(tmp_path / "hub", name, **arguments)
    backbone = open_backbone(str(tmp_path / "hub"))
    classifier = started(backbone, size)
    if name == "test_vit":
        net.set_input_size(img_size=(size, size))
    assert_close(our_features(classifier, pixels_of(size)), features_of(net, pixels_of(size), 0.4))
    assert classifier.arguments == arguments | ({"img_size": size} if name == "test_vit" else {})
    save_classifier(classifier, tmp_path / "trained")
    again = load_classifier(tmp_path / "trained")
    assert_close(our_features(again, pixels_of(size)), our_features(classifier, pixels_of(size)))


def test_constructor_arguments_are_part_of_the_fingerprint(tmp_path):
    write_folder(tmp_path / "plain")
    write_folder_with_arguments(tmp_path / "other", "test_resnet", global_pool="max")
    assert open_backbone(str(tmp_path / "plain")).fingerprint != open_backbone(str(tmp_path / "other")).fingerprint
