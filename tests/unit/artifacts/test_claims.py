"""Several processes in one folder: no work is lost or mixed, and claims do not depend on any machine's clock."""

import errno
import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from at_once import DEADLOCK, at_once
from noisystudent.artifacts import claims
from noisystudent.artifacts.archives import prepare
from noisystudent.artifacts.claims import LEASE, Entered, claim, require_begun, shared_folder, sweep
from noisystudent.artifacts.folder import State, atomic_write, commit, read_json
from noisystudent.artifacts.ownership import folder_lock
from noisystudent.artifacts.temporary import ABANDONED, half_written
from noisystudent.errors import ArtifactError, MismatchError

OLD, NEW = {"teacher": "old"}, {"teacher": "new"}


@pytest.fixture
def patience(monkeypatch):
    monkeypatch.setattr(claims, "PATIENCE", 0.3)


def finish(folder: Path, inputs: dict, text: str) -> None:
    prepare(folder, inputs)
    (folder / "data.txt").write_text(text)
    commit(folder, "thing", inputs)


def test_processes_with_the_same_inputs_share_a_folder(tmp_path):
    folder = tmp_path / "stage"
    with shared_folder(folder, NEW) as first, shared_folder(folder, NEW) as second:
        assert first == second == Entered(State.PARTIAL)
        (folder / "data.txt").write_text("done")
        commit(folder, "thing", NEW)
        with shared_folder(folder, NEW) as third:
            assert third == Entered(State.COMPLETE)


def test_other_work_is_not_archived_while_processes_work_on_it(tmp_path, patience):
    folder = tmp_path / "stage"
    with shared_folder(folder, OLD):
        (folder / "data.txt").write_text("old")
        with (
            pytest.raises(MismatchError, match=r'other processes are working in .* \(teacher: "old" -> "new"\)'),
            shared_folder(folder, NEW),
        ):
            pass
    assert (folder / "data.txt").read_text() == "old"
    with shared_folder(folder, NEW) as entered:
        assert entered == Entered(State.PARTIAL, ('teacher: "old" -> "new"',))
        assert not (folder / "data.txt").exists()
    with shared_folder(folder, OLD):
        assert (folder / "data.txt").read_text() == "old"


def test_a_locked_folder_cannot_be_shared_and_a_shared_one_cannot_be_locked(tmp_path, patience):
    with (
        folder_lock(tmp_path / "a"),
        pytest.raises(ArtifactError, match="another process"),
        shared_folder(tmp_path / "a", NEW),
    ):
        pass
    with (
        shared_folder(tmp_path / "b", NEW),
        pytest.raises(ArtifactError, match="another process"),
        folder_lock(tmp_path / "b"),
    ):
        pass


def test_sixteen_processes_that_start_at_once_archive_a_stale_folder_once(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "PATIENCE", DEADLOCK)  # a slow disk delays all sixteen; nothing here blocks for ever
    for number in range(5):
        folder = tmp_path / str(number) / "stage"
        finish(folder, OLD, "precious")
        everyone = threading.Barrier(16, timeout=DEADLOCK)

        def enter(index: int, folder=folder, everyone=everyone) -> tuple[str, ...]:
            with shared_folder(folder, NEW) as entered:
                assert entered.state is State.PARTIAL
                (folder / f"{index}.txt").write_text("new")
                everyone.wait()
                return entered.changes

        assert sum(map(bool, at_once(16, enter))) == 1
        assert {path.name for path in folder.glob("*.txt")} == {f"{index}.txt" for index in range(16)}
        assert read_json(folder / "inputs.json") == NEW
        (archived,) = [path for path in folder.parent.iterdir() if path != folder]
        assert (archived / "data.txt").read_text() == "precious"


def test_sixteen_processes_that_start_at_once_restore_archived_work_once(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "PATIENCE", DEADLOCK)
    for number in range(5):
        folder = tmp_path / str(number) / "stage"
        finish(folder, NEW, "precious")
        finish(folder, OLD, "older")

        def enter(index: int, folder=folder) -> State:
            with shared_folder(folder, NEW) as entered:
                assert (folder / "data.txt").read_text() == "precious"
                return entered.state

        assert at_once(16, enter) == [State.COMPLETE] * 16


def test_a_lock_that_another_process_makes_while_work_is_restored_is_no_foreign_file(tmp_path, monkeypatch):
    folder = tmp_path / "stage"
    finish(folder, NEW, "precious")
    finish(folder, OLD, "older")
    shutil.rmtree(folder)
    unlink, removed = Path.unlink, []

    def unlink_and_lock_again(path: Path, missing_ok: bool = False) -> None:
        unlink(path, missing_ok)
        if path.name == ".lock" and not removed:
            removed.append(path)
            path.touch()

    monkeypatch.setattr(Path, "unlink", unlink_and_lock_again)
    with shared_folder(folder, NEW) as entered:
        assert entered.state is State.COMPLETE
    assert removed == [folder / ".lock"]


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP])
def test_without_locks_a_folder_is_shared_but_never_archived(tmp_path, monkeypatch, code):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    finish(tmp_path / "stale", OLD, "old")
    monkeypatch.setattr(fcntl, "flock", refuse)
    with shared_folder(tmp_path / "new", NEW) as entered:
        assert entered.state is State.PARTIAL
    with pytest.raises(ArtifactError, match="no locks"), shared_folder(tmp_path / "stale", NEW):
        pass
    assert (tmp_path / "stale" / "data.txt").read_text() == "old"


def test_a_folder_that_was_moved_or_begun_from_other_inputs_is_noticed(tmp_path):
    folder = tmp_path / "stage"
    prepare(folder, OLD)
    require_begun(folder, OLD)
    with pytest.raises(MismatchError, match="other inputs"):
        require_begun(folder, NEW)
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(MismatchError, match="moved away"):
        require_begun(folder, OLD)


def test_processes_that_write_a_file_once_at_the_same_time_leave_the_first_one(tmp_path):
    def write(index: int) -> None:
        with atomic_write(tmp_path / "part", once=True) as temporary:
            temporary.write_text(str(index) * 1000)

    at_once(16, write)
    text = (tmp_path / "part").read_text()
    assert text in [str(index) * 1000 for index in range(16)]
    write(99)
    assert (tmp_path / "part").read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == ["part"]


def test_writing_once_works_without_hard_links(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    for text in ("first", "second"):
        with atomic_write(tmp_path / "part", once=True) as temporary:
            temporary.write_text(text)
    assert (tmp_path / "part").read_text() == "first"


@pytest.fixture
def other():
    """Another process of this machine that is alive."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.communicate()


def claim_of(folder: Path, process: int, *, host: str = "", age: float = 0.0) -> Path:
    """A claim of the work ``x``, last renewed ``age`` seconds ago by the file system's clock."""
    path = folder / ".x.claim"
    path.write_text(json.dumps({"host": host or socket.gethostname(), "process": process, "owner": "", "mark": ""}))
    now = path.stat().st_mtime
    os.utime(path, (now - age, now - age))
    return path


def can_claim(folder: Path) -> bool:
    with claim(folder, "x") as is_ours:
        return is_ours


def test_a_claim_is_removed_after_success_and_after_an_error(tmp_path):
    with claim(tmp_path, "x") as is_ours:
        assert is_ours
        assert (tmp_path / ".x.claim").exists()
    with pytest.raises(RuntimeError), claim(tmp_path, "x"):
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_the_claim_of_a_running_process_is_valid_and_that_of_a_dead_one_is_not(tmp_path, other):
    claim_of(tmp_path, other.pid)
    assert not can_claim(tmp_path)
    other.communicate()
    assert can_claim(tmp_path)


def test_a_restarted_container_takes_over_a_claim_with_its_own_process_number(tmp_path):
    claim_of(tmp_path, os.getpid())
    assert can_claim(tmp_path)


@pytest.mark.parametrize("skew", [-7200.0, 0.0, 7200.0])
def test_claims_of_other_machines_lapse_by_the_clock_of_the_file_system(tmp_path, monkeypatch, skew):
    """The local clock may be hours off; it is never read."""
    real_time = time.time
    monkeypatch.setattr(time, "time", lambda: real_time() + skew)
    monkeypatch.setattr(time, "time_ns", lambda: int((real_time() + skew) * 1e9))
    claim_of(tmp_path, 1, host="elsewhere", age=LEASE / 2)
    assert not can_claim(tmp_path)
    claim_of(tmp_path, 1, host="elsewhere", age=LEASE + 5)
    assert can_claim(tmp_path)


@pytest.mark.parametrize("offset", [-7200.0, 7200.0])
def test_a_file_system_whose_clock_is_hours_off_makes_no_difference(tmp_path, monkeypatch, offset):
    real_now = claims._now
    monkeypatch.setattr(claims, "_now", lambda folder: real_now(folder) + offset)
    path = claim_of(tmp_path, 1, host="elsewhere")
    for age, lapsed in ((LEASE / 2, False), (LEASE + 5, True)):
        stamp = real_now(tmp_path) + offset - age
        os.utime(path, (stamp, stamp))
        assert can_claim(tmp_path) is lapsed


def test_a_claim_is_renewed_while_its_owner_works(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "RENEWAL", 0.02)
    with claim(tmp_path, "x"):
        before = (tmp_path / ".x.claim").stat().st_mtime_ns
        time.sleep(0.3)
        assert (tmp_path / ".x.claim").stat().st_mtime_ns > before


def test_an_owner_whose_claim_was_taken_over_does_not_remove_the_new_claim(tmp_path):
    with claim(tmp_path, "x"):
        claim_of(tmp_path, 1, host="elsewhere")
    assert (tmp_path / ".x.claim").exists()


@pytest.mark.parametrize("text", ["", '{"host": "a', "3", "{}", '{"host": "HOST", "process": "x"}'])
def test_a_damaged_claim_lapses_with_its_lease(tmp_path, text):
    path = tmp_path / ".x.claim"
    path.write_text(text.replace("HOST", socket.gethostname()))
    assert not can_claim(tmp_path)
    old = path.stat().st_mtime - LEASE - 5
    os.utime(path, (old, old))
    assert can_claim(tmp_path)


def test_of_sixteen_claims_at_once_one_succeeds(tmp_path, monkeypatch):
    everyone = threading.Barrier(16, timeout=DEADLOCK)

    def take(_: int) -> bool:
        with claim(tmp_path, "x") as is_ours:
            everyone.wait()
            return is_ours

    # The threads are one process, whose own claim would count as that of a process before a restart.
    monkeypatch.setattr(claims, "_is_running", lambda process: True)
    assert sum(at_once(16, take)) == 1


def test_sweeping_removes_only_files_that_killed_processes_left(tmp_path):
    killed, alien = half_written(tmp_path / "part-00000.parquet"), tmp_path / ".part.0123456789ab.tmp"
    old_alien = tmp_path / ".part.0123456789ff.tmp"  # of another machine, whose locks are not seen here
    for path in (killed, alien, old_alien, *(tmp_path / name for name in (".x.claim", ".new.claim", "part", ".lock"))):
        path.write_text("x")
    for path, age in ((old_alien, ABANDONED + 5), (tmp_path / ".x.claim", LEASE + 5)):
        old = path.stat().st_mtime - age
        os.utime(path, (old, old))
    with atomic_write(tmp_path / "part-00001.parquet") as being_written:
        sweep(tmp_path)
        kept = {path.name for path in tmp_path.iterdir()}
        being_written.write_text("x")
    assert kept == {being_written.name, alien.name, ".new.claim", "part", ".lock"}


def test_a_full_disk_while_claiming_is_one_clear_error(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(ArtifactError, match="disk is full"), claim(tmp_path, "x"):
        pass
