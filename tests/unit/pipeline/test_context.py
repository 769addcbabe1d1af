"""The settings of a run once its data are known."""

import pytest

from noisystudent.config import resolve
from noisystudent.pipeline.build_context import resolve_auto


@pytest.mark.parametrize(("labels", "selected", "kind"), [(49, 0.2, "hard"), (50, 1.0, "soft")])
def test_from_fifty_labels_per_class_on_a_student_takes_every_image_by_its_soft_label(labels, selected, kind):
    settings = resolve_auto(resolve({"labeled": "unused", "out": "unused"}).settings, [labels + 7, labels])
    assert (settings.selection.fraction, settings.objective.labels) == (selected, kind)


def test_epochs_become_steps_once_the_labels_are_known():
    given = {"labeled": "unused", "unlabeled": "unused", "out": "unused"}
    by_epochs = resolve({**given, "train.epochs": 3, "train.batch": "labeled", "train.batch_size": 10}).settings
    assert resolve_auto(by_epochs, [20, 20, 30]).train.steps == 21
