"""A user's own objective, selection, model and source in a run: they act, they are checked, a killed run keeps them."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn
from torchvision.transforms import v2

import noisystudent as ns
from noisystudent.errors import ModelError, SettingsError, TrainingError
from small_runs import DIGITS, without

QUICK = {
    "data": {"size": 8, "near_duplicates": "none"},
    "noise": {"strength": 0.25},
    "train": {"steps": 6, "batch_size": 32},
    "rounds.count": 1,
    "runtime.threads": 1,
}
TINY = {**QUICK, "model.teacher": "tiny_resnet"}
TINY_TRAIN = without(TINY, "rounds.count")


def run(out, settings=TINY, **extensions) -> ns.Run:
    return ns.run(**DIGITS, out=out, settings=settings, quiet=True, **extensions)


def weights(checkpoint):
    return load_file(checkpoint / "model.safetensors")


def plain_cross_entropy(logits, batch):
    return F.cross_entropy(logits.float(), batch.targets)


def squared_error(logits, batch):
    return ((logits.softmax(dim=-1) - batch.targets) ** 2).sum(dim=-1).mean()


def network(*, classes: int, channels: int, size: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 9, classes)
    )


def test_networks_without_features_leave_neighbors_out_of_a_budget_and_are_refused_where_they_are_asked_for(
    tmp_path, capsys
):
    settings = {"data": QUICK["data"], "budget": "30000samples", "recipe": "curriculum", "runtime.threads": 1}
    done = ns.run(**DIGITS, out=tmp_path / "run", settings=settings, model=network)
    assert done.facts.settings["selection"]["neighbors"] == "none"
    why = "because images are compared in the features of a network, and a Sequential of model="
    assert why in capsys.readouterr().err
    assert not (done.path / "round-1/teacher-predictions").exists()  # where they are averaged
    for name, value in {"neighbors": "mean", "foreign": "drop"}.items():
        with pytest.raises(SettingsError, match=rf"selection\.{name} {value} cannot be: .* forward_features"):
            run(tmp_path / name, {**QUICK, f"selection.{name}": value}, model=network)


def every_third(predictions: ns.PredictionColumns) -> np.ndarray:
    return (np.arange(len(predictions)) % 3 == 0).astype(int)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return run(tmp_path_factory.mktemp("plain") / "run")


def test_cross_entropy_as_an_own_objective_trains_the_same_weights_as_the_package(plain, tmp_path):
    """The default of the package is the mean cross entropy over the batch, so writing that out changes nothing."""
    own = run(tmp_path / "run", objective=plain_cross_entropy)
    for stage in ("teacher", "control", "round-1/student"):
        ours, theirs = weights(own.path / stage), weights(plain.path / stage)
        assert all(torch.allclose(ours[name].float(), theirs[name].float(), atol=1e-5) for name in theirs), stage


def test_another_objective_trains_other_weights_and_is_named_in_the_run(plain, tmp_path):
    own = run(tmp_path / "run", objective=squared_error)
    ours, theirs = weights(own.path / "teacher"), weights(plain.path / "teacher")
    assert not all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert "squared_error#" in own.facts.extensions["objective"]
    assert "squared_error#" in json.loads((own.path / "teacher" / "inputs.json").read_text())["own_objective"]


def test_a_run_resumes_only_with_the_same_objective(tmp_path, capsys):
    first = run(tmp_path / "run", objective=squared_error)
    before = (first.path / "teacher" / "model.safetensors").stat().st_mtime_ns
    again = run(tmp_path / "run", objective=squared_error)
    assert (again.path / "teacher" / "model.safetensors").stat().st_mtime_ns == before
    run(tmp_path / "run", objective=plain_cross_entropy)
    assert (again.path / "teacher" / "model.safetensors").stat().st_mtime_ns != before


class Versioned:
    def __init__(self, version):
        self.name, self.version = "mine", version

    def __call__(self, logits, batch):
        return squared_error(logits, batch)


def test_an_objective_may_name_its_version(tmp_path):
    first = run(tmp_path / "run", objective=Versioned(1))
    assert first.facts.extensions["objective"] == "mine 1"
    before = (first.path / "teacher" / "model.safetensors").stat().st_mtime_ns
    run(tmp_path / "run", objective=Versioned(2))
    assert (first.path / "teacher" / "model.safetensors").stat().st_mtime_ns != before


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (lambda logits, batch: F.cross_entropy(logits, batch.targets, reduction="none"), "loss of shape \\[32\\]"),
        (lambda logits, batch: 1.0, "a loss of float"),
        (lambda logits, batch: torch.tensor(1.0), "does not depend on the logits"),
        (
            lambda logits, batch: logits[batch.labeled :].mean(),
            "nan at the first step of stage teacher.*32 labeled",
        ),
    ],
    ids=["a vector", "no tensor", "detached", "mean of no rows"],
)
def test_objectives_that_return_no_loss_are_refused(objective, message, tmp_path):
    with pytest.raises(TrainingError, match=message):
        run(tmp_path / "run", objective=objective)


def test_an_objective_that_cannot_be_called_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="'kd' is not callable"):
        run(tmp_path / "run", objective="kd")


def test_a_selection_decides_which_rows_train(tmp_path):
    own = run(tmp_path / "run", select=every_third)
    assert own.rounds[0].selected == own.rounds[0].copies == 419  # of 1,257
    summary = json.loads((own.path / "round-1" / "selection" / "summary.json").read_text())
    assert summary["reasons"] == {"selected": 419, "custom-rule": 838}
    assert "every_third#" in own.facts.extensions["select"]


@pytest.mark.parametrize(
    ("select", "message"),
    [
        (lambda predictions: np.ones(3), r"1257 whole numbers.*an array of shape \(3,\)"),
        (lambda predictions: np.full(len(predictions), np.nan), "row 0 has nan"),
        (lambda predictions: -np.ones(len(predictions)), "row 0 has -1"),
        (lambda predictions: np.full(len(predictions), 0.5), r"row 0 has 0\.5"),
        (lambda predictions: np.array(["a"] * len(predictions)), "values of type <U1"),
    ],
    ids=["shape", "nan", "negative", "fraction", "text"],
)
def test_selections_that_return_no_copies_are_refused(select, message, tmp_path):
    with pytest.raises(SettingsError, match=message):
        run(tmp_path / "run", select=select)


def test_a_selection_of_no_rows_is_an_error_with_a_way_out(tmp_path):
    with pytest.raises(TrainingError, match=r"no pseudo label was selected.*return copies above 0"):
        run(tmp_path / "run", select=lambda predictions: np.zeros(len(predictions), int))


def test_an_own_model_is_trained_delivered_and_opened_again(tmp_path):
    own = run(tmp_path / "run", QUICK, model=network)
    assert own.student.model == "network"
    assert own.teacher.parameters == sum(p.numel() for p in network(classes=10, channels=1, size=8).parameters())
    answers = own.model.predict_proba("digits:test")
    assert answers.shape == (500, 10)
    again = ns.open_run(own.path, factory=network)
    assert np.array_equal(again.model.predict_proba("digits:test"), answers)
    assert np.array_equal(ns.load(own.path / "best", factory=network).predict_proba("digits:test"), answers)
    with pytest.raises(ModelError, match=r"holds a model of your own.*only its factory can build"):
        ns.load(own.path / "best")


def test_a_factory_beside_a_model_that_timm_builds_is_refused(plain):
    with pytest.raises(ModelError, match=r"holds a tiny_resnet, which needs no factory; leave it out"):
        ns.load(plain.path, factory=network)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (lambda **kwargs: nn.Flatten(), "no parameter to train"),
        (lambda **kwargs: "resnet", "returned a str"),
        (lambda classes: None, "failed for classes=10, channels=1, size=8"),
        (lambda classes, channels, size: nn.Conv2d(channels, classes, 3), "answers two images with shape"),
        (lambda classes, channels, size: nn.Linear(3, classes), "failed on images of shape"),
    ],
    ids=["nothing to train", "no module", "other arguments", "no logits", "other images"],
)
def test_factories_that_do_not_fit_are_refused_before_training(factory, message, tmp_path):
    with pytest.raises(ModelError, match=message):
        run(tmp_path / "run", QUICK, model=factory)
    assert not (tmp_path / "run" / "teacher" / "metrics.jsonl").exists()


def test_dropout_needs_a_dropout_layer_in_an_own_model(tmp_path):
    with pytest.raises(ModelError, match=r"no dropout.*noise\.dropout is 0\.3"):
        run(tmp_path / "run", {**QUICK, "noise": {"strength": 0.25, "dropout": 0.3}}, model=network)


@pytest.mark.parametrize(
    ("settings", "extension", "message"),
    [
        ({"objective.weighting": "sum"}, {"objective": squared_error}, "objective.weighting would have no effect"),
        ({"distillation.method": "kd"}, {"objective": squared_error}, "distillation.method would have no effect"),
        ({"selection.fraction": 0.5}, {"select": every_third}, "selection.fraction would have no effect"),
        ({"model.teacher": "tiny_resnet"}, {"model": network}, "model.teacher would have no effect"),
    ],
)
def test_settings_that_an_own_part_replaces_are_refused(settings, extension, message, tmp_path):
    with pytest.raises(SettingsError, match=message):
        run(tmp_path / "run", {**QUICK, **settings}, **extension)


class Stripes:
    """Unlabeled gray images that are computed when they are read."""

    name, classes, fingerprint, files, shard_sizes = "stripes", None, "stripes-1", {}, (40, 30)

    def read(self, shard):
        for row in range(self.shard_sizes[shard]):
            pixels = np.random.default_rng([shard, row]).integers(0, 256, (8, 8), dtype=np.uint8)
            yield ns.parts.Record(f"{shard}/{row}", pixels, -1)

    def truth(self, classes):
        return None


def test_an_own_source_is_labeled_and_trained_on(tmp_path):
    own = ns.run("digits:labeled", Stripes(), test="digits:test", out=tmp_path / "run", settings=TINY, quiet=True)
    assert own.facts.sources["unlabeled"].name == "stripes"
    assert own.facts.sources["unlabeled"].images == 70
    assert own.rounds[0].selected > 0


def test_an_object_that_is_no_source_is_refused(tmp_path):
    with pytest.raises(SettingsError, match=r"a list is no source: it lacks name"):
        ns.run("digits:labeled", ["a", "b"], out=tmp_path / "run", settings=TINY)


def test_a_selection_acts_in_train_too(tmp_path):
    ns.train("digits:labeled", out=tmp_path / "teacher", settings=TINY_TRAIN, quiet=True)
    ns.label(teacher=tmp_path / "teacher", source="digits:unlabeled", out=tmp_path / "predictions", quiet=True)
    given = {"unlabeled": "digits:unlabeled", "predictions": tmp_path / "predictions", "settings": TINY_TRAIN}
    student = ns.train("digits:labeled", out=tmp_path / "student", select=every_third, quiet=True, **given)
    assert student.samples_seen == 6 * 32
    assert (tmp_path / "student.selection" / "manifest.json").exists()
    selection = tmp_path / "student.selection"
    with pytest.raises(SettingsError, match="give one of them"):
        ns.train("digits:labeled", out=tmp_path / "x", select=every_third, selection=selection, **given)


def test_weights_do_not_depend_on_the_name_of_the_folder(tmp_path):
    for name in ("a", "another-name"):
        settings = {**TINY_TRAIN, "noise": {"strength": "auto", "strengths": [0.1, 0.4]}}
        ns.train("digits:labeled", out=tmp_path / name, settings=settings, quiet=True)
    first, second = (weights(tmp_path / name) for name in ("a", "another-name"))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_training_with_another_torchvision_transform_is_another_stage(tmp_path):
    def train(**noise):
        return ns.train("digits:labeled", out=tmp_path / "model", settings=TINY_TRAIN, quiet=True, **noise)

    first = train(noise=v2.RandomInvert(0.5))
    again = train(noise=v2.RandomInvert(0.5))
    other = train(noise=v2.RandomInvert(0.9))
    without_noise = train()
    assert first.fingerprint == again.fingerprint
    assert len({first.fingerprint, other.fingerprint, without_noise.fingerprint}) == 3
