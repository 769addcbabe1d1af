"""Folders of images: classes, keys, order, fingerprints, and errors."""

from __future__ import annotations

import os
import tempfile
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_images import class_folders, write_image
from noisystudent.data import formats
from noisystudent.data.source import PassedOver, Record, passed_over, source_notes
from noisystudent.data.sources.folder import FolderSource
from noisystudent.errors import DataError


def records(source: FolderSource) -> list[Record]:
    return [record for shard in range(len(source.shard_sizes)) for record in source.read(shard)]


def keys(source: FolderSource) -> list[str]:
    return [record.key for record in records(source)]


def test_class_folders_give_classes_labels_and_bytes(tmp_path):
    class_folders(tmp_path, ("dog", "cat", "ant"), per_class=2)
    write_image(tmp_path / "cat" / "deep" / "er" / "x.png", seed=7)
    source = FolderSource(tmp_path, labeled=True)
    assert source.name == str(tmp_path)
    assert source.classes == ("ant", "cat", "dog")
    assert source.shard_sizes == (7,)
    read = records(source)
    assert [(record.key, record.label) for record in read] == [
        ("ant/0.png", 0),
        ("ant/1.png", 0),
        ("cat/0.png", 1),
        ("cat/1.png", 1),
        ("cat/deep/er/x.png", 1),
        ("dog/0.png", 2),
        ("dog/1.png", 2),
    ]
    assert all(record.image == (tmp_path / record.key).read_bytes() for record in read)


def test_unlabeled_images_lie_anywhere(tmp_path):
    for name in ("b.png", "a.png", "deep/c.png", "deep/er/d.png"):
        write_image(tmp_path / name)
    source = FolderSource(tmp_path, labeled=False)
    assert source.classes is None
    assert [(record.key, record.label) for record in records(source)] == [
        ("a.png", -1),
        ("b.png", -1),
        ("deep/c.png", -1),
        ("deep/er/d.png", -1),
    ]


def test_unlabeled_class_folders_give_their_labels_only_as_truth(tmp_path):
    source = FolderSource(class_folders(tmp_path, per_class=1), labeled=False)
    assert source.classes is None
    assert [record.label for record in records(source)] == [-1, -1]
    assert source.truth(("cat", "dog", "emu")) == {"cat/0.png": "cat", "dog/0.png": "dog"}
    assert source.truth(("cat", "emu")) is None
    write_image(tmp_path / "loose.png")
    assert FolderSource(tmp_path, labeled=False).truth(("cat", "dog")) is None


def test_suffixes_in_any_case_and_nothing_hidden(tmp_path):
    names = ["a.jpg", "b.JPEG", "c.Png", "d.webp", "e.BMP", "f.gif", "g.jfif", "h.JPE", "i.tif", "j.TIFF", "k.ppm"]
    others = [".hidden.png", ".folder/x.png", "__MACOSX/._a.png", "notes.txt", "x.mp4", "png", "deep/@eaDir/a.png"]
    for name in [*names, *others, "Thumbs.db", "deep/.DS_Store", "more.txt", "odd.a b"]:
        write_image(tmp_path / name)
    source = FolderSource(tmp_path, labeled=False)
    assert keys(source) == names
    assert {(each.what, each.count, each.names) for each in passed_over(source)} == {
        ("hidden files and folders", 3, (".folder", ".hidden.png", "deep/.DS_Store")),
        ("files and folders of the system", 3, ("Thumbs.db", "__MACOSX", "deep/@eaDir")),
        ("files that end in .txt", 2, ("more.txt", "notes.txt")),
        ("files that end in .mp4", 1, ("x.mp4",)),
        ("files without an ending", 1, ("png",)),
        ("files with other endings", 1, ("odd.a b",)),
    }


def test_images_whose_reader_is_missing_are_passed_over_with_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "_missing_reader", lambda format: "needs X" if format == "HEIF" else "")
    write_image(tmp_path / "a.png")
    write_image(tmp_path / "IMG_1.HEIC")
    source = FolderSource(tmp_path, labeled=False)
    assert keys(source) == ["a.png"]
    assert passed_over(source) == (PassedOver("files that end in .heic (needs X)", 1, ("IMG_1.HEIC",)),)


def test_other_endings_beyond_twenty_are_counted_together(tmp_path):
    write_image(tmp_path / "a.png")
    for number in range(30):
        (tmp_path / f"x.{number:02d}").touch()
    assert len(passed_over(FolderSource(tmp_path, labeled=False))) == 21
    assert passed_over(FolderSource(tmp_path, labeled=False))[-1].count == 10


def test_shards_hold_at_most_1024(tmp_path):
    content = b"not decoded here"
    for index in range(2050):
        (tmp_path / f"{index:04d}.jpg").write_bytes(content)
    source = FolderSource(tmp_path, labeled=False)
    assert source.shard_sizes == (1024, 1024, 2)
    assert [record.key for record in source.read(2)] == ["2048.jpg", "2049.jpg"]
    assert keys(source) == [f"{index:04d}.jpg" for index in range(2050)]


def test_order_does_not_depend_on_the_file_system(tmp_path, monkeypatch):
    class_folders(tmp_path, ("a", "b", "a-b"), per_class=5)
    expected = keys(FolderSource(tmp_path, labeled=True))
    assert expected == sorted(expected)
    scan = os.scandir

    class Reversed:
        def __init__(self, folder):
            self._entries = sorted(scan(folder), key=lambda entry: entry.name, reverse=True)

        def __enter__(self):
            return iter(self._entries)

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(os, "scandir", Reversed)
    assert keys(FolderSource(tmp_path, labeled=True)) == expected


ODD_NAMES = [
    "ünï cødé.png",
    "写真.png",
    "🐈.png",
    "new\nline.png",
    "quote'\".png",
    "a=b&c;d.png",
    "%2e%2e.png",
]


def test_odd_names_are_keys_as_they_are(tmp_path):
    for index, name in enumerate(ODD_NAMES):
        write_image(tmp_path / name, seed=index)
    write_image(tmp_path / ("x" * 200) / ("y" * 200 + ".png"))
    source = FolderSource(tmp_path, labeled=False)
    assert all(record.image and not record.problem for record in records(source))
    assert keys(source) == sorted(keys(source))
    assert set(keys(source)) == {*ODD_NAMES, f"{'x' * 200}/{'y' * 200}.png"}
    assert source.fingerprint


def test_names_that_are_not_utf8_become_valid_utf8(tmp_path):
    path = os.path.join(os.fsencode(tmp_path), b"caf\xe9.png")
    try:
        with open(path, "wb") as file:
            file.write(b"content")
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    source = FolderSource(tmp_path, labeled=False)
    assert keys(source) == ["caf\\xe9.png"]
    assert records(source)[0].image == b"content"
    assert keys(source)[0].encode("utf-8")
    assert source.fingerprint
    (tmp_path / "caf\\xe9.png").write_bytes(b"other")
    with pytest.raises(DataError, match="same name"):
        FolderSource(tmp_path, labeled=False)


def test_links_out_of_the_folder_are_ignored_and_counted(tmp_path):
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    write_image(outside / "secret.png")
    write_image(inside / "a.png")
    (inside / "file.png").symlink_to(outside / "secret.png")
    (inside / "relative.png").symlink_to("../outside/secret.png")
    (inside / "folder").symlink_to(outside)
    (inside / "loop").symlink_to(inside)
    (inside / "dangling.png").symlink_to(inside / "gone.png")
    (inside / "self.png").symlink_to("self.png")
    (inside / "alias.png").symlink_to("a.png")
    source = FolderSource(inside, labeled=False)
    assert keys(source) == ["a.png", "alias.png"]
    assert [(each.what.split(" that")[0], each.count) for each in passed_over(source)] == [("symbolic links", 6)]


def test_the_folder_itself_may_be_a_link(tmp_path):
    class_folders(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert keys(FolderSource(tmp_path / "link", labeled=True)) == keys(FolderSource(tmp_path / "real", labeled=True))


def test_a_pipe_is_not_opened(tmp_path):
    write_image(tmp_path / "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    source = FolderSource(tmp_path, labeled=False)
    assert keys(source) == ["a.png"]
    assert source.fingerprint


def test_an_unreadable_file_says_why(tmp_path):
    write_image(tmp_path / "a.png")
    write_image(tmp_path / "b.png")
    source = FolderSource(tmp_path, labeled=False)
    (tmp_path / "a.png").unlink()
    missing, present = records(source)
    assert missing == Record("a.png", b"", -1, "the file cannot be read (No such file or directory)")
    assert present.image
    assert not present.problem
    assert source.fingerprint


def test_a_file_larger_than_any_image_is_not_read(tmp_path):
    write_image(tmp_path / "a.png")
    with open(tmp_path / "b.png", "wb") as file:
        file.truncate(2**31)  # sparse: takes no disk space
    assert records(FolderSource(tmp_path, labeled=False))[1].problem.startswith("it has 2.0 GiB")


def change_nothing(root: Path) -> None:
    os.utime(root / "cat" / "0.png", (1, 1))


def change_content(root: Path) -> None:
    write_image(root / "cat" / "0.png", seed=99)


def change_last_byte(root: Path) -> None:
    path = root / "cat" / "large.jpg"
    path.write_bytes(path.read_bytes()[:-1] + b"!")


def change_size(root: Path) -> None:
    path = root / "cat" / "large.jpg"
    content = path.read_bytes()
    path.write_bytes(content[:5000] + b"\0" + content[5000:])


def add_image(root: Path) -> None:
    write_image(root / "dog" / "new.png")


def remove_image(root: Path) -> None:
    (root / "dog" / "0.png").unlink()


def rename_image(root: Path) -> None:
    (root / "dog" / "0.png").rename(root / "dog" / "9.png")


def move_to_other_class(root: Path) -> None:
    (root / "dog" / "0.png").rename(root / "cat" / "from-dog.png")


def swap_contents(root: Path) -> None:
    first, second = root / "dog" / "0.png", root / "dog" / "1.png"
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)


@pytest.mark.parametrize(
    "change",
    [
        change_content,
        change_last_byte,
        change_size,
        add_image,
        remove_image,
        rename_image,
        move_to_other_class,
        swap_contents,
    ],
    ids=lambda change: change.__name__,
)
@pytest.mark.parametrize("labeled", [True, False])
def test_fingerprint_changes_with_the_content(tmp_path, change, labeled):
    class_folders(tmp_path)
    (tmp_path / "cat" / "large.jpg").write_bytes(bytes(20_000))
    before = FolderSource(tmp_path, labeled=labeled).fingerprint
    change_nothing(tmp_path)
    assert FolderSource(tmp_path, labeled=labeled).fingerprint == before
    change(tmp_path)
    assert FolderSource(tmp_path, labeled=labeled).fingerprint != before


def test_fingerprint_does_not_depend_on_the_location(tmp_path):
    folders = [class_folders(tmp_path / name) for name in ("first", "second")]
    first, second = (FolderSource(folder, labeled=True).fingerprint for folder in folders)
    assert first == second


def test_missing_and_empty_folders_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"There is no folder '.*nowhere'. Give the path"):
        FolderSource(tmp_path / "nowhere", labeled=True)
    for labeled in (True, False):
        with pytest.raises(DataError, match=str(tmp_path)):
            FolderSource(tmp_path, labeled=labeled)
    (tmp_path / "notes.txt").touch()
    (tmp_path / "link.png").symlink_to("/etc/hostname")
    with pytest.raises(
        DataError, match=r"holds no images \(passed over: 1 symbolic links .*; 1 files that end in .txt, such as"
    ):
        FolderSource(tmp_path, labeled=False)


def test_labeled_folders_that_are_not_class_folders_are_refused(tmp_path):
    write_image(tmp_path / "cat" / "0.png")
    with pytest.raises(DataError, match=r"has 1 class folders with images \('cat'\), and at least 2"):
        FolderSource(tmp_path, labeled=True)
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / "notes.txt").touch()
    with pytest.raises(DataError, match=r"class folder 'dog' in .* holds no images"):
        FolderSource(tmp_path, labeled=True)
    write_image(tmp_path / "dog" / "0.png")
    write_image(tmp_path / "loose.png")
    with pytest.raises(DataError, match=r"1 images lie directly in .* for example 'loose.png'"):
        FolderSource(tmp_path, labeled=True)


def test_an_empty_class_folder_is_passed_over(tmp_path):
    class_folders(tmp_path)
    (tmp_path / "emu" / "@eaDir").mkdir(parents=True)
    source = FolderSource(tmp_path, labeled=True)
    assert source.classes == ("cat", "dog")
    assert PassedOver("class folders without an image", 1, ("emu",)) in passed_over(source)


def test_a_class_folder_named_like_a_part_of_a_data_set_is_noted(tmp_path):
    source = FolderSource(class_folders(tmp_path, ("cat", "dog", "Test")), labeled=True)
    assert source.classes == ("Test", "cat", "dog")
    (note,) = source_notes(source)
    assert note.startswith("the class folder 'Test' in ")
    assert "looks like a part of a data set" in note
    assert not source_notes(FolderSource(tmp_path, labeled=False))


def test_numbers_are_classes_in_the_order_of_their_values(tmp_path):
    names = [str(number) for number in (*range(12), 100)]
    assert FolderSource(class_folders(tmp_path / "a", names, 1), labeled=True).classes == tuple(names)
    mixed = class_folders(tmp_path / "b", ["10", "9", "x"], 1)
    assert FolderSource(mixed, labeled=True).classes == ("10", "9", "x")


def test_one_name_in_two_unicode_forms_is_one_class(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "Blüte") for form in ("NFC", "NFD"))
    class_folders(tmp_path, (composed, decomposed, "Gras"), 2)
    source = FolderSource(tmp_path, labeled=True)
    assert source.classes == (composed, "Gras")
    assert len(set(keys(source))) == 6
    assert sorted(record.label for record in records(source)) == [0, 0, 0, 0, 1, 1]
    truth = FolderSource(tmp_path, labeled=False).truth((composed, "Gras"))
    assert sorted(truth.values()) == [composed] * 4 + ["Gras"] * 2


def test_folders_named_train_and_test_are_not_classes(tmp_path):
    class_folders(tmp_path / "train")
    class_folders(tmp_path / "test")
    with pytest.raises(DataError, match=r"look like parts of a data set.*Give one part, for example '.*train'"):
        FolderSource(tmp_path, labeled=True)
    assert FolderSource(tmp_path / "train", labeled=True).classes == ("cat", "dog")


@given(st.permutations(["b/2.png", "a/1.png", "a.b/3.png", "a/0/4.png"]))
def test_keys_are_sorted_whatever_the_order_of_creation(names):
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        assert keys(FolderSource(folder, labeled=True)) == ["a.b/3.png", "a/0/4.png", "a/1.png", "b/2.png"]
