"""The share of an image that a model sees is its config's ``crop_pct``, as in timm."""

import json

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform

from noisystudent.data.images import ImageFormat, decode_shard, stored_edge
from noisystudent.data.sources.open import open_source
from noisystudent.models.backbones import open_backbone
from noisystudent.models.checkpoint import load_classifier, save_classifier
from noisystudent.models.classifier import create_classifier
from noisystudent.models.predictor import Predictor
from noisystudent.noise.crop import PlainView, edge_of_view


@pytest.fixture
def image(tmp_path):
    """A folder with one square image, without fine detail that resampling in another order would change."""
    coarse = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    (tmp_path / "images").mkdir()
    Image.fromarray(coarse).resize((300, 300), Image.Resampling.BICUBIC).save(tmp_path / "images" / "a.png")
    return tmp_path / "images" / "a.png"


def view_by_timm(image, size, crop, mean=0.0, std=1.0):
    transform = create_transform(
        (3, size, size), crop_pct=crop, interpolation="bicubic", crop_mode="center", mean=(mean,) * 3, std=(std,) * 3
    )
    return transform(Image.open(image).convert("RGB"))


@pytest.mark.parametrize(("size", "crop"), [(96, 0.8), (160, 0.95), (224, 0.875), (224, 0.9), (224, 1.0)])
def test_the_view_of_a_crop_is_timms(image, size, crop):  # a margin of an odd number of pixels is split otherwise
    images = decode_shard(open_source(str(image.parent), labeled=False), 0, ImageFormat(size, 3, crop=crop))
    pixels, sizes = torch.from_numpy(images.pixels), torch.from_numpy(images.sizes.astype(np.int64))
    found = PlainView(size, crop)(pixels, sizes)[0].float() / 255
    expected = view_by_timm(image, size, crop)
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) <= 1.5 / 255


def test_images_up_to_64_pixels_are_seen_whole_and_no_crop_is_the_margin():
    assert [stored_edge(size, 0.5) for size in (8, 64, 65)] == [8, 64, 130]
    assert [stored_edge(size, None) for size in (64, 65, 224)] == [64, 97, 256]
    assert all(stored_edge(size, size / (size + 32)) == size + 32 for size in range(65, 1000))
    assert ImageFormat(224, 3, crop=0.875).identity == ImageFormat(224, 3).identity == []
    assert ImageFormat(224, 3, crop=1.0).identity == ["stored at 224"]


@pytest.mark.parametrize(("stored", "edge"), [(160, 160), (168, 160), (336, 320), (96, 91)])
def test_images_that_are_stored_for_another_size_show_the_same_share(stored, edge):
    assert edge_of_view(160, stored, 0.95) == edge


@pytest.mark.parametrize("crop", [None, 0.875, 1.0])
def test_a_checkpoint_keeps_its_crop(tmp_path, crop):
    classifier = create_classifier("tiny_resnet", classes=("a", "b"), channels=3, size=96)
    classifier.crop = crop
    save_classifier(classifier, tmp_path)
    share = json.loads((tmp_path / "config.json").read_text())["pretrained_cfg"]["crop_pct"]
    assert share == (96 / 128 if crop is None else crop)
    again = load_classifier(tmp_path)
    assert stored_edge(96, again.crop) == stored_edge(96, crop)


@pytest.mark.parametrize("crop", [0.875, 1.0])
def test_a_hub_folder_answers_as_timm_does_with_its_own_transform(tmp_path, image, crop):
    torch.manual_seed(0)
    net = timm.create_model("test_vit", num_classes=5).eval()
    folder = tmp_path / "hub"
    classifier = create_classifier("test_vit", classes=tuple("abcde"), channels=3, size=160)
    classifier.net.load_state_dict(net.state_dict())
    classifier.crop = crop
    save_classifier(classifier, folder)
    with torch.no_grad():
        expected = net(view_by_timm(image, 160, crop, 0.5, 0.5)[None]).softmax(dim=1).numpy()
    found = Predictor.open(f"local-dir:{folder}").predict_proba(image)
    np.testing.assert_allclose(found, expected, atol=2e-3)
    backbone = open_backbone(str(folder))
    assert backbone.crop == crop
    assert backbone.new_classifier("test_vit", classes=("x", "y"), size=96).crop == crop


def test_a_crop_is_part_of_a_backbones_fingerprint(tmp_path):
    prints = set()
    for crop in (None, 0.9, 1.0):
        torch.manual_seed(0)
        classifier = create_classifier("tiny_resnet", classes=("a", "b"), channels=3, size=96)
        classifier.crop = crop
        save_classifier(classifier, tmp_path / str(crop))
        prints.add(open_backbone(str(tmp_path / str(crop))).fingerprint)
    assert len(prints) == 3
