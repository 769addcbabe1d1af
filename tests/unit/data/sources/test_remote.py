"""Sources behind URLs: the same as local ones, with retries for a store that sometimes fails."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_images import class_folders
from flaky_store import FlakyFileSystem
from noisystudent.data import files
from noisystudent.data.shards.pack import pack_source
from noisystudent.data.source import Record, Source
from noisystudent.data.sources.folder import FolderSource
from noisystudent.data.sources.open import open_source
from noisystudent.errors import DataError
from object_store import s3_bucket
from tar_shards import image, write_shards


@pytest.fixture(autouse=True)
def quick(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr(files, "WAITS", (0.0,) * len(files.WAITS))
    monkeypatch.setattr(FlakyFileSystem, "store", {})
    monkeypatch.setattr(FlakyFileSystem, "requests", itertools.count(1))
    monkeypatch.setattr(FlakyFileSystem, "failures", 0)


def records(source: Source) -> list[Record]:
    return [record for shard in range(len(source.shard_sizes)) for record in source.read(shard)]


def upload(folder: Path, url: str) -> None:
    store, folder_path = fsspec.core.url_to_fs(url)
    for path in folder.iterdir():
        if path.is_file():
            store.pipe_file(f"{folder_path}/{path.name}", path.read_bytes())


@pytest.mark.parametrize("protocol", ["memory", "flaky"])
def test_remote_shards_equal_local_ones(tmp_path, protocol):
    local = open_source(write_shards(tmp_path / "s", 3, 40), labeled=True)
    upload(tmp_path / "s", f"{protocol}://bucket/s")
    for spec in ("s", "s/", "s/train-{000..002}.tar", "s/train-*.tar", "s/*.tar"):
        remote = open_source(f"{protocol}://bucket/{spec}", labeled=True)
        assert remote.fingerprint == local.fingerprint
        assert records(remote) == records(local)
    assert records(open_source(f"{protocol}://bucket/s/train-001.tar", labeled=True)) == records(local)[40:80]
    assert (FlakyFileSystem.failures > 0) == (protocol == "flaky")


def test_a_file_url_is_a_path(tmp_path):
    write_shards(tmp_path)
    assert records(open_source(f"file://{tmp_path}/train-{{000..001}}.tar", labeled=True)) == records(
        open_source(tmp_path, labeled=True)
    )


def test_packed_shards_parquet_and_tables_survive_a_store_that_fails(tmp_path):
    folder = FolderSource(class_folders(tmp_path / "in", per_class=20), labeled=True)
    pack_source(folder, tmp_path / "out", rows_per_shard=7)
    upload(tmp_path / "out", "flaky://packed")
    remote = open_source("flaky://packed", labeled=True)
    assert [r.image for r in records(remote)] == [r.image for r in records(folder)]
    assert remote.classes == ("cat", "dog")
    rows = pa.table({"image": [r.image for r in records(folder)], "label": [r.label for r in records(folder)]})
    (tmp_path / "p").mkdir()
    pq.write_table(rows, tmp_path / "p" / "x.parquet", row_group_size=9)
    upload(tmp_path / "p", "flaky://hub/data")
    source = open_source("flaky://hub/data", labeled=True)
    assert [(r.image, r.label) for r in records(source)] == [(r.image, r.label) for r in records(folder)]
    assert source.fingerprint == open_source(tmp_path / "p", labeled=True).fingerprint
    table = "path,label\n" + "".join(f"cat/{row}.png,cat\ndog/{row}.png,dog\n" for row in range(20))
    (tmp_path / "in" / "list.csv").write_text(table)
    upload(tmp_path / "in", "flaky://single")
    for name in ("cat", "dog"):
        upload(tmp_path / "in" / name, f"flaky://single/{name}")
    remote, local = (open_source(f"{root}/list.csv", labeled=True) for root in ("flaky://single", tmp_path / "in"))
    assert records(remote) == records(local)
    assert remote.fingerprint == local.fingerprint
    assert FlakyFileSystem.failures > 5


def test_a_store_that_keeps_failing_is_named_with_its_reason(tmp_path, monkeypatch):
    upload(write_shards(tmp_path), "flaky://s")
    source = open_source("flaky://s", labeled=True)
    assert len(list(source.read(1))) == 3
    monkeypatch.setattr(FlakyFileSystem, "period", 1)
    message = r"'flaky://.*train-001.tar' cannot be read: 5 attempts failed, the last with the store hung up"
    with pytest.raises(DataError, match=message):
        list(source.read(1))
    with pytest.raises(DataError, match=r"'flaky://s' cannot be read: 5 attempts failed"):
        open_source("flaky://s", labeled=True)


def test_waits_grow_and_final_errors_are_not_retried(monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr(files, "WAITS", (0.1, 0.4, 1.6))
    monkeypatch.setattr(files.time, "sleep", waits.append)
    attempts: list[str] = []

    def fail(error):
        attempts.append("")
        raise error

    for error, raised in ((FileNotFoundError(), FileNotFoundError), (PermissionError("no"), DataError)):
        with pytest.raises(raised):
            files.with_retries(lambda error=error: fail(error), "s3://x")
    assert (len(attempts), waits) == (2, [])
    with pytest.raises(DataError, match=r"4 attempts failed, the last with TimeoutError"):
        files.with_retries(lambda: fail(TimeoutError()), "s3://x")
    assert (len(attempts), waits) == (6, [0.1, 0.4, 1.6])


def test_a_shard_replaced_in_the_store_is_indexed_anew(tmp_path):
    write_shards(tmp_path)
    upload(tmp_path, "memory://replaced")
    before = open_source("memory://replaced", labeled=True)
    content = (tmp_path / "train-001.tar").read_bytes()
    changed = content.replace(image(101), image(101)[:-1] + b"!")
    fsspec.filesystem("memory").pipe_file("/replaced/train-001.tar", changed)
    with pytest.raises(DataError, match=r"'1-1' in 'memory://.*train-001.tar' is not the one that was indexed"):
        list(before.read(1))
    after = open_source("memory://replaced", labeled=True)
    assert after.fingerprint != before.fingerprint
    assert records(after)[4].image.endswith(b"!")


def test_a_short_answer_is_retried_and_not_accepted(tmp_path, monkeypatch):
    upload(write_shards(tmp_path, 1), "flaky://short")
    source = open_source("flaky://short", labeled=True)
    cat_file = FlakyFileSystem.cat_file
    monkeypatch.setattr(FlakyFileSystem, "cat_file", lambda *a, **k: cat_file(*a, **k)[:-1])
    with pytest.raises(DataError, match=r"attempts failed, the last with the store sent \d+ bytes instead of \d+"):
        list(source.read(0))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("memory://nothing/here", r"There is no source 'memory://nothing/here': a URL names a .tar"),
        ("memory://nothing/here.tar", r"There is no file and no folder of .tar files at 'memory://nothing/here.tar'"),
        ("memory://nothing/{00..11}.tar", r"12 of the 12 files .* are missing, for example 'memory://nothing/00.tar'"),
        ("memory://nothing/*.parquet", r"No file matches"),
        ("memory://nothing/list.csv", r"There is no file 'memory://nothing/list.csv'"),
        ("nosuch://x/y.tar", r"'nosuch://x/y.tar' is not a URL that can be read"),
    ],
)
def test_urls_that_lead_nowhere_are_refused(url, message):
    with pytest.raises(DataError, match=message):
        open_source(url, labeled=False)


def test_a_protocol_that_is_not_installed_names_the_extra_to_install(monkeypatch):
    import fsspec.core

    def absent(*arguments, **options):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", absent)
    with pytest.raises(DataError, match=re.escape("(Install s3fs to access S3): pip install 'noisystudent[s3]'")):
        open_source("s3://bucket/images", labeled=True)


@pytest.mark.filterwarnings("ignore")
def test_an_s3_compatible_server_gives_the_same_images(tmp_path, monkeypatch):
    with s3_bucket(monkeypatch, "bucket"):
        local = open_source(write_shards(tmp_path / "s", 3, 20), labeled=True)
        upload(tmp_path / "s", "s3://bucket/shards")
        for spec in ("s3://bucket/shards", "s3://bucket/shards/train-{000..002}.tar", "s3://bucket/*/train-*.tar"):
            remote = open_source(spec, labeled=True)
            assert remote.fingerprint == local.fingerprint
            assert records(remote) == records(local)
        with pytest.raises(DataError, match=r"1 of the 4 files .* for example 's3://bucket/shards/train-003.tar'"):
            open_source("s3://bucket/shards/train-{000..003}.tar", labeled=True)
        pack_source(local, tmp_path / "packed", rows_per_shard=16)
        upload(tmp_path / "packed", "s3://bucket/packed")
        assert [r.image for r in records(open_source("s3://bucket/packed", labeled=True))] == [
            record.image for record in records(local)
        ]
        table = "path\n" + "".join(f"s3://bucket/single/{row}.png\n" for row in range(5))
        (tmp_path / "list.csv").write_text(table)
        for row in range(5):
            fsspec.filesystem("s3").pipe_file(f"bucket/single/{row}.png", image(row))
        assert [r.image for r in records(open_source(tmp_path / "list.csv", labeled=False))] == [
            image(row) for row in range(5)
        ]
