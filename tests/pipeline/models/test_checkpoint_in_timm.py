"""A checkpoint of one of timm's architectures is loaded by timm alone, in a process without this package."""

import subprocess
import sys

import torch
from safetensors.torch import save_file
from torch import nn

from noisystudent.models.checkpoint import save_classifier
from noisystudent.models.classifier import create_classifier

CLASSES = ("cat", "dog", "größer")


def test_timm_alone_loads_it(tmp_path):
    classifier = create_classifier(
        "mobilenetv3_small_050", classes=CLASSES, channels=1, size=96, dropout=0.5, stochastic_depth=0.2
    )
    for module in classifier.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    save_classifier(classifier, tmp_path)
    pixels = torch.randint(0, 256, (2, 1, 96, 96), dtype=torch.uint8)
    with torch.no_grad():
        save_file({"pixels": pixels, "logits": classifier.eval()(pixels)}, tmp_path / "expected.st")
    script = f"""
import sys, torch, timm
from safetensors.torch import load_file
net = timm.create_model("local-dir:{tmp_path}", pretrained=True).eval()
view = timm.data.resolve_model_data_config(net)
assert tuple(view["input_size"]) == (1, 96, 96) and view["crop_pct"] == 96 / 128, view
expected = load_file("{tmp_path}/expected.st")
with torch.no_grad():
    logits = net((expected["pixels"] / 255 - view["mean"][0]) / view["std"][0])
torch.testing.assert_close(logits, expected["logits"], atol=1e-5, rtol=1e-5)
assert net.pretrained_cfg["label_names"] == ["cat", "dog", "größer"]
assert "noisystudent" not in sys.modules
"""
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
