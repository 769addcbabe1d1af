"""Finished stages that are taken over from another folder."""

import pytest

from noisystudent.artifacts.folder import INPUTS, MANIFEST, State, begin, commit, read_manifest, state_of
from noisystudent.artifacts.sharing import take_over

INPUTS_OF_STAGE = {"seed": 1}


@pytest.fixture
def finished(tmp_path):
    folder = tmp_path / "first" / "teacher"
    begin(folder, INPUTS_OF_STAGE)
    (folder / "weights").write_bytes(b"abc")
    (folder / "part").mkdir()
    (folder / "part" / "cost.json").write_text("{}")
    commit(folder, "checkpoint", INPUTS_OF_STAGE, volatile=("part/cost.json",))
    return folder


def test_a_stage_from_the_same_inputs_is_taken_over_whole(tmp_path, finished):
    own = tmp_path / "second" / "teacher"

    assert take_over(own, INPUTS_OF_STAGE, [tmp_path / "none", finished]) == finished
    assert state_of(own, INPUTS_OF_STAGE) is State.COMPLETE
    assert (own / "weights").read_bytes() == b"abc"
    assert (own / "part" / "cost.json").exists()
    assert read_manifest(own, "checkpoint").fingerprint == read_manifest(finished, "checkpoint").fingerprint


def test_a_stage_from_other_inputs_is_not(tmp_path, finished):
    own = tmp_path / "second" / "teacher"
    begin(own, {"seed": 2})

    assert take_over(own, {"seed": 2}, [finished]) is None
    assert {path.name for path in own.iterdir()} == {INPUTS}


def test_an_unfinished_stage_is_not(tmp_path, finished):
    (finished / MANIFEST).unlink()

    assert take_over(tmp_path / "own", INPUTS_OF_STAGE, [finished]) is None


def test_a_stage_that_lacks_a_file_stays_unfinished(tmp_path, finished):
    (finished / "weights").unlink()
    own = tmp_path / "own"
    begin(own, INPUTS_OF_STAGE)

    assert take_over(own, INPUTS_OF_STAGE, [finished]) is None
    assert state_of(own, INPUTS_OF_STAGE) is State.PARTIAL
