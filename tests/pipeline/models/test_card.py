"""The card of a checkpoint: its code runs in a fresh process in the checkpoint's folder, as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from noisystudent.models.checkpoint import save_classifier
from noisystudent.models.classifier import create_classifier

CLASSES = ("cat", "dog", "größer")


def code_of(folder: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL)


def run_code(code: str, folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)


@pytest.fixture(scope="module", params=["mobilenetv3_small_050", "tiny_resnet"])
def checkpoint(request, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    save_classifier(create_classifier(request.param, classes=CLASSES, channels=1, size=32), folder)
    return folder


def test_every_code_of_the_card_runs(checkpoint):
    with_noisystudent, with_timm = code_of(checkpoint)
    opened = run_code(with_noisystudent, checkpoint)
    assert "3 classes, 1 x 32 x 32 pixels" in opened.stdout, opened.stderr
    data = run_code(with_timm, checkpoint)
    assert "'input_size': (1, 32, 32)" in data.stdout, data.stderr


def test_timm_alone_opens_what_timm_has_and_nothing_else(checkpoint):
    _, with_timm = code_of(checkpoint)
    alone = run_code(f"{with_timm}\nimport sys; print('noisystudent' in sys.modules)", checkpoint)
    is_own = checkpoint.name.startswith("tiny_resnet")
    assert alone.stdout.endswith(f"{is_own}\n"), alone.stderr
    without_import = with_timm.replace("import noisystudent.models.create\n", "")
    assert (run_code(without_import, checkpoint).returncode == 0) == (not is_own)


def test_the_card_of_a_users_own_model_promises_nothing_of_timm(tmp_path):
    classifier = create_classifier("tiny_resnet", classes=CLASSES, channels=3, size=16)
    save_classifier(classifier, tmp_path, extra={"factory": "my_network 1"})
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "my_network 1" in card
    assert "it cannot open this folder" in card
    assert code_of(tmp_path) == []
