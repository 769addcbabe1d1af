"""Model noise: the rates that are set act, in families that store them in different modules."""

import pytest
import timm
import torch
from timm.layers.drop import DropPath
from torch import nn

import noisystudent.models.create  # noqa: F401 - names the small families for timm
from noisystudent.errors import ModelError
from noisystudent.noise.model import ModelNoise, model_noise, set_model_noise

# The noise is drop_rate in forward_head (ResNet, EfficientNet), head_drop (ViT) or head.drop (ConvNeXt).
FAMILIES = [
    "resnet18",
    "efficientnet_b0",
    "mobilenetv3_small_050",
    "convnext_atto",
    "vit_tiny_patch16_224",
    "regnety_002",
    "resnetv2_50",
    "tiny_resnet",
    "resnet_small_20",
    "wrn_16_2",
    "efficientnet_small_b0",
]


def create(name: str, **arguments) -> nn.Module:
    size = {"img_size": 32} if name.startswith("vit") else {}
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=5, **size, **arguments)


def test_a_resnet_follows_the_papers_linear_rule():
    model = create("resnet18", drop_rate=0.1, drop_path_rate=0.1)
    noise = set_model_noise(model, dropout=0.3, stochastic_depth=0.2)
    assert noise == model_noise(model)
    assert noise.dropout == 0.3
    assert noise.stochastic_depth == pytest.approx([0.2 * i / 8 for i in range(8)])


def test_the_two_branches_of_a_vit_block_share_a_rate():
    model = create("vit_tiny_patch16_224", drop_path_rate=0.1)
    set_model_noise(model, dropout=0.0, stochastic_depth=0.24)
    for number, block in enumerate(model.blocks[1:], start=1):
        assert block.drop_path1.drop_prob == block.drop_path2.drop_prob == pytest.approx(0.02 * number)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_has_both_noises(name):
    model = create(name, drop_rate=0.1, drop_path_rate=0.1)
    noise = set_model_noise(model, dropout=0.4, stochastic_depth=0.5)
    assert noise.dropout == 0.4
    assert noise.stochastic_depth[0] == 0.0
    positive = [rate for rate in noise.stochastic_depth if rate]
    assert len(positive) > len(noise.stochastic_depth) / 2
    assert positive == sorted(positive)
    assert positive[-1] == pytest.approx(0.5 * (1 - 1 / len(noise.stochastic_depth)))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(("dropout", "stochastic_depth"), [(0.5, 0.0), (0.0, 0.5), (0.0, 0.0)])
def test_either_noise_acts_alone_and_only_in_training(name, dropout, stochastic_depth):
    model = create(name, drop_path_rate=0.1)
    for module in model.modules():  # batch statistics would make two passes differ too
        if isinstance(module, nn.BatchNorm2d):
            module.track_running_stats, module.momentum = True, 0.0
        if isinstance(module, nn.LayerNorm | nn.BatchNorm2d) or "gamma" in dict(module.named_parameters(recurse=False)):
            for parameter in module.parameters(recurse=False):
                nn.init.ones_(parameter)
    set_model_noise(model, dropout=dropout, stochastic_depth=stochastic_depth)
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        model.train()
        torch.manual_seed(1)
        passes = [model(images) for _ in range(3)]
        model.eval()
        plain = [model(images) for _ in range(2)]
    noisy = not (torch.equal(passes[0], passes[1]) and torch.equal(passes[0], passes[2]))
    assert noisy == (dropout + stochastic_depth > 0)
    assert torch.equal(*plain)


def test_stochastic_depth_is_per_image_and_keeps_the_expectation():
    path = create("resnet18", drop_path_rate=0.1).layer4[1].drop_path
    path.drop_prob = 0.25
    torch.manual_seed(0)
    branch = path.train()(torch.ones(4000, 2, 3, 3))
    assert branch.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert torch.equal(branch.flatten(1).amax(1), branch.flatten(1).amin(1))
    assert branch.mean().item() == pytest.approx(1.0, abs=0.05)


def test_noise_can_be_set_again_and_switched_off():
    model = create("efficientnet_b0", drop_path_rate=0.1)
    set_model_noise(model, dropout=0.5, stochastic_depth=0.5)
    assert set_model_noise(model, dropout=0.0, stochastic_depth=0.0) == ModelNoise(0.0, (0.0,) * 16)
    assert set_model_noise(model, dropout=0.2, stochastic_depth=0.16).stochastic_depth[8] == pytest.approx(0.08)


def test_blocks_without_a_shortcut_do_not_change():
    model = create("cspnext_s", drop_path_rate=0.1)  # some of its blocks have no shortcut
    before = [name for name, module in model.named_modules() if isinstance(module, DropPath)]
    set_model_noise(model, dropout=0.0, stochastic_depth=0.2)
    assert before == [name for name, module in model.named_modules() if isinstance(module, DropPath)]


@pytest.mark.parametrize("name", ["densenet121", "vgg11"])
def test_a_family_without_stochastic_depth_is_refused_by_name(name):
    with torch.device("meta"):
        model = create(name)
    with pytest.raises(ModelError, match=rf"'{name}'.*stochastic_depth is 0\.2.*--noise\.stochastic_depth 0"):
        set_model_noise(model, dropout=0.2, stochastic_depth=0.2)
    assert set_model_noise(model, dropout=0.2, stochastic_depth=0.0).dropout == 0.2


def test_a_model_created_without_stochastic_depth_is_refused():
    with pytest.raises(ModelError, match="created without drop_path_rate"):
        set_model_noise(create("resnet18"), dropout=0.0, stochastic_depth=0.2)


def test_a_model_without_dropout_is_refused_by_name():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(ModelError, match=r"'Sequential'.*noise\.dropout is 0\.3.*--noise\.dropout 0"):
        set_model_noise(model, dropout=0.3, stochastic_depth=0.0)
    assert set_model_noise(model, dropout=0.0, stochastic_depth=0.0) == ModelNoise(0.0, ())
