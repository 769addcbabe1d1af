"""The families for small images: published sizes, reference networks, timm's interface."""

import pytest
import timm
import torch
import torchvision
from timm.layers.drop import DropPath
from torch import nn
from torch.nn import functional as F

from noisystudent.models.architectures.small import DESIGNS
from noisystudent.models.create import count_parameters, create_model

# One design of each family: the others differ in depth and width only.
FAMILIES = ["resnet_small_20", "resnet_small_18", "wrn_16_2"]
# Millions of parameters for 1000 classes: Tan and Le 2019 as timm's tables print them; L2: Xie et al. 2020.
PUBLISHED = {
    "b0": 5.29,
    "b1": 7.79,
    "b2": 9.11,
    "b3": 12.23,
    "b4": 19.34,
    "b5": 30.39,
    "b6": 43.04,
    "b7": 66.35,
    "l2": 480.31,
}


def parameters(name: str, classes: int) -> int:
    with torch.device("meta"):  # the largest have half a billion
        return count_parameters(timm.create_model(name, num_classes=classes))


def wide_resnet_parameters(depth: int, factor: int, classes: int) -> int:
    """Closed form for Wide ResNets whose widening shortcuts are 1x1 convolutions without bias."""
    blocks = (depth - 4) // 6
    total, channels = 9 * 3 * 16, 16
    for width in (16 * factor, 32 * factor, 64 * factor):
        first = 9 * channels * width + 9 * width * width + 2 * channels + 2 * width
        first += channels * width if channels != width else 0
        total += first + (blocks - 1) * (2 * 9 * width * width + 4 * width)
        channels = width
    return total + 2 * channels + channels * classes + classes


@pytest.mark.parametrize(
    ("name", "depth", "factor", "classes", "published"),
    [
        ("wrn_28_2", 28, 2, 10, 1.47e6),
        ("wrn_28_8", 28, 8, 100, 23.40e6),
        ("wrn_16_2", 16, 2, 10, 0.69e6),
    ],
)
def test_wide_resnets_have_the_published_size(name, depth, factor, classes, published):
    count = parameters(name, classes)
    assert count == wide_resnet_parameters(depth, factor, classes)
    assert count == pytest.approx(published, rel=0.005)


def test_small_resnets_have_the_published_size():
    assert parameters("wrn_28_2", 10) == 1_467_610
    assert parameters("resnet_small_20", 10) == 269_722
    assert parameters("resnet_small_18", 10) == 11_173_962


# He et al. 2016, table 6, in millions.
@pytest.mark.parametrize(("depth", "published"), [(20, 0.27), (32, 0.46), (56, 0.85), (110, 1.7)])
def test_the_cifar_resnets_have_the_size_that_the_paper_prints(depth, published):
    digits = 1 if depth == 110 else 2
    assert round(parameters(f"resnet_small_{depth}", 10) / 1e6, digits) == published


@pytest.mark.parametrize("variant", PUBLISHED)
def test_small_efficientnets_have_the_published_size(variant):
    count = parameters(f"efficientnet_small_{variant}", 1000)
    assert round(count / 1e6, 2) == PUBLISHED[variant]


def test_small_efficientnet_is_the_published_one_with_the_strides_of_stages_2_and_3_set_to_1():
    large = timm.create_model("tf_efficientnet_b0", num_classes=10).eval()
    large.blocks[1][0].conv_dw.stride = (1, 1)
    large.blocks[2][0].conv_dw.stride = (1, 1)
    small = create_model("efficientnet_small_b0", classes=10, channels=3, size=32).eval()
    randomize(small)
    large.load_state_dict(small.state_dict())
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert small.forward_features(images).shape == (2, 1280, 4, 4)
        torch.testing.assert_close(small(images), large(images))


def test_resnet_small_18_is_torchvisions_resnet_with_another_stem():
    ours = create_model("resnet_small_18", classes=10, channels=3, size=32).eval()
    randomize(ours)
    theirs = torchvision.models.resnet18(num_classes=10).eval()
    theirs.conv1, theirs.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    # Same blocks in the same order, so the tensors correspond one by one, but for the order within a block.
    names = {"conv_stem": "conv1", "norm_stem.0": "bn1", "classifier": "fc"}
    state = {}
    for name, tensor in ours.state_dict().items():
        for mine, other in names.items():
            name = name.replace(f"{mine}.", f"{other}.") if name.startswith(mine) else name
        if name.startswith("blocks."):
            _, stage, rest = name.split(".", 2)
            name = f"layer{int(stage) + 1}.{rest.replace('shortcut', 'downsample')}"
        state[name] = tensor
    theirs.load_state_dict(state)
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images))


def test_wide_resnet_computes_what_the_literature_writes():
    net = create_model("wrn_16_2", classes=10, channels=3, size=32).eval()
    randomize(net)
    weights = net.state_dict()

    def norm(x, name):
        mean, var = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
        return F.batch_norm(x, mean, var, weights[f"{name}.weight"], weights[f"{name}.bias"])

    images = torch.randn(2, 3, 32, 32)
    x = F.conv2d(images, weights["conv_stem.weight"], padding=1)
    for stage in range(3):
        for block in range(2):
            name, stride = f"blocks.{stage}.{block}", 2 if stage > 0 and block == 0 else 1
            active = F.leaky_relu(norm(x, f"{name}.bn1"), 0.1)
            y = F.conv2d(active, weights[f"{name}.conv1.weight"], stride=stride, padding=1)
            y = F.conv2d(F.leaky_relu(norm(y, f"{name}.bn2"), 0.1), weights[f"{name}.conv2.weight"], padding=1)
            x = y + (F.conv2d(active, weights[f"{name}.shortcut.weight"], stride=stride) if block == 0 else x)
    pooled = F.leaky_relu(norm(x, "norm_head.0"), 0.1).mean(dim=(2, 3))
    expected = F.linear(pooled, weights["classifier.weight"], weights["classifier.bias"])
    with torch.no_grad():
        torch.testing.assert_close(net(images), expected)


def test_padded_shortcut_keeps_every_second_pixel_and_adds_zeros():
    block = create_model("resnet_small_20", classes=10, channels=3, size=32).blocks[1][0]
    x = torch.randn(2, 16, 7, 7)
    kept = block.shortcut(x)
    assert kept.shape == (2, 32, 4, 4)
    assert torch.equal(kept[:, :16], x[:, :, ::2, ::2])
    assert not kept[:, 16:].any()


@pytest.mark.parametrize("name", ["tiny_resnet", "resnet_small_20", "wrn_16_2", "efficientnet_small_b0"])
@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 28)])
def test_small_images_of_any_size_and_channels_train(name, channels, size):
    net = create_model(name, classes=7, channels=channels, size=size, dropout=0.5, stochastic_depth=0.5)
    logits = net.train()(torch.randn(4, channels, size, size))
    logits.square().sum().backward()
    assert logits.shape == (4, 7)
    assert all(parameter.grad is not None for parameter in net.parameters())


@pytest.mark.parametrize("name", [*FAMILIES, "efficientnet_small_b0"])
def test_timms_interface(name):
    with torch.device("meta"):
        net = timm.create_model(name, num_classes=5, in_chans=1)
        images = torch.randn(2, 1, 32, 32)
    features = net.forward_features(images)
    pooled = net.forward_head(features, pre_logits=True)
    assert features.shape[:2] == pooled.shape == (2, net.num_features)
    assert net.forward_head(features).shape == (2, 5)
    assert net.get_classifier().out_features == net.num_classes == 5
    assert net.pretrained_cfg["architecture"] == name
    assert net.get_submodule(net.pretrained_cfg["first_conv"]).in_channels == 1
    assert net.get_submodule(net.pretrained_cfg["classifier"]) is net.get_classifier()
    net.reset_classifier(3)
    assert net.num_classes == net.get_classifier().out_features == 3
    net.reset_classifier(0)
    assert net.num_classes == 0
    assert isinstance(net.get_classifier(), nn.Identity)


@pytest.mark.parametrize("name", FAMILIES)
def test_feature_info_describes_the_stages(name):
    with torch.device("meta"):
        net = timm.create_model(name)
        x = net.norm_stem(net.conv_stem(torch.randn(1, 3, 32, 32)))
    for stage, info in zip(net.blocks, net.feature_info, strict=True):
        assert net.get_submodule(info["module"]) is stage
        x = stage(x)
        assert x.shape[1:] == (info["num_chs"], 32 // info["reduction"], 32 // info["reduction"])


@pytest.mark.parametrize("name", ["resnet_small_20", "resnet_small_18", "wrn_28_2"])
def test_stochastic_depth_follows_the_linear_rule_in_timm_too(name):
    net = timm.create_model(name, drop_path_rate=0.3)
    rates = [module.drop_prob for module in net.modules() if isinstance(module, DropPath)]
    assert rates == pytest.approx([0.3 * number / len(rates) for number in range(len(rates))])
    assert len(rates) == sum(DESIGNS[name].depths)


@pytest.mark.parametrize("name", ["resnet_small_18", "wrn_16_2"])
def test_a_dropped_block_is_its_shortcut_and_a_kept_one_is_scaled(name):
    block = create_model(name, classes=3, channels=3, size=8).eval().blocks[1][0]
    activation = F.relu if name == "resnet_small_18" else nn.Identity()
    residuals = []
    block.drop_path.register_forward_pre_hook(lambda _, inputs: residuals.append(inputs[0]))
    x = torch.randn(64, block.conv1.in_channels, 4, 4)
    whole = block(x)
    shortcut = block.shortcut(x) if name == "resnet_small_18" else whole - residuals[0]
    block.drop_path.train().drop_prob = 0.5
    noised = block(x)

    def matches(other):
        return torch.isclose(noised, other, atol=1e-5).flatten(1).all(dim=1)

    dropped, kept = matches(activation(shortcut)), matches(activation(shortcut + 2 * residuals[0]))
    assert (dropped ^ kept).all()
    assert 12 < dropped.sum() < 52  # 5 standard deviations of 64 fair coins


def randomize(net: nn.Module) -> None:
    """Fresh networks have normalization that does nothing and would hide mistakes."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
