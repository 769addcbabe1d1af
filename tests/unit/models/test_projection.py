"""Encoders and their projection heads: shapes, what is kept, and how a checkpoint without classes is opened."""

import pytest
import timm
import torch
from torch import nn

from noisystudent.errors import ModelError
from noisystudent.models.backbones import open_backbone
from noisystudent.models.checkpoint import is_encoder, load_classifier, load_network, save_classifier
from noisystudent.models.classifier import create_classifier
from noisystudent.models.projection import create_projected, encoder_of, projection_head
from noisystudent.models.tuning import block_numbers


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_a_head_has_its_layers_with_normalization_and_no_relu_at_the_end(layers):
    head = projection_head(6, layers, 4)
    assert [type(part) for part in head] == [nn.Linear, nn.BatchNorm1d, nn.ReLU] * (layers - 1) + [
        nn.Linear,
        nn.BatchNorm1d,
    ]
    assert all(part.bias is None for part in head if isinstance(part, nn.Linear))
    assert not head[-1].bias.requires_grad
    assert head(torch.randn(5, 6)).shape == (5, 4)


@pytest.fixture
def encoder():
    projected = create_projected("tiny_resnet", channels=3, size=16, layers=2, projection=32)
    assert projected(torch.zeros(4, 3, 16, 16, dtype=torch.uint8)).shape == (4, 32)
    return encoder_of(projected).eval()


def test_timm_alone_opens_an_encoder(encoder, tmp_path):
    save_classifier(encoder, tmp_path)
    images = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8)
    network = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    with torch.no_grad():
        torch.testing.assert_close(network((images / 255 - 0.5) / 0.5), encoder(images), rtol=1e-4, atol=1e-5)


def test_an_encoder_is_refused_as_a_classifier_with_the_way_out(encoder, tmp_path):
    save_classifier(encoder, tmp_path)
    assert is_encoder(tmp_path)
    with pytest.raises(ModelError, match=r"has no classifier\. Train one from it first: noisystudent train --start"):
        load_classifier(tmp_path)
    assert load_network(tmp_path).classes == ()


def test_a_classifier_and_a_folder_of_other_things_are_no_encoders(tmp_path):
    save_classifier(create_classifier("tiny_resnet", classes=("a", "b"), channels=1, size=8), tmp_path / "model")
    assert not is_encoder(tmp_path / "model")
    assert not is_encoder(tmp_path)


def test_a_model_starts_from_an_encoder_with_a_new_last_layer(encoder, tmp_path):
    save_classifier(encoder, tmp_path)
    backbone = open_backbone(str(tmp_path))
    assert backbone.trained_on == "images without labels"
    started = backbone.new_classifier("tiny_resnet", classes=("a", "b", "c"), size=16).net.state_dict()
    for name, tensor in encoder.net.state_dict().items():
        assert torch.equal(started[name], tensor)
    assert started["classifier.weight"].shape == (3, 512)


@pytest.mark.parametrize("name", ["tiny_resnet", "tf_efficientnet_lite0"])
def test_layers_of_the_head_stay_on_an_encoder_from_which_models_start(name, tmp_path):
    projected = create_projected(name, channels=1, size=32, layers=3, projection=16).eval()
    images = torch.randint(0, 256, (2, 1, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        hidden = projected.net.head[:3](projected.net.encoder(projected.normalize(images)))
        kept = encoder_of(projected, kept=1).eval()
        torch.testing.assert_close(kept(images), hidden, rtol=0, atol=0)
    save_classifier(kept, tmp_path / "encoder")
    backbone = open_backbone(str(tmp_path / "encoder"))
    assert (backbone.architecture, dict(backbone.further)) == ("projected_encoder", {"encoder": name, "layers": 1})
    assert backbone.channels == 1
    model = backbone.new_classifier("projected_encoder", classes=("a", "b", "c"), size=24, dropout=0.1)
    started, first = model.net.state_dict(), kept.net.state_dict()
    assert all(torch.equal(started[key], first[key]) for key in first)
    assert started.keys() - first.keys() == {"classifier.weight", "classifier.bias"}
    numbers = block_numbers(model.net, needed_by="", instead="")
    last = max(numbers.values())
    assert {key for key, number in numbers.items() if number == last} == {"classifier.weight", "classifier.bias"}
    assert numbers["hidden.0.weight"] == max(n for key, n in numbers.items() if key.startswith("encoder.")) == last - 1
    save_classifier(model, tmp_path / "model")
    network = timm.create_model(f"local-dir:{tmp_path / 'model'}", pretrained=True).eval()
    small = torch.randint(0, 256, (2, 1, 24, 24), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(network(model.normalize(small)), model.eval()(small), rtol=1e-4, atol=1e-5)


def test_a_transformer_of_fixed_size_starts_at_another_size(tmp_path):
    projected = create_projected("vit_tiny_patch16_224", channels=3, size=32, layers=2, projection=8)
    save_classifier(encoder_of(projected), tmp_path)
    started = open_backbone(str(tmp_path)).new_classifier("vit_tiny_patch16_224", classes=("a", "b"), size=48)
    assert started(torch.zeros(1, 3, 48, 48, dtype=torch.uint8)).shape == (1, 2)


def test_a_damaged_encoder_is_refused(encoder, tmp_path):
    with torch.no_grad():
        encoder.net.blocks[0].conv1.weight[0] = float("nan")
    save_classifier(encoder, tmp_path)
    with pytest.raises(ModelError, match=r"not finite|NaN"):
        open_backbone(str(tmp_path))


def test_the_card_says_what_an_encoder_is_for(encoder, tmp_path):
    save_classifier(encoder, tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert "pretrained without labels" in card
    assert "noisystudent train --start ." in card
