"""Parquet with image bytes, tables of paths, and data sets of Hugging Face's datasets."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_images import class_folders
from noisystudent.data.source import PassedOver, Record, Source, passed_over
from noisystudent.data.sources.huggingface import HuggingFaceSource
from noisystudent.data.sources.open import open_source
from noisystudent.data.sources.parquet import ParquetSource
from noisystudent.data.sources.path_table import PathTableSource
from noisystudent.errors import DataError
from tar_shards import image


def records(source: Source) -> list[Record]:
    return [record for shard in range(len(source.shard_sizes)) for record in source.read(shard)]


def hub_metadata(**names: list[str]) -> dict[bytes, bytes]:
    """The schema metadata that Hugging Face's datasets writes for ClassLabel columns."""
    features = {name: {"names": class_names, "_type": "ClassLabel"} for name, class_names in names.items()}
    return {b"huggingface": json.dumps({"info": {"features": {"image": {"_type": "Image"}, **features}}}).encode()}


def write_hub(path: Path, first: int = 0, rows: int = 5, *, group: int = 2, **columns: list) -> Path:
    """A file as on the hub: image as struct of bytes and path, label as number with names in the schema."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": image(first + row), "path": f"{row}.png"} for row in range(rows)]
    table = pa.table({"image": images, "label": pa.array([row % 2 for row in range(rows)], pa.int64()), **columns})
    pq.write_table(table.replace_schema_metadata(hub_metadata(label=["cat", "dog"])), path, row_group_size=group)
    return path


def test_the_layout_of_the_hub_is_read_with_class_names(tmp_path):
    source = open_source(write_hub(tmp_path / "x.parquet"), labeled=True)
    assert isinstance(source, ParquetSource)
    assert source.classes == ("cat", "dog")
    assert source.shard_sizes == (2, 2, 1)
    assert records(source) == [Record(f"x.parquet:{row}", image(row), row % 2) for row in range(5)]
    assert list(source.read(1)) == records(source)[2:4]
    unlabeled = open_source(tmp_path / "x.parquet", labeled=False)
    assert {record.label for record in records(unlabeled)} == {-1}
    assert unlabeled.truth(("dog", "cat"))["x.parquet:3"] == "dog"
    assert unlabeled.truth(("cat",)) is None


def test_several_files_are_one_source_with_keys_by_file(tmp_path):
    write_hub(tmp_path / "data" / "a" / "x.parquet", 0, 3)
    write_hub(tmp_path / "data" / "b" / "x.parquet", 10, 1)
    source = open_source(f"{tmp_path}/data/*/x.parquet", labeled=True)
    assert [record.key for record in records(source)] == [
        "a/x.parquet:0",
        "a/x.parquet:1",
        "a/x.parquet:2",
        "b/x.parquet:0",
    ]
    assert records(source)[-1].image == image(10)
    assert open_source(tmp_path / "data" / "a", labeled=True).shard_sizes == (2, 1)


def test_large_row_groups_are_cut_and_streamed(tmp_path):
    table = pa.table({"image": [b"%d" % row for row in range(2500)], "id": list(range(10_000, 12_500))})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=2400)
    source = open_source(tmp_path / "x.parquet", labeled=False)
    assert source.shard_sizes == (1024, 1024, 352, 100)
    assert [record.image for record in records(source)] == [b"%d" % row for row in range(2500)]
    assert [record.key for record in source.read(2)] == [str(row) for row in range(12_048, 12_400)]
    beginning = source.read(1)
    next(beginning)
    assert [record.image for record in source.read(1)] == [b"%d" % row for row in range(1024, 2048)]


def test_only_a_part_of_a_row_group_is_read_at_a_time(tmp_path, monkeypatch):
    content = [os.urandom(100_000) for _ in range(400)]
    pages = {"write_batch_size": 8, "data_page_size": 2**20}  # by default pyarrow makes a page of up to 1024 images
    pq.write_table(pa.table({"image": content}), tmp_path / "x.parquet", compression="none", **pages)
    source = open_source(tmp_path / "x.parquet", labeled=False)
    read = []
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda handle, length, start: read.append(length) or real(handle, length, start))
    assert next(source.read(0)).image == content[0]
    assert sum(read) < 20_000_000


def test_labels_as_names_and_as_numbers_without_names(tmp_path):
    pq.write_table(
        pa.table({"image": [b"1", b"2"], "class": ["dog", "cat"], "key": ["a", "b"]}), tmp_path / "x.parquet"
    )
    source = open_source(tmp_path / "x.parquet", labeled=True)
    assert (source.classes, records(source)) == (("cat", "dog"), [Record("a", b"1", 1), Record("b", b"2", 0)])
    pq.write_table(pa.table({"img": [b"1", b"2"], "label": [0, 2]}), tmp_path / "x.parquet")
    assert open_source(tmp_path / "x.parquet", labeled=True).classes == ("0", "2")
    encoded = pa.table({"img": [b"1", b"2"], "label": pa.array(["x", "y"]).dictionary_encode()})
    pq.write_table(encoded, tmp_path / "x.parquet")
    assert open_source(tmp_path / "x.parquet", labeled=True).classes == ("x", "y")


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (pa.array([1.0, 0.0, None, 1.0]), ("0", "1")),
        (pa.array([float("nan"), 0.0, -1.0, 1.0]), ("0", "1")),
        (pa.array([True, False, None, True]), ("False", "True")),
        (pa.array([Decimal(1), Decimal(0), None, Decimal(1)]), ("0", "1")),
        (pa.array(["1", "0", "nan", "1"]), ("0", "1")),
        (pa.array(["b", "a", None, "b"], pa.large_string()), ("a", "b")),
        (pa.array(["b", "a", "<NA>", "b"]).dictionary_encode(), ("a", "b")),
        (pa.array([12, 3, -1, 12]), ("3", "12")),
    ],
    ids=lambda value: str(getattr(value, "type", "")),
)
@pytest.mark.parametrize("paths", [False, True])
def test_labels_as_pandas_writes_them(tmp_path, labels, classes, paths):
    images = {"path": ["a.png", "b.png", "c.png", "d.png"]} if paths else {"image": [b"1", b"2", b"3", b"4"]}
    pq.write_table(pa.table({**images, "label": labels}), tmp_path / "x.parquet")
    source = open_source(tmp_path / "x.parquet", labeled=True)
    assert source.classes == classes
    assert 4 - sum(each.count for each in passed_over(source)) == len(records(source)) == sum(source.shard_sizes)
    named = {name for each in passed_over(source) for name in each.names}
    assert named.isdisjoint(record.key for record in records(source))
    assert {record.label for record in records(source)} == {0, 1}
    assert sum(open_source(tmp_path / "x.parquet", labeled=False).shard_sizes) == 4


def test_rows_without_a_label_are_left_out_across_row_groups(tmp_path):
    labels = [None if row % 3 == 0 or row < 8 else row % 2 for row in range(30)]
    contents = [str(row).encode() for row in range(30)]
    pq.write_table(pa.table({"image": contents, "label": labels}), tmp_path / "x.parquet", row_group_size=4)
    source = open_source(tmp_path / "x.parquet", labeled=True)
    expected = [(contents[row], label) for row, label in enumerate(labels) if label is not None]
    assert [(record.image, record.label) for record in records(source)] == expected
    assert [record.image for shard in reversed(range(6)) for record in source.read(shard)][:3] == [b"28", b"29", b"25"]
    assert passed_over(source)[0].count == 30 - len(expected)


def test_class_names_beside_a_table_name_its_numbers(tmp_path):
    pq.write_table(pa.table({"image": [b"1", b"2"], "label": [0, 2]}), tmp_path / "x.parquet")
    write_csv(tmp_path, "path,label\na.png,1\nb.png,7\nc.png,unknown\n")
    (tmp_path / "classes.json").write_text('["ant", "bee", "cow"]')
    source = open_source(tmp_path / "x.parquet", labeled=True)
    assert source.classes == ("ant", "bee", "cow")
    assert source.truth(("ant", "cow")) == {"x.parquet:0": "ant", "x.parquet:1": "cow"}
    assert passed_over(source) == (PassedOver("class names without an image", 1, ("bee",)),)
    (tmp_path / "classes.json").write_text('["1", "7", "unknown"]')
    table = open_source(tmp_path / "list.csv", labeled=True)
    assert table.classes == ("1", "7", "unknown")
    assert [record.label for record in records(table)] == [0, 1, 2]
    (tmp_path / "classes.json").write_text('["1", "7"]')
    with pytest.raises(DataError, match=r"label 'unknown' of 'c.png' .* one of its 2 classes"):
        open_source(tmp_path / "list.csv", labeled=True)


@pytest.mark.parametrize("content", ['["x", "y"]', '{"cat": 0}', "\xff", "[" * 100_000])
def test_a_file_beside_a_table_that_has_nothing_to_do_with_it_is_noted(tmp_path, content):
    (tmp_path / "classes.json").write_bytes(content.encode("latin-1"))
    pq.write_table(pa.table({"image": [b"1", b"2"], "label": ["cat", "dog"]}), tmp_path / "x.parquet")
    write_csv(tmp_path, "path,label\na.png,cat\nb.png,dog\n")
    for name in ("x.parquet", "list.csv"):
        source = open_source(tmp_path / name, labeled=True)
        assert source.classes == ("cat", "dog")
        (note,) = source.notes
        assert "not used" in note
        assert not open_source(tmp_path / name, labeled=False).notes


@pytest.mark.parametrize(
    "text",
    [
        "path,label\na b.png,cat\nc/d.png,dog\n",
        "path;label\na b.png;cat\nc/d.png;dog\n",
        "path\tlabel\na b.png\tcat\nc/d.png\tdog\n",
        "path, label\na b.png, cat\nc/d.png , dog\n",
        ' Path ,"Label"\n"a b.png", "cat"\n"c/d.png","dog"\n',
        "label,filename,,\ncat,a b.png,,\ndog,c/d.png,,\n,,,\n",
        "FILE_NAME;note;CLASS\na b.png;1,5;cat\nc/d.png;2;dog\n",
        "path,label\r\na b.png,cat\r\n,\r\nc\\d.png,dog\r\n\r\na b.png,cat\r\n",
        'image,label,note\na b.png,cat,"two\nlines"\nc/d.png,dog\n',
    ],
    ids=[
        "plain", "semicolons", "tabs", "blanks", "capitals", "empty columns", "other names", "backslashes", "short rows"
    ],
)  # fmt: skip
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_tables_as_spreadsheets_save_them(tmp_path, text, encoding):
    for number, name in enumerate(("a b.png", "c/d.png")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(image(number))
    (tmp_path / "list.csv").write_bytes(text.encode(encoding))
    source = open_source(tmp_path / "list.csv", labeled=True)
    assert source.classes == ("cat", "dog")
    assert records(source) == [Record("a b.png", image(0), 0), Record("c/d.png", image(1), 1)]
    whats = {each.what for each in passed_over(source)}
    assert whats <= {"rows without a path", "rows that repeat an earlier one"}
    assert ("rows that repeat an earlier one" in whats) == ("\\" in text)
    (tmp_path / "list.csv").rename(tmp_path / "list.tsv")
    assert records(open_source(tmp_path / "list.tsv", labeled=True)) == records(source)


def test_a_parquet_table_whose_images_have_a_path_only_is_a_table_of_paths(tmp_path):
    (tmp_path / "a.png").write_bytes(image(1))
    rows = [{"bytes": None, "path": "a.png"}]
    typed = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    for column in (pa.array(rows), pa.array(rows, typed), pa.array([{"path": "a.png"}])):
        table = pa.table({"image": column, "label": [1]}).replace_schema_metadata(hub_metadata(label=["cat", "dog"]))
        pq.write_table(table, tmp_path / "x.parquet")
        source = open_source(tmp_path / "x.parquet", labeled=True)
        assert records(source) == [Record("a.png", image(1), 1)]
        assert source.classes == ("cat", "dog")
        assert passed_over(source) == (PassedOver("class names without an image", 1, ("cat",)),)


@pytest.mark.parametrize("name", ["image", "img", "picture"])
def test_usual_names_of_the_image_column_are_found_beside_other_bytes(tmp_path, name):
    pq.write_table(pa.table({"thumbnail": [b"0", b"0"], name: [b"1", b"2"]}), tmp_path / "x.parquet")
    assert [record.image for record in records(open_source(tmp_path / "x.parquet", labeled=False))] == [b"1", b"2"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"image": [b"1", b"2"]}, "has no column 'label'"),
        ({"image": [b"1", b"2"], "label": pa.nulls(2)}, "none of its 2 images has a label"),
        ({"image": [b"1", b"2"], "label": [0, -1]}, "are -1 and 0, and -1 means unlabeled"),
        ({"image": [b"1", b"2"], "label": [0, -2]}, "go from -2 to 0"),
        ({"image": [b"1", b"2"], "label": [0, 10**9]}, "0 to 999,999,999 are allowed"),
        ({"image": [b"1", b"2"], "label": [0.0, 1.5]}, r"A label of .* is 1.5 \(float\)"),
        ({"image": [b"1", b"2"], "label": [[0], [1]]}, r"A label of .* is \[0\] \(list\)"),
        ({"image": [b"1", b"2"], "label": [0, 1], "id": ["a", "a"]}, "key 'a' is in 2 rows"),
        ({"image": [b"1", b"2"], "label": [0, 1], "id": ["a", None]}, "Row 1 of .* has no key"),
        ({"text": ["1", "2"], "label": [0, 1]}, "0 columns of bytes among 'text', 'label'"),
        ({"one": [b"1"], "two": [b"2"], "label": [0]}, "2 columns of bytes"),
        ({"image": pa.array([], pa.binary()), "label": pa.array([], pa.int64())}, "have no rows"),
    ],
)
def test_invalid_tables_are_refused(tmp_path, columns, message):
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    with pytest.raises(DataError, match=message):
        open_source(tmp_path / "x.parquet", labeled=True)


def test_several_label_columns_need_a_name(tmp_path):
    table = pa.table({"image": [b"1"], "fine": [0], "coarse": [0]})
    pq.write_table(table.replace_schema_metadata(hub_metadata(fine=["a", "b"], coarse=["c"])), tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"several columns that may hold the labels: 'fine', 'coarse'"):
        open_source(tmp_path / "x.parquet", labeled=True)
    assert open_source(tmp_path / "x.parquet", labeled=False).truth(("a",)) is None


def test_rows_without_bytes_have_a_problem_and_their_paths_are_not_opened(tmp_path):
    rows = [{"bytes": None, "path": "/etc/hostname"}, None, {"bytes": b"x", "path": None}]
    type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"image": pa.array(rows, type)}), tmp_path / "x.parquet")
    path_only, empty, complete = records(open_source(tmp_path / "x.parquet", labeled=False))
    assert path_only.problem == empty.problem == "the row has no image bytes (a path alone is not opened)"
    assert (path_only.image, complete) == (b"", Record("x.parquet:2", b"x", -1))


def test_a_file_that_declares_more_rows_than_it_can_hold_is_refused(tmp_path):
    for name in ("image", "path"):
        pq.write_table(pa.table({name: pa.array([b"x" if name == "image" else "x"] * 200_000)}), tmp_path / "x.parquet")
        with pytest.raises(DataError, match=r"declares 200,000 rows in [0-9,]+ bytes"):
            open_source(tmp_path / "x.parquet", labeled=False)


def test_damaged_and_different_files_are_named(tmp_path):
    path = write_hub(tmp_path / "a.parquet", rows=50)
    content = path.read_bytes()
    for cut in (content[:-1], content[:100], b"", content[4:]):
        path.write_bytes(cut)
        with pytest.raises(DataError, match=r"a.parquet' (cannot be read as Parquet|has \d+ bytes)"):
            records(open_source(path, labeled=True))
    path.write_bytes(content[:200] + bytes(2000) + content[2200:])
    with pytest.raises(DataError, match=r"a.parquet' cannot be read as Parquet"):
        records(open_source(path, labeled=True))
    path.write_bytes(content)
    pq.write_table(pa.table({"image": [b"1"]}), tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"columns of '.*b.parquet' differ from those of '.*a.parquet'"):
        open_source(tmp_path, labeled=False)


def test_the_fingerprint_of_parquet_changes_with_the_content_not_the_location(tmp_path):
    def fingerprint(labeled=True, **how):
        return open_source(write_hub(tmp_path / "x.parquet", **how), labeled=labeled).fingerprint

    before = fingerprint()
    assert fingerprint() == before
    assert open_source(write_hub(tmp_path / "deep" / "x.parquet"), labeled=True).fingerprint == before
    key = {"id": list("abcde")}
    others = [fingerprint(first=1), fingerprint(rows=4), fingerprint(group=3), fingerprint(**key)]
    others.append(fingerprint(id=list("abcdf")))
    pq.write_table(
        pq.read_table(tmp_path / "x.parquet").set_column(1, "label", [[1, 1, 0, 1, 0]]), tmp_path / "x.parquet"
    )
    others.append(open_source(tmp_path / "x.parquet", labeled=True).fingerprint)
    assert len({before, *others}) == 7


def write_csv(folder: Path, text: str) -> Path:
    (folder / "list.csv").write_text(text)
    return folder / "list.csv"


def test_a_table_of_paths_gives_images_in_its_order(tmp_path):
    class_folders(tmp_path)
    rows = ["dog/1.png,dog", "cat/0.png,cat", "dog/0.png,dog"]
    source = open_source(write_csv(tmp_path, "\n".join(["\ufeffpath,label", *rows])), labeled=True)
    assert isinstance(source, PathTableSource)
    expected = [(row.split(",")[0], (tmp_path / row.split(",")[0]).read_bytes(), "dc".find(row[0]) ^ 1) for row in rows]
    assert [(r.key, r.image, r.label) for r in records(source)] == expected
    assert source.classes == ("cat", "dog")
    assert [record.key for record in source.read_rows(0, [2, 0])] == ["dog/0.png", "dog/1.png"]
    table = pa.table({"path": [row.split(",")[0] for row in rows], "label": ["dog", "cat", "dog"], "note": [1, 2, 3]})
    pq.write_table(table, tmp_path / "list.parquet")
    other = open_source(tmp_path / "list.parquet", labeled=True)
    assert records(other) == records(source)
    assert open_source(tmp_path / "list.csv", labeled=False).truth(("cat", "dog"))["cat/0.png"] == "cat"


def test_a_table_without_labels_is_unlabeled_only(tmp_path):
    class_folders(tmp_path)
    path = write_csv(tmp_path, "path\ncat/0.png\n")
    assert [record.label for record in records(open_source(path, labeled=False))] == [-1]
    assert open_source(path, labeled=False).truth(("cat",)) is None
    with pytest.raises(DataError, match=r"has no column 'label'"):
        open_source(path, labeled=True)


@pytest.mark.parametrize(
    "path",
    [
        "/etc/hostname",
        "C:/x.png",
        "C:\\x.png",
        "..\\x.png",
        "a\\..\\..\\x.png",
        "../x.png",
        "a/../../x.png",
        "..",
        "file:///etc/hostname",
        "simplecache::file:///x",
        "zip://x",
    ],
)
def test_no_path_of_a_table_leads_out_of_its_folder(tmp_path, path):
    with pytest.raises(DataError, match=r"relative to"):
        open_source(write_csv(tmp_path, f"path\n{path}\n"), labeled=False)


def test_a_link_out_of_the_folder_and_a_missing_image_are_problems(tmp_path):
    class_folders(tmp_path / "in")
    (tmp_path / "secret.png").write_bytes(b"secret")
    (tmp_path / "in" / "link.png").symlink_to("../secret.png")
    source = open_source(write_csv(tmp_path / "in", "path\nlink.png\ngone.png\ncat/0.png\n"), labeled=False)
    link, missing, present = records(source)
    assert (link.image, missing.image) == (b"", b"")
    assert "leads out of" in link.problem
    assert "there is no file" in missing.problem
    assert present.image
    before = source.fingerprint
    (tmp_path / "in" / "cat" / "0.png").write_bytes(image(5))
    assert open_source(tmp_path / "in" / "list.csv", labeled=False).fingerprint != before


@given(
    st.lists(
        st.sampled_from(["path", "label", *',;\t\n" \\/', "a.png", "..", "nan", "-1", "1.0", "é", "C:", "9" * 30])
    ),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_any_table_is_read_or_refused_with_a_reason(pieces, encoding):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "list.csv")
        path.write_bytes(("path,label\n" + "".join(pieces)).encode(encoding))
        for labeled in (True, False):
            with suppress(DataError):
                records(open_source(path, labeled=labeled))
            path.write_bytes("".join(pieces).encode(encoding))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("where,label\na.png,cat\n", r"columns 'where', 'label', and 'path' is needed"),
        ("path,label\na.png,cat\na.png,dog\n", r"names 'a.png' twice, with the labels 'cat' and 'dog'"),
        ("path,label\na.png,\nb.png,\n", r"none of its 2 images has a label"),
        ("path,label\na.png\n", r"Row 2 of .* fewer fields"),
        ("path,label\na.png,b,c\n", r"Row 2 of .* more or fewer"),
        ("path,label\n", r"names no images"),
        ("", r"names no images"),
        (" ,\n", r"names no images"),
        ("path,label\n,cat\n", r"names no images \(passed over: 1 rows without a path, such as 'row 2'\)"),
        ("path,label\na.png,1\nb.png,x\n", r"partly numbers \(1\) and partly names \('x'\)"),
    ],
)
def test_invalid_tables_of_paths_are_refused(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        open_source(write_csv(tmp_path, text), labeled=True)


def test_a_table_in_a_store_names_images_beside_it_and_in_the_same_store():
    store = fsspec.filesystem("memory")
    store.pipe(
        {"/tables/list.csv": b"path\na.png\nmemory://other/b.png\n", "/tables/a.png": b"A", "/other/b.png": b"B"}
    )
    source = open_source("memory://tables/list.csv", labeled=False)
    assert [(r.key, r.image) for r in records(source)] == [("a.png", b"A"), ("memory://other/b.png", b"B")]
    before = source.fingerprint
    store.pipe("/other/b.png", b"C")
    assert open_source("memory://tables/list.csv", labeled=False).fingerprint != before


def test_without_the_datasets_package_the_error_has_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"'hf:cifar10:train' needs .* pip install 'noisystudent\[hf\]'"):
        open_source("hf:cifar10:train", labeled=True)


def test_data_sets_of_the_datasets_package_are_read(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    rows = {"image": [{"bytes": image(row), "path": None} for row in range(1030)], "label": [1, 0] * 515}
    data = datasets.Dataset.from_dict(rows, features=features)
    data.save_to_disk(tmp_path / "one")
    source = open_source(tmp_path / "one", labeled=True)
    assert isinstance(source, HuggingFaceSource)
    assert (source.classes, source.shard_sizes) == (("cat", "dog"), (1024, 6))
    assert records(source) == [Record(f"row:{row}", image(row), 1 - row % 2) for row in range(1030)]
    assert [record.key for record in source.read_rows(1, [5, 0])] == ["row:1029", "row:1024"]
    other = datasets.Dataset.from_dict({**rows, "image": [*rows["image"][:-1], rows["image"][0]]}, features=features)
    datasets.DatasetDict({"train": data, "test": other}).save_to_disk(tmp_path / "two")
    with pytest.raises(DataError, match=r"which split .* 'train', 'test'"):
        open_source(tmp_path / "two", labeled=True)
    assert open_source(tmp_path / "two" / "train", labeled=True).fingerprint == source.fingerprint
    assert open_source(tmp_path / "two" / "test", labeled=True).fingerprint != source.fingerprint
