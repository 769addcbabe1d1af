"""Results as JSON: what is written is read back equal, and anything else is named."""

import json
from dataclasses import dataclass, field

import pytest

from noisystudent.artifacts.typed_json import from_json, read_result, to_json, write_result
from noisystudent.errors import ArtifactError


@dataclass(frozen=True)
class Inner:
    name: str
    values: tuple[float, ...] = ()


@dataclass(frozen=True)
class Outer:
    inner: Inner
    by_number: dict[int, Inner] = field(default_factory=dict)
    note: str | None = None


RESULT = Outer(Inner("a", (0.5, 1.0)), {3: Inner("b")})


def test_a_result_is_read_back_equal(tmp_path):
    write_result(tmp_path / "result.json", RESULT)
    assert read_result(Outer, tmp_path / "result.json") == RESULT
    assert from_json(Outer, to_json(RESULT), "the result") == RESULT


def test_the_file_is_plain_json_with_the_names_of_the_fields(tmp_path):
    write_result(tmp_path / "result.json", RESULT)
    assert json.loads((tmp_path / "result.json").read_text()) == {
        "inner": {"name": "a", "values": [0.5, 1.0]},
        "by_number": {"3": {"name": "b", "values": []}},
        "note": None,
    }


def test_a_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(ArtifactError, match=r"result\.json is missing\. Run it first\."):
        read_result(Outer, tmp_path / "result.json", when_missing="Run it first.")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"inner": {"values": []}}', r"is not what this program writes: inner\.name: Field required"),
        ('{"inner": {"name": 3}}', r"is not what this program writes: inner\.name"),
        ("{", "is damaged"),
        ("[" * 100_000, "is damaged"),
    ],
    ids=["missing field", "wrong type", "half a file", "deep"],
)
def test_a_file_that_does_not_fit_is_named(content, message, tmp_path):
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(ArtifactError, match=message):
        read_result(Outer, tmp_path / "result.json")


def test_content_that_does_not_fit_is_named():
    with pytest.raises(ArtifactError, match=r"The summary is not what this program writes: inner: Field required"):
        from_json(Outer, {}, "The summary")
