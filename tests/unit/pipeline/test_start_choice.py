"""A trial of two starts: which one its numbers prefer, and what a start from scratch changes in the settings."""

import numpy as np
import pytest

from noisystudent.config import resolve
from noisystudent.data.stratified import draw_at_most
from noisystudent.pipeline.auto_backbone import from_scratch, settled
from noisystudent.results.facts import StartTrial
from noisystudent.training.settings import TrainSettings


def trial(frozen, scratch, standard_error):
    return StartTrial(
        frozen=frozen, scratch=scratch, standard_error=standard_error, labels=100, size=32, steps=300
    )  # fmt: skip


@pytest.mark.parametrize(
    ("frozen", "scratch", "standard_error", "prefers"),
    [(0.74, 0.84, 0.05, True), (0.81, 0.81, 0.05, True), (0.74, 0.73, 0.05, False), (0.74, 0.39, 0.05, False)],
)
def test_scratch_must_be_as_good_already(frozen, scratch, standard_error, prefers):
    assert trial(frozen, scratch, standard_error).prefers_scratch is prefers


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
