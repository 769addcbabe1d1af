"""Every kind of shipped config runs, with digits for its images and a step or two for its epochs."""

from pathlib import Path

import pytest

import noisystudent
from small_runs import DIGITS

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = {"data.size": 16, "data.near_duplicates": "none", "train.batch_size": 4, "runtime.threads": 1}
OF_PAPER = {**SMALL, "train.stop_after": 2, "rounds.controls": 1, "selection.threshold": 0.0, "selection.per_class": 5}


@pytest.fixture(scope="module")
def b0(tmp_path_factory):
    out = tmp_path_factory.mktemp("b0")
    return noisystudent.run(**DIGITS, out=out, config=CONFIGS / "paper/b0.yaml", settings=OF_PAPER, quiet=True)


def test_a_published_imagenet_model_runs(b0):
    assert b0.summary.student.model == "efficientnet_small_b0"
    assert b0.summary.rounds[0].samples_seen == 2 * (4 + 4)
    assert b0.summary.control_length == "steps"


def test_its_fine_tuning_goes_on_from_it(b0, tmp_path):
    settings = {**SMALL, "data.size": 24, "train.stop_after": 1}
    config = CONFIGS / "paper/l2-fine-tune.yaml"
    tuned = noisystudent.train(
        "digits:labeled", out=tmp_path / "tuned", start=b0.path / "best", config=config, settings=settings, quiet=True
    )
    assert noisystudent.load(tuned.folder).size == 24


def test_the_released_svhn_recipe_runs(tmp_path):
    config = CONFIGS / "paper/svhn.yaml"
    finished = noisystudent.run(**DIGITS, out=tmp_path, config=config, settings=OF_PAPER, quiet=True)
    assert finished.summary.rounds[0].samples_seen == 2 * (4 + 20)


def test_the_recipe_for_photographs_runs(tmp_path):
    settings = {**SMALL, "train.steps": 2, "noise.strength": 0.25, "rounds.count": 1, "rounds.controls": 1}
    finished = noisystudent.run(**DIGITS, out=tmp_path, config=CONFIGS / "photos.yaml", settings=settings, quiet=True)
    assert finished.summary.student.model == "resnet_small_20"
