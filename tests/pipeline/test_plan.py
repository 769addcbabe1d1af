"""A plan of a run that has not begun reads a sample of its images, and counts all of them."""

import pytest

import noisystudent as ns
from noisystudent.artifacts.folder import State
from noisystudent.data import splits
from noisystudent.pipeline import plan
from noisystudent.pipeline.plan import READ_IMAGES
from small_backbone import save_backbone
from small_runs import DIGITS, SMALL


@pytest.fixture
def decoded(monkeypatch):
    """How many images are decoded, a number per source."""
    counts, decode = [], splits.decode

    def count(source, *arguments):
        images = decode(source, *arguments)
        counts.append(len(images))
        return images

    monkeypatch.setattr(splits, "decode", count)
    return counts


def test_a_plan_reads_a_sample_and_counts_every_image(tmp_path, decoded):
    planned = ns.plan(**DIGITS, out=tmp_path / "run", settings={**SMALL, "budget": "none"}, quiet=True)
    assert sorted(decoded) == [40, READ_IMAGES, READ_IMAGES]
    stages = {stage.name: stage for stage in planned.stages}
    assert stages["round-1/predictions"].images_predicted == 1257
    assert stages["scores/teacher"].images_predicted == 500
    assert all(stage.state == "absent" for stage in planned.stages)


def test_a_plan_says_that_it_reads_a_sample(tmp_path, capsys):
    ns.plan(**DIGITS, out=tmp_path / "run", settings={**SMALL, "budget": "none"})
    assert "256 of its 1,257 images, evenly spaced, are read to plan" in " ".join(capsys.readouterr().err.split())


def test_a_plan_of_a_run_that_has_begun_reads_all_to_know_what_is_done(tmp_path, decoded):
    ns.run(**DIGITS, out=tmp_path / "run", settings={**SMALL, "budget": "none"}, quiet=True)
    decoded.clear()
    planned = ns.plan(**DIGITS, out=tmp_path / "run", settings={**SMALL, "budget": "none"}, quiet=True)
    assert READ_IMAGES not in decoded
    assert all(stage.state == "complete" for stage in planned.stages)


def test_a_stage_that_the_plan_does_not_foresee_is_still_to_do(tmp_path, monkeypatch):
    ns.run(**DIGITS, out=tmp_path / "run", settings={**SMALL, "budget": "none"}, quiet=True)
    monkeypatch.setattr(plan, "_first_incomplete", lambda context: ("fixed/round-1", State.ABSENT))
    (tmp_path / "run/scores/round-2/manifest.json").unlink()
    stages = ns.plan(**DIGITS, out=tmp_path / "run", settings={**SMALL, "budget": "none"}, quiet=True).stages
    states = {stage.name: stage.state for stage in stages}
    assert states["round-2/student"] == "complete"
    assert states["fixed/round-1"] == states["scores/round-2"] == "absent"


@pytest.mark.usefixtures("feature_cache")
def test_squashed_images_are_planned_on_a_frozen_backbone_at_their_own_size(tmp_path):
    backbone = save_backbone(tmp_path / "weights")
    settings = {"model.backbone": str(backbone), "budget": "none", "data.resize": "squash", "runtime.threads": 1}
    planned = ns.plan(**DIGITS, out=tmp_path / "run", settings=settings, quiet=True)
    assert planned.stages[0].name == "features"
    assert planned.stages[0].seconds > 0
