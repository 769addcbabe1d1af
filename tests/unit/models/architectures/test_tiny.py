import pytest
import timm
import torch
import torch.nn.functional as F
from timm.layers import DropPath
from torch import nn

from noisystudent.models.create import count_parameters, create_model


def test_the_parameters_are_those_of_its_layers():
    net = create_model("tiny_resnet", classes=10, channels=1, size=8)
    expected, channels = 0, 1
    for width in (32, 64, 128):
        convolutions = 9 * channels * width + 9 * width * width + channels * width
        expected += convolutions + 3 * 2 * width  # three normalizations of weight and bias
        channels = width
    assert count_parameters(net) == expected + 4 * 128 * 10 + 10


@pytest.mark.parametrize("size", [8, 12, 28, 32])
def test_the_head_sees_a_grid_of_two_by_two(size):
    net = timm.create_model("tiny_resnet", num_classes=5, in_chans=3).eval()
    x = torch.randn(2, 3, size, size)
    features = net.forward_features(x)
    assert features.shape == (2, 128, size // 4, size // 4)
    by_hand = net.classifier(F.adaptive_avg_pool2d(features, 2).flatten(1))
    torch.testing.assert_close(net(x), by_hand)
    assert net.forward_head(features, pre_logits=True).shape == (2, net.head_hidden_size)


def test_noise_is_where_timm_puts_it():
    net = timm.create_model("tiny_resnet", drop_rate=0.4, drop_path_rate=0.3)
    rates = [module.drop_prob for module in net.modules() if isinstance(module, DropPath)]
    assert rates == pytest.approx([0.0, 0.1, 0.2])
    assert net.drop_rate == 0.4
    x = torch.randn(16, 3, 8, 8)
    assert torch.equal(net.eval()(x), net(x))
    assert not torch.equal(net.train()(x), net(x))


def test_the_last_layer_can_be_changed_or_left_out():
    net = timm.create_model("tiny_resnet", num_classes=4)
    net.reset_classifier(7)
    assert net.get_classifier().out_features == net.num_classes == 7
    net.reset_classifier(0)
    assert isinstance(net.get_classifier(), nn.Identity)
