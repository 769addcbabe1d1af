"""Frozen blocks, rates by depth and frozen statistics: compared with timm's grouping and with torch's own modes."""

import pytest
import timm
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from noisystudent.errors import ModelError
from noisystudent.models.tuning import block_numbers, layer_decay_groups, start_training, train_last_blocks
from training_setup import make_classifier


def network(name):
    with torch.device("meta"):  # names and shapes alone
        return timm.create_model(name)


def numbers_of(name):
    return block_numbers(network(name), needed_by="this test", instead="another")


@pytest.mark.parametrize(
    ("name", "blocks"),
    [("tiny_resnet", 3), ("resnet_small_20", 10), ("wrn_16_2", 7), ("resnet18", 9), ("tf_efficientnet_lite0", 17)],
)
def test_blocks_are_counted_from_the_input_to_the_last_layer(name, blocks):
    net = network(name)
    numbers = numbers_of(name)
    assert numbers.keys() == dict(net.named_parameters()).keys()
    last = {parameter for parameter, number in numbers.items() if number == max(numbers.values())}
    assert last == {f"{net.pretrained_cfg['classifier']}.{part}" for part in ("weight", "bias")}
    assert set(numbers.values()) == set(range(blocks + 1))


def test_a_norm_before_the_last_layer_belongs_to_the_last_block():
    numbers = numbers_of("wrn_16_2")
    assert numbers["norm_head.0.weight"] == numbers["blocks.2.1.conv1.weight"] == 6
    assert numbers["conv_stem.weight"] == 0


def test_the_last_blocks_and_the_last_layer_are_trained():
    net = make_classifier().net
    train_last_blocks(net, 1)
    trained = {name.rsplit(".", 1)[0].split(".conv")[0][:8] for name, p in net.named_parameters() if p.requires_grad}
    assert trained == {"blocks.2", "classifi"}


def test_as_many_blocks_as_there_are_is_refused():
    with pytest.raises(ModelError, match=r"model.tune last:3 would train the whole network, which has 3 blocks"):
        train_last_blocks(make_classifier().net, 3)


def test_a_network_without_named_blocks_is_refused():
    net = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(ModelError, match=r"model.tune last:1 needs a network that .*; give model.tune all"):
        train_last_blocks(net, 1)


def modes(classifier):
    return {name: m.training for name, m in classifier.named_modules() if isinstance(m, nn.BatchNorm2d)}


def test_statistics_are_those_of_the_batch_unless_frozen():
    classifier = make_classifier()
    start_training(classifier, frozen_statistics=False)
    assert all(modes(classifier).values())
    start_training(classifier, frozen_statistics=True)
    assert not any(modes(classifier).values())
    assert classifier.net.training  # dropout and stochastic depth still act


def test_frozen_blocks_keep_their_statistics_and_the_others_do_not():
    classifier = make_classifier()
    train_last_blocks(classifier.net, 1)
    start_training(classifier, frozen_statistics=False)
    assert {name: training for name, training in modes(classifier).items() if not training}.keys() == {
        name for name in modes(classifier) if not name.startswith("net.blocks.2")
    }
    before = {name: buffer.clone() for name, buffer in classifier.named_buffers()}
    classifier(torch.zeros(4, 1, 8, 8, dtype=torch.uint8))
    moved = {name for name, buffer in classifier.named_buffers() if not torch.equal(buffer, before[name])}
    assert moved
    assert all(name.startswith("net.blocks.2") for name in moved)


def test_the_norms_of_timm_are_frozen_too():
    classifier = make_classifier()
    classifier.net.blocks[0].extra = BatchNormAct2d(3)
    start_training(classifier, frozen_statistics=True)
    assert not classifier.net.blocks[0].extra.training


def test_rates_fall_by_a_factor_per_block():
    classifier = make_classifier()
    groups = layer_decay_groups(classifier, weight_decay=0.3, layer_decay=0.5)
    found = {id(p): (group["lr_scale"], group["weight_decay"]) for group in groups for p in group["params"]}
    for name, parameter in classifier.net.named_parameters():
        distance = 0 if name.startswith("classifier") else 3 - int(name.split(".")[1])
        assert found[id(parameter)] == (0.5**distance, 0.3 if parameter.ndim > 1 else 0.0), name


def test_frozen_parameters_are_in_no_group():
    classifier = make_classifier()
    train_last_blocks(classifier.net, 1)
    groups = layer_decay_groups(classifier, weight_decay=0.0, layer_decay=0.5)
    assert {group["lr_scale"] for group in groups} == {1.0, 0.5}
    assert all(parameter.requires_grad for group in groups for parameter in group["params"])
