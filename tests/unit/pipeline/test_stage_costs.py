"""The times of stages, also inside one another, add up to that of the run."""

import json

import pytest

from noisystudent.pipeline import stage_costs
from noisystudent.pipeline.stage_costs import COST, StageCosts
from noisystudent.results.run import StageCost


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test moves."""
    now = [100.0]
    monkeypatch.setattr(stage_costs.time, "monotonic", lambda: now[0])

    def wait(seconds: float) -> None:
        now[0] += seconds

    return wait


def test_a_stage_inside_another_has_its_own_time(clock, tmp_path):
    costs = StageCosts()
    clock(3)
    costs.begin("student", tmp_path / "student")
    clock(10)
    costs.begin("views", tmp_path / "views")
    clock(4)
    costs.finish(StageCost(name="views", images_predicted=64))
    clock(1)
    costs.finish(StageCost(name="student", seconds=20.0, samples_seen=96))  # 20 s before a kill
    clock(2)
    total = costs.total()
    assert [(stage.name, stage.seconds) for stage in total.stages] == [("student", 31), ("views", 4), ("other", 5)]
    assert (total.seconds, total.session_seconds) == (40, 20)
    assert (total.samples_seen, total.images_predicted) == (96, 64)
    assert json.loads((tmp_path / "student" / COST).read_text())["seconds"] == 31


def test_a_stage_that_is_looked_for_and_found_costs_what_it_cost(clock, tmp_path):
    first = StageCosts()
    first.begin("choice", tmp_path)
    clock(7)
    first.finish(StageCost(name="choice", images_predicted=80))
    again = StageCosts()
    again.begin("choice", tmp_path)
    clock(2)
    again.found("choice", tmp_path)
    total = again.total()
    assert [(stage.name, stage.seconds) for stage in total.stages] == [("choice", 7), ("other", 2)]
    assert total.images_predicted == 80


def test_a_stage_without_a_record_costs_nothing(clock, tmp_path):
    costs = StageCosts()
    costs.found("teacher", tmp_path)
    assert costs.total().seconds == 0
