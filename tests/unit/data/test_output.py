"""Where commands may write: never onto, into or around a source, and never over files of the user."""

import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from noisystudent.artifacts.folder import atomic_write
from noisystudent.data.output import require_output_file, require_output_folder
from noisystudent.errors import ArtifactError, SettingsError


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "cat").mkdir(parents=True)
    Image.new("L", (8, 8)).save(folder / "cat" / "1.png")
    return folder


@pytest.mark.parametrize(
    ("place", "relation"),
    [("photos", "is"), ("photos/run", "lies in"), ("photos/cat/run", "lies in"), ("", "contains")],
)
def test_a_folder_of_results_is_apart_from_the_images(photos, place, relation):
    before = sorted(photos.parent.rglob("*"))
    with pytest.raises(SettingsError, match=f"{relation} the source '{photos}'"):
        require_output_folder(photos.parent / place, [None, photos])
    assert sorted(photos.parent.rglob("*")) == before


def test_links_and_dots_do_not_hide_a_source(photos, monkeypatch):
    (photos.parent / "link").symlink_to(photos)
    with pytest.raises(SettingsError, match="lies in"):
        require_output_folder(photos.parent / "link" / "run", [photos])
    monkeypatch.chdir(photos.parent)
    with pytest.raises(SettingsError, match="lies in"):
        require_output_folder("photos/../photos/run", ["./photos"])
    with pytest.raises(SettingsError, match="contains"):
        require_output_folder(".", ["photos"])


def test_files_that_are_sources_are_not_overwritten(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 8, 8), np.uint8))
    with pytest.raises(SettingsError, match="is the source"):
        require_output_file(tmp_path / "a.npz", [f"{tmp_path}/a.npz:test"], ending=".csv", is_own=lambda _: True)
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "train-000.tar").write_bytes(b"")
    with pytest.raises(SettingsError, match="contains the source"):
        require_output_folder(tmp_path / "shards", [f"{tmp_path}/shards/train-{{000..000}}.tar"])
    require_output_folder(tmp_path / "shards" / "out", [f"{tmp_path}/shards/train-*.tar"])


def test_stores_have_the_same_rules():
    for out, relation in (("s3://b/photos", "is"), ("s3://b/photos/run/", "lies in"), ("s3://b", "contains")):
        with pytest.raises(SettingsError, match=relation):
            require_output_folder(out, ["s3://b/photos/"], store=True)
    require_output_folder("s3://b/photos-labeled", ["s3://b/photos"], store=True)


def test_sources_without_a_place_on_the_disk_exclude_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    require_output_folder("digits", ["digits:labeled", "hf:digits", None])
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_results_replaces_only_its_own_kind(tmp_path):
    def is_table(path: Path) -> bool:
        with path.open() as file:
            return next(csv.reader(file))[:1] == ["file"]

    def check(name: str) -> None:
        require_output_file(tmp_path / name, [], ending=".csv", is_own=is_table)

    (tmp_path / "own.csv").write_text("file,class\n")
    (tmp_path / "empty.csv").touch()
    for name in ("own.csv", "empty.csv", "new.csv", "new/folder/p.csv"):
        check(name)
    check("/dev/stdout")
    (tmp_path / "labels.csv").write_text("path,label\n")
    with pytest.raises(SettingsError, match=r"labels\.csv' is a file that noisystudent did not write"):
        check("labels.csv")
    with pytest.raises(SettingsError, match=r"is a folder; give the name of a \.csv file"):
        check("")
    with pytest.raises(SettingsError, match="which is a file"):
        check("own.csv/p.csv")


def test_a_folder_of_others_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ArtifactError, match=r"did not write: notes\.txt"):
        require_output_folder(tmp_path, [])


def test_results_may_lie_in_what_a_command_reads_but_not_replace_it(tmp_path):
    (tmp_path / "run").mkdir()
    require_output_folder(tmp_path / "run" / "labels", [], [tmp_path / "run", None, "timm:resnet18"])
    for out, relation in ((tmp_path / "run", "is"), (tmp_path, "contains")):
        with pytest.raises(SettingsError, match=f"{relation} '.*run', which the command reads"):
            require_output_folder(out, [], [tmp_path / "run"])


@pytest.mark.parametrize(
    ("out", "message"),
    [("", "is empty"), (" ", "is empty"), ("a\nb", "cannot be printed"), ("a\0b", "cannot be printed"),
     ("s3://bucket/x", "only label writes to one"), ("file:///x", "only label writes to one")],
)  # fmt: skip
def test_text_that_names_no_place_is_refused(out, message):
    with pytest.raises(SettingsError, match=message):
        require_output_folder(out, [])
    with pytest.raises(SettingsError, match=message):
        require_output_file(out, [], ending=".csv", is_own=lambda path: True)
    if "label" in message:
        require_output_folder(out, [], store=True)


def test_a_name_with_a_colon_is_a_folder_and_files_in_it_are_no_urls(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    require_output_folder("a:b", [])
    with atomic_write(Path("a:b") / "x.parquet") as temporary:
        pq.write_table(pa.table({"x": [1]}), temporary)
    assert pq.read_table(Path("a:b") / "x.parquet").num_rows == 1
