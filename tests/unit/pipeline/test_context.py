"""The settings of a run once its data are known."""

import pytest

from noisystudent.config import resolve
from noisystudent.pipeline.context import resolve_auto


@pytest.mark.parametrize(("labels", "selected", "kind"), [(49, 0.2, "hard"), (50, 1.0, "soft")])
def test_from_fifty_labels_per_class_on_a_student_takes_every_image_by_its_soft_label(labels, selected, kind):
    settings = resolve_auto(resolve({"labeled": "unused", "out": "unused"}).settings, labels)
    assert (settings.selection.fraction, settings.objective.labels) == (selected, kind)
