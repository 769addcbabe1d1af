"""What the resolution fix trains, against plain torch: SGD on timm's features, and a bare batch normalization."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from noisystudent.errors import ModelError
from noisystudent.losses.objectives import supervised
from noisystudent.models.classifier import Classifier, create_classifier
from noisystudent.models.fixing import last_norms, train_blocks, train_classifier_alone
from noisystudent.models.normalization import Normalization
from noisystudent.models.resolution import at_size
from noisystudent.models.tuning import start_training
from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.input import InputNoise
from noisystudent.noise.settings import NoiseSettings
from noisystudent.training.fix_settings import FixSettings
from noisystudent.training.loader import LABELED, BatchLoader, ImageBuffer, InMemoryStream
from noisystudent.training.loop import fit
from training_setup import make_classifier

SIZE, LABELS = 12, 40
NETWORKS = ("tiny_resnet", "wrn_16_2", "efficientnet_small_b0")


def trained(name):
    """A network whose statistics are those of some images, as after a training."""
    torch.manual_seed(0)
    classifier = create_classifier(name, classes=("a", "b"), channels=1, size=8)
    classifier.train()
    with torch.no_grad():
        for seed in range(3):
            classifier(torch.randint(0, 256, (32, 1, 8, 8), generator=torch.Generator().manual_seed(seed)).byte())
    return classifier.eval()


def batches_at(size, batch_size):
    random = np.random.default_rng(0)
    pixels = torch.from_numpy(random.integers(0, 256, (LABELS, 1, size, size), dtype=np.uint8))
    targets = torch.eye(2)[torch.from_numpy(random.integers(0, 2, LABELS))]
    buffer = ImageBuffer(pixels, torch.full((LABELS, 2), size))
    stream = InMemoryStream(LABELED, buffer, targets, np.arange(LABELS), batch_size, seed=0)
    plain = NoiseSettings(preset="none", flip=False)
    return BatchLoader((stream,), InputNoise(plain, size=size, strength=0.0, rng=CounterRng(0, "test")))


def fixed(name, folder, **settings):
    """The network before and after the fix, the batches, and the settings of the loop."""
    before = trained(name)
    train = FixSettings(**{"epochs": 2.0, "batch_size": 20, "learning_rate": 0.1, **settings}).training(LABELS, 60.0)
    classifier = at_size(copy.deepcopy(before), SIZE)
    train_classifier_alone(classifier, settings.get("norm", "statistics"))
    batches = batches_at(SIZE, 20)
    after, _ = fit(classifier, batches, lambda x, batch: supervised(x, batch.targets), train, folder, seed=0)
    return before, after, batches, train


def changed(before, after):
    pairs = zip(before.net.state_dict().items(), after.net.state_dict().values(), strict=True)
    return {name for (name, old), new in pairs if not torch.equal(old, new)}


@pytest.mark.parametrize("name", NETWORKS)
def test_only_the_classifier_and_the_last_statistics_change(name, tmp_path):
    before, after, _, _ = fixed(name, tmp_path)
    norms = [norm.removeprefix("net.") for norm in last_norms(before)]
    statistics = {f"{norm}.{part}" for norm in norms for part in ("running_mean", "running_var", "num_batches_tracked")}
    head = {f"{before.net.pretrained_cfg['classifier']}.{part}" for part in ("weight", "bias")}
    assert changed(before, after) == head | statistics


def test_affine_weights_change_where_they_shall(tmp_path):
    before, after, _, _ = fixed("tiny_resnet", tmp_path, norm="affine")
    norms = [norm.removeprefix("net.") for norm in last_norms(before)]
    assert {f"{norm}.{part}" for norm in norms for part in ("weight", "bias")} < changed(before, after)
    assert len(changed(before, after)) == 2 + 5 * len(norms)


@pytest.mark.parametrize("name", NETWORKS)
def test_without_statistics_it_is_plain_sgd_on_timms_features(name, tmp_path):
    before, after, batches, train = fixed(name, tmp_path, norm="none", drop_every=1.0)
    net, head = before.net, copy.deepcopy(before.net.get_classifier())
    rates = [0.1 * 20 / 64] * 2 + [0.01 * 20 / 64] * 2  # a tenth after one of two epochs
    assert train.steps == len(rates)
    groups = [{"params": [head.weight], "weight_decay": 1e-4}, {"params": [head.bias], "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    for step, rate in enumerate(rates):
        batch = batches(step)
        with torch.no_grad():
            features = net.forward_head(net.forward_features(before.normalize(batch.pixels)), pre_logits=True)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        nn.functional.cross_entropy(head(features), batch.targets).backward()
        optimizer.step()
    found = after.net.get_classifier()
    assert torch.allclose(found.weight, head.weight, atol=1e-6)
    assert torch.allclose(found.bias, head.bias, atol=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_statistics_are_those_of_a_bare_batch_norm_on_the_same_features(name, tmp_path):
    before, after, batches, train = fixed(name, tmp_path)
    name = last_norms(before)[-1]
    layer, inputs = before.get_submodule(name), []
    handle = layer.register_forward_pre_hook(lambda module, given: inputs.append(given[0]))
    with torch.no_grad():
        for step in range(train.steps):
            before(batches(step).pixels)
    handle.remove()
    bare = nn.BatchNorm2d(layer.num_features, momentum=None)
    for features in inputs:
        bare(features)
    found = after.get_submodule(name)
    assert torch.allclose(found.running_mean, bare.running_mean, atol=1e-6)
    assert torch.allclose(found.running_var, bare.running_var, rtol=1e-5)
    assert found.num_batches_tracked == train.steps
    mean = torch.stack([features.mean((0, 2, 3)) for features in inputs]).mean(0)
    assert torch.allclose(found.running_mean, mean, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "norms"),
    [
        ("resnet18", ["net.layer4.1.bn2"]),
        ("tf_efficientnet_lite0", ["net.bn2"]),
        ("wrn_16_2", ["net.norm_head.0"]),
        ("tiny_resnet", ["net.blocks.2.bn2", "net.blocks.2.shortcut.1"]),  # the last block's shortcut has one as well
    ],
)
def test_the_last_norms_are_those_before_the_pooling(name, norms):
    classifier = create_classifier(name, classes=("a", "b"), channels=3, size=64).requires_grad_(False)
    assert sorted(last_norms(classifier)) == norms
    assert classifier.net.training  # as it was


def test_a_network_without_batch_normalization_needs_no_norm():
    classifier = create_classifier("convnext_atto", classes=("a", "b"), channels=3, size=32)
    with pytest.raises(ModelError, match=r"fix\.norm affine adapts .* convnext_atto has none\. Give fix\.norm none"):
        train_classifier_alone(classifier, "affine")
    train_classifier_alone(classifier, "none")
    assert classifier.trained_modules == ()


def test_a_network_that_names_no_last_layer_is_refused():
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    normalization = Normalization.halves(1)
    own = Classifier(net, name="own", classes=("a", "b"), channels=1, size=8, normalization=normalization)
    with pytest.raises(ModelError, match="the fix trains the last layer, and own does not say which one"):
        train_classifier_alone(own, "none")


def test_all_but_the_last_norm_is_in_evaluation_mode():
    classifier = make_classifier()
    train_classifier_alone(classifier, "statistics")
    start_training(classifier, frozen_statistics=False)
    assert {name for name, module in classifier.named_modules() if module.training} == set(last_norms(classifier))


def test_blocks_train_with_their_noise_and_the_others_do_not():
    classifier = make_classifier()
    train_blocks(classifier, 1)
    start_training(classifier, frozen_statistics=False)
    modes = {name: module.training for name, module in classifier.named_modules()}
    assert all(modes[name] for name in ("net", "net.blocks.2.bn1", "net.classifier"))
    assert not any(training for name, training in modes.items() if name.startswith(("net.blocks.0", "net.blocks.1")))
    with pytest.raises(ModelError, match=r"fix\.trains last:3 would train the whole .* give fewer, or fix\.trains cl"):
        train_blocks(classifier, 3)
