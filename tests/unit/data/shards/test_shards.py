"""Tar shards: their records, their fingerprint, and errors for any damage."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from noisystudent.data.files import expand_braces, file_at
from noisystudent.data.shards import index as indexing
from noisystudent.data.shards.index import _DOT, make_index
from noisystudent.data.shards.source import ShardSource
from noisystudent.data.source import PassedOver, Record, Source
from noisystudent.data.sources.open import open_source
from noisystudent.errors import DataError
from tar_shards import image, write_shards, write_tar


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "noisystudent" / "shards"


def records(source: Source) -> list[Record]:
    return [record for shard in range(len(source.shard_sizes)) for record in source.read(shard)]


def test_braces_expand_as_in_a_shell():
    assert expand_braces("a-{08..11}.tar") == ["a-08.tar", "a-09.tar", "a-10.tar", "a-11.tar"]
    assert expand_braces("{a,b}{2..0}") == ["a2", "a1", "a0", "b2", "b1", "b0"]
    assert expand_braces("{9..11}") == ["9", "10", "11"]
    assert expand_braces("plain") == ["plain"]


@pytest.mark.parametrize("pattern", ["{", "}", "a{b", "{a{b,c}}", "{}", "{x}", "{1..}", "{0..9999999}", "{1..x}"])
def test_invalid_braces_are_refused(pattern):
    with pytest.raises(DataError, match=r"brace|Use smaller ranges"):
        expand_braces(pattern)


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_shards_give_keys_labels_and_bytes(tmp_path, format):
    long = "deep/" * 15 + "x" * 60 if format == tarfile.USTAR_FORMAT else "d" * 300 + "/ünï"
    members = {
        "b/2.JPG": image(0),
        "b/2.cls": b"1\n",
        "a.d/1.png": image(1),
        "a.d/1.json": b'{"label": 0}',
        f"{long}.webp": b"not decoded here",
        f"{long}.cls": b"001",
        "./c.seg.png": b"another extension, not an image here",
        "README": b"",
        "._b.png": b"added by a Mac",
        "caption.txt": b"of nothing",
    }
    source = open_source(write_tar(tmp_path / "x.tar", members, format), labeled=True)
    assert isinstance(source, ShardSource)
    assert records(source) == [
        Record("b/2", members["b/2.JPG"], 1),
        Record("a.d/1", members["a.d/1.png"], 0),
        Record(long, members[f"{long}.webp"], 1),
    ]
    assert source.classes == ("0", "1")
    assert source.passed_over == (
        PassedOver(_DOT, 1, ("./c.seg.png",)),
        PassedOver("hidden files", 1, ("._b.png",)),
        PassedOver("members without an ending", 1, ("README",)),
        PassedOver("members that end in .txt", 1, ("caption.txt",)),
    )


def test_the_standard_library_and_the_index_agree_on_every_member(tmp_path):
    path = write_shards(tmp_path, 1, 40) / "train-000.tar"
    table = make_index(file_at(str(path))).table
    content = path.read_bytes()
    with tarfile.open(path) as archive:
        expected = {m.name: archive.extractfile(m).read() for m in archive if m.name.endswith(".png")}
    for row in table.to_pylist():
        assert content[row["start"] : row["start"] + row["size"]] == expected[f"{row['key']}.png"]
    assert table.num_rows == len(expected) == 40


def test_a_folder_a_glob_and_braces_are_the_same_source(tmp_path):
    write_shards(tmp_path / "s", 3)
    specs = [f"{tmp_path}/s", f"{tmp_path}/s/train-*.tar", f"{tmp_path}/s/train-{{000..002}}.tar"]
    sources = [open_source(spec, labeled=True) for spec in specs]
    assert len({source.fingerprint for source in sources}) == 1
    assert [[record.key for record in source.read(2)] for source in sources] == [["2-0", "2-1", "2-2"]] * 3
    assert sources[0].shard_sizes == (3, 3, 3)


def test_tar_files_are_cut_into_runs_of_1024_that_never_cross_them(tmp_path):
    for shard, rows in enumerate((1500, 0, 1024, 1)):
        write_tar(tmp_path / f"{shard}.tar", {f"{shard}-{row:04d}.jpg": b"%d" % row for row in range(rows)})
    source = open_source(tmp_path, labeled=False)
    assert source.shard_sizes == (1024, 476, 1024, 1)
    assert [record.key for record in source.read(1)] == [f"0-{row:04d}" for row in range(1024, 1500)]
    assert [record.image for record in source.read_rows(1, [475, 0, 300])] == [b"1499", b"1024", b"1324"]


def test_class_names_come_from_the_file_beside_the_shards(tmp_path):
    write_shards(tmp_path, 1)
    (tmp_path / "classes.txt").write_text("dog\ncat\n")
    assert open_source(tmp_path, labeled=True).classes == ("dog", "cat")
    (tmp_path / "classes.json").write_text('["ant", "bee"]')
    source = open_source(tmp_path, labeled=True)
    assert source.classes == ("ant", "bee")
    assert open_source(tmp_path, labeled=False).truth(("bee", "ant")) == {"0-0": "ant", "0-1": "bee", "0-2": "ant"}
    (tmp_path / "classes.json").write_text('["ant"]')
    with pytest.raises(DataError, match=r"label '1' of '0-1' in '.*train-000.tar' is none"):
        records(open_source(tmp_path, labeled=True))
    for text in ('{"0": "ant"}', '["ant", "ant"]', "[1]", "\xff"):
        (tmp_path / "classes.json").write_bytes(text.encode("latin-1"))
        with pytest.raises(DataError, match=r"classes.json"):
            open_source(tmp_path, labeled=True)


def test_labels_may_be_names(tmp_path):
    write_tar(tmp_path / "x.tar", {"1.png": b"1", "1.json": b'{"class": "dog"}', "2.png": b"2", "2.cls": b"cat"})
    source = open_source(tmp_path / "x.tar", labeled=True)
    assert (source.classes, [record.label for record in source.read(0)]) == (("cat", "dog"), [1, 0])
    write_tar(tmp_path / "x.tar", {"1.png": b"1", "1.cls": b"dog", "2.png": b"2", "2.cls": b"0"})
    with pytest.raises(DataError, match=r"partly numbers \(0\) and partly names \('dog'\)"):
        open_source(tmp_path / "x.tar", labeled=True)
    write_tar(tmp_path / "x.tar", {"1.png": b"1", "1.cls": b"-1"})
    with pytest.raises(DataError, match=r"none of its 1 images has a label"):
        open_source(tmp_path / "x.tar", labeled=True)
    assert open_source(tmp_path / "x.tar", labeled=False).truth(("0",)) is None


def test_an_unlabeled_source_shows_no_labels(tmp_path):
    source = open_source(write_shards(tmp_path), labeled=False)
    assert source.classes is None
    assert {record.label for record in records(source)} == {-1}
    assert source.truth(("0", "1", "2"))["1-1"] == "1"
    assert source.truth(("0",)) is None


def test_a_label_without_image_is_a_record_with_a_problem(tmp_path):
    write_tar(
        tmp_path / "x.tar", {"1.cls": b"0", "2.cls": b"1", "2.png": image(2), "3.json": b'{"caption": "no label"}'}
    )
    missing, present = records(open_source(tmp_path / "x.tar", labeled=True))
    assert missing == Record("1", b"", 0, "its tar file has a label for it, but no image")
    assert (present.key, present.image, present.label) == ("2", image(2), 1)


@pytest.mark.parametrize(
    "label",
    [{}, {"1-1.cls": b" \n"}, {"1-1.cls": b"-1"}, {"1-1.json": b"{not json"}, {"1-1.json": b'{"label": [1]}'}],
)
def test_an_image_without_label_is_left_out_of_a_labeled_source_only(tmp_path, label):
    write_shards(tmp_path, 1)
    write_tar(
        tmp_path / "train-001.tar",
        {"1-0.png": b"x", "1-0.cls": b"0", "1-1.png": b"y", **label, "1-2.png": b"z", "1-2.cls": b"1"},
    )
    source = open_source(tmp_path, labeled=True)
    assert [(record.key, record.label) for record in records(source)][-2:] == [("1-0", 0), ("1-2", 1)]
    assert source.shard_sizes == (3, 2)
    (left_out,) = source.passed_over
    assert (left_out.count, left_out.names) == (1, ("1-1",))
    assert sum(open_source(tmp_path, labeled=False).shard_sizes) == 6


def test_labels_of_tar_files_may_begin_anywhere_and_have_gaps(tmp_path):
    labels = {"a": b"101", "b": b"7", "c": b"999"}
    members = {f"{key}.{kind}": value for key, text in labels.items() for kind, value in (("png", b"x"), ("cls", text))}
    write_tar(tmp_path / "x.tar", members)
    source = open_source(tmp_path / "x.tar", labeled=True)
    assert source.classes == ("7", "101", "999")
    assert [record.label for record in records(source)] == [1, 0, 2]
    (tmp_path / "classes.json").write_text('["7", "101", "999", "1000"]')
    named = open_source(tmp_path / "x.tar", labeled=True)
    assert [record.label for record in records(named)] == [1, 0, 2]
    assert named.passed_over == (PassedOver("class names without an image", 1, ("1000",)),)


def test_an_image_in_several_formats_is_read_once(tmp_path):
    write_tar(tmp_path / "x.tar", {"a.tif": b"1", "a.png": b"2", "b.png": b"3", "b.tif": b"4"})
    source = open_source(tmp_path / "x.tar", labeled=False)
    assert [(record.key, record.image) for record in records(source)] == [("a", b"2"), ("b", b"3")]
    assert source.passed_over == (PassedOver("further formats of an image", 2, ("a.tif", "b.tif")),)


def test_extended_headers_are_bounded(tmp_path):
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, content = tarfile.XHDTYPE, b"6 a=b\n" * 20_000
    info.size = len(content)
    header = info.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % 512)
    image = tarfile.TarInfo("z.png").tobuf(tarfile.USTAR_FORMAT) + bytes(10_240)
    for count, message in ((1, "damaged extended header"), (10, "damaged extended header|extended headers of")):
        (tmp_path / "x.tar").write_bytes(header * count + image)
        with pytest.raises(DataError, match=message):
            open_source(tmp_path / "x.tar", labeled=False)


def test_the_same_member_and_a_second_image_of_a_key_are_refused(tmp_path):
    write_tar(tmp_path / "x.tar", [("a.png", b"1"), ("a.png", b"2")])
    with pytest.raises(DataError, match=r"member 'a.png' of '.*x.tar' is a second image of the same key"):
        open_source(tmp_path / "x.tar", labeled=False)
    write_tar(tmp_path / "x.tar", [("a.png", b"1"), ("b.png", b"2"), ("a.jpg", b"3")])
    with pytest.raises(DataError, match=r"member 'a.jpg' of '.*x.tar' is a second image"):
        open_source(tmp_path / "x.tar", labeled=False)
    write_tar(tmp_path / "x.tar", [("a.png", b"1"), ("a.cls", b"1"), ("a.cls", b"0")])
    with pytest.raises(DataError, match=r"member 'a.cls' of '.*x.tar' is there twice"):
        open_source(tmp_path / "x.tar", labeled=False)


def test_members_of_a_key_need_not_lie_together(tmp_path):
    write_tar(tmp_path / "x.tar", [("a.png", b"1"), ("b.png", b"2"), ("b.cls", b"0"), ("a.cls", b"1")])
    assert [(r.key, r.label) for r in records(open_source(tmp_path / "x.tar", labeled=True))] == [("a", 1), ("b", 0)]


def test_a_key_in_two_shards_is_refused_with_both_names(tmp_path):
    write_tar(tmp_path / "a.tar", {"1.png": b"1", "2.png": b"2"})
    write_tar(tmp_path / "b.tar", {"3.png": b"1", "2.jpg": b"2"})
    with pytest.raises(DataError, match=r"key '2' is in both '.*a.tar' and '.*b.tar'"):
        open_source(tmp_path, labeled=False)


def test_a_tar_cut_anywhere_is_refused(tmp_path):
    path = write_shards(tmp_path, 1, 2) / "train-000.tar"
    content = path.read_bytes()
    with tarfile.open(path) as archive:
        end = archive.getmembers()[-1].offset_data + 512
    for length in (0, 100, 512, 700, 1024, 1536, end - 512, end - 1, end):
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match=r"train-000.tar' ends too early"):
            open_source(path, labeled=False)
    path.write_bytes(content[: end + 512])
    assert open_source(path, labeled=False).shard_sizes == (2,)


def test_a_damaged_header_does_not_hide_what_follows(tmp_path):
    path = write_shards(tmp_path, 1, 3) / "train-000.tar"
    with tarfile.open(path) as archive:
        third = archive.getmembers()[4]
    content = bytearray(path.read_bytes())
    content[third.offset + 3] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"damaged header .* at byte {third.offset:,}, after the member '0-1.cls'"):
        open_source(path, labeled=False)


def test_anything_but_a_plain_single_tar_is_refused(tmp_path):
    path = write_shards(tmp_path, 1, 3) / "train-000.tar"
    content = path.read_bytes()
    path.write_bytes(content + content)
    with pytest.raises(DataError, match=r"goes on after its end marker"):
        open_source(path, labeled=False)
    path.write_bytes(b"\x1f\x8b" + bytes(2000))
    with pytest.raises(DataError, match=r"is compressed"):
        open_source(path, labeled=False)
    path.write_bytes(b"no tar file at all " * 100)
    with pytest.raises(DataError, match=r"damaged header"):
        open_source(path, labeled=False)
    write_tar(path, {"notes.txt": b""})
    with pytest.raises(DataError, match=r"hold no images \(passed over: 1 members that end in .txt"):
        open_source(path, labeled=False)
    write_tar(path, {"1.0.png": b"", "2.5.png": b""})
    with pytest.raises(DataError, match=r"2 images with a dot in the key.* such as '1.0.png'.* other dots as %2E"):
        open_source(path, labeled=False)


def test_a_header_with_a_wrong_size_is_refused(tmp_path):
    path = tmp_path / "x.tar"
    for type in (tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
        info = tarfile.TarInfo("a.png")
        info.size, info.type = 2**40, type
        path.write_bytes(info.tobuf() + bytes(4096))
        with pytest.raises(DataError, match=r"ends too early"):
            open_source(path, labeled=False)
    info = tarfile.TarInfo("pax")
    info.size, info.type = 20, tarfile.XHDTYPE
    for records_ in (b"99 path=x\n", b"-5 path=x\n", b"x path=x\n", b"9 size=y\n"):
        path.write_bytes(info.tobuf() + records_.ljust(512, b"\0") + tarfile.TarInfo("a.png").tobuf() + bytes(1024))
        with pytest.raises(DataError, match=r"damaged extended header"):
            open_source(path, labeled=False)


def test_names_never_become_paths(tmp_path):
    outside = tmp_path / "outside.png"
    outside.write_bytes(b"secret")
    names = ["../outside.png", str(outside), "/etc/hostname.png", "a/../../b.png"]
    write_tar(tmp_path / "s" / "x.tar", [(name, b"inside %d" % row) for row, name in enumerate(names)])
    source = open_source(tmp_path / "s", labeled=False)
    assert [record.image for record in records(source)] == [b"inside %d" % row for row in range(4)]
    assert [record.key for record in records(source)] == ["../outside", str(outside)[:-4], "/etc/hostname", "a/../../b"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside.png", "s"]


def test_names_that_are_not_utf8_become_valid_utf8(tmp_path):
    path = os.path.join(os.fsencode(tmp_path), b"caf\xe9.tar")
    members = {"caf\udce9.png": image(0)}
    with open(path, "wb") as file, tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    for spec in (str(tmp_path), os.fsdecode(path)):
        source = open_source(spec, labeled=False)
        assert records(source) == [Record("caf\\xe9", image(0), -1)]
        for text in (source.name, *source.files):
            assert text.encode("utf-8")


def test_links_and_devices_are_ignored_and_counted(tmp_path):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as archive:
        for name, type in (("l.png", tarfile.SYMTYPE), ("h.png", tarfile.LNKTYPE), ("d.png", tarfile.CHRTYPE),
                           ("f.png", tarfile.FIFOTYPE), ("dir.png", tarfile.DIRTYPE)):  # fmt: skip
            info = tarfile.TarInfo(name)
            info.type, info.linkname = type, "/etc/hostname"
            archive.addfile(info)
        info = tarfile.TarInfo("a.png")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"abc"))
    source = open_source(path, labeled=False)
    assert [(record.key, record.image) for record in records(source)] == [("a", b"abc")]
    assert {(each.what, each.names) for each in source.passed_over} == {
        ("links", ("l.png", "h.png")),
        ("devices and pipes", ("d.png", "f.png")),
    }


def test_missing_shards_and_patterns_without_match_are_named(tmp_path):
    write_shards(tmp_path, 2)
    with pytest.raises(DataError, match=r"2 of the 4 files .* are missing, for example '.*train-002.tar'"):
        open_source(f"{tmp_path}/train-{{000..003}}.tar", labeled=False)
    with pytest.raises(DataError, match=r"No file matches '.*test-\*.tar'"):
        open_source(f"{tmp_path}/test-*.tar", labeled=False)
    with pytest.raises(DataError, match=r"There is no source '.*train-9.tar'"):
        open_source(f"{tmp_path}/train-9.tar", labeled=False)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match=r"do not end in .tar, for example '.*notes.txt'"):
        ShardSource(f"{tmp_path}/*", labeled=False)


def test_a_file_name_with_braces_is_used_literally(tmp_path):
    write_tar(tmp_path / "x{1..2}[a].tar", {"a.png": b"1"})
    assert open_source(f"{tmp_path}/x{{1..2}}[a].tar", labeled=False).shard_sizes == (1,)


def test_a_folder_with_class_folders_is_one_even_with_tar_files_in_it(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.png").write_bytes(image(1))
    write_tar(tmp_path / "backup.tar", {"a.png": b"1"})
    assert [record.key for record in records(open_source(tmp_path, labeled=False))] == ["cat/1.png"]


def rewrite(path: Path, change: dict[str, bytes | None]) -> None:
    with tarfile.open(path) as archive:
        members = {member.name: archive.extractfile(member).read() for member in archive}
    write_tar(path, {name: content for name, content in (members | change).items() if content is not None})


@pytest.mark.parametrize(
    "change",
    [
        {"1-1.png": image(99)},
        {"1-1.png": image(101)[:-1] + b"!"},
        {"1-3.png": image(99), "1-3.cls": b"0"},
        {"1-2.png": None, "1-2.cls": None},
    ],
)
@pytest.mark.parametrize("labeled", [True, False])
def test_the_fingerprint_changes_with_images_and_keys(tmp_path, change, labeled):
    before = open_source(write_shards(tmp_path), labeled=labeled)
    copy = open_source(write_shards(tmp_path / "elsewhere"), labeled=labeled)
    assert copy.fingerprint == before.fingerprint
    rewrite(tmp_path / "train-001.tar", change)
    after = open_source(str(tmp_path / "*.tar"), labeled=labeled)
    assert after.fingerprint != before.fingerprint
    changed = {name for name in before.files if before.files[name] != after.files[name]}
    assert changed == {"train-001.tar"}


def test_the_fingerprint_changes_with_labels_and_classes_of_a_labeled_source_only(tmp_path):
    write_shards(tmp_path)
    prints = {labeled: [open_source(tmp_path, labeled=labeled).fingerprint] for labeled in (True, False)}
    rewrite(tmp_path / "train-001.tar", {"1-0.cls": b"1"})
    for labeled in prints:
        prints[labeled].append(open_source(tmp_path, labeled=labeled).fingerprint)
    (tmp_path / "classes.txt").write_text("a\nb\n")
    for labeled in prints:
        prints[labeled].append(open_source(tmp_path, labeled=labeled).fingerprint)
    assert len(set(prints[True])) == 3
    assert len(set(prints[False])) == 1


def test_the_same_images_in_other_shards_are_another_source(tmp_path):
    members = [(f"{row}.png", image(row)) for row in range(4)]
    write_tar(tmp_path / "a" / "0.tar", members)
    write_tar(tmp_path / "b" / "0.tar", members[:1])
    write_tar(tmp_path / "b" / "1.tar", members[1:])
    first, second = (open_source(tmp_path / name, labeled=False) for name in "ab")
    assert records(first) == records(second)
    assert first.fingerprint != second.fingerprint


def test_an_index_is_cached_and_made_again_if_the_shard_was_replaced(tmp_path, cache, monkeypatch):
    made = []
    make = indexing.make_index
    monkeypatch.setattr(indexing, "make_index", lambda file: made.append(file.base) or make(file))
    write_shards(tmp_path / "s")
    first = open_source(tmp_path / "s", labeled=True)
    open_source(tmp_path / "s", labeled=True)
    assert sorted(made) == ["train-000.tar", "train-001.tar"]
    assert len(list(cache.iterdir())) == 2
    rewrite(tmp_path / "s" / "train-001.tar", {"1-1.png": image(99)})
    os.utime(tmp_path / "s" / "train-001.tar", (1, 1))  # the same size, another time
    again = open_source(tmp_path / "s", labeled=True)
    assert made[2:] == ["train-001.tar"]
    assert records(again)[4].image == image(99)
    assert again.fingerprint != first.fingerprint
    for path in cache.iterdir():
        path.write_bytes(b"damaged")
    assert records(open_source(tmp_path / "s", labeled=True)) == records(again)


def test_a_shard_replaced_while_it_is_in_use_is_an_error_that_names_it(tmp_path):
    source = open_source(write_shards(tmp_path), labeled=True)
    records(source)
    rewrite(tmp_path / "train-001.tar", {"1-1.png": image(99)})
    assert len(list(source.read(0))) == 3
    with pytest.raises(DataError, match=r"train-001.tar' changed while it was in use"):
        list(source.read(1))


def test_an_index_of_another_image_is_detected_on_reading(tmp_path):
    path = write_shards(tmp_path / "s", 1) / "train-000.tar"
    file = file_at(str(path))
    indexing.save_index(tmp_path / "s" / "train-000.index.parquet", make_index(file), {})
    rewrite(path, {"0-1.png": image(99)})
    assert path.stat().st_size == file.size
    os.utime(path, (1, 1))  # as if it were older than its index
    source = open_source(path, labeled=False)
    with pytest.raises(DataError, match=r"image '0-1' in '.*train-000.tar' is not the one that was indexed"):
        list(source.read(0))
    os.utime(path)  # newer: the index beside it does not count
    assert [record.image for record in open_source(path, labeled=False).read(0)][1] == image(99)


def test_an_index_with_positions_outside_the_file_is_ignored(tmp_path):
    path = write_shards(tmp_path / "s", 1) / "train-000.tar"
    index = make_index(file_at(str(path)))
    for column, value in (("start", -7), ("start", 2**40), ("size", -1), ("size", 2**62)):
        rows = index.table.to_pylist()
        rows[1][column] = value
        forged = indexing.Index(type(index.table).from_pylist(rows, schema=index.table.schema), index.info)
        indexing.save_index(tmp_path / "s" / "train-000.index.parquet", forged, {})
        assert len(records(open_source(path, labeled=True))) == 3
        assert [record.problem for record in records(open_source(path, labeled=True))] == [""] * 3


def test_the_error_for_an_unwritable_cache_names_the_variable_to_set(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"set XDG_CACHE_HOME"):
        open_source(write_shards(tmp_path / "s"), labeled=False)


def test_labels_in_json_members_are_parsed_safely(tmp_path):
    members = {"a.png": b"1", "a.json": json.dumps({"label": "7"}).encode(), "b.png": b"1", "b.json": b"[" * 100_000}
    write_tar(tmp_path / "x.tar", members)
    assert make_index(file_at(str(tmp_path / "x.tar"))).table["label"].to_pylist() == ["7", None]
