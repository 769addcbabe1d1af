"""``auto`` takes the first of its list that is on this machine, and never asks the network."""

import pytest
from huggingface_hub import constants
from timm.models import get_pretrained_cfg, is_model_pretrained

from noisystudent.models.backbone_choice import ON_ACCELERATOR, ON_CPU, choose_backbone, size_of_choice
from noisystudent.models.weights_package import LITE0, WeightsPackage


def any_model(architecture):
    return True


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Puts empty weights of models into an empty cache of the hub; no package is installed."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(WeightsPackage, "is_installed", lambda self: False)

    def add(model):
        folder = tmp_path / f"models--timm--{model}"
        (folder / "refs").mkdir(parents=True)
        (folder / "refs" / "main").write_text("0123abc")
        (folder / "snapshots" / "0123abc").mkdir(parents=True)
        (folder / "snapshots" / "0123abc" / "model.safetensors").write_bytes(b"")

    return add


@pytest.mark.parametrize("candidate", sorted({*ON_CPU, *ON_ACCELERATOR}, key=lambda candidate: candidate.model))
def test_timm_publishes_every_candidate_under_a_free_license_for_images_that_it_can_take(candidate):
    assert is_model_pretrained(candidate.model)
    config = get_pretrained_cfg(candidate.model)
    assert config.license == "apache-2.0"
    assert (config.hf_hub_id, config.hf_hub_filename) == (f"timm/{candidate.model}", None)
    assert candidate.size == config.input_size[-1] or "dinov2" in candidate.model
    assert candidate.size % 14 == 0 or "dinov2" not in candidate.model
    assert size_of_choice(f"timm:{candidate.model}") == candidate.size


def test_an_empty_machine_has_none(hub):
    assert choose_backbone("cpu", any_model) == choose_backbone("cuda", any_model) == "none"
    assert size_of_choice("none") is None


def test_the_package_comes_after_the_hubs_cache(hub, monkeypatch):
    monkeypatch.setattr(WeightsPackage, "is_installed", lambda self: True)
    assert choose_backbone("cpu", any_model) == LITE0.name
    hub("convnext_atto.d2_in1k")
    assert choose_backbone("cpu", any_model) == "timm:convnext_atto.d2_in1k"


def test_the_list_depends_on_the_device_and_its_order_decides(hub):
    for model in ("vit_small_patch14_dinov2.lvd142m", "convnext_atto.d2_in1k", "convnext_base.fb_in22k_ft_in1k"):
        hub(model)
    assert choose_backbone("cpu", any_model) == "timm:convnext_atto.d2_in1k"
    for device in ("cuda", "mps"):
        assert choose_backbone(device, any_model) == "timm:vit_small_patch14_dinov2.lvd142m"


def test_only_what_fits_the_models_of_the_run_is_taken(hub, monkeypatch):
    hub("convnext_atto.d2_in1k")
    monkeypatch.setattr(WeightsPackage, "is_installed", lambda self: True)
    assert choose_backbone("cpu", lambda architecture: architecture == "tf_efficientnet_lite0") == LITE0.name
    assert choose_backbone("cpu", lambda architecture: architecture == "resnet18") == "none"


def test_weights_of_another_tag_or_half_a_download_do_not_count(hub, tmp_path):
    hub("convnext_atto.other")
    hub("efficientnet_b0.ra_in1k")
    (tmp_path / "models--timm--efficientnet_b0.ra_in1k" / "snapshots" / "0123abc" / "model.safetensors").unlink()
    assert choose_backbone("cpu", any_model) == "none"
