"""A single image as a source, and built-in names that are also those of a user's files."""

from __future__ import annotations

import pytest

from data_images import class_folders, write_image
from noisystudent.data.source import Record, passed_over, source_notes
from noisystudent.data.sources.open import open_source
from noisystudent.errors import DataError


@pytest.mark.parametrize("name", ["photo.png", "Photo.JPG", "no-ending", "odd.ending"])
def test_an_image_file_is_a_source_of_one_image(tmp_path, name):
    write_image(tmp_path / name)
    source = open_source(tmp_path / name, labeled=False)
    assert source.shard_sizes == (1,)
    assert list(source.read(0)) == [Record(name, (tmp_path / name).read_bytes(), -1)]
    before = source.fingerprint
    write_image(tmp_path / name, seed=1)
    assert open_source(tmp_path / name, labeled=False).fingerprint != before
    with pytest.raises(DataError, match=r"is a single image.*one folder per class"):
        open_source(tmp_path / name, labeled=True)


def test_other_files_are_not_images(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"is a file that is not understood.*Unpack an archive"):
        open_source(tmp_path / "a.zip", labeled=False)


def test_a_folder_named_like_a_built_in_source_is_noted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not source_notes(open_source("digits:test", labeled=False))
    class_folders(tmp_path / "digits", per_class=1)
    (note,) = source_notes(open_source("digits", labeled=True))
    assert note == "'digits' is scikit-learn's digits; for the file or folder of this name here, write './digits'"
    own = open_source("./digits", labeled=True)
    assert own.classes == ("cat", "dog")
    assert not source_notes(own)


def test_less_usual_formats_are_noted(tmp_path):
    for name in ("a.png", "b.tif", "c.TIF", "d.jfif"):
        write_image(tmp_path / name)
    assert source_notes(open_source(tmp_path, labeled=False)) == (
        "images of less usual formats are among these: 1 .jfif, 2 .tif",
    )


def test_files_beside_shards_are_passed_over(tmp_path):
    write_image(tmp_path / "images" / "a.png")
    from noisystudent.data.shards.pack import pack

    pack(source=tmp_path / "images", out=tmp_path / "shards", quiet=True)
    assert not passed_over(open_source(tmp_path / "shards", labeled=False))
    for name in ("notes.txt", "old.tar.gz", "Thumbs.db"):
        (tmp_path / "shards" / name).touch()
    (tmp_path / "shards" / "@eaDir").mkdir()
    source = open_source(tmp_path / "shards", labeled=False)
    assert source.shard_sizes == (1,)
    assert [(each.what, each.names) for each in passed_over(source)] == [
        ("files that end in .txt", ("notes.txt",)),
        ("files that end in .gz", ("old.tar.gz",)),
    ]
