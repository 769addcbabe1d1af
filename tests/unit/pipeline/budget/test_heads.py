"""A budget buys large images first, then noised views; one that buys nothing says the smallest one that does."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from noisystudent.errors import ModelError, SettingsError
from noisystudent.pipeline.budget import graphs
from noisystudent.pipeline.budget.choice import USABLE, whole_minutes
from noisystudent.pipeline.budget.graphs import GraphTimes
from noisystudent.pipeline.budget.heads import HeadCosts, candidate_sizes, choose_for_heads
from noisystudent.pipeline.budget.workload import Workload
from noisystudent.pipeline.features.teachers import MOST_POINTS
from noisystudent.run_settings import RunSettings
from noisystudent.training.linear_head import FOLDS, PENALTIES

SETTINGS = RunSettings(out="unused")
PER_PIXEL = 1e-6  # seconds of a view
UNLABELED = 1000
PER_STEP = 1e-5  # seconds of a small student's step and of a pixel


class Costs(HeadCosts):
    """Views that take a microsecond per pixel, and heads that take no time."""

    def __init__(self, edge=224, own=224, refused=(), settings=SETTINGS):
        load = Workload(classes=4, labeled=0, unlabeled=UNLABELED, held_out=0, edge=edge, channels=3)
        super().__init__((SimpleNamespace(size=own),), None, load, None, settings)
        self.refused = refused

    def per_view(self, size):
        if size in self.refused:
            raise ModelError("a transformer of fixed patches")
        return PER_PIXEL * size**2

    def others_per_view(self, size):
        return []

    def _fit(self, rows):
        return 0.0

    def small_student_step(self, size):
        return PER_STEP * size**2


def chosen(budget, explicit=(), costs=None, **values):
    settings = SETTINGS.model_copy(update=values)
    return choose_for_heads(settings, frozenset(explicit), costs or Costs(), budget / USABLE)


def seconds(size, views):
    return PER_PIXEL * size**2 * UNLABELED * (1 + views)


@pytest.mark.parametrize(
    ("budget", "size", "views"),
    [
        (seconds(224, 3) * 1.01, 224, 3),
        (seconds(224, 3) * 0.99, 224, 2),
        (seconds(224, 1) * 1.01, 224, 1),
        (seconds(224, 1) * 0.99, 160, 2),
        (seconds(96, 1) * 0.99, 96, 0),
    ],
)
def test_size_comes_before_views(budget, size, views):
    choice = chosen(budget)
    assert choice.values == {"data.size": size, "head.views": views}
    assert choice.seconds == pytest.approx(seconds(size, views))
    assert f"images of {size} px" in choice.reasons[0]


def test_graphs_of_many_images_are_paid_for_where_there_are_any(monkeypatch):
    monkeypatch.setattr(graphs, "time_graphs", lambda width, whitened: GraphTimes(fixed=1.0, per_pair=1e-6))
    costs = Costs()

    def choosing(unlabeled):
        costs.workload = replace(costs.workload, labeled=100, unlabeled=unlabeled)
        return costs.cross_fitting(0)

    assert choosing(3900) == 0.0  # a second or two, which nobody plans with
    assert choosing(4900) == pytest.approx(1 + 25)
    assert choosing(MOST_POINTS) == 0.0


def test_every_fit_of_a_head_is_paid_for():
    class Fits(Costs):
        def _fit(self, rows):
            asked.append(rows)
            return 1.0

    asked = []
    costs = Fits()
    costs.workload = replace(costs.workload, labeled=50)
    features = PER_PIXEL * 64**2 * 1050 * 3
    folds = FOLDS * (len(PENALTIES) + (1 + costs.rounds) + 1)  # choice; teacher and students; labels that look wrong
    assert costs.seconds(64, 2) - features == pytest.approx(folds + 1 + costs.rounds)
    assert set(asked) == {50 * 3, 40 * 3, 1050 * 3}


def test_a_budget_that_is_too_small_names_the_smallest_that_is_not():
    with pytest.raises(SettingsError, match=r"1,000 images of 96 px.*smallest budget is 20s\. Give --budget 20s"):
        chosen(seconds(96, 0) * 0.5)
    assert chosen(20 * USABLE).values["data.size"] == 96


def with_small_student():
    settings = SETTINGS.model_copy(update={"head": SETTINGS.head.model_copy(update={"student": "resnet18"})})
    return Costs(settings=settings)


@pytest.mark.parametrize(
    ("budget", "size", "views"),
    [
        (2 * 300 * PER_STEP * 224**2 * 1.01, 224, 2),  # both halves are just full
        (2 * 300 * PER_STEP * 224**2 * 0.99, 160, 3),
        (2 * seconds(96, 1) * 1.2, 96, 1),  # fewer than 300 steps at any size
        (2 * seconds(96, 0) * 1.2, 96, 0),
    ],
)
def test_a_small_student_has_half_of_the_budget_and_the_steps_that_fit(budget, size, views):
    choice = chosen(budget, costs=with_small_student())
    steps = choice.values.pop("train.steps")
    assert choice.values == {"data.size": size, "head.views": views}
    of_steps = steps * PER_STEP * size**2
    assert choice.seconds == pytest.approx(seconds(size, views) + of_steps)
    assert of_steps == pytest.approx(budget - seconds(size, views), abs=PER_STEP * size**2)
    assert of_steps >= budget / 2
    assert f"{steps:,} steps" in choice.reasons[1]


def test_a_budget_too_small_for_features_and_a_small_student_says_so():
    with pytest.raises(SettingsError, match=r"then 50 steps of resnet18, takes about"):
        chosen(seconds(96, 0) * 1.1, costs=with_small_student())


def test_what_the_user_gave_is_kept():
    data, head = SETTINGS.data.model_copy(update={"size": 96}), SETTINGS.head.model_copy(update={"views": 0})
    assert chosen(1000, {"data.size"}, data=data).values == {"data.size": 96, "head.views": 3}
    assert chosen(seconds(224, 0) * 1.01, {"head.views"}, head=head).values == {"data.size": 224, "head.views": 0}


@pytest.mark.parametrize(
    ("edge", "sizes"), [(224, [224, 160, 128, 96]), (32, [128, 96]), (8, [96]), (41, [160, 128, 96])]
)
def test_small_images_are_enlarged_four_times_at_most(edge, sizes):
    assert list(candidate_sizes(Costs(edge=edge))) == sizes


def test_sizes_that_a_backbone_cannot_take_are_passed_over():
    assert list(candidate_sizes(Costs(refused=(160, 96)))) == [224, 128]


@pytest.mark.parametrize(
    ("needed", "text"), [(0.5, "10s"), (12, "20s"), (20, "20s"), (115.5, "120s"), (121, "3m"), (601, "11m")]
)
def test_a_minimum_is_rounded_up_to_what_one_types(needed, text):
    assert whole_minutes(needed) == text
