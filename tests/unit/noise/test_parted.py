"""Model noise per part of a batch: rates, scale, independence, and a model that otherwise stays as it was."""

import copy

import pytest
import timm
import torch
from torch import nn

import noisystudent.models.create  # noqa: F401 - names the small families for timm
from noisystudent.errors import ModelError
from noisystudent.noise.model import model_noise, set_model_noise
from noisystudent.noise.parted import PartedDropout, PartedDropPath, PartRates, part_model_noise

# Dropout is drop_rate in forward_head (EfficientNet), head_drop (ViT) or head.drop (ConvNeXt).
FAMILIES = ["efficientnet_b0", "convnext_atto", "vit_tiny_patch16_224", "tiny_resnet", "resnet_small_8"]


def create(name: str) -> nn.Module:
    size = {"img_size": 32} if name.startswith("vit") else {}
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=5, drop_rate=0.1, drop_path_rate=0.1, **size)
    set_model_noise(model, dropout=0.0, stochastic_depth=0.0)
    return model


def freeze_statistics(model: nn.Module) -> nn.Module:
    """Training mode, in which rows do not see each other through batch normalization."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    return model


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("rates", [{"dropout": 0.5}, {"stochastic_depth": 0.5}])
def test_only_the_other_rows_are_noised_and_evaluation_is_as_before(name, rates):
    model, images = create(name), torch.randn(6, 3, 32, 32)
    plain, state = model.eval()(images), set(model.state_dict())
    part_model_noise(model, rows=2, **rates)
    assert torch.equal(model.eval()(images), plain)
    assert set(model.state_dict()) == state
    freeze_statistics(model)
    drawn = [model(images) for _ in range(3)]
    for logits in drawn:
        torch.testing.assert_close(logits[:2], plain[:2])
        assert not torch.allclose(logits[2:], plain[2:])
    assert not torch.allclose(drawn[0][2:], drawn[1][2:])


def test_the_first_rows_keep_the_noise_of_the_model():
    model = create("efficientnet_b0")
    set_model_noise(model, dropout=0.3, stochastic_depth=0.2)
    before = model_noise(model)
    part_model_noise(model, rows=2, dropout=0.0, stochastic_depth=0.0)
    assert model_noise(model) == before
    freeze_statistics(model)
    images = torch.randn(6, 3, 32, 32)
    first, second = model(images), model(images)
    torch.testing.assert_close(first[2:], second[2:])
    assert not torch.allclose(first[:2], second[:2])


def test_rates_and_scale_are_those_of_inverted_dropout():
    torch.manual_seed(0)
    rows, features = 400, 500
    rates = PartRates(first=0.2, others=0.6, rows=rows)
    dropped = PartedDropout(rates)(torch.ones(2 * rows, features))
    for part, rate in ((dropped[:rows], 0.2), (dropped[rows:], 0.6)):
        error = 5 * (rate * (1 - rate) / part.numel()) ** 0.5  # standard errors of a share
        assert (part == 0).float().mean().item() == pytest.approx(rate, abs=error)
        assert part[part > 0].unique().item() == pytest.approx(1 / (1 - rate))
    paths = PartedDropPath(rates)(torch.ones(2 * rows, 3, 2, 2)).flatten(1)
    assert (paths == paths[:, :1]).all()  # a branch is dropped as a whole
    for part, rate in ((paths[:rows, 0], 0.2), (paths[rows:, 0], 0.6)):
        assert (part == 0).float().mean().item() == pytest.approx(rate, abs=5 * (rate * (1 - rate) / rows) ** 0.5)


def test_a_copy_has_its_own_mode():
    model = create("efficientnet_b0")
    part_model_noise(model, rows=0, dropout=0.5)
    model.train()
    average = copy.deepcopy(model).eval()
    images = torch.randn(4, 3, 32, 32)
    assert torch.equal(average(images), average(images))
    assert model.training


def test_half_precision_keeps_its_type():
    assert PartedDropPath(PartRates(0.1, 0.5, 1))(torch.ones(4, 2, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_a_model_without_a_place_for_dropout_is_refused():
    class Bare(nn.Module):
        def forward(self, images):
            return images

    with pytest.raises(ModelError, match=r"noise\.unlabeled\.dropout is 0\.5, and the model Bare has no dropout"):
        part_model_noise(Bare(), rows=1, dropout=0.5)
