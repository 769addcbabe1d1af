"""What a study is asked for: its folder, and the settings of its cells."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from noisystudent.pipeline.studies.study import _labels_only_of, open_request


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("out: from-file\ntrain: {steps: 7}\n")
    return file


def request(out=None, config=None):
    return open_request("rounds", {"labeled": "l@{seed}"}, config=config, seeds=(4,), out=out)


def test_the_folder_is_the_one_given_then_that_of_the_file_then_one_named_after_the_study(config):
    assert request(Path("own"), config).out == Path("own")
    assert request(config=config).out == Path("from-file")
    assert request().out == Path("runs/study-rounds")


def test_a_cell_has_its_own_settings_above_those_of_all_and_the_sources_of_its_seed(config):
    asked = request(config=config)

    settings = asked.resolved(4, asked.study.cell("2 rounds")).settings

    assert (settings.labeled, settings.seed, settings.budget) == ("l@4", 4, "none")
    assert (settings.rounds.count, settings.train.steps, settings.recipe) == (2, 7, "paper")
    assert settings.out == "from-file/seed-4/2-rounds"


def test_labels_only_are_fixed_where_the_student_is(tmp_path):
    fixed = SimpleNamespace(fixed=[SimpleNamespace(model="control", checkpoint="fixed/control")])
    assert _labels_only_of(SimpleNamespace(fixed=()), tmp_path) == "teacher"
    (tmp_path / "scores/control").mkdir(parents=True)
    assert _labels_only_of(SimpleNamespace(fixed=()), tmp_path) == "control"
    assert _labels_only_of(fixed, tmp_path) == "fixed/control"
