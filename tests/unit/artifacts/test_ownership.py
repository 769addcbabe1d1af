"""Whose files are in an output folder: nothing of a user is overwritten, moved or emptied."""

import fcntl
import json
import multiprocessing
import os
import threading
from pathlib import Path

import pytest

from noisystudent.artifacts import archives
from noisystudent.artifacts.archives import prepare
from noisystudent.artifacts.folder import LOCK, commit
from noisystudent.artifacts.lock import MARK
from noisystudent.artifacts.ownership import folder_lock, own_folder, require_no_file_above, require_own_folder
from noisystudent.artifacts.temporary import half_written
from noisystudent.errors import ArtifactError, SettingsError


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["photo.png", "model.safetensors", "run.json", "inputs.json", "notes/a.txt", ".git"])
def test_a_folder_with_files_of_others_is_refused_and_stays_as_it_is(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("MINE")
    before = contents(tmp_path)
    with pytest.raises(ArtifactError, match=f"did not write: {name.split('/')[0]}"), folder_lock(tmp_path):
        pass
    assert contents(tmp_path) == before


def test_a_manifest_of_others_does_not_make_a_folder_ours(tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps({"name": "a web application", "icons": []}))
    with pytest.raises(ArtifactError, match="did not write"):
        require_own_folder(tmp_path)


def test_own_folders_are_known_again(tmp_path):
    own_folder(tmp_path / "new")
    (tmp_path / "new" / "stage").mkdir()
    require_own_folder(tmp_path / "new")
    prepare(tmp_path / "copied", {})
    (tmp_path / "copied" / "data").write_text("x")
    commit(tmp_path / "copied", "thing", {})
    require_own_folder(tmp_path / "copied")  # a copy without hidden files
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text(json.dumps({"version": "1", "settings": {}, "origins": {}}))
    require_own_folder(tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["run.json"]


def test_a_file_and_a_folder_within_a_file_are_refused(tmp_path):
    path = tmp_path / "file"
    path.write_text("MINE")
    with pytest.raises(SettingsError, match="file' is a file, and a folder is written"), folder_lock(path):
        pass
    with pytest.raises(SettingsError, match=r"lies in .*file', which is a file"), folder_lock(path / "a"):
        pass
    assert path.read_text() == "MINE"


def test_a_lock_that_is_a_link_or_no_file_is_refused_and_its_target_stays(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    for number, make in enumerate((lambda lock: lock.symlink_to(victim), lambda lock: os.mkfifo(lock))):
        folder = tmp_path / str(number)
        folder.mkdir()
        make(folder / ".lock")
        with pytest.raises(ArtifactError, match=r"\.lock is (a symbolic link|no plain file)"), folder_lock(folder):
            pass
    assert victim.read_text() == "precious"


def test_a_lock_of_a_user_keeps_its_content(tmp_path):
    (tmp_path / ".lock").write_text("process 12 of another program")
    with folder_lock(tmp_path):
        pass
    assert (tmp_path / ".lock").read_text() == "process 12 of another program"
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".lock").touch()
    with folder_lock(tmp_path / "empty"):
        assert (tmp_path / "empty" / ".lock").read_text() == MARK


def test_the_next_command_removes_what_a_killed_one_left_half_written(tmp_path):
    own_folder(tmp_path)
    (tmp_path / "stage").mkdir()
    for path in (tmp_path / "summary.json", tmp_path / "stage" / "model.safetensors"):
        half_written(path).write_text("half")
    with folder_lock(tmp_path):
        assert [path.name for path in tmp_path.rglob("*.tmp")] == []


def _hold(path: Path, ready, done) -> None:
    from noisystudent.artifacts.folder import atomic_write

    with atomic_write(path) as temporary:
        temporary.write_text("half")
        ready.set()
        done.wait(30)


def test_a_file_that_another_process_is_writing_is_not_abandoned(tmp_path):
    from noisystudent.artifacts.temporary import remove_abandoned

    context = multiprocessing.get_context("fork")
    ready, done = context.Event(), context.Event()
    writer = context.Process(target=_hold, args=(tmp_path / "table.csv", ready, done))
    writer.start()
    assert ready.wait(30)
    remove_abandoned(tmp_path)
    (left,) = tmp_path.iterdir()
    writer.kill()
    writer.join()
    assert left.exists()
    remove_abandoned(tmp_path)
    assert not left.exists()


def test_a_file_that_is_removed_before_its_writer_has_locked_it_is_created_again(tmp_path, monkeypatch):
    from noisystudent.artifacts import temporary
    from noisystudent.artifacts.folder import atomic_write

    remover = threading.Thread(target=temporary.remove_abandoned, args=[tmp_path])
    removing, written = threading.Event(), threading.Event()
    flock, unlink = fcntl.flock, Path.unlink

    def lock_late(descriptor, operation):
        if operation & fcntl.LOCK_SH and not removing.is_set():
            remover.start()
            assert removing.wait(30)
        flock(descriptor, operation)

    def remove_late(path, missing_ok=False):
        if threading.current_thread() is remover:
            removing.set()
            written.wait(0.5)
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(fcntl, "flock", lock_late)
    monkeypatch.setattr(Path, "unlink", remove_late)
    with atomic_write(tmp_path / "table.csv") as file:
        file.write_text("whole")
        written.set()
        remover.join(30)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["whole"]


def test_a_folder_that_replaces_an_archived_one_is_marked_before_anything_else_is_in_it(tmp_path, monkeypatch):
    folder = tmp_path / "stage"
    own_folder(folder)
    prepare(folder, {"teacher": "old"})

    def killed(*_):
        assert (folder / LOCK).read_text() == MARK
        assert [path.name for path in folder.iterdir()] == [LOCK]
        raise KeyboardInterrupt

    monkeypatch.setattr(archives, "begin", killed)
    with pytest.raises(KeyboardInterrupt):
        prepare(folder, {"teacher": "new"})
    monkeypatch.undo()
    prepare(folder, {"teacher": "new"})
    require_own_folder(folder)


def test_a_folder_that_comes_and_goes_is_never_taken_for_a_file(tmp_path):
    folder, away, done = tmp_path / "stage", tmp_path / "away", threading.Event()
    own_folder(folder)

    def come_and_go() -> None:
        while not done.is_set():
            os.replace(folder, away)
            os.replace(away, folder)

    mover = threading.Thread(target=come_and_go)
    mover.start()
    try:
        seen = set()
        for _ in range(5000):
            seen.add(folder.exists())
            require_own_folder(folder)
            require_no_file_above(folder / "deeper")
    finally:
        done.set()
        mover.join()
    assert seen == {True, False}
