"""Predictions in an object store: the same bytes as in a folder, workers that share nothing but the store."""

from __future__ import annotations

import itertools
import json

import fsspec
import pytest

import noisystudent
from flaky_store import FlakyFileSystem
from labeling_set import SETTINGS, content, save_teacher, save_unlabeled
from noisystudent.artifacts.folder import INPUTS, MANIFEST
from noisystudent.commands.main import main
from noisystudent.data import files
from noisystudent.data.store import Store, fetched, local_folder
from noisystudent.errors import ArtifactError, DataError, MismatchError
from noisystudent.pseudo_labels.labeling import worker as worker_module
from noisystudent.pseudo_labels.labeling.worker import PartWriter
from noisystudent.pseudo_labels.predictions import PREDICTIONS
from object_store import s3_bucket

URL = "flaky://bucket/predictions"


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A teacher and a source, and the predictions of one worker in a folder."""
    root = tmp_path_factory.mktemp("given")
    words = {"teacher": save_teacher(root / "teacher"), "source": save_unlabeled(root / "unlabeled.npz", 4)}
    words |= {"settings": SETTINGS, "quiet": True}
    return words, noisystudent.label(**words, out=root / "predictions")


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch) -> Store:
    """An empty store that fails at every tenth request, and the test's own cache."""
    monkeypatch.setattr(files, "WAITS", (0.0,) * len(files.WAITS))
    monkeypatch.setattr(FlakyFileSystem, "store", {})
    monkeypatch.setattr(FlakyFileSystem, "requests", itertools.count(1))
    monkeypatch.setattr(worker_module, "LONGEST_COMMIT", 0.0)
    machine(tmp_path, monkeypatch, "first")
    return Store(URL)


def machine(tmp_path, monkeypatch, name: str) -> None:
    """From here on, this is another machine with another cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))


def stored() -> dict[str, bytes]:
    filesystem, path = fsspec.core.url_to_fs(URL.replace("flaky", "memory"))
    filesystem.store = FlakyFileSystem.store
    return {name.rsplit("/", 1)[-1]: file.getvalue() for name, file in filesystem.store.items() if path in name}


def test_a_store_gets_the_bytes_of_a_folder_and_others_read_them_there(given, tmp_path, monkeypatch):
    words, folder = given
    there = noisystudent.label(**words, out=URL)
    assert there == local_folder(URL)
    expected = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}
    assert stored() == expected
    machine(tmp_path, monkeypatch, "other")
    selected = noisystudent.select(predictions=URL, out=tmp_path / "selected")
    assert selected == noisystudent.select(predictions=folder, out=tmp_path / "expected")
    assert content(fetched(URL, PREDICTIONS)) == content(folder)
    monkeypatch.setattr(Store, "fetch", None)  # what is here and as it is there is not fetched again
    assert fetched(URL, PREDICTIONS) == local_folder(URL)


def test_workers_on_machines_of_their_own_do_each_part_once_and_finish_for_each_other(given, tmp_path, monkeypatch):
    words, folder = given
    made = []
    label = PartWriter._label

    def counting(self, shard, bar):
        made.append(shard)
        return label(self, shard, bar)

    def stopping(self, shard, bar):
        if len(made) == 3:
            raise KeyboardInterrupt
        return counting(self, shard, bar)

    monkeypatch.setattr(PartWriter, "_label", stopping)
    with pytest.raises(KeyboardInterrupt):
        noisystudent.label(**words, out=URL, worker="1/2")
    assert MANIFEST not in stored()
    assert len([name for name in stored() if name.startswith("part-")]) == 3
    monkeypatch.setattr(PartWriter, "_label", counting)
    machine(tmp_path, monkeypatch, "second")
    noisystudent.label(**words, out=URL, worker="2/2")
    assert sorted(made) == [0, 1, 2, 3]
    assert stored()[MANIFEST] == (folder / MANIFEST).read_bytes()
    machine(tmp_path, monkeypatch, "third")
    noisystudent.label(**words, out=URL, worker="1/2")  # comes late, has nothing to do
    assert len(made) == 4


def test_a_part_that_was_made_but_not_put_is_put_and_not_made_again(given, monkeypatch):
    words, _ = given
    put = Store.put
    monkeypatch.setattr(Store, "put", lambda self, path: None if path.name == "part-00002.parquet" else put(self, path))
    take, taken = PartWriter.take, []

    def once(self, part, bar=None):
        taken.append(part)
        if len(taken) > 4:
            raise KeyboardInterrupt
        return take(self, part, bar)

    monkeypatch.setattr(PartWriter, "take", once)
    with pytest.raises(KeyboardInterrupt):
        noisystudent.label(**words, out=URL)
    monkeypatch.setattr(Store, "put", put)
    monkeypatch.setattr(PartWriter, "take", take)
    monkeypatch.setattr(PartWriter, "_label", None)
    noisystudent.label(**words, out=URL)
    assert {"part-00002.parquet", MANIFEST} <= stored().keys()


def test_other_inputs_are_refused_and_named(given, tmp_path, monkeypatch):
    words, _ = given
    noisystudent.label(**words, out=URL)
    machine(tmp_path, monkeypatch, "other")
    other = save_teacher(tmp_path / "teacher", seed=1)
    with pytest.raises(MismatchError, match=r"predictions was made from other inputs \(teacher: .*give another --out"):
        noisystudent.label(**{**words, "teacher": other}, out=URL)


def test_unfinished_damaged_and_hostile_predictions_are_refused(given, store, tmp_path, monkeypatch):
    words, folder = given
    with pytest.raises(ArtifactError, match=r"has no manifest.json: it is not finished predictions"):
        noisystudent.select(predictions=URL, out=tmp_path / "selected")
    noisystudent.label(**words, out=URL)
    machine(tmp_path, monkeypatch, "other")
    (tmp_path / "part-00001.parquet").write_bytes(b"other bytes")
    store.put(tmp_path / "part-00001.parquet")
    with pytest.raises(ArtifactError, match=r"part-00001.parquet was changed after it was written"):
        fetched(URL, PREDICTIONS)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"]["../../escaped"] = "0"
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    store.put(tmp_path / MANIFEST)
    with pytest.raises(ArtifactError, match=r"names the file '../../escaped'"):
        fetched(URL, PREDICTIONS)
    (tmp_path / MANIFEST).write_text("[]")
    store.put(tmp_path / MANIFEST)
    with pytest.raises(ArtifactError, match=r"manifest.json is damaged"):
        fetched(URL, PREDICTIONS)


def test_a_store_that_cannot_be_written_is_named_and_nothing_is_lost(given, monkeypatch):
    words, _ = given

    def refusing(self, path, value, **options):
        raise PermissionError("read only")

    with monkeypatch.context() as patch:
        patch.setattr(FlakyFileSystem, "pipe_file", refusing)
        with pytest.raises(DataError, match=r"'flaky://bucket/.*inputs.json' cannot be written \(read only\)"):
            noisystudent.label(**words, out=URL)
    noisystudent.label(**words, out=URL)
    assert {INPUTS, MANIFEST} <= stored().keys()


def test_the_command_line_takes_urls(given, tmp_path, capsys):
    words, folder = given
    common = ["--teacher", str(words["teacher"]), "--source", str(words["source"])]
    common += [f"--{name}={value}" for name, value in SETTINGS.items()]
    for url in (URL, f"file://{tmp_path}/here"):
        assert main(["label", *common, "--out", url]) == 0
        assert content(fetched(url, PREDICTIONS)) == content(folder)
        assert main(["select", "--predictions", url, "--out", str(tmp_path / "selected")]) == 0
    assert content(tmp_path / "here") == content(folder)
    capsys.readouterr()
    assert main(["select", "--predictions", "flaky://bucket/none", "--out", str(tmp_path / "none")]) == 1
    assert "flaky://bucket/none has no manifest.json" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")
def test_an_s3_compatible_server_gets_the_same_bytes(given, tmp_path, monkeypatch):
    words, folder = given
    with s3_bucket(monkeypatch, "labels"):
        for worker in ("2/2", "1/2"):
            machine(tmp_path, monkeypatch, worker[0])
            noisystudent.label(**words, out="s3://labels/deep/predictions", worker=worker)
        machine(tmp_path, monkeypatch, "other")
        assert content(fetched("s3://labels/deep/predictions/", PREDICTIONS)) == content(folder)
        assert Store("s3://labels/deep/predictions").names() == content(folder).keys()
