"""Heads see the whole short edge of an image, unless ``data.crop`` says otherwise; checkpoints keep what they saw."""

import json

import pytest

import noisystudent as ns
from noisystudent.errors import SettingsError
from small_backbone import save_backbone
from small_runs import DIGITS

SETTINGS = {"runtime.threads": 1, "head.views": 0, "budget": "none", "data.size": 72, "data.near_duplicates": "none"}


pytestmark = pytest.mark.usefixtures("feature_cache")


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return str(save_backbone(tmp_path_factory.mktemp("backbone") / "weights"))


def run(out, backbone, **settings):
    return ns.run(**DIGITS, out=out, settings={**SETTINGS, "model.backbone": backbone, **settings}, quiet=True)


def share(result):
    return json.loads((result.path / "best" / "config.json").read_text())["pretrained_cfg"]["crop_pct"]


def test_heads_see_whole_images_and_data_crop_another_share(tmp_path, backbone):
    whole, part = run(tmp_path / "whole", backbone), run(tmp_path / "part", backbone, **{"data.crop": 0.75})
    assert (share(whole), share(part)) == (1.0, 0.75)
    assert whole.facts.origins["data.crop"] == "model.tune head"
    for result in (whole, part):  # the checkpoint answers as the run did, so it crops as the run did
        assert ns.evaluate(checkpoint=result.path / "best", source="digits:test").top1 == pytest.approx(
            result.summary.student.test.top1, abs=0.003
        )
    assert whole.summary.teacher.test.top1 != part.summary.teacher.test.top1


def test_a_network_keeps_the_share_of_its_backbone_or_takes_the_one_given(tmp_path, backbone):
    trained = {"model.tune": "all", "train.steps": 1, "rounds.count": 1, "noise.strength": 0.2, "rounds.controls": 0}
    settings = {name: value for name, value in {**SETTINGS, **trained}.items() if name != "head.views"}
    given = {**settings, "model.backbone": backbone, "data.crop": 0.9}
    result = ns.run(**DIGITS, out=tmp_path / "run", settings=given, quiet=True)
    assert share(result) == 0.9


def test_a_share_of_small_images_has_no_effect_and_is_refused(tmp_path, backbone):
    with pytest.raises(SettingsError, match=r"data\.crop 0\.9 has no effect: images of 8 px are shown whole"):
        run(tmp_path / "run", backbone, **{"data.size": 8, "data.crop": 0.9})
