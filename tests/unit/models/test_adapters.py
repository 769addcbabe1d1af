"""Low-rank adapters: what they change, how far, and that nothing is left of them in the end."""

import pytest
import torch
from torch import nn

from noisystudent.errors import ModelError
from noisystudent.models import adapters
from noisystudent.models.classifier import create_classifier
from noisystudent.models.factory import classifier_from_factory
from noisystudent.models.last_layer import last_layer
from noisystudent.training.loop import fit
from noisystudent.training.settings import TrainSettings
from training_setup import Killed, make_batches, make_classifier, objective, same_weights

pytest.importorskip("peft", reason="adapters need peft: pip install 'noisystudent[lora]'")
PIXELS = torch.randint(0, 256, (6, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def adapted(rank=2, seed=3):
    classifier = make_classifier()
    torch.manual_seed(seed)
    adapters.add_adapters(classifier, rank)
    return classifier


def trained(folder, rank=2, kill_at=None, steps=30):
    folder.mkdir(exist_ok=True)
    batches = make_batches()

    def next_batch(step):
        if step == kill_at:
            raise Killed
        return batches(step)

    settings = TrainSettings(steps=steps, save_every=1e-6, layer_decay=0.5, batch_norm="frozen")
    return fit(adapted(rank), next_batch, objective, settings, folder, seed=3)[0]


def answers(classifier):
    with torch.no_grad():
        return classifier.eval()(PIXELS.float())


def test_at_first_the_answers_are_those_without_adapters():
    assert torch.equal(answers(adapted()), answers(make_classifier()))


def test_only_adapters_and_the_last_layer_are_trained():
    names = {name for name, parameter in adapted().named_parameters() if parameter.requires_grad}
    of_adapters = {name for name in names if "lora_" in name}
    assert of_adapters
    assert names - of_adapters == {"net.classifier.weight", "net.classifier.bias"}


@pytest.mark.parametrize("rank", [1, 3])
def test_merged_weights_differ_by_a_matrix_of_that_rank_and_answer_alike(tmp_path, rank):
    classifier = trained(tmp_path, rank)
    before = answers(classifier)
    adapters.merge_adapters(classifier)
    torch.testing.assert_close(answers(classifier), before, atol=1e-5, rtol=1e-4)
    start, after = make_classifier().state_dict(), classifier.state_dict()
    assert list(after) == list(start)
    moved = {name for name in start if not torch.equal(start[name], after[name])}
    assert len(moved) > 2
    for name in moved - {"net.classifier.weight", "net.classifier.bias"}:
        difference = (after[name] - start[name]).flatten(1)
        largest, *_ = singular = torch.linalg.svdvals(difference)
        assert name.endswith("weight")
        assert (singular[rank:] < 1e-4 * largest).all(), name


def test_a_killed_training_resumes_to_the_same_bits(tmp_path):
    with pytest.raises(Killed):
        trained(tmp_path / "killed", kill_at=20)
    assert same_weights(trained(tmp_path / "killed"), trained(tmp_path / "whole"))


def test_depthwise_convolutions_have_no_adapter():
    classifier = create_classifier("tf_efficientnet_lite0", classes=("a", "b"), channels=3, size=32)
    adapters.add_adapters(classifier, 4)
    adapted = {name for name, _ in classifier.net.named_modules() if name.endswith("lora_A")}
    assert "blocks.1.0.conv_pw.lora_A" in adapted
    assert not [name for name in adapted if "conv_dw" in name]
    assert not hasattr(last_layer(classifier), "lora_A")


class OnlyLast(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 2)

    def forward(self, pixels):
        return self.head(pixels.flatten(1))

    def get_classifier(self):
        return self.head


class NoLast(OnlyLast):
    def get_classifier(self):
        return nn.Identity()


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (OnlyLast, "lora:2 needs linear layers or convolutions.*OnlyLast.*all or head"),
        (NoLast, "lora:2 needs a network that ends with a linear layer.*Identity"),
    ],
)
def test_a_network_without_a_place_for_them_is_refused(net, message):
    classifier = classifier_from_factory(lambda **_: net(), classes=("a", "b"), channels=1, size=8)
    with pytest.raises(ModelError, match=message):
        adapters.add_adapters(classifier, 2)


def test_without_peft_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(adapters, "find_spec", lambda _: None)
    with pytest.raises(ModelError, match=r"lora:4 needs peft.*pip install 'noisystudent\[lora\]'.*last:N"):
        adapters.require_adapters("lora:4")
