"""Published weights in a hub's cache that tests make themselves, and images of three of their classes."""

import numpy as np
import pytest
import timm
import torch
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import save_file

from noisystudent.models import create as published

VIT, RESNET = "test_vit.r160_in1k", "test_resnet.r160_in1k"  # timm's smallest with published weights, of 160 px


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """The hub's cache on disk with seeded weights of two models; any use of the network fails the test."""
    for seed, name in enumerate((VIT, RESNET)):
        folder = tmp_path / "hub" / f"models--timm--{name}"
        (folder / "refs").mkdir(parents=True)
        (folder / "refs" / "main").write_text("0123abc")
        (folder / "snapshots" / "0123abc").mkdir(parents=True)
        torch.manual_seed(seed)
        save_file(timm.create_model(name).state_dict(), folder / "snapshots" / "0123abc" / "model.safetensors")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(published, "get_session", lambda: pytest.fail("the network was used"))
    return tmp_path / "hub"


@pytest.fixture
def images(tmp_path):
    """Three of ImageNet's classes in a folder, two images per class."""
    random = np.random.default_rng(0)
    for synset in ("n15075141", "n01440764", "n02123045"):
        folder = tmp_path / "images" / synset
        folder.mkdir(parents=True)
        for number in range(2):
            Image.fromarray(random.integers(0, 256, (192, 192, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    return tmp_path / "images"


def timms_answers(name, images):
    """Logits of timm's own network for its view, the central 160 px at a short edge of 168, in the folder's order."""
    torch.manual_seed((VIT, RESNET).index(name))
    net = timm.create_model(name).eval()
    files = sorted(images.rglob("*.png"))
    stored = [Image.open(file).resize((168, 168), Image.Resampling.BICUBIC) for file in files]  # crop_pct is 0.95
    pixels = np.stack([np.asarray(image.crop((4, 4, 164, 164))) for image in stored])
    with torch.no_grad():
        return net((torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5)
