"""Sizes at which objects look as in training, against drawn crops and the paper's numbers; models at other sizes."""

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform
from torch import nn

import noisystudent as ns
from noisystudent.data.images import ImageFormat, decode_shard
from noisystudent.data.sources.open import open_source
from noisystudent.errors import ModelError
from noisystudent.models.classifier import Classifier, create_classifier
from noisystudent.models.normalization import Normalization
from noisystudent.models.predictor import Predictor
from noisystudent.models.resolution import (
    apparent_size_ratio,
    at_size,
    matching_size,
    mean_edge,
    predictor_at,
    stride_of,
)
from noisystudent.noise.crop import PlainView, random_boxes, smallest_area
from noisystudent.runtime.settings import RuntimeSettings
from training_setup import make_classifier


@pytest.mark.parametrize("area", [0.08, 0.3, 0.54, 0.77, 1.0])
def test_the_mean_edge_is_that_of_drawn_crops(area):
    sizes = torch.full((200_000, 2), 512)
    boxes = random_boxes(sizes, torch.rand(len(sizes), 4, generator=torch.Generator().manual_seed(0)), area)
    drawn = (boxes[:, 2] * boxes[:, 3]).double().sqrt() / 512
    assert mean_edge(area) == pytest.approx(float(drawn.mean()), abs=2e-3)


def test_the_published_crops_ask_for_288_pixels():
    assert mean_edge(0.08) == pytest.approx(0.7082, abs=1e-4)
    assert matching_size(224, share=0.875, area=0.08, multiple=1) == 277
    assert matching_size(224, share=0.875, area=0.08, multiple=32) == 288
    assert apparent_size_ratio(224, 224, share=0.875, area=0.08) == pytest.approx(0.81, abs=5e-3)
    assert apparent_size_ratio(224, 288, share=0.875, area=0.08) == pytest.approx(1.04, abs=5e-3)
    assert matching_size(32, share=1.0, area=0.08, multiple=8) == 48


@pytest.mark.parametrize(("strength", "ratio"), [(0.25, 1.07), (0.5, 0.999), (1.0, 0.81)])
def test_a_weak_crop_leaves_nothing_to_fix(strength, ratio):
    area = smallest_area(0.08, strength)
    assert apparent_size_ratio(224, 224, share=0.875, area=area) == pytest.approx(ratio, abs=6e-3)
    assert (matching_size(224, share=0.875, area=area, multiple=1) <= 224) == (ratio >= 1)


def test_crops_of_the_whole_image_show_objects_as_the_test_does():
    assert apparent_size_ratio(224, 224, share=0.875, area=1.0) == 1
    assert matching_size(224, share=0.875, area=1.0, multiple=32) == 224


@pytest.mark.parametrize(("name", "stride"), [("tiny_resnet", 4), ("resnet18", 32), ("tf_efficientnet_lite0", 32)])
def test_the_stride_is_the_pixels_per_feature(name, stride):
    size = 8 if name == "tiny_resnet" else 64
    assert stride_of(create_classifier(name, classes=("a", "b"), channels=3, size=size)) == stride


def test_a_network_that_tells_no_stride_has_the_usual_one():
    assert stride_of(own(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)))) == 32


def own(net, size=8):
    return Classifier(net, name="own", classes=("a", "b"), channels=1, size=size, normalization=Normalization.halves(1))


def test_another_size_shares_the_network_and_shows_the_same_share():
    classifier = make_classifier()
    resized = at_size(classifier, 12)
    assert resized.net is classifier.net
    assert (resized.size, classifier.size, at_size(classifier, 8) is classifier) == (12, 8, True)
    large = create_classifier("resnet18", classes=("a", "b"), channels=3, size=224)
    assert at_size(large, 288).crop == large.crop_share == 0.875  # 224 of 256 pixels, as in timm
    assert at_size(classifier, 96).crop_share == 1.0  # images up to 64 px are seen whole


def test_the_view_at_another_size_is_timms(tmp_path):
    coarse = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    (tmp_path / "images").mkdir()
    image = Image.fromarray(coarse).resize((400, 400), Image.Resampling.BICUBIC)
    image.save(tmp_path / "images" / "a.png")
    resized = at_size(create_classifier("resnet18", classes=("a", "b"), channels=3, size=224), 288)
    format = ImageFormat(resized.size, 3, crop=resized.crop)
    images = decode_shard(open_source(str(tmp_path / "images"), labeled=False), 0, format)
    pixels, sizes = torch.from_numpy(images.pixels), torch.from_numpy(images.sizes.astype(np.int64))
    found = PlainView(resized.size, resized.crop)(pixels, sizes)[0].float() / 255
    no_change = {"mean": (0.0,) * 3, "std": (1.0,) * 3}
    expected = create_transform((3, 288, 288), crop_pct=0.875, interpolation="bicubic", **no_change)(image)
    assert float((found - expected).abs().max()) <= 1.5 / 255


def test_a_fixed_size_is_refused():
    vit = create_classifier("test_vit", classes=("a", "b"), channels=1, size=160)
    with pytest.raises(ModelError, match=r"test_vit takes images of 160 px and was asked for 192 px: its size"):
        at_size(vit, 192)
    assert at_size(vit, 160) is vit


class OnlyMultiples(nn.Module):
    """Takes images whose edge is a multiple of 8."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(1, 2)

    def forward_features(self, x):
        assert x.shape[2] % 8 == 0, "no multiple of 8"
        return x[:, :, ::8, ::8]

    def forward(self, x):
        return self.last(self.forward_features(x).mean((2, 3)))


def test_a_size_that_is_no_multiple_is_refused_with_those_that_are():
    with pytest.raises(ModelError, match=r"does not take images of 20 px \(no multiple of 8\)\. It takes 16 px and 24"):
        at_size(own(OnlyMultiples(), 8), 20)
    assert at_size(own(OnlyMultiples(), 8), 24).size == 24


def test_a_predictor_answers_at_another_size():
    predictor = Predictor.of_classifier("a", "f", make_classifier(), RuntimeSettings())
    larger = predictor_at(predictor, 16)
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16), dtype=np.uint8)
    with torch.no_grad():
        expected = torch.log_softmax(predictor.classifier(torch.from_numpy(images)[:, None]), 1)
    assert np.allclose(larger.log_probabilities(images), expected.numpy(), atol=1e-6)
    assert predictor_at(predictor, 8) is predictor


def test_a_module_answers_at_the_sizes_that_it_takes():
    predictor = ns.load(OnlyMultiples().eval(), classes=["a", "b"], size=8, channels=1)
    assert predictor_at(predictor, 16).size == 16
    assert predictor_at(predictor, 96).format.storage_size == 96  # all of the short edge, as at 8 px
    large = ns.load(OnlyMultiples().eval(), classes=["a", "b"], size=96, channels=1)
    assert (large.format.storage_size, predictor_at(large, 192).format.storage_size) == (128, 256)  # three quarters
    with pytest.raises(ModelError, match=r"tried with images of shape \(2, 1, 20, 20\)"):
        predictor_at(predictor, 20)
