"""What a run tells of a student."""

from types import SimpleNamespace

import pytest

from noisystudent.pipeline.events import round_in_words


@pytest.mark.parametrize(
    ("name", "top1", "selected", "told"),
    [
        ("round 1", 0.8125, 1200, "round 1: 81.2% right, 1,200 pseudo labels used"),
        ("round 1", None, 1200, "round 1: 1,200 pseudo labels used"),
        ("online", 0.5, None, "online: 50.0% right"),
        ("online", None, None, "online: trained"),
    ],
)
def test_a_student_is_told_with_what_it_has(name, top1, selected, told):
    scores = {"test": None if top1 is None else SimpleNamespace(top1=top1)}
    selection = None if selected is None else SimpleNamespace(selected=selected)
    student = SimpleNamespace(result=SimpleNamespace(scores=scores))
    assert round_in_words(SimpleNamespace(name=name, student=student, selection=selection)) == told
