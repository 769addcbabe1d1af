"""Models by name: their noise, their image sizes, their weights and their normalization."""

import numpy as np
import pytest
import timm
import torch
from huggingface_hub import constants
from timm.models import _builder

from noisystudent.errors import ModelError
from noisystudent.models import create
from noisystudent.models.backbones import open_backbone
from noisystudent.models.classifier import create_classifier
from noisystudent.models.create import count_parameters, create_model
from noisystudent.models.normalization import Normalization, Normalize
from noisystudent.noise.model import model_noise

NAME = "mobilenetv3_small_050"  # small, and has published weights


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet_smal_20", "Did you mean 'resnet_small_20'"),
        ("eficientnet_b0", "Did you mean 'efficientnet_b0'"),
        ("hf-hub:timm/resnet18", "not known"),
        ("resnet18.no_such_tag", "no published weights 'no_such_tag'.*resnet18.a1_in1k"),
        ("tiny_resnet.in1k", "no published weights 'in1k'.*none"),
    ],
)
def test_unknown_names_are_refused_with_the_closest_name(name, message):
    with pytest.raises(ModelError, match=message):
        create_model(name, classes=2, channels=3, size=32)


def test_noise_is_set_by_the_linear_rule():
    net = create_model("resnet18", classes=2, channels=3, size=64, dropout=0.4, stochastic_depth=0.2)
    noise = model_noise(net)
    assert noise.dropout == 0.4
    assert noise.stochastic_depth == pytest.approx([0.2 * block / 8 for block in range(8)])


@pytest.mark.parametrize("name", ["tiny_resnet", "wrn_16_2", "efficientnet_small_b0"])
def test_small_families_have_both_noises(name):
    net = create_model(name, classes=2, channels=3, size=16, dropout=0.4, stochastic_depth=0.2).train()
    noise = model_noise(net)
    blocks = len(noise.stochastic_depth)
    assert noise.dropout == 0.4
    assert noise.stochastic_depth[-1] == pytest.approx(0.2 * (blocks - 1) / blocks)
    features = torch.ones(1, net.num_features, 1, 1)
    pooled = net.forward_head(features.expand(-1, -1, 2, 2), pre_logits=True)
    assert pooled.unique().tolist() == pytest.approx([0.0, 1 / 0.6])


def test_no_noise_is_the_default_even_if_timms_default_differs():
    name = "swin_tiny_patch4_window7_224"
    assert model_noise(timm.create_model(name, img_size=56)).stochastic_depth[-1] > 0
    assert not any(model_noise(create_model(name, classes=2, channels=3, size=56)).stochastic_depth)


def test_a_model_without_stochastic_depth_names_the_setting():
    create_model("dla46_c", classes=2, channels=3, size=32, dropout=0.2)
    with pytest.raises(ModelError, match=r"dla46_c.*--noise\.stochastic_depth 0"):
        create_model("dla46_c", classes=2, channels=3, size=32, stochastic_depth=0.2)


def test_a_model_with_a_fixed_input_takes_the_images_size():
    net = create_model("vit_tiny_patch16_224", classes=2, channels=1, size=32).eval()
    assert net(torch.randn(2, 1, 32, 32)).shape == (2, 2)


@pytest.mark.parametrize("name", ["gmlp_s16_224", "vit_tiny_patch16_224", "vgg11", "inception_v3"])
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors:UserWarning")
def test_a_model_that_does_not_accept_such_small_images_is_refused(name):
    with pytest.raises(ModelError, match=rf"(?s){name}.*Choose a"):
        create_model(name, classes=2, channels=3, size=8)


def test_weights_that_nobody_published_are_refused():
    with pytest.raises(ModelError, match=r"no published weights for model 'tiny_resnet'.*model\.pretrained false"):
        open_backbone("timm:tiny_resnet")


def test_weights_without_a_network_are_refused_at_once(monkeypatch):
    requests = []

    class Offline:
        def head(self, url, *, timeout):
            requests.append((url, timeout))
            raise OSError("the hub cannot be reached")

    monkeypatch.setattr(create, "get_session", Offline)
    with pytest.raises(ModelError, match=rf"{NAME}.*the hub cannot be reached.*model\.pretrained false"):
        open_backbone(f"timm:{NAME}")
    assert requests == [(constants.ENDPOINT, create.PATIENCE)]


def test_published_weights_come_with_their_normalization_and_keep_the_noise(monkeypatch):
    weights = timm.create_model(NAME).state_dict()
    monkeypatch.setattr(create, "_require_hub", lambda: None)
    monkeypatch.setattr(_builder, "load_state_dict_from_hf", lambda *_, **__: dict(weights))
    backbone = open_backbone(f"timm:{NAME}")
    classifier = backbone.new_classifier(NAME, classes=("a", "b"), size=64, dropout=0.4, stochastic_depth=0.2)
    assert torch.equal(classifier.net.conv_stem.weight, weights["conv_stem.weight"])
    assert classifier.normalization.mean == (0.485, 0.456, 0.406)
    assert model_noise(classifier.net).dropout == 0.4


def test_count_parameters_counts_frozen_ones_and_no_statistics():
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)).requires_grad_(False)
    assert count_parameters(net) == 3 * 4 + 4 + 2 * 4


def test_normalize_is_the_textbook_formula():
    normalization = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 5, 4), dtype=np.uint8)
    mean, std = (np.array(values).reshape(1, 3, 1, 1) for values in (normalization.mean, normalization.std))
    normalized = Normalize(normalization)(torch.from_numpy(pixels))
    assert normalized.dtype == torch.float32
    np.testing.assert_allclose(normalized.numpy(), (pixels / 255 - mean) / std, atol=1e-6)


def test_gradients_reach_the_pixels():
    classifier = create_classifier("tiny_resnet", classes=("a", "b"), channels=1, size=8).eval()
    pixels = torch.randint(0, 256, (2, 1, 8, 8)).float().requires_grad_()
    classifier(pixels).sum().backward()
    assert pixels.grad.abs().sum() > 0


def test_from_scratch_pixels_go_from_minus_one_to_one():
    ends = torch.tensor([0, 255], dtype=torch.uint8).reshape(1, 1, 1, 2)
    classifier = create_classifier("tiny_resnet", classes=("a", "b"), channels=1, size=8)
    assert classifier.normalize(ends).flatten().tolist() == pytest.approx([-1.0, 1.0])


def test_weights_alone_are_saved_under_the_networks_names():
    classifier = create_classifier("tiny_resnet", classes=("a", "b"), channels=1, size=8)
    assert set(classifier.state_dict()) == {f"net.{name}" for name in classifier.net.state_dict()}


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "efficientnet_b0", "efficientnet_small_b0", "resnet18"])
@pytest.mark.parametrize("classes", [2, 6, 100])
def test_a_fresh_model_has_no_opinion(name, classes):
    torch.manual_seed(0)
    net = create_model(name, classes=classes, channels=3, size=64).train()
    with torch.no_grad():
        logits = net(torch.randn(16, 3, 64, 64))
    loss = torch.nn.functional.cross_entropy(logits, torch.arange(16) % classes)
    assert float(loss) == pytest.approx(np.log(classes), abs=0.35)


@pytest.mark.parametrize("name", ["resnet18", "tiny_resnet", "vit_tiny_patch16_224", "convnext_atto"])
def test_a_last_layer_of_usual_size_stays_as_timm_draws_it(name):
    torch.manual_seed(0)
    ours = create_model(name, classes=10, channels=3, size=64)
    fixed = {"img_size": 64} if name.startswith("vit") else {}
    torch.manual_seed(0)
    timms = timm.create_model(name, num_classes=10, **fixed)
    assert torch.equal(ours.get_classifier().weight, timms.get_classifier().weight)
