"""What the only student of a run learns from, by how many images its teacher is sure of."""

import pytest

from noisystudent.pipeline.stages.student_choice import student_of


@pytest.mark.parametrize(("sure", "images", "student"), [(75, 100, "online"), (74, 100, "round"), (0, 0, "online")])
def test_a_student_learns_online_where_its_teacher_is_sure_of_three_quarters(sure, images, student):
    assert student_of(sure, images) == student
