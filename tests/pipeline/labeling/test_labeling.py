"""Labeling by one worker or many: every image accounted for exactly once, and the same bytes whoever labels."""

import errno
import json
import os
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pyarrow.parquet as pq
import pytest

import noisystudent
from at_once import DEADLOCK
from labeling_set import SETTINGS, content, keys, save_folder, save_teacher, save_unlabeled
from noisystudent.artifacts import claims
from noisystudent.artifacts.folder import read_json, verify
from noisystudent.artifacts.temporary import half_written
from noisystudent.commands.main import main
from noisystudent.errors import ArtifactError, DataError, MismatchError, SettingsError
from noisystudent.pseudo_labels.labeling import worker as worker_module
from noisystudent.pseudo_labels.labeling.job import SUMMARY, Task
from noisystudent.pseudo_labels.labeling.worker import PartWriter, in_order
from noisystudent.pseudo_labels.predictions import (
    FAILED,
    ShardLabels,
    read_all,
    read_log_probabilities,
    read_part_stats,
    write_part,
)
from noisystudent.runtime.worker import Worker

SHARDS = 4
ROWS = 3 * 1024 + 24


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A teacher, a source, and the predictions of one undisturbed worker."""
    root = tmp_path_factory.mktemp("given")
    teacher, source = save_teacher(root / "teacher"), save_unlabeled(root / "unlabeled.npz", SHARDS)
    whole = noisystudent.label(teacher=teacher, source=source, out=root / "whole", settings=SETTINGS, quiet=True)
    return teacher, source, whole


@pytest.fixture
def label(given, tmp_path):
    """Labels the given source into the test's own folder."""
    teacher, source, _ = given

    def call(worker: str | None = None, **changed):
        words = {"teacher": teacher, "source": source, "out": tmp_path / "out", "settings": SETTINGS, **changed}
        return noisystudent.label(**words, worker=worker, quiet=True)

    return call


@pytest.fixture
def other():
    """Another process of this machine that is alive."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.communicate()


def test_one_worker_accounts_for_every_image_in_order(given):
    _, _, whole = given
    assert keys(whole) == [f"{row:06d}" for row in range(ROWS)]
    assert pq.read_table(whole / FAILED).num_rows == 0
    parts = {f"part-{shard:05d}.parquet" for shard in range(SHARDS)}
    assert set(verify(whole, "predictions").files) == {FAILED, SUMMARY, *parts}
    assert set(content(whole)) == {"inputs.json", "manifest.json", *verify(whole, "predictions").files}


@pytest.mark.parametrize("count", [2, 3, 7])
def test_workers_at_once_make_what_one_makes_byte_for_byte(given, label, count, monkeypatch):
    monkeypatch.setattr(
        claims, "_is_running", lambda process: True
    )  # threads here: one process, whose claims are alive
    with ThreadPoolExecutor(count) as pool:
        folders = list(pool.map(label, [f"{index + 1}/{count}" for index in range(count)]))
    assert content(folders[0]) == content(given[2])


def test_a_worker_alone_does_the_work_of_those_that_never_came(given, label):
    assert content(label("3/16")) == content(given[2])


@pytest.mark.parametrize("size", [2, 3])
def test_under_torchrun_every_row_is_labeled_once(given, label, monkeypatch, size):
    labeled: list[int] = []
    original = worker_module.label_shard
    monkeypatch.setattr(worker_module, "label_shard", lambda *a, **k: labeled.append(a[2]) or original(*a, **k))
    for rank in range(size):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", str(size))
        folder = label()
    assert sorted(labeled) == list(range(SHARDS))
    assert keys(folder) == [f"{row:06d}" for row in range(ROWS)]


def test_workers_begin_with_shares_that_are_apart_and_help_from_the_other_end():
    orders = [in_order(range(10), Worker(index, 3)) for index in range(3)]
    assert orders[0] == [0, 3, 6, 9, 7, 4, 1, 8, 5, 2]
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert [order[0] for order in orders] == [0, 1, 2]
    assert in_order([4, 7, 9], Worker()) == [4, 7, 9]


def test_a_worker_that_joins_late_takes_what_no_other_has(given, label, monkeypatch):
    """While one worker is at its first shard, another labels all others; then both end with complete predictions."""
    monkeypatch.setattr(claims, "_is_running", lambda process: True)
    begun, go_on = threading.Event(), threading.Event()
    labeled: dict[str, list[int]] = {"1/1": [], "2/5": []}
    original = PartWriter._read

    def read(self, shard):
        labeled[self._owner].append(shard)
        if self._owner == "1/1":
            begun.set()
            assert go_on.wait(30)
        return original(self, shard)

    monkeypatch.setattr(PartWriter, "_read", read)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(label)
        assert begun.wait(30)
        late = pool.submit(label, "2/5")
        while len(labeled["2/5"]) < SHARDS - 1:
            assert not late.done()
        go_on.set()
        folder = first.result(30)
        late.result(30)
    assert labeled == {"1/1": [0], "2/5": [1, 2, 3]}
    assert content(folder) == content(given[2])


def test_two_workers_that_claim_the_same_shards_are_harmless(given, label, monkeypatch):
    """Claims that hold nothing back are waste only: every part appears once, whole, and as one worker makes it."""
    monkeypatch.setattr(claims, "_write_claim", lambda path, text: True)
    with ThreadPoolExecutor(3) as pool:
        folder, *_ = pool.map(label, ["1/1"] * 3)
    assert content(folder) == content(given[2])


def test_the_shards_of_a_killed_worker_are_taken_at_once(given, label, tmp_path, other):
    out = tmp_path / "out"
    out.mkdir()
    claim = out / ".part-00002.claim"
    claim.write_text(json.dumps({"host": socket.gethostname(), "process": other.pid, "owner": "", "mark": ""}))
    other.communicate()
    half_written(out / "part-00002.parquet").write_bytes(b"half a part")
    assert content(label()) == content(given[2])


def test_a_worker_waits_for_a_shard_that_another_machine_labels(given, label, tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    claim = out / ".part-00001.claim"
    claim.write_text(json.dumps({"host": "elsewhere", "process": 1, "owner": "2/2", "mark": ""}))
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        assert sorted(path.name for path in out.glob("part-*")) == [f"part-0000{i}.parquet" for i in (0, 2, 3)]
        if len(waits) == 3:  # it is not renewed: the other machine is gone
            old = claim.stat().st_mtime - claims.LEASE - 5
            os.utime(claim, (old, old))

    monkeypatch.setattr(worker_module.time, "sleep", sleep)
    assert content(label("1/2")) == content(given[2])
    assert waits == pytest.approx([0.1, 0.3, 0.7])


def test_labeling_again_finds_it_done_and_a_part_is_never_made_twice(given, label, monkeypatch):
    folder = label()
    monkeypatch.setattr(PartWriter, "take", lambda *_: pytest.fail("it was labeled before"))
    assert label("2/3") == folder


def test_images_that_cannot_be_decoded_are_recorded_with_their_part(tmp_path):
    source = save_folder(tmp_path / "unlabeled", 1100, {3: b"", 1023: b"\xff\xd8 no jpeg", 1050: b"GIF"})
    teacher = save_teacher(tmp_path / "teacher", channels=3)
    folders = [
        noisystudent.label(
            teacher=teacher, source=source, out=tmp_path / str(n), settings=SETTINGS, worker=w, quiet=True
        )
        for n, w in enumerate((None, "2/2"))
    ]
    assert content(folders[0]) == content(folders[1])
    failed = pq.read_table(folders[0] / FAILED).to_pylist()
    assert [(row["shard"], row["key"]) for row in failed] == [(0, "00003.png"), (0, "01023.png"), (1, "01050.png")]
    assert failed[0]["reason"] == "the file is empty"
    stats = read_part_stats(folders[0] / "part-00000.parquet")
    assert stats.rows == (1022,)
    assert stats.failed == tuple((0, row["key"], row["reason"]) for row in failed[:2])
    # Every image of the source is accounted for once, and no row lacks a label.
    accounted = [*keys(folders[0]), *(row["key"] for row in failed)]
    assert sorted(accounted) == [f"{number:05d}.png" for number in range(1100)]
    stored_keys, values = read_all(folders[0], 3)
    assert len(stored_keys) == len(values) == 1097
    assert noisystudent.select(predictions=folders[0], out=tmp_path / "s").rows == 1097


def test_too_many_unreadable_images_refuse_the_manifest_and_a_higher_limit_gives_it(tmp_path):
    source = save_folder(tmp_path / "unlabeled", 20, dict.fromkeys(range(5), b""))
    words = {
        "teacher": save_teacher(tmp_path / "t", channels=3),
        "source": source,
        "out": tmp_path / "out",
        "quiet": True,
    }
    with pytest.raises(DataError, match=r"5 of the 20 .*data\.max_corrupt_fraction"):
        noisystudent.label(**words)
    assert not (tmp_path / "out" / "manifest.json").exists()
    noisystudent.label(**words, settings={"data.max_corrupt_fraction": 0.5})
    assert pq.read_table(tmp_path / "out" / FAILED).num_rows == 5


def test_a_part_that_does_not_account_for_its_shard_is_named(given, label, tmp_path):
    folder = label()
    (folder / "manifest.json").unlink()
    part = folder / "part-00001.parquet"
    shards = [ShardLabels.of(*read_log_probabilities(part, 3))]
    pq.write_table(pq.read_table(part).slice(1), part)
    with pytest.raises(
        ArtifactError, match=r"part-00001\.parquet records \(1024,\) rows .*, but its row groups have \(1023,\)"
    ):
        label()
    part.unlink()
    write_part(part, shards * 2)
    with pytest.raises(ArtifactError, match=r"part-00001\.parquet accounts for \[1024, 1024\] images, but .* \[1024\]"):
        label()
    pq.write_table(pq.read_table(part).replace_schema_metadata(None), part)
    with pytest.raises(ArtifactError, match=r"part-00001\.parquet does not record which rows belong to which shard"):
        label()
    part.write_bytes(b"nonsense")
    with pytest.raises(ArtifactError, match=r"part-00001\.parquet is damaged"):
        label()
    part.unlink()
    assert content(label()) == content(given[2])


def test_a_full_disk_in_mid_part_loses_nothing(given, label, tmp_path, monkeypatch):
    original, calls = pq.ParquetWriter.write_table, []

    def write(self, table):
        original(self, table)
        calls.append(table)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(pq.ParquetWriter, "write_table", write)
        with pytest.raises(ArtifactError, match=r"disk is full.*part-00002\.parquet.*run the same command again"):
            label()
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {
        ".lock", "inputs.json", "part-00000.parquet", "part-00001.parquet",
    }  # fmt: skip
    assert content(label()) == content(given[2])


def test_an_error_gives_the_shard_back(given, label, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(PartWriter, "_read", lambda *_: (_ for _ in ()).throw(DataError("the source is gone")))
        with pytest.raises(DataError, match="gone"):
            label()
    assert not list((tmp_path / "out").glob(".*.claim"))
    assert content(label()) == content(given[2])


@pytest.mark.parametrize("changed", ["teacher", "source"])
def test_workers_that_start_at_once_on_a_folder_of_other_inputs_mix_nothing(
    given, label, tmp_path, monkeypatch, changed
):
    monkeypatch.setattr(claims, "_is_running", lambda process: True)
    before = content(label())
    new = (
        save_teacher(tmp_path / "new", seed=1)
        if changed == "teacher"
        else save_unlabeled(tmp_path / "new.npz", 4, seed=1)
    )
    alone = label(out=tmp_path / "alone", **{changed: new})
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda worker: label(worker, **{changed: new}), ["1/4", "2/4", "3/4", "4/4"]))
    assert content(tmp_path / "out") == content(alone) != before
    (archived,) = tmp_path.glob("out.*")
    assert content(archived) == before
    assert content(label()) == before  # and comes back


def test_a_worker_of_other_inputs_is_refused_while_one_is_at_work(given, label, tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "PATIENCE", 0.2)
    new = save_teacher(tmp_path / "new", seed=1)
    original, refused = PartWriter._read, []

    def read(self, shard):
        if not refused:
            refused.append(True)
            with pytest.raises(MismatchError, match=r"other processes are working .*teacher"):
                label(teacher=new)
        return original(self, shard)

    monkeypatch.setattr(PartWriter, "_read", read)
    assert content(label()) == content(given[2])
    assert refused == [True]


def test_a_worker_whose_folder_was_taken_away_writes_nothing_into_the_next(given, label, tmp_path, monkeypatch):
    """Where a file system has no working locks, the folder may be set aside under a worker's hands."""
    out = tmp_path / "out"
    original = PartWriter._read

    def read(self, shard):
        out.rename(tmp_path / "moved")
        out.mkdir()
        (out / "inputs.json").write_text('{"teacher": "another"}')
        return original(self, shard)

    monkeypatch.setattr(PartWriter, "_read", read)
    with pytest.raises(MismatchError, match="other inputs"):
        label()
    assert [path.name for path in out.iterdir()] == ["inputs.json"]


def test_two_that_commit_at_once_write_the_same_manifest(given, label, monkeypatch):
    folder = label()
    whole = content(folder)
    monkeypatch.setattr(claims, "_write_claim", lambda path, text: True)
    original = Task.commit
    both = threading.Barrier(2, timeout=DEADLOCK)

    def commit(self):
        both.wait()
        return original(self)

    monkeypatch.setattr(Task, "commit", commit)
    (folder / "manifest.json").unlink()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(label, ["1/2", "2/2"]))
    assert content(folder) == whole
    assert read_json(folder / "manifest.json")["kind"] == "predictions"


@pytest.mark.parametrize("worker", ["17/16", "0/16", "x"])
def test_a_worker_that_cannot_be_is_one_clear_line(given, tmp_path, capsys, worker):
    teacher, source, _ = given
    words = ["label", f"--teacher={teacher}", f"--source={source}", f"--out={tmp_path / 'out'}", f"--worker={worker}"]
    assert main(words) == 2
    assert f"noisystudent: --worker is '{worker}'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_no_workers_at_all_is_refused(label):
    with pytest.raises(SettingsError, match="--workers is 0"):
        label(workers=0)


def test_the_worker_says_which_it_is_and_from_where_it_knows(given, tmp_path, capsys, monkeypatch):
    teacher, source, _ = given
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "16")
    monkeypatch.setenv("SLURM_ARRAY_TASK_MIN", "5")
    assert main(["label", f"--teacher={teacher}", f"--source={source}", f"--out={tmp_path / 'out'}"]) == 0
    assert "worker 3/16 (known from SLURM_ARRAY_TASK_ID)" in capsys.readouterr().err
