"""Parts of several shards: the rows of parts of one, the same bytes from any worker, one shard in memory."""

import gc
import re
import subprocess
import sys
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow.parquet as pq
import pytest

import noisystudent
from labeling_set import SETTINGS, content, content_after_kills, keys, save_folder, save_teacher, save_unlabeled
from noisystudent.artifacts import claims
from noisystudent.artifacts.folder import read_json
from noisystudent.errors import DataError
from noisystudent.pseudo_labels import predictions
from noisystudent.pseudo_labels.labeling import processes as starting
from noisystudent.pseudo_labels.labeling.worker import PartWriter
from noisystudent.pseudo_labels.predictions import (
    FAILED,
    ShardLabels,
    list_parts,
    read_all,
    read_log_probabilities,
    read_part_stats,
    read_shard,
)
from noisystudent.reporting.read import _pseudo_labels

SHARDS, MOST = 5, 2  # so three shards go to the first part and two to the second
FEWER_PARTS = f"from noisystudent.pseudo_labels import predictions; predictions.MAX_PARTS = {MOST}; "


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A teacher, a source, and the predictions of one undisturbed worker, in parts of one shard and of several."""
    root = tmp_path_factory.mktemp("given")
    teacher, source = save_teacher(root / "teacher"), save_unlabeled(root / "unlabeled.npz", SHARDS)
    words = {"teacher": teacher, "source": source, "settings": SETTINGS, "quiet": True}
    single = noisystudent.label(**words, out=root / "single")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predictions, "MAX_PARTS", MOST)
        several = noisystudent.label(**words, out=root / "several")
    return words, single, several


@pytest.fixture
def label(given, tmp_path, monkeypatch):
    """Labels the given source into the test's own folder, several shards per part."""
    monkeypatch.setattr(predictions, "MAX_PARTS", MOST)

    def call(worker: str | None = None, **changed):
        return noisystudent.label(**{**given[0], "out": tmp_path / "out", **changed}, worker=worker)

    return call


def test_several_shards_make_a_part_of_a_row_group_each_with_the_rows_of_parts_of_one(given):
    _, single, several = given
    assert [path.name for path in list_parts(several)] == ["part-00000.parquet", "part-00001.parquet"]
    assert [read_part_stats(path).rows for path in list_parts(several)] == [(1024, 1024, 1024), (1024, 24)]
    assert keys(several) == keys(single)
    np.testing.assert_array_equal(read_all(several, 3)[1], read_all(single, 3)[1])
    for shard, alone in enumerate(list_parts(single)):
        shard_keys, values = read_shard(list_parts(several)[shard // 3], shard % 3, 3)
        expected, same = read_log_probabilities(alone, 3)
        assert shard_keys == expected
        np.testing.assert_array_equal(values, same)
    assert read_json(several / "summary.json")["parts"] == 2


@pytest.mark.parametrize("count", [2, 3])
def test_workers_at_once_make_what_one_makes_byte_for_byte(given, label, count, monkeypatch):
    monkeypatch.setattr(
        claims, "_is_running", lambda process: True
    )  # threads here: one process, whose claims are alive
    with ThreadPoolExecutor(count) as pool:
        folder, *_ = pool.map(label, [f"{index + 1}/{count}" for index in range(count)])
    assert content(folder) == content(given[2])


def test_a_worker_holds_the_images_of_one_shard_only(label, monkeypatch):
    original, alive = PartWriter._read, []

    def read(self, shard):
        gc.collect()
        assert not any(images() for images in alive)
        images = original(self, shard)
        alive.append(weakref.ref(images.pixels))
        return images

    monkeypatch.setattr(PartWriter, "_read", read)
    label()
    assert len(alive) == SHARDS


def test_an_error_in_mid_part_leaves_no_half_of_it(given, label, tmp_path, monkeypatch):
    original = PartWriter._read

    def read(self, shard):
        if shard == 4:
            raise DataError("the source is gone")
        return original(self, shard)

    with monkeypatch.context() as patch:
        patch.setattr(PartWriter, "_read", read)
        with pytest.raises(DataError, match="gone"):
            label()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {".lock", "inputs.json", "part-00000.parquet"}
    assert content(label()) == content(given[2])


def test_progress_counts_images_of_all_shards(given, label, capsys):
    label(quiet=False)
    printed = capsys.readouterr().err
    assert re.search(r"^label: 4120 images in", printed, re.MULTILINE)
    assert "4,120 images labeled in 2 parts\n" in printed


def test_a_shard_without_rows_moves_no_other_and_failures_keep_the_number_of_their_shard(tmp_path, label):
    broken = dict.fromkeys(range(1024, 2048), b"") | {5: b"", 3075: b"GIF"}
    folder = label(
        teacher=save_teacher(tmp_path / "teacher", channels=3),
        source=save_folder(tmp_path / "unlabeled", 3080, broken),
        settings={**SETTINGS, "data.max_corrupt_fraction": 0.5},
    )
    assert [read_part_stats(path).rows for path in list_parts(folder)] == [(1023, 0), (1024, 7)]
    failed = pq.read_table(folder / FAILED)
    assert sorted(failed["key"].to_pylist()) == [f"{number:05d}.png" for number in sorted(broken)]
    assert [int(key[:5]) // 1024 for key in failed["key"].to_pylist()] == failed["shard"].to_pylist()
    whole = read_all(folder, 3)
    shards = [read_shard(path, index, 3) for path in list_parts(folder) for index in (0, 1)]
    assert [len(shard_keys) for shard_keys, _ in shards] == [1023, 0, 1024, 7]
    assert whole[0] == [key for shard_keys, _ in shards for key in shard_keys]
    np.testing.assert_array_equal(whole[1], np.concatenate([values for _, values in shards]))
    summary = noisystudent.select(predictions=folder, out=tmp_path / "selection")
    assert summary.rows == 2054


def row_groups(path):
    metadata = pq.read_metadata(path)
    return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]


def test_a_selection_has_the_row_groups_of_its_predictions_and_the_page_reads_both(given, tmp_path):
    noisystudent.select(predictions=given[2], out=tmp_path / "selection")
    for mine, theirs in zip(list_parts(tmp_path / "selection"), list_parts(given[2]), strict=True):
        assert mine.name == theirs.name
        assert row_groups(mine) == row_groups(theirs) == list(read_part_stats(theirs).rows)
    read = list(_pseudo_labels(given[2], list_parts(tmp_path / "selection")))
    assert [key for batch in read for key in batch["key"].to_pylist()] == keys(given[2])


def test_a_part_of_empty_shards_only_is_read_as_no_rows(tmp_path):
    for classes in (3, 300):
        path = tmp_path / f"{classes}.parquet"
        empty = ShardLabels.of([], np.zeros((0, classes), np.float32), [("a", "broken")])
        predictions.write_part(path, [empty, empty])
        assert read_part_stats(path).failed == ((0, "a", "broken"), (1, "a", "broken"))
        for shard_keys, values in (read_log_probabilities(path, classes), read_shard(path, 1, classes)):
            assert shard_keys == []
            assert values.shape == (0, classes)


def test_a_worker_killed_in_mid_part_loses_and_doubles_nothing(given, label, tmp_path):
    out = tmp_path / "out"
    words = [f"--{name}={given[0][name]}" for name in ("teacher", "source")]
    options = [f"--{name}={value}" for name, value in SETTINGS.items()]
    code = FEWER_PARTS + "import sys; from noisystudent.commands.main import main; sys.exit(main(sys.argv[1:]))"
    for part in (0, 1):
        worker = subprocess.Popen([sys.executable, "-c", code, "label", *words, *options, f"--out={out}"])
        while not list(out.glob(f".part-{part:05d}.claim")):
            assert worker.poll() is None
            time.sleep(0.005)
        time.sleep(0.05 * part)
        worker.kill()
        worker.communicate()
        if not part:
            assert not list(out.glob("part-*"))
    label()
    assert content_after_kills(out) == content(given[2])


def test_processes_of_one_command_make_what_one_makes(given, label, tmp_path, monkeypatch, capsys):
    imported, rest = starting._CHILD.split("; from ", 1)
    monkeypatch.setattr(starting, "_CHILD", f"{imported}; {FEWER_PARTS}from {rest}")
    label(workers=2, quiet=False)
    assert content(tmp_path / "out") == content(given[2])
    assert "label, 2 workers: 4120 images in" in capsys.readouterr().err
