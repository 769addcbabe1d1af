"""An audit of sources before training: planted faults are found, and nothing is written."""

import numpy as np
import pytest
from PIL import Image

import noisystudent as ns
from noisystudent.commands.main import main
from noisystudent.data.sources.open import open_source
from noisystudent.pipeline.check import sizes_of
from noisystudent.reporting.check_text import check_lines, things_to_mend
from small_runs import DIGITS

pytestmark = pytest.mark.usefixtures("feature_cache")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Digits as files: one label wrong, one image twice in two classes, one broken, one tiny."""
    root = tmp_path_factory.mktemp("folders")
    source = open_source("digits:unlabeled", labeled=True)
    kept: dict[int, int] = {}
    for record in source.read(0):
        count = kept.setdefault(record.label, 0)
        part = "labeled" if count < 12 else "unlabeled" if count < 20 else ""
        if not part:
            continue
        kept[record.label] += 1
        label = 1 if (record.label, count) == (0, 3) else record.label
        folder = root / part / (f"digit-{label}" if part == "labeled" else "")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(record.image).save(folder / f"{record.label}-{count}.png")
    (root / "labeled" / "digit-2" / "broken.png").write_bytes(b"no image")
    copy = (root / "labeled" / "digit-4" / "4-1.png").read_bytes()
    (root / "labeled" / "digit-5" / "copy.png").write_bytes(copy)
    Image.fromarray(np.full((3, 3), 90, np.uint8)).save(root / "unlabeled" / "tiny.png")
    return root


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    """A network that has learned digits; these heads' features tell a 0 from a 1."""
    out = tmp_path_factory.mktemp("backbone") / "weights"
    settings = {"train.steps": 150, "train.batch_size": 64, "model.teacher": "tiny_resnet", "runtime.threads": 1}
    ns.train("digits:test", out=out, settings={**settings, "noise.strength": 0.25}, quiet=True)
    return out


def test_planted_faults_are_found(folders, backbone, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["check", str(folders / "labeled"), str(folders / "unlabeled"), "--backbone", str(backbone)]
    assert main([*words, "--data.max_corrupt_fraction", "0.1"]) == 0
    printed = capsys.readouterr()
    assert "broken.png" in printed.err
    assert "in two or more classes" in printed.err
    assert "1 image of less than half of that: 'tiny.png'" in printed.out
    wrong = [line for line in printed.out.splitlines() if "looks like" in line]
    assert any("digit-1/0-3.png: labeled 'digit-1', looks like 'digit-0'" in line for line in wrong)
    assert len(wrong) <= 5
    assert list(tmp_path.iterdir()) == []


def test_clean_sources_have_nothing_to_mend():
    found = ns.check(**DIGITS, settings={"model.backbone": "none", "data.near_duplicates": "none"}, quiet=True)
    assert things_to_mend(found) == 0
    assert found.label_issues is None
    assert "not looked for" in check_lines(found)[-1]
    assert found.sizes["labeled"].median == found.sizes["labeled"].largest == 8


def test_sizes_of_a_source_without_a_readable_image_are_unknown(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    assert sizes_of(open_source(str(tmp_path), labeled=False)) is None


def test_uneven_labels_are_said(folders, tmp_path):
    for name, count in (("a", 1), ("b", 12)):
        (tmp_path / name).mkdir()
        for number, image in enumerate(sorted((folders / "labeled" / "digit-7").iterdir())[:count]):
            (tmp_path / name / f"{name}{number}.png").write_bytes(image.read_bytes())
    settings = {"model.backbone": "none"}
    found = ns.check(str(tmp_path), str(folders / "unlabeled"), settings=settings, quiet=True)
    assert any("12 of 'b' and 1 of 'a'" in line for line in check_lines(found))


def test_labels_alone_can_be_audited_and_what_trains_is_no_setting_of_it(folders, capsys):
    labeled = str(folders / "labeled")
    assert main(["check", labeled, "--model.backbone=none"]) == 0
    assert "labeled: " in capsys.readouterr().err
    for words, message in ((["--out", "x"], "check writes nothing"), (["--train.steps", "5"], "check does not use")):
        assert main(["check", labeled, *words]) == 2
        assert message in capsys.readouterr().err
