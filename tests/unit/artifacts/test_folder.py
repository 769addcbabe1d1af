"""The four states of a folder, atomic writes, manifests and fingerprints."""

import errno
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from noisystudent.artifacts.archives import prepare
from noisystudent.artifacts.folder import (
    State,
    atomic_write,
    begin,
    commit,
    differences,
    fingerprint_of,
    read_json,
    read_manifest,
    require_inputs,
    state_of,
    verify,
    write_json,
)
from noisystudent.artifacts.ownership import folder_lock
from noisystudent.errors import ArtifactError, MismatchError


def finish(folder: Path, inputs: dict, text: str = "content"):
    prepare(folder, inputs)
    (folder / "data.txt").write_text(text)
    return commit(folder, "thing", inputs)


def test_a_folder_goes_from_absent_to_partial_to_complete(tmp_path):
    folder, inputs = tmp_path / "stage", {"steps": 3}
    assert state_of(folder, inputs) is State.ABSENT
    assert prepare(folder, inputs) == (State.PARTIAL, [])
    (folder / "data.txt").write_text("half")
    assert prepare(folder, inputs) == (State.PARTIAL, [])
    assert (folder / "data.txt").read_text() == "half"
    commit(folder, "thing", inputs)
    assert prepare(folder, inputs) == (State.COMPLETE, [])


def test_other_inputs_archive_the_work_and_name_the_differences(tmp_path):
    folder = tmp_path / "stage"
    finish(folder, {"train": {"steps": 300, "rate": 1}})
    state, changes = prepare(folder, {"train": {"steps": 400, "rate": 1}})
    assert state is State.PARTIAL
    assert changes == ["train.steps: 300 -> 400"]
    assert not (folder / "data.txt").exists()


def test_archived_work_returns_with_its_inputs(tmp_path):
    folder = tmp_path / "stage"
    first = finish(folder, {"steps": 300}, "from 300")
    finish(folder, {"steps": 400}, "from 400")
    state, changes = prepare(folder, {"steps": 300})
    assert (state, changes) == (State.COMPLETE, ["steps: 400 -> 300"])
    assert (folder / "data.txt").read_text() == "from 300"
    assert verify(folder, "thing").fingerprint == first.fingerprint


def test_partial_work_of_other_inputs_is_archived_too(tmp_path):
    folder = tmp_path / "stage"
    prepare(folder, {"steps": 300})
    (folder / "state").write_text("at step 200")
    prepare(folder, {"steps": 400})
    state, _ = prepare(folder, {"steps": 300})
    assert state is State.PARTIAL
    assert (folder / "state").read_text() == "at step 200"


def test_archived_work_returns_to_a_folder_that_holds_only_a_lock(tmp_path):
    folder = tmp_path / "stage"
    finish(folder, {"steps": 300}, "from 300")
    prepare(folder, {"steps": 400})
    shutil.rmtree(folder)
    with folder_lock(folder):
        assert prepare(folder, {"steps": 300})[0] is State.COMPLETE
    prepare(folder, {"steps": 400})
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "thesis.txt").write_text("precious")
    with pytest.raises(ArtifactError, match="did not write"):
        prepare(folder, {"steps": 300})
    assert (folder / "thesis.txt").read_text() == "precious"


def test_volatile_files_do_not_change_the_fingerprint(tmp_path):
    manifests = []
    for name, seconds in (("a", "1.0"), ("b", "2.0")):
        folder = tmp_path / name
        begin(folder, {"x": 1})
        (folder / "data").write_text("same")
        (folder / "timing").write_text(seconds)
        manifests.append(commit(folder, "thing", {"x": 1}, volatile=("timing",)))
    assert manifests[0].fingerprint == manifests[1].fingerprint
    assert manifests[0].files.keys() == {"data"}


def test_a_changed_or_missing_file_is_found_and_named(tmp_path):
    folder = tmp_path / "stage"
    finish(folder, {})
    (folder / "data.txt").write_text("tampered")
    with pytest.raises(ArtifactError, match=r"data\.txt was changed"):
        verify(folder, "thing")
    (folder / "data.txt").unlink()
    with pytest.raises(ArtifactError, match=r"data\.txt is missing"):
        verify(folder, "thing")


def test_a_manifest_of_another_kind_format_or_input_is_refused(tmp_path):
    folder = tmp_path / "stage"
    manifest = finish(folder, {"source": "aaa"})
    with pytest.raises(ArtifactError, match="holds 'thing', but 'checkpoint' is needed"):
        read_manifest(folder, "checkpoint")
    with pytest.raises(MismatchError, match="made from other source than those given"):
        require_inputs(folder, manifest, "source", "bbb")
    write_json(folder / "manifest.json", {**json.loads((folder / "manifest.json").read_text()), "format": 99})
    with pytest.raises(ArtifactError, match="format 99"):
        read_manifest(folder, "thing")


def test_unfinished_and_missing_folders_have_different_errors(tmp_path):
    with pytest.raises(ArtifactError, match="does not exist"):
        read_manifest(tmp_path / "nothing", "thing")
    begin(tmp_path / "begun", {})
    with pytest.raises(ArtifactError, match="not finished"):
        read_manifest(tmp_path / "begun", "thing")


def test_a_failed_write_leaves_the_old_file_and_no_temporary_file(tmp_path):
    path = tmp_path / "file.json"
    write_json(path, {"old": 1})

    def fail_halfway():
        with atomic_write(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert read_json(path) == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_clear_error(tmp_path):
    with pytest.raises(ArtifactError, match=r"disk is full.*run the same command again"), atomic_write(tmp_path / "x"):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_an_error_of_a_library_on_a_full_disk_is_the_same_clear_error(tmp_path, monkeypatch):
    def fail() -> None:
        with atomic_write(tmp_path / "state.pt"):
            raise RuntimeError("unexpected pos 3024896")

    with pytest.raises(RuntimeError, match="unexpected pos"):
        fail()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    with pytest.raises(ArtifactError, match=r"disk is full.*state\.pt"):
        fail()


def test_damaged_json_is_named(tmp_path):
    (tmp_path / "x.json").write_text('{"half":')
    with pytest.raises(ArtifactError, match=r"x\.json is damaged"):
        read_json(tmp_path / "x.json")


def test_a_second_process_is_refused(tmp_path):
    with folder_lock(tmp_path), pytest.raises(ArtifactError, match="another process"), folder_lock(tmp_path):
        pass
    with folder_lock(tmp_path):
        assert (tmp_path / ".lock").exists()


def test_fingerprints_ignore_the_order_of_keys_only():
    assert fingerprint_of({"a": 1, "b": [1, 2]}) == fingerprint_of({"b": [1, 2], "a": 1})
    assert fingerprint_of({"a": [1, 2]}) != fingerprint_of({"a": [2, 1]})


def test_differences_name_added_and_removed_values():
    assert differences({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"d": 3}}) == ["b.c: 2 -> null", "b.d: null -> 3"]
    assert differences({"a": 1}, {"a": 1}) == []
