"""A trial of starts: which one its numbers prefer, and what the preferred start changes in the settings."""

import numpy as np
import pytest

from noisystudent.config import resolve
from noisystudent.data.sources.open import open_source
from noisystudent.data.splits import open_splits
from noisystudent.data.stratified import draw_at_most
from noisystudent.pipeline.backbones.auto import from_scratch, settled, with_whole_backbone
from noisystudent.pipeline.budget import costs
from noisystudent.pipeline.build_context import decide_settings
from noisystudent.pipeline.start import choice
from noisystudent.pipeline.start.choice import has_equal_student
from noisystudent.pipeline.start.trial import SCRATCH, TUNED, NetworkStart
from noisystudent.results.facts import NetworkTrial, StartTrial
from noisystudent.runtime.progress import Reporter
from noisystudent.training.settings import TrainSettings


def network(top1, frozen):
    return NetworkTrial(top1=top1, frozen=frozen, standard_error=0.05, size=32, steps=300) if top1 else None


@pytest.mark.parametrize(
    ("scratch", "tuned", "prefers"),
    [
        (0.84, None, "scratch"),
        (0.74, None, "scratch"),
        (0.73, None, "frozen"),
        (0.39, 0.61, "tuned"),
        (0.39, 0.59, "frozen"),
        (0.80, 0.76, "scratch"),
        (0.80, 0.80, "scratch"),
        (0.80, 0.81, "tuned"),
        (0.73, 0.72, "tuned"),
        (0.80, 0.59, "scratch"),
        (None, 0.61, "tuned"),
        (None, 0.59, "frozen"),
    ],
)
def test_heads_must_be_clearly_better_than_the_whole_backbone_and_scratch_as_good_already(scratch, tuned, prefers):
    trial = StartTrial(labels=100, scratch=network(scratch, 0.74), tuned=network(tuned, 0.7))
    assert trial.prefers == prefers


@pytest.mark.parametrize(
    ("labels", "tuned", "prefers"),
    [(299, 0.79, "frozen"), (299, 0.81, "tuned"), (300, 0.61, "tuned"), (300, 0.59, "frozen")],
)
def test_on_few_labels_the_whole_backbone_must_be_clearly_better_without_a_student_or_on_large_images(
    labels, tuned, prefers
):
    for reason in ({"student": False}, {"large_images": True}):
        assert StartTrial(labels=labels, tuned=network(tuned, 0.7), **reason).prefers == prefers


@pytest.mark.parametrize(
    ("budget", "settings", "student"),
    [
        ("60s", {}, True),
        ("20s", {}, True),  # no control, because nothing is held out
        ("10s", {}, False),
        ("20s", {"rounds.count": 1, "rounds.controls": 1}, True),
        ("1s", {}, False),
    ],
)
def test_the_budget_says_whether_the_whole_backbone_has_a_student(budget, settings, student, tmp_path, monkeypatch):
    monkeypatch.setattr(costs, "seconds_per_sample", lambda *_: 1 / 400)
    monkeypatch.setattr(choice, "with_whole_backbone", lambda resolved, _: resolved)  # a small network instead
    given = {"labeled": "digits:labeled", "unlabeled": "digits:unlabeled", "out": tmp_path, "budget": budget}
    network = {"model.backbone": "none", "model.teacher": "tiny_resnet", "train.batch_size": 8}
    assert has_equal_student(resolve({**given, **network, **settings}), None) is student
    assert (tmp_path / "budget" / "summary.json").is_file() is (budget != "1s")  # kept for the run


@pytest.mark.parametrize(("size", "seen"), [("auto", 32), (64, 32), (16, 16)])
def test_images_are_as_large_as_they_are_or_as_the_run_sees_them(size, seen, tmp_path):
    pixels = np.random.default_rng(0).integers(256, size=(4, 32, 32), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", x=pixels, y=[0, 0, 1, 1])
    given = dict.fromkeys(("labeled", "unlabeled"), tmp_path / "images.npz")
    resolved = resolve({**given, "out": tmp_path / "run", "model.backbone": "none", "data.size": size})
    assert choice.edge_seen(NetworkStart(decide_settings(resolved, Reporter(quiet=True), dry=True), 1.0)) == seen


@pytest.mark.parametrize(("size", "student"), [(16, True), (8, False)])
def test_a_student_on_smaller_images_than_those_of_heads_does_not_count(size, student, tmp_path, monkeypatch):
    monkeypatch.setattr(costs, "seconds_per_sample", lambda *_: 1 / 400)
    given = {"labeled": "digits:labeled", "unlabeled": "digits:unlabeled", "out": tmp_path, "budget": "60s"}
    network = {"model.backbone": "none", "model.teacher": "tiny_resnet", "train.batch_size": 8}
    whole = resolve({**given, **network, "data.size": size})
    monkeypatch.setattr(choice, "with_whole_backbone", lambda *_: whole)
    assert has_equal_student(resolve({**given, **network, "data.size": 16}), None) is student


def test_a_run_of_the_whole_backbone_is_repeated_as_one():
    resolved = resolve({"labeled": "a", "unlabeled": "b", "out": "c", "model.backbone": "efficientnet-lite0"})
    whole = with_whole_backbone(resolved, "it is better")
    assert whole.settings.model.tune == "all"
    assert whole.origins["model.tune"] == "auto: it is better"
    assert "model.tune" not in whole.explicit
    repeated = settled(whole, whole.settings)
    assert repeated.origins["model.tune"] == repeated.origins["model.backbone"] == "arguments"
    assert {"model.tune", "model.backbone"} <= repeated.explicit
    assert "model.tune" not in settled(resolved, resolved.settings).explicit


def test_a_start_from_scratch_takes_back_what_auto_brought():
    sources = {"labeled": "a", "unlabeled": "b", "out": "c"}
    resolved = resolve(sources)
    assert resolved.settings.model.backbone == "auto"
    assert resolved.settings.train.learning_rate != TrainSettings().learning_rate
    scratch = from_scratch(resolved, "it is better")
    assert scratch.settings.model.backbone == "none"
    assert scratch.settings.train.learning_rate == TrainSettings().learning_rate
    assert scratch.origins["model.backbone"] == "auto: it is better"
    assert settled(scratch, scratch.settings).origins["model.backbone"] == "arguments"
    given = resolve(
        {"labeled": "a", "unlabeled": "b", "out": "c", "train.learning_rate": 0.1, "model.backbone": "auto"}
    )
    assert from_scratch(given, "").settings.train.learning_rate == 0.1


def test_many_labels_are_tried_in_proportion_and_few_in_whole():
    labels = np.repeat([0, 1, 2], [600, 300, 3])
    drawn = draw_at_most(labels, 90, seed=0)
    assert np.bincount(labels[drawn]).tolist() == [60, 30, 2]
    assert np.array_equal(drawn, np.unique(drawn))
    assert not np.array_equal(drawn, draw_at_most(labels, 90, seed=1))
    assert np.array_equal(draw_at_most(labels, 903, seed=0), np.arange(903))


@pytest.mark.parametrize(
    ("fits", "seconds"), [({TUNED, SCRATCH}, 6.0), ({SCRATCH}, 14.0), ({TUNED}, 6.0), (set(), 14.0)]
)
def test_seconds_that_the_whole_backbone_cannot_use_are_for_the_network_from_scratch(monkeypatch, fits, seconds):
    given = {}

    def length(start, prefix, inputs, labels, spare):
        given[prefix] = start.seconds + spare
        return start.decided if prefix in fits else None

    monkeypatch.setattr(choice, "with_trial_length", length)
    networks = {SCRATCH: NetworkStart("from scratch", 6.0), TUNED: NetworkStart("whole", 8.0)}
    starts = choice._Starts("frozen", networks)
    assert set(choice._that_fit(starts, {}, 500)) == fits
    assert given == {TUNED: 8.0, SCRATCH: seconds}


@pytest.mark.parametrize(
    ("sources", "held_out"),
    [({}, True), ({"test": "digits:test"}, False), ({"validation": "digits:test"}, False)],
)
def test_a_trial_holds_out_the_labels_that_its_run_does(sources, held_out, tmp_path):
    given = {"labeled": "digits", "unlabeled": "digits", "out": str(tmp_path), **sources}
    settings = resolve({**given, "data.near_duplicates": "none", "data.few_labels_beside_test": 250}).settings
    alone = choice._with_labels_alone(settings)
    assert (alone.unlabeled, alone.test, alone.validation) == (None, None, None)
    splits = open_splits({"labeled": open_source("digits", labeled=True)}, alone.data, seed=0)
    assert bool(splits.validation) == held_out
