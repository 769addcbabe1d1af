"""Packing: any source as tar shards with the same image bytes, also after interruptions."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import noisystudent
from data_images import ListSource, array_source, class_folders, noise_image, png, write_image
from noisystudent.commands.main import main
from noisystudent.data import formats
from noisystudent.data.decode import decode_image
from noisystudent.data.dedup.leakage import Excluded
from noisystudent.data.files import file_at
from noisystudent.data.settings import DataSettings
from noisystudent.data.shards import index as indexing
from noisystudent.data.shards import pack as packing
from noisystudent.data.shards.index import load_index, make_index
from noisystudent.data.shards.pack import member_key, pack_source
from noisystudent.data.source import Record, Source
from noisystudent.data.sources.folder import FolderSource
from noisystudent.data.sources.open import open_source
from noisystudent.data.splits import open_splits
from noisystudent.errors import ArtifactError, DataError, SettingsError
from tar_shards import image, write_shards, write_tar


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def records(source: Source) -> list[Record]:
    return [record for shard in range(len(source.shard_sizes)) for record in source.read(shard)]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def test_a_folder_comes_back_from_its_shards_with_the_same_bytes(tmp_path):
    source = FolderSource(class_folders(tmp_path / "in", per_class=5), labeled=True)
    packed = pack_source(source, tmp_path / "out", rows_per_shard=4)
    assert (packed.shards, packed.images, packed.failures) == (3, 10, [])
    back = open_source(tmp_path / "out", labeled=True)
    assert back.classes == source.classes
    assert back.shard_sizes == (4, 4, 2)
    expected = [(r.key.removesuffix(".png"), r.image, r.label) for r in records(source)]
    assert [(r.key, r.image, r.label) for r in records(back)] == expected
    with tarfile.open(tmp_path / "out" / "shard-000000.tar") as archive:
        names = archive.getnames()
        assert {(m.mtime, m.uid, m.gid, m.mode, m.uname) for m in archive} == {(0, 0, 0, 0o644, "")}
    assert names[:4] == ["cat/0.png", "cat/0.cls", "cat/1.png", "cat/1.cls"]


def test_packing_twice_gives_the_same_bytes_anywhere(tmp_path):
    source = FolderSource(class_folders(tmp_path / "in"), labeled=True)
    for name in "ab":
        pack_source(source, tmp_path / name, rows_per_shard=4)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_a_written_index_is_what_a_scan_of_the_shard_gives(tmp_path, monkeypatch):
    pack_source(FolderSource(class_folders(tmp_path / "in"), labeled=True), tmp_path / "out", rows_per_shard=4)
    file = file_at(str(tmp_path / "out" / "shard-000001.tar"))
    written, scanned = load_index(file), make_index(file)
    assert written.table.equals(scanned.table)
    assert written.info == scanned.info
    with_catalog = open_source(tmp_path / "out", labeled=True)
    (tmp_path / "out" / "shards.json").unlink()
    with_indexes = open_source(tmp_path / "out", labeled=True)
    for path in (tmp_path / "out").glob("*.index.parquet"):
        path.unlink()
    bare = open_source(tmp_path / "out", labeled=True)
    assert with_catalog.fingerprint == with_indexes.fingerprint == bare.fingerprint
    assert records(with_catalog) == records(bare)


def test_opening_packed_shards_reads_no_index(tmp_path, monkeypatch):
    pack_source(FolderSource(class_folders(tmp_path / "in"), labeled=True), tmp_path / "out", rows_per_shard=2)
    monkeypatch.setattr(indexing, "_parse_index", lambda *_: pytest.fail("an index was read"))
    assert open_source(f"{tmp_path}/out/shard-{{000001..000002}}.tar", labeled=True).shard_sizes == (2, 2)


def test_interrupted_packing_resumes_after_the_finished_shards(tmp_path, monkeypatch):
    source = FolderSource(class_folders(tmp_path / "in", per_class=6), labeled=True)
    pack_source(source, tmp_path / "whole", rows_per_shard=3)
    for step in range(1, 9):  # by then three of the four shards are finished
        calls = iter(range(1, 1000))

        def fail(*arguments, calls=calls, step=step, real=packing._add_member):
            if next(calls) > step:
                raise KeyboardInterrupt
            real(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(packing, "_add_member", fail)
            with pytest.raises(KeyboardInterrupt):
                pack_source(source, tmp_path / "out", rows_per_shard=3)
    finished = (tmp_path / "out" / "shard-000000.tar").stat().st_mtime_ns
    assert not list((tmp_path / "out").glob(".*.tmp"))
    pack_source(source, tmp_path / "out", rows_per_shard=3)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert (tmp_path / "out" / "shard-000000.tar").stat().st_mtime_ns == finished
    index = tmp_path / "out" / "shard-000001.index.parquet"
    index.unlink()
    (tmp_path / "out" / "manifest.json").unlink()
    pack_source(source, tmp_path / "out", rows_per_shard=3)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_other_inputs_set_the_packed_folder_aside(tmp_path):
    class_folders(tmp_path / "in")
    pack_source(FolderSource(tmp_path / "in", labeled=True), tmp_path / "out")
    write_image(tmp_path / "in" / "dog" / "new.png")
    assert pack_source(FolderSource(tmp_path / "in", labeled=True), tmp_path / "out").images == 7
    assert len([path for path in tmp_path.iterdir() if path.name.startswith("out.")]) == 1


@pytest.mark.parametrize("place", ["shards", "shards/again", ""])
def test_shards_are_not_packed_onto_themselves(tmp_path, place):
    write_shards(tmp_path / "shards", 3)
    before = contents(tmp_path / "shards")
    with pytest.raises((SettingsError, ArtifactError), match=r"the source|did not write"):
        noisystudent.pack(source=tmp_path / "shards", out=tmp_path / place, rows_per_shard=1, quiet=True)
    assert contents(tmp_path / "shards") == before


def test_damaged_shards_are_packed_again_and_the_others_stay(tmp_path):
    packed = noisystudent.pack(source="digits:test", out=tmp_path / "out", rows_per_shard=200, quiet=True)
    before = contents(packed.folder)
    (packed.folder / "shard-000001.tar").write_bytes(before["shard-000001.tar"][:5000])
    noisystudent.pack(source="digits:test", out=tmp_path / "out", rows_per_shard=200, quiet=True)
    assert contents(packed.folder) == before


def test_shards_end_at_the_bytes_given(tmp_path):
    source = ListSource([bytes(1000)] * 5)
    assert pack_source(source, tmp_path / "out", bytes_per_shard=1500).shards == 3


def test_arrays_become_png_without_loss(tmp_path):
    for name, shape in (("gray", (3, 9, 7)), ("color", (3, 9, 7, 3))):
        pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        pack_source(array_source(pixels, [0, 1, 1]), tmp_path / name)
        back = records(open_source(tmp_path / name, labeled=True))
        channels = 3 if name == "color" else 1
        assert all(np.array_equal(decode_image(r.image, channels), p) for r, p in zip(back, pixels, strict=True))
        assert [record.label for record in back] == [0, 1, 1]


def test_image_bytes_are_not_decoded_and_unreadable_images_are_left_out_and_named(tmp_path):
    class_folders(tmp_path / "in")
    (tmp_path / "in" / "cat" / "broken.jpg").write_bytes(b"no image")
    source = FolderSource(tmp_path / "in", labeled=True)
    (tmp_path / "in" / "cat" / "1.png").unlink()
    packed = pack_source(source, tmp_path / "out")
    assert [(failure.key, failure.reason) for failure in packed.failures] == [
        ("cat/1.png", "the file cannot be read (No such file or directory)")
    ]
    back = {record.key: record.image for record in records(open_source(tmp_path / "out", labeled=True))}
    assert back["cat/broken"] == b"no image"
    assert "cat/1" not in back
    shutil.rmtree(tmp_path / "in")
    with pytest.raises(DataError, match=r"None of the images .* nothing to pack"):
        pack_source(source, tmp_path / "none")


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("cat/0.png", "cat/0"),
        ("a.b/my.photo.JPG", "a.b/my%2Ephoto"),
        ("100%.png", "100%25"),
        ("train.parquet:12", "train%2Eparquet:12"),
        ("s3://bucket/deep/x.webp", "s3/bucket/deep/x"),
        ("写真.png", "写真"),
    ],
)
def test_keys_become_member_names_that_webdataset_splits_the_same_way(key, expected):
    assert member_key(key) == expected
    assert "." not in expected.rsplit("/", 1)[-1]


@pytest.mark.parametrize(
    "key",
    [
        "/etc/x.png",
        "../x.png",
        "a/../x.png",
        "a//x.png",
        "",
        ".png",
        ".x.png",
        "a/./b",
        "a\nb",
        "a\\b",
        "x" * 1001,
        "a/",
    ],
)
def test_unsafe_keys_are_refused(key):
    with pytest.raises(DataError, match=r"is not safe as a name in a tar file"):
        member_key(key)


def test_two_keys_that_would_become_the_same_are_refused_and_named(tmp_path):
    for name in ("a.png", "a.jpg"):
        write_image(tmp_path / "in" / name)
    with pytest.raises(DataError, match=r"the key 'a' in the shards, 'a.png' and one before it"):
        pack_source(FolderSource(tmp_path / "in", labeled=False), tmp_path / "out")


def test_an_image_of_a_newer_format_keeps_its_ending_beside_another_of_the_same_name(tmp_path):
    for seed, name in enumerate(("a.jpg", "a.tif", "b.tif")):
        write_image(tmp_path / "in" / name, seed=seed)
    pack_source(FolderSource(tmp_path / "in", labeled=False), tmp_path / "out")
    packed = open_source(tmp_path / "out", labeled=False)
    assert {record.key: record.image for record in packed.read(0)} == {
        "a": (tmp_path / "in" / "a.jpg").read_bytes(),
        "a%2Etif": (tmp_path / "in" / "a.tif").read_bytes(),
        "b": (tmp_path / "in" / "b.tif").read_bytes(),
    }


def test_images_whose_reader_is_missing_are_left_out_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "_missing_reader", lambda format: "needs X" if format == "HEIF" else "")
    source = ListSource([png(noise_image(8, 8)), b"\0\0\0\x18ftypheic" + bytes(60)])
    result = pack_source(source, tmp_path / "out")
    assert result.images == 1
    assert [failure.reason for failure in result.failures] == ["needs X"]


def test_a_source_packed_without_labels_cannot_be_opened_as_labeled(tmp_path):
    source = FolderSource(class_folders(tmp_path / "in"), labeled=False)
    pack_source(source, tmp_path / "out")
    with pytest.raises(DataError, match=r"was packed without labels"):
        open_source(tmp_path / "out", labeled=True)
    assert len(records(open_source(tmp_path / "out", labeled=False))) == 6


def test_a_shard_replaced_after_packing_is_detected(tmp_path):
    pack_source(ListSource([image(1), image(2)], [image(3)]), tmp_path / "out", rows_per_shard=2)
    before = open_source(tmp_path / "out", labeled=False)
    shutil.copy(tmp_path / "out" / "shard-000001.tar", tmp_path / "out" / "shard-000000.tar")
    with pytest.raises(DataError, match=r"key '1/0' is in both '.*shard-000000.tar' and '.*shard-000001.tar'"):
        open_source(tmp_path / "out", labeled=False)
    after = open_source(f"{tmp_path}/out/shard-000000.tar", labeled=False)
    assert after.files["shard-000000.tar"] != before.files["shard-000000.tar"]


def test_the_command_packs_and_the_python_function_too(tmp_path, capsys):
    class_folders(tmp_path / "in")
    (tmp_path / "in" / "cat" / "0.png").chmod(0o644)
    assert main(["pack", str(tmp_path / "in"), str(tmp_path / "out"), "--labeled", "--rows", "4"]) == 0
    assert f"6 images in 2 tar files -> {tmp_path / 'out'}" in capsys.readouterr().out
    noisystudent.pack(source=tmp_path / "in", out=tmp_path / "same", labeled=True, rows_per_shard=4, quiet=True)
    assert contents(tmp_path / "out") == contents(tmp_path / "same")
    assert main(["pack", str(tmp_path / "in"), str(tmp_path / "out"), "--rows", "0"]) == 2
    with pytest.raises(SettingsError, match="bytes per shard are 0"):
        noisystudent.pack(source=tmp_path / "in", out=tmp_path / "o", bytes_per_shard=0)


def test_a_large_image_in_the_middle_keeps_its_position(tmp_path):
    large = noise_image(1800, 1800, seed=1)
    source = array_source(np.stack([large, large[::-1], large[:, ::-1]]))
    pack_source(source, tmp_path / "out")
    back = open_source(tmp_path / "out", labeled=False)
    assert [record.key for record in back.read(0)] == ["row-0", "row-1", "row-2"]
    assert np.array_equal(decode_image(next(back.read_rows(0, [1])).image, 3), large[::-1])


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_packing_loads_no_torch_and_a_folder_neither_pyarrow_nor_fsspec(tmp_path):
    class_folders(tmp_path / "in")
    loaded = "print([name for name in ('torch', 'pyarrow', 'fsspec') if name in sys.modules])"
    opening = (
        f"from noisystudent.data.sources.open import open_source; open_source({str(tmp_path / 'in')!r}, labeled=True)"
    )
    assert run_python(f"import sys; {opening}; {loaded}") == "[]\n"
    words = ["pack", str(tmp_path / "in"), str(tmp_path / "out")]
    packing = f"from noisystudent.commands.main import main; main({words})"
    assert run_python(f"import sys; {packing}; {loaded}").endswith("['pyarrow']\n")


def test_labeling_shards_goes_part_by_part_and_names_a_shard_that_changed(tmp_path, capsys):
    from noisystudent.models.checkpoint import save_classifier
    from noisystudent.models.classifier import create_classifier

    (tmp_path / "teacher").mkdir()
    save_classifier(create_classifier("tiny_resnet", classes=("a", "b"), channels=3, size=12), tmp_path / "teacher")
    write_shards(tmp_path / "s", 3, 2)
    words = ["label", f"--teacher={tmp_path}/teacher", f"--source={tmp_path}/s", f"--out={tmp_path}/out"]
    assert main(words) == 0
    parts = sorted((tmp_path / "out").glob("part-*.parquet"))
    assert [pq.read_table(part)["key"].to_pylist() for part in parts] == [
        ["0-0", "0-1"],
        ["1-0", "1-1"],
        ["2-0", "2-1"],
    ]
    capsys.readouterr()
    write_tar(tmp_path / "s" / "train-001.tar", {"1-0.png": image(7), "1-1.png": image(8)})
    assert main(words) == 0
    printed = capsys.readouterr().err
    assert "; files.train-001.tar: " in printed
    assert "train-000.tar" not in printed


def test_a_run_opens_shards_parquet_and_tables_as_roles(tmp_path):
    class_folders(tmp_path / "in", per_class=4)
    noisystudent.pack(source=tmp_path / "in", out=tmp_path / "shards", labeled=True, rows_per_shard=3, quiet=True)
    source = records(FolderSource(tmp_path / "in", labeled=True))
    columns = {"image": [source[0].image, source[-1].image], "label": ["cat", "dog"]}
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    (tmp_path / "in" / "list.csv").write_text("path\ncat/0.png\ndog/1.png\n")
    specs = {"labeled": f"{tmp_path}/shards", "unlabeled": f"{tmp_path}/in/list.csv", "test": f"{tmp_path}/x.parquet"}
    splits = open_splits(specs, DataSettings(), seed=0)
    assert splits.classes == ("cat", "dog")
    # The test images are labeled ones, so these do not train.
    assert splits.labeled.keys[:2] == ("cat/1", "cat/2")
    assert [image.key for image in splits.summaries["labeled"].left_out] == ["cat/0", "dog/3"]
    assert splits.unlabeled.images.keys == ("dog/1.png",)
    assert splits.unlabeled.left_out == [Excluded("cat/0.png", "x.parquet:0", "identical")]
    assert np.array_equal(splits.unlabeled.images.pixels[0], splits.labeled.pixels[splits.labeled.keys.index("dog/1")])
    assert splits.summaries["labeled"].per_class == {"cat": 4, "dog": 4}


@pytest.mark.filterwarnings("ignore")
def test_webdataset_reads_packed_shards_and_its_shards_are_read(tmp_path):
    webdataset = pytest.importorskip("webdataset")
    source = FolderSource(class_folders(tmp_path / "in", per_class=5), labeled=True)
    pack_source(source, tmp_path / "out", rows_per_shard=4)
    theirs = webdataset.WebDataset(f"{tmp_path}/out/shard-{{000000..000002}}.tar", shardshuffle=False)
    ours = records(open_source(tmp_path / "out", labeled=True))
    assert [(sample["__key__"], sample["png"], int(sample["cls"])) for sample in theirs] == [
        (record.key, record.image, record.label) for record in ours
    ]
    names = ["a/b.c.jpg", "a.b/c.jpg", "x.JPG", "._x.jpg", "noending", "../x.png", "/abs/x.png", "a b.cls"]
    with webdataset.TarWriter(str(tmp_path / "theirs.tar")) as writer:
        for row, name in enumerate(names):
            key, ending = webdataset.tariterators.base_plus_ext(name)
            if ending in ("jpg", "JPG", "png"):
                writer.write({"__key__": key, ending: b"%d" % row})
            match = indexing._NAME.fullmatch(name)
            assert (match and match.groups()) == ((key, ending) if key else None)
    assert [record.key for record in records(open_source(tmp_path / "theirs.tar", labeled=False))] == [
        "a.b/c", "x", "../x", "/abs/x"
    ]  # fmt: skip
