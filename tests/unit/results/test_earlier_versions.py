"""Summaries of earlier versions are read as they would be written today."""

import pytest

from noisystudent.artifacts.typed_json import to_json
from summaries import parsed_summary, summary


@pytest.mark.parametrize(("earlier", "today"), [("roll back", "worse"), ("cannot tell", "no clear gain")])
def test_the_words_of_earlier_verdicts_are_read(earlier, today):
    content = summary()
    content["verdict"]["decision"] = earlier
    for student in content["rounds"]:
        student["rolled_back"] = student.pop("worse")
    found = parsed_summary(content)
    assert found.verdict.decision == today
    assert [student.worse for student in found.rounds] == [False, True]
    written = to_json(found)
    assert written["verdict"]["decision"] == today
    assert "rolled_back" not in written["rounds"][0]
    assert parsed_summary(written) == found
