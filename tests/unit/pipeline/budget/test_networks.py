"""A budget for whole networks: images small enough for stages that are long enough, and rounds when they pay."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from noisystudent.errors import SettingsError
from noisystudent.models.classifier import create_classifier
from noisystudent.pipeline.budget import costs as network_costs
from noisystudent.pipeline.budget import graphs
from noisystudent.pipeline.budget.choice import USABLE
from noisystudent.pipeline.budget.costs import NetworkCosts
from noisystudent.pipeline.budget.graphs import GraphTimes
from noisystudent.pipeline.budget.lengths import (
    ENOUGH_STEPS,
    FEWEST_EPOCHS,
    FEWEST_STEPS,
    FEWEST_TUNED_STEPS,
    MOST_STEPS,
    MOST_TUNED_EPOCHS,
    TRIAL_EPOCHS,
)
from noisystudent.pipeline.budget.networks import (
    MANY_SAMPLES,
    choose_for_networks,
    choose_for_samples,
    choose_for_trainings,
)
from noisystudent.pipeline.budget.speed import FORWARD, OVERHEAD
from noisystudent.pipeline.budget.workload import Workload
from noisystudent.pipeline.features.teachers import MOST_POINTS
from noisystudent.run_settings import RoundSettings, RunSettings
from noisystudent.runtime.device import ON_CPU

SETTINGS = RunSettings(out="unused")
LOAD = Workload(classes=4, labeled=40, unlabeled=0, held_out=0, edge=64, channels=3)


@pytest.fixture(autouse=True)
def speed(monkeypatch):
    """A sample takes a microsecond per pixel."""
    monkeypatch.setattr(network_costs, "seconds_per_sample", lambda classifier, *_: 1e-6 * classifier.size**2)


def chosen(samples, edge=64, explicit=(), labeled=40, **values):
    """What is chosen where ``samples`` samples of 64 pixels fit."""
    budget = samples * 1e-6 * 64**2 * OVERHEAD / USABLE
    load = replace(LOAD, edge=edge, labeled=labeled)
    settings = SETTINGS.model_copy(update=values)
    costs = NetworkCosts(settings, None, load, ON_CPU)
    return choose_for_networks(settings, frozenset(explicit), costs, budget).values


def test_a_large_budget_has_several_rounds_from_the_teachers_weights_for_who_asks_for_rounds():
    values = chosen(MANY_SAMPLES * 5, explicit={"recipe"})
    assert values["data.size"] == 64
    assert values["rounds.count"] == 3
    assert values["train.warm_start"] is True
    assert "objective.labels" not in values


@pytest.mark.parametrize("samples", [MANY_SAMPLES * 0.9, MANY_SAMPLES * 1.5])
def test_a_run_has_one_student_that_learns_online(samples):
    values = chosen(samples)
    assert values["rounds.count"] == 0
    assert (values["online.method"], values["online.teacher"]) == ("fixmatch", "average")
    assert values["online.weak_teacher"] == "round"
    assert values["train.warm_start"] is True
    assert not {"objective.labels", "selection.fraction"} & values.keys()
    # Beside 4 stages of 128 images per step, the averaged weights answer to 96, each in a third of a step.
    stages = 4 * (1 + 96 * FORWARD / (4 * 128))
    assert values["train.steps"] * stages * SETTINGS.train.batch_size == pytest.approx(samples, rel=0.01)


@pytest.mark.parametrize(
    "given", ["selection.fraction", "rounds.joint", "objective.temperature", "recipe", "noise.mixup", "fix.size"]
)
def test_who_speaks_of_rounds_has_one_long_round_on_soft_labels_of_everything(given):
    values = chosen(MANY_SAMPLES * 0.9, explicit={given})
    assert values["rounds.count"] == 1
    assert "online.method" not in values
    assert values["selection.fraction"] == 1.0
    assert values["objective.labels"] == "soft"
    assert values["objective.temperature"] == 0.5
    stages = 4  # teacher, student, and a control of the same samples in all
    assert values["train.steps"] * stages * SETTINGS.train.batch_size == pytest.approx(MANY_SAMPLES * 0.9, rel=0.01)


def test_images_are_not_made_smaller_for_the_sake_of_more_rounds():
    train = SETTINGS.train.model_copy(update={"batch_size": 512})
    values = chosen(ENOUGH_STEPS * 4 * 512 * 1.5, train=train)  # enough steps for one round, too few for three
    assert values["data.size"] == 64
    assert values["rounds.count"] == 0
    assert values["train.steps"] == pytest.approx(ENOUGH_STEPS * 1.5 * 16 / 17, abs=1)
    assert chosen(ENOUGH_STEPS * 8 * 512 * 1.1, train=train, explicit={"recipe"})["rounds.count"] == 3


@pytest.mark.parametrize("samples", [160_000, 250_000, 305_000, 400_000])
def test_a_larger_budget_never_means_smaller_images(samples):
    assert chosen(samples)["data.size"] == 64


def test_images_are_made_smaller_until_a_stage_has_enough_steps():
    values = chosen(ENOUGH_STEPS * 4 * SETTINGS.train.batch_size * 0.3)
    assert values["data.size"] == 32
    assert values["train.steps"] >= ENOUGH_STEPS


def test_a_budget_without_a_training_is_refused_with_the_smallest_one():
    with pytest.raises(SettingsError, match=r"50 steps on images of 16 px.*smallest budget is \d+s"):
        chosen(100)


def test_what_the_user_gave_is_kept():
    data = SETTINGS.data.model_copy(update={"size": 48})
    assert chosen(1000 * 128 * 4, explicit={"data.size"}, data=data)["data.size"] == 48
    rounds = SETTINGS.rounds.model_copy(update={"count": 2})
    assert chosen(1000 * 128 * 4, explicit={"rounds.count"}, rounds=rounds)["rounds.count"] == 2


def steps_of(samples, images_per_step, **values):
    """The steps that are chosen where ``samples`` fit, beside those that fit if a step has so many batches in all."""
    chosen_steps = chosen(samples, **values)["train.steps"]
    return chosen_steps, samples / (images_per_step * values["train"].batch_size)


def test_pseudo_labels_on_top_of_labeled_batches_are_paid_for():
    train = SETTINGS.train.model_copy(update={"batch": "labeled", "ratio": 3.0, "batch_size": 64})
    # Teacher 1, student 1 + 3, and a control of as many samples as the student's weights saw, with its teacher's.
    found, expected = steps_of(MANY_SAMPLES * 0.9, 1 + 4 + 5, train=train)
    assert found == pytest.approx(expected, rel=0.01)
    rounds = SETTINGS.rounds.model_copy(update={"control": "steps"})
    found, expected = steps_of(MANY_SAMPLES * 0.9, 1 + 4 + 1, train=train, rounds=rounds)
    assert found == pytest.approx(expected, rel=0.01)
    assert chosen(MANY_SAMPLES * 0.9, train=train, rounds=rounds)["train.warm_start"] is False
    both = SETTINGS.rounds.model_copy(update={"control": "both"})
    found, expected = steps_of(MANY_SAMPLES * 0.9, 1 + 4 + (4 + 1), train=train, rounds=both)
    assert found == pytest.approx(expected, rel=0.01)


def test_a_ratio_per_round_fixes_the_rounds():
    train = SETTINGS.train.model_copy(update={"batch": "labeled", "ratio": (1.0, 2.0)})
    rounds = SETTINGS.rounds.model_copy(update={"count": 2})
    values = chosen(MANY_SAMPLES * 5, train=train, rounds=rounds)
    assert values["rounds.count"] == 2
    found, expected = steps_of(MANY_SAMPLES * 5, 2 * (1 + 2 + 3), train=train, rounds=rounds)
    assert found == pytest.approx(expected, rel=0.01)


def test_an_online_student_alone_shares_the_budget_with_its_teacher():
    alone = {
        "rounds": SETTINGS.rounds.model_copy(update={"count": 0}),
        "online": SETTINGS.online.model_copy(update={"method": "fixmatch"}),
    }
    values = chosen(MANY_SAMPLES * 0.9, **alone)
    assert values["rounds.count"] == 0
    assert values["train.warm_start"] is True
    assert "objective.labels" not in values
    stages = 4  # teacher, online student, and a control of the same samples in all
    assert values["train.steps"] * stages * SETTINGS.train.batch_size == pytest.approx(MANY_SAMPLES * 0.9, rel=0.01)


def test_an_online_student_after_rounds_is_one_more_stage():
    online = SETTINGS.online.model_copy(update={"method": "fixmatch"})
    values = chosen(MANY_SAMPLES * 0.9, online=online)
    assert values["rounds.count"] == 1
    assert values["train.steps"] * 6 * SETTINGS.train.batch_size == pytest.approx(MANY_SAMPLES * 0.9, rel=0.01)


@pytest.mark.parametrize("given", [set(), {"recipe"}])
@pytest.mark.parametrize("count", [160_000, 400_000])
def test_a_budget_of_samples_is_spent_on_teacher_students_and_control(count, given):
    values = choose_for_samples(SETTINGS, frozenset(given), count, 40).values
    batch = SETTINGS.train.batch_size
    students = 1 if count < MANY_SAMPLES or not given else 3
    stages = 2 * (1 + students)
    assert 0 <= count - values["train.steps"] * batch * stages < batch * stages
    assert values["rounds.count"] == (students if given else 0)
    assert ("online.method" in values) == (not given)
    assert "data.size" not in values


def test_a_teacher_that_would_hardly_see_its_labels_gets_all_steps_and_no_student():
    batch = SETTINGS.train.batch_size
    samples = 4 * 500 * batch  # teacher, student, and a control of both: 500 steps each
    enough = 500 * batch // FEWEST_EPOCHS
    assert "online.method" in choose_for_samples(SETTINGS, frozenset(), samples, enough).values
    choice = choose_for_samples(SETTINGS, frozenset(), samples, enough + 1)
    assert "online.method" not in choice.values
    assert choice.values["rounds.count"] == choice.values["rounds.controls"] == 0
    assert choice.values["train.steps"] == 2000
    assert not {"train.warm_start", "objective.labels", "selection.fraction"} & choice.values.keys()
    assert f"each of the {enough + 1:,} labeled images fewer than {FEWEST_EPOCHS} times" in choice.reasons[-1]


def test_a_teacher_that_would_hardly_see_its_labels_beside_three_students_has_one():
    samples = 8 * 1000 * SETTINGS.train.batch_size  # 1,000 steps beside three students, 2,000 beside one
    enough = 1000 * SETTINGS.train.batch_size // FEWEST_EPOCHS
    own = frozenset({"objective"})  # with an objective of their own, which no online student takes
    assert choose_for_samples(SETTINGS, own, samples, enough).values["rounds.count"] == 3
    assert choose_for_samples(SETTINGS, own, samples, enough + 1).values["rounds.count"] == 1


@pytest.mark.parametrize("name", ["rounds.count", "rounds.controls", "selection.fraction", "train.ratio", "recipe"])
def test_who_asks_for_students_has_them(name):
    values = choose_for_samples(SETTINGS, frozenset({name}), 320_000, 100_000).values
    assert values["rounds.count"] or values["online.method"]


def test_settings_of_any_training_ask_for_no_student():
    given = frozenset({"rounds.baselines", "train.batch_size", "noise.strength", "model.teacher"})
    assert choose_for_samples(SETTINGS, given, 320_000, 100_000).values["rounds.count"] == 0


def test_a_control_that_would_leave_short_stages_is_left_out():
    batch, enough = SETTINGS.train.batch_size, 4 * ENOUGH_STEPS * SETTINGS.train.batch_size
    assert choose_for_samples(SETTINGS, frozenset(), enough, 40).values["rounds.controls"] == 1
    choice = choose_for_samples(SETTINGS, frozenset(), enough - 1, 40)
    assert (choice.values["online.method"], choice.values["rounds.controls"]) == ("fixmatch", 0)
    assert choice.values["train.steps"] == (enough - 1) // (2 * batch)
    assert "no control, which would leave every stage fewer than 300 steps" in choice.reasons[-1]
    given = choose_for_samples(SETTINGS, frozenset({"rounds.controls"}), enough - 1, 40)
    assert given.values["rounds.controls"] == SETTINGS.rounds.controls
    none = SETTINGS.model_copy(update={"rounds": SETTINGS.rounds.model_copy(update={"controls": 0})})
    wanted = choose_for_samples(none, frozenset({"rounds.controls"}), enough - 1, 40)
    assert not any("no control" in reason for reason in wanted.reasons)
    answered = 0.75 * batch * FORWARD  # weak views of a step, which the averaged weights answer to
    at_16_px = enough * (4 * batch + answered) / (4 * batch) * 16**2 / 64**2
    short = chosen(at_16_px - batch)
    assert (short["data.size"], short["rounds.controls"]) == (16, 0)
    seen = 2 * batch + answered  # a step of teacher and student, in samples of full cost
    assert short["train.steps"] == int((at_16_px - batch) * 64**2 / 16**2 / seen)
    assert chosen(at_16_px + batch)["rounds.controls"] == 1


def test_an_online_student_alone_has_no_costly_control_either():
    rounds = SETTINGS.rounds.model_copy(update={"count": 0})
    online = SETTINGS.model_copy(
        update={"online": SETTINGS.online.model_copy(update={"method": "fixmatch"}), "rounds": rounds}
    )
    given = frozenset({"rounds.count", "recipe"})
    assert choose_for_samples(online, given, 10**6, 40).values["rounds.controls"] == 1
    assert choose_for_samples(online, given, 50_000, 40).values["rounds.controls"] == 0


def test_too_few_samples_are_refused_with_the_fewest():
    with pytest.raises(SettingsError, match="Give --budget 12800samples or more"):
        choose_for_samples(SETTINGS, frozenset(), 12_000, 40)


def test_the_labeling_of_several_teachers_is_paid_for():
    load = replace(LOAD, unlabeled=50_000)
    budget = MANY_SAMPLES * 2 * 1e-6 * 64**2

    def steps(*teachers: str) -> int:
        rounds = RoundSettings(count=3, teachers=teachers)
        data = SETTINGS.data.model_copy(update={"size": 64})
        settings = SETTINGS.model_copy(update={"rounds": rounds, "data": data})
        costs = NetworkCosts(settings, None, load, ON_CPU)
        values = choose_for_networks(settings, frozenset({"rounds.count", "data.size"}), costs, budget).values
        assert values["rounds.count"] == 3
        return int(values["train.steps"])

    # One teacher answers three times for each image, the last three 1 + 2 + 3 times, and two from elsewhere 9 times.
    lost = [steps("last:1") - steps(*teachers) for teachers in (("last:3",), ("last:1", "./a", "./b"))]
    assert lost[1] == pytest.approx(2 * lost[0], abs=2)
    assert lost[0] > 0


class Weights:
    """A backbone from which every model starts; its networks take any size."""

    size = 224

    def start_of(self, model):
        return self

    def new_classifier(self, model, *, classes, size):
        classifier = SimpleNamespace(size=size, net=SimpleNamespace(num_features=8))
        classifier.to = lambda device: classifier
        return classifier


def tuned(samples, labeled=1000, explicit=(), edge=32, unlabeled=0, held_out=0, **values):
    """What is chosen for pretrained weights where ``samples`` samples of 128 pixels fit."""
    budget = samples * 1e-6 * 128**2 * OVERHEAD / USABLE
    load = replace(LOAD, labeled=labeled, unlabeled=unlabeled, held_out=held_out, edge=edge)
    costs = NetworkCosts(SETTINGS.model_copy(update=values), Weights(), load, ON_CPU)
    return choose_for_networks(costs.settings, frozenset(explicit), costs, budget).values


def test_pretrained_weights_see_each_label_some_times_on_the_largest_images_that_allow_it():
    values = tuned(8 * 1000)
    assert (values["data.size"], values["train.steps"], values["rounds.count"]) == (128, 250, 0)
    assert (values["train.batch_size"], values["train.head_start"], values["data.crop"]) == (32, "fitted", 1.0)
    assert tuned(8 * 1000 * 0.9)["data.size"] == 96
    assert tuned(8 * 1000, edge=24)["data.size"] == 96  # never more than four times the edge of the images
    assert tuned(8 * 1000 * 3.1, edge=224)["data.size"] == 224
    assert tuned(1000)["data.size"] == 64


def test_a_single_round_asks_neighbors_unless_the_user_decides_it():
    enough = {"samples": 9000, "labeled": 100, "unlabeled": 3000}
    assert tuned(**enough)["selection.neighbors"] == "mean"
    assert "selection.neighbors" not in tuned(8 * 1000)  # no student
    assert tuned(**enough, explicit={"selection.neighbors"})["selection.neighbors"] == "none"
    aligned = SETTINGS.selection.model_copy(update={"align": "prior", "prior": "uniform"})
    assert tuned(**enough, explicit={"selection.align"}, selection=aligned)["selection.neighbors"] == "none"
    noised = SETTINGS.noise.model_copy(update={"teacher": True})
    assert tuned(**enough, explicit={"noise.teacher"}, noise=noised)["selection.neighbors"] == "none"
    assert chosen(MANY_SAMPLES * 0.9, explicit={"recipe"})["selection.neighbors"] == "mean"  # from scratch, too
    without = tuned(**enough, explicit={"selection.neighbors"})["train.steps"]
    assert tuned(**enough)["train.steps"] < without  # the features of all images are paid for


@pytest.mark.parametrize(
    ("samples", "size", "steps", "rounds"),
    [
        (50 * 32 * 0.56, 64, 50, 1),  # too little for 50 steps at 96 px
        (50 * 32 * 0.57, 96, 50, 0),
        (50 * 32 * 1.01, 128, 50, 0),
        (50 * 32 * 1.09, 128, 50, 0),  # a student has no time at 96 px either
        (50 * 32 * 1.2, 96, 50, 1),
        (50 * 32 * 1.9, 96, 50, 1),
        (50 * 32 * 2.1, 128, 50, 1),
    ],
)
def test_a_student_on_smaller_images_is_for_time_that_labels_alone_cannot_use(samples, size, steps, rounds):
    values = tuned(samples, labeled=100)  # labels alone are done after 50 steps
    assert (values["data.size"], values["train.steps"], values["rounds.count"]) == (size, steps, rounds)


def test_who_wants_no_student_has_the_largest_images():
    alone = tuned(50 * 32 * 1.9, labeled=100, explicit={"rounds.count"}, rounds=RoundSettings(count=0))
    assert (alone["data.size"], alone["train.steps"]) == (128, 50)


@pytest.mark.parametrize(
    ("samples", "rounds"),
    [(12_700, 1), (12_800, 2), (52_700, 2), (52_900, 3), (66_200, 3), (66_600, 4), (79_800, 4), (80_200, 5)],
)
def test_pretrained_weights_have_two_rounds_rather_than_longer_stages_and_then_up_to_five(samples, rounds):
    values = tuned(samples, labeled=100, unlabeled=3000)
    assert (values["rounds.count"], values["rounds.controls"]) == (rounds, 1)
    trained = samples - rounds * (3000 + 3100) * FORWARD / OVERHEAD  # each round labels images, and compares all
    stages = 2 + 2 * rounds  # teacher, students, and a control as long as these, of 50 to 188 steps each
    assert values["train.steps"] == pytest.approx(min(188, trained / 32 / stages), abs=1)
    assert values["data.size"] == 128
    assert (values["selection.fraction"], values["selection.neighbors"]) == (1.0, "mean")
    assert values["objective.labels"] == "soft"


@pytest.mark.parametrize(("samples", "controls"), [(115_000, 1), (117_000, 2), (151_000, 2), (153_000, 3), (10**7, 3)])
def test_time_that_no_stage_can_use_buys_controls(samples, controls):
    values = tuned(samples, labeled=100, unlabeled=3000)
    # Teacher, five students, and each control as long as these: 188 steps of 32 images each.
    assert (values["rounds.controls"], values["rounds.count"], values["train.steps"]) == (controls, 5, 188)


def test_from_scratch_too_time_that_no_stage_can_use_buys_controls():
    longest = MOST_STEPS * 128
    online = 1 + 96 * FORWARD / (4 * 128)  # what averaged weights answer to, beside 4 stages
    assert [chosen(count * longest * online)["rounds.controls"] for count in (3.9, 4.1, 6.1, 8.1)] == [1, 1, 2, 3]
    assert chosen(8.1 * longest * online)["train.steps"] == MOST_STEPS


@pytest.mark.parametrize("given", ["rounds.controls", "rounds.control", "train.steps"])
def test_controls_stay_where_the_user_speaks_of_them_or_of_steps(given):
    values = tuned(10**7, labeled=100, unlabeled=3000, explicit={given}, rounds=RoundSettings(controls=1))
    assert values["rounds.controls"] == 1


def test_further_controls_leave_the_noise_as_it_is():
    samples = 16.1 * MOST_STEPS * 128  # of a teacher, three students, and three controls as long as these
    given = ({"recipe"}, {"recipe", "rounds.controls"})
    values = [chosen(samples, labeled=40_000, explicit=names, rounds=RoundSettings(controls=1)) for names in given]
    assert [value["rounds.controls"] for value in values] == [3, 1]
    assert [value["noise.strength"] for value in values] == [0.25, 0.25]  # 102 looks, with three controls 205


def test_the_scores_of_further_controls_are_paid_for():
    def controls(held_out):
        return tuned(158_000, labeled=100, unlabeled=3000, held_out=held_out)["rounds.controls"]

    # Nine models are scored: with 2,700 images that takes what six would with 4,050.
    assert (controls(2_400), controls(2_700)) == (3, 2)


def test_labels_alone_have_no_control_however_much_time_there_is():
    alone = tuned(10**7, labeled=100, explicit={"rounds.count"}, rounds=RoundSettings(count=0))
    assert (alone["rounds.count"], alone["rounds.controls"]) == (0, 0)


def test_neighbor_graphs_of_many_images_are_paid_for_and_none_is_made_of_too_many(monkeypatch):
    monkeypatch.setattr(graphs, "time_graphs", lambda width, whitened: GraphTimes(fixed=1.0, per_pair=1e-6))

    def seconds(unlabeled, neighbors):
        load = replace(LOAD, labeled=1000, unlabeled=unlabeled)
        selection = SETTINGS.selection.model_copy(update={"neighbors": neighbors})
        settings = SETTINGS.model_copy(update={"selection": selection})
        costs = NetworkCosts(settings, Weights(), load, ON_CPU)
        explicit = frozenset({"selection.neighbors", "rounds.count", "train.steps", "data.size"})
        return choose_for_networks(settings, explicit, costs, 1e5).seconds

    compared = 10_000 * 1e-6 * Weights.size**2 * FORWARD
    rounds = SETTINGS.rounds.count
    assert seconds(9000, "mean") - seconds(9000, "none") == pytest.approx(rounds * (compared + 1 + 100))
    assert seconds(MOST_POINTS, "mean") == seconds(MOST_POINTS, "none")


def without_held_out_labels(budget, explicit=(), backbone=None, **values):
    """What is chosen where nothing could compare a control, and why."""
    load = replace(LOAD, labeled=100, unlabeled=3000, edge=32, can_compare=False)
    costs = NetworkCosts(SETTINGS.model_copy(update=values), backbone, load, ON_CPU)
    return choose_for_networks(costs.settings, frozenset(explicit), costs, budget)


def test_without_held_out_labels_all_steps_are_for_the_student():
    budget = 20_000 * 1e-6 * 128**2 * OVERHEAD / USABLE
    choice = without_held_out_labels(budget, backbone=Weights())
    compared = tuned(20_000, labeled=100, unlabeled=3000)
    assert (choice.values["rounds.controls"], compared["rounds.controls"]) == (0, 1)
    assert choice.values["rounds.count"] == compared["rounds.count"] == 2
    assert choice.values["train.steps"] == pytest.approx(2 * compared["train.steps"], abs=1)
    assert "no control, because there is no held-out label to compare it by" in choice.reasons[-1]


def test_without_held_out_labels_no_time_buys_controls():
    values = without_held_out_labels(10**7, backbone=Weights()).values
    assert (values["rounds.count"], values["rounds.controls"], values["train.steps"]) == (5, 0, 188)
    assert without_held_out_labels(10**7, {"recipe"}).values["rounds.controls"] == 0


@pytest.mark.parametrize("given", ["rounds.controls", "rounds.control"])
def test_who_speaks_of_controls_has_one_without_held_out_labels(given):
    choice = without_held_out_labels(10**7, {given}, Weights(), rounds=RoundSettings(controls=1))
    assert choice.values["rounds.controls"] == 1
    assert not any("no control" in reason for reason in choice.reasons)


def test_a_budget_of_samples_has_no_control_without_held_out_labels():
    with_one = choose_for_samples(SETTINGS, frozenset({"recipe"}), 200_000, 40).values
    without = choose_for_samples(SETTINGS, frozenset({"recipe"}), 200_000, 40, can_compare=False).values
    assert (with_one["rounds.controls"], without["rounds.controls"]) == (1, 0)
    assert without["train.steps"] == pytest.approx(2 * with_one["train.steps"], abs=1)


def test_a_given_number_of_rounds_from_pretrained_weights_learns_from_all_images_and_neighbors():
    values = tuned(100 * 500 * 32, explicit={"rounds.count"}, rounds=SETTINGS.rounds.model_copy(update={"count": 5}))
    assert (values["rounds.count"], values["train.steps"]) == (5, 500)
    assert (values["selection.fraction"], values["selection.neighbors"]) == (1.0, "mean")


def test_pretrained_weights_have_a_student_where_its_teacher_sees_the_labels_as_often_beside_it():
    alone = tuned(8 * 1000 * 1.9)
    assert (alone["data.size"], alone["rounds.count"]) == (128, 0)
    assert alone["train.steps"] * 32 < MOST_TUNED_EPOCHS * 1000
    values = tuned(16 * 1000 * 4.1)
    assert (values["data.size"], values["rounds.count"], values["train.warm_start"]) == (128, 1, True)
    assert (values["train.steps"], values["rounds.controls"]) == (500, 1)


def test_a_student_of_pretrained_weights_goes_before_its_control():
    for share in (2.1, 3.9):
        values = tuned(16 * 1000 * share)
        assert (values["data.size"], values["rounds.count"], values["rounds.controls"]) == (128, 1, 0)
        assert values["train.steps"] == 500
    controlled = tuned(16 * 1000 * 3.9, explicit={"rounds.controls"})
    assert (controlled["rounds.count"], controlled["rounds.controls"]) == (1, SETTINGS.rounds.controls)
    wanted = tuned(16 * 1000 * 3.9, explicit={"rounds.count"}, rounds=RoundSettings(count=1))
    assert (wanted["rounds.count"], wanted["rounds.controls"]) == (1, 0)


def test_a_student_of_few_labels_trains_on_until_it_has_seen_the_unlabeled_images():
    assert tuned(100_000, labeled=64)["train.steps"] == FEWEST_STEPS
    assert tuned(100_000, labeled=64, unlabeled=3200)["train.steps"] == 200
    online = {
        "online": SETTINGS.online.model_copy(update={"method": "fixmatch"}),
        "rounds": SETTINGS.rounds.model_copy(update={"count": 0}),
    }
    assert tuned(100_000, labeled=64, unlabeled=3200, **online)["train.steps"] == 200


@pytest.mark.parametrize(
    ("labeled", "samples", "why"),
    [
        (64, 2 * 50 * 32 - 1, "a teacher would have fewer than 50 steps"),
        (1000, 2 * 16 * 1000 - 1, "fewer than 16 times"),
    ],
)
def test_without_a_student_the_reason_is_what_its_teacher_lacks(labeled, samples, why):
    choice = choose_for_samples(SETTINGS, frozenset(), samples, labeled, tuned=True)
    assert choice.values["rounds.count"] == 0
    assert why in choice.reasons[1]


def test_settings_of_the_user_stay_beside_pretrained_weights():
    train = SETTINGS.train.model_copy(update={"batch_size": 64, "head_start": "zero"})
    values = tuned(8 * 1000, explicit={"train.batch_size", "train.head_start"}, train=train)
    assert "train.head_start" not in values
    assert "train.batch_size" not in values
    assert values["train.steps"] == 125


def test_trainings_of_a_trial_share_its_seconds():
    load = Workload(classes=4, labeled=320, unlabeled=0, held_out=0, edge=32, channels=3)
    costs = NetworkCosts(SETTINGS, Weights(), load, ON_CPU)
    seconds = 3 * TRIAL_EPOCHS * 320 * 1e-6 * 96**2 * OVERHEAD
    choice = choose_for_trainings(costs, frozenset(), seconds * 1.01, 3)
    assert (choice.values["data.size"], choice.values["train.steps"]) == (96, TRIAL_EPOCHS * 10)
    assert choice.seconds == pytest.approx(seconds)
    data = SETTINGS.data.model_copy(update={"size": 64})
    given = NetworkCosts(SETTINGS.model_copy(update={"data": data}), Weights(), load, ON_CPU)
    assert choose_for_trainings(given, frozenset({"data.size"}), seconds, 3).values["data.size"] == 64


@pytest.mark.parametrize(("tune", "trained", "forward"), [("last:1", 0.5, 0.25), ("all", 1.0, 1 / 3)])
def test_a_step_of_the_last_blocks_is_timed_with_the_others_frozen(tune, trained, forward, monkeypatch):
    class Own(Weights):
        def new_classifier(self, model, *, classes, size):
            return create_classifier("tiny_resnet", classes=classes, channels=3, size=size)

    def by_trained(classifier, *_):
        first, *_ = classifier.net.parameters()
        return 1.0 if first.requires_grad else 0.5

    monkeypatch.setattr(network_costs, "seconds_per_sample", by_trained)
    monkeypatch.setattr(network_costs, "seconds_per_view", lambda classifier, size, engine: 0.25)
    model = SETTINGS.model.model_copy(update={"tune": tune, "teacher": "tiny_resnet"})
    size = NetworkCosts(SETTINGS.model_copy(update={"model": model}), Own(), LOAD, ON_CPU).at(16)
    assert (size.seconds, size.forward) == pytest.approx((trained, forward))


def test_a_trial_on_few_labels_prefers_smaller_images_to_too_few_steps():
    load = Workload(classes=4, labeled=64, unlabeled=0, held_out=0, edge=32, channels=3)
    costs = NetworkCosts(SETTINGS, Weights(), load, ON_CPU)  # four visits are 8 steps, and a trial needs 25
    seconds = 3 * FEWEST_TUNED_STEPS * 32 * 1e-6 * 96**2 * OVERHEAD
    choice = choose_for_trainings(costs, frozenset(), seconds * 1.01, 3)
    assert (choice.values["data.size"], choice.values["train.steps"]) == (96, FEWEST_TUNED_STEPS)


def test_samples_of_pretrained_weights_are_counted_in_their_batches():
    values = choose_for_samples(SETTINGS, frozenset(), 8 * 1000, 1000, tuned=True).values
    assert (values["train.batch_size"], values["train.steps"], values["rounds.count"]) == (32, 250, 0)
    assert choose_for_samples(SETTINGS, frozenset(), 8 * 1000 * 5, 1000, tuned=True).values["rounds.count"] == 1


@pytest.mark.parametrize(("labeled", "strength"), [(512, 0.5), (513, 0.25)])
def test_the_noise_is_weak_where_labels_alone_would_be_seen_rarely(labeled, strength):
    samples = 512 * 150  # of rounds, teacher and control included
    values = choose_for_samples(SETTINGS, frozenset({"recipe"}), samples, labeled).values
    assert values["noise.strength"] == strength


def test_pretrained_weights_have_the_weakest_noise():
    assert choose_for_samples(SETTINGS, frozenset(), 100_000, 40, tuned=True).values["noise.strength"] == 0.25


@pytest.mark.parametrize(
    ("explicit", "train"), [({"train.steps"}, {"steps": 20}), ({"train.batch"}, {"epochs": 64.0, "batch": "labeled"})]
)
def test_a_length_that_is_given_is_what_the_choice_speaks_of(explicit, train):
    settings = SETTINGS.model_copy(update={"train": SETTINGS.train.model_copy(update=train)})
    costs = NetworkCosts(settings, None, LOAD, ON_CPU)
    budget = 300_000 * 1e-6 * 64**2 * OVERHEAD / USABLE
    by_time = choose_for_networks(settings, frozenset(explicit), costs, budget)
    by_samples = choose_for_samples(settings, frozenset(explicit), 300_000, LOAD.labeled)
    for choice in (by_time, by_samples):
        assert choice.values["train.steps"] == 20  # 64 epochs of 40 labels are 20 steps of 128 labeled images
        assert any(reason.endswith("images per stage") and "20 steps" in reason for reason in choice.reasons)
        assert choice.values["noise.strength"] == 0.5
    assert by_time.seconds < 0.1 * budget
