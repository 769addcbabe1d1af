"""Arrays as sources: npz files, the digits of scikit-learn, and the specs that open them."""

from __future__ import annotations

import io
import os
import pickle
import zipfile

import numpy as np
import pytest
from sklearn.datasets import load_digits

from data_images import class_folders
from noisystudent.data.source import PassedOver, Source
from noisystudent.data.sources.arrays import open_npz
from noisystudent.data.sources.builtin import open_digits
from noisystudent.data.sources.folder import FolderSource
from noisystudent.data.sources.open import open_source
from noisystudent.errors import DataError


def images(count: int, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 6, 5, 3), dtype=np.uint8)


def read_all(source: Source) -> list:
    return [record for shard in range(len(source.shard_sizes)) for record in source.read(shard)]


@pytest.fixture
def split_file(tmp_path):
    path = tmp_path / "data.npz"
    np.savez_compressed(
        path,
        x_train=images(5),
        y_train=np.array([0, 1, 2, 1, 0], np.int16),
        x_test=images(3, seed=1),
        y_test=np.array([2, 1, 0]),
        classes=np.array(["ant", "bee", "cat"]),
    )
    return path


def test_parts_of_a_file(split_file):
    train = open_source(split_file, labeled=True)
    assert train.name == str(split_file)
    assert train.classes == ("ant", "bee", "cat")
    assert train.shard_sizes == (5,)
    assert [(record.key, record.label) for record in train.read(0)] == [
        ("000000", 0),
        ("000001", 1),
        ("000002", 2),
        ("000003", 1),
        ("000004", 0),
    ]
    assert all(np.array_equal(record.image, images(5)[row]) for row, record in enumerate(train.read(0)))
    assert open_source(f"{split_file}:train", labeled=True).fingerprint == train.fingerprint

    test = open_source(f"{split_file}:test", labeled=True)
    assert [record.label for record in test.read(0)] == [2, 1, 0]
    assert np.array_equal(read_all(test)[2].image, images(3, seed=1)[2])
    assert test.fingerprint != train.fingerprint


def test_an_unlabeled_file_gives_its_labels_only_as_truth(split_file):
    source = open_npz(split_file, labeled=False)
    assert source.classes is None
    assert {record.label for record in source.read(0)} == {-1}
    assert list(source.truth(("cat", "bee", "ant", "dog")).values()) == ["ant", "bee", "cat", "bee", "ant"]
    assert source.truth(("ant", "bee")) is None


@pytest.mark.parametrize("names", [("x", "y"), ("images", "labels"), ("x_train", "y_train")])
@pytest.mark.parametrize("shape", [(), (1,), (3,)])
def test_plain_arrays_of_every_shape(tmp_path, names, shape):
    x = np.random.default_rng(0).integers(0, 256, (4, 7, 5, *shape), dtype=np.uint8)
    np.savez(tmp_path / "plain.npz", **{names[0]: x, names[1]: np.array([[0], [1], [1], [0]], np.uint8)})
    source = open_source(tmp_path / "plain.npz", labeled=True)
    assert source.classes == ("0", "1")
    read = read_all(source)
    assert [record.label for record in read] == [0, 1, 1, 0]
    assert read[2].image.shape == ((7, 5, 3) if shape == (3,) else (7, 5))
    assert np.array_equal(read[2].image, x[2].squeeze())


def test_a_part_has_the_classes_of_its_own_labels(tmp_path):
    np.savez(tmp_path / "f.npz", x_train=images(3), y_train=[0, 1, 2], x_test=images(2), y_test=[0, 2])
    assert open_npz(tmp_path / "f.npz", "test", labeled=True).classes == ("0", "2")


@pytest.mark.parametrize(
    ("labels", "classes", "expected"),
    [
        (np.array([3, 1, 3]), ("1", "3"), [1, 0, 1]),
        (np.array([999, 20, 101]), ("20", "101", "999"), [2, 0, 1]),
        (np.array([1.0, 0.0, 1.0]), ("0", "1"), [1, 0, 1]),
        (np.array([True, False, True]), ("False", "True"), [1, 0, 1]),
        (np.array(["dog", "cat", "dog"]), ("cat", "dog"), [1, 0, 1]),
        (np.array([b"dog", b"cat", b"dog"]), ("cat", "dog"), [1, 0, 1]),
        (np.array([2, 3, 2], np.uint8), ("2", "3"), [0, 1, 0]),
    ],
)
def test_the_labels_that_are_there_are_the_classes(tmp_path, labels, classes, expected):
    np.savez(tmp_path / "f.npz", x=images(3), y=labels)
    source = open_npz(tmp_path / "f.npz", labeled=True)
    assert source.classes == classes
    assert [record.label for record in source.read(0)] == expected
    assert set(open_npz(tmp_path / "f.npz", labeled=False).truth(classes).values()) == set(classes)


@pytest.mark.parametrize(
    ("labels", "what"),
    [
        (np.array([1, -1, 0, -1]), "images with the label -1, which means unlabeled"),
        (np.array([1, np.nan, 0, np.nan]), "images without a label"),
        (np.array(["1", "", "0", "nan"]), "images without a label"),
    ],
)
def test_images_without_a_label_are_left_out_and_counted(tmp_path, labels, what):
    np.savez(tmp_path / "f.npz", x=images(4), y=labels)
    source = open_npz(tmp_path / "f.npz", labeled=True)
    assert [(record.key, record.label) for record in source.read(0)] == [("000000", 1), ("000002", 0)]
    assert np.array_equal(read_all(source)[1].image, images(4)[2])
    assert source.passed_over == (PassedOver(what, 2, ("000001", "000003")),)
    unlabeled = open_npz(tmp_path / "f.npz", labeled=False)
    assert unlabeled.shard_sizes == (4,)
    assert unlabeled.truth(("0", "1")) is None


def test_names_of_classes_without_an_image_are_counted(tmp_path):
    np.savez(tmp_path / "f.npz", x=images(2), y=[3, 1], classes=["ant", "bee", "cow", "dog"])
    source = open_npz(tmp_path / "f.npz", labeled=True)
    assert source.classes == ("ant", "bee", "cow", "dog")
    assert [record.label for record in source.read(0)] == [3, 1]
    assert source.passed_over == (PassedOver("class names without an image", 2, ("ant", "cow")),)


def test_an_unlabeled_file_may_have_labels_that_are_no_classes(tmp_path):
    for labels in (np.full(2, -1), np.array([0, 10**9]), np.array([0.5, 1.5]), np.zeros(7)):
        np.savez(tmp_path / "f.npz", x=images(2), y=labels)
        source = open_npz(tmp_path / "f.npz", labeled=False)
        assert source.shard_sizes == (2,)
        assert source.truth(("0", "1")) is None


def test_images_without_labels_can_be_unlabeled_only(tmp_path):
    np.savez(tmp_path / "f.npz", x=images(2000))
    source = open_npz(tmp_path / "f.npz", labeled=False)
    assert source.shard_sizes == (1024, 976)
    assert next(source.read(1)).key == "001024"
    assert len({record.key for record in read_all(source)}) == 2000
    assert source.truth(("0", "1")) is None
    with pytest.raises(DataError, match=r"given as labeled but holds no array 'y'"):
        open_npz(tmp_path / "f.npz", labeled=True)


class Evil:
    """Creates a folder when unpickled."""

    def __init__(self, evidence):
        self.evidence = evidence

    def __reduce__(self):
        return os.mkdir, (str(self.evidence),)


def test_object_arrays_are_never_loaded(tmp_path):
    evil = Evil(tmp_path / "evidence")
    for name in ("x", "classes", "other"):
        arrays = {"x": images(2), "y": np.array([0, 1])} | {name: np.array([evil, evil], dtype=object)}
        np.savez(tmp_path / "evil.npz", **arrays)
        with pytest.raises(DataError, match="plain arrays"):
            open_source(tmp_path / "evil.npz", labeled=True)
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps(evil))
    with pytest.raises(DataError, match="plain arrays"):
        open_source(tmp_path / "pickle.npz", labeled=True)
    assert not evil.evidence.exists()


@pytest.mark.parametrize("held", [100, 10**6])
def test_arrays_larger_than_their_file_or_memory_are_not_allocated(tmp_path, monkeypatch, held):
    header = io.BytesIO()
    shape = (10**9, 1000, 1000) if held == 100 else (1, 1000, 1000)
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", header.getvalue() + bytes(held))
    monkeypatch.setattr(os, "sysconf", lambda name: 900)  # 810,000 bytes of memory
    with pytest.raises(DataError, match=r"declares 1,0{3}.* and holds 2|need 0.0 GB, and this machine has 0.0 GB"):
        open_npz(tmp_path / "bomb.npz", labeled=False)


def test_damaged_files_are_refused(tmp_path, split_file):
    content = split_file.read_bytes()
    for name, damaged in {
        "short.npz": content[: len(content) // 2],
        "empty.npz": b"",
        "text.npz": b"hello",
        "flipped.npz": content[:90] + bytes([content[90] ^ 0xFF]) + content[91:],
    }.items():
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(DataError, match=name):
            open_source(tmp_path / name, labeled=True)
    np.save(tmp_path / "bare.npy", images(2))
    (tmp_path / "bare.npy").rename(tmp_path / "bare.npz")
    with pytest.raises(DataError, match="plain arrays"):
        open_source(tmp_path / "bare.npz", labeled=False)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((2, 4, 4))}, r"'x' .* is of type float64, and images are uint8"),
        ({"x": np.zeros((2, 3, 4, 4), np.uint8)}, r"shape \(2, 3, 4, 4\).*Move the channels to the end"),
        ({"x": np.zeros((2, 16), np.uint8)}, r"shape \(2, 16\)"),
        ({"x": np.zeros((0, 4, 4), np.uint8)}, r"is empty"),
        ({"y": np.zeros(2, int)}, r"has no array 'x_train' or 'x' or 'images'; it has 'y'"),
        ({"x": images(2), "y": np.zeros(3, int)}, r"'y' .* is int64 of shape \(3,\).*\(2,\)"),
        ({"x": images(2), "y": np.zeros(2, complex)}, r"'y' .* is complex128"),
        ({"x": images(2), "y": np.array([0.0, 1.5])}, r"A label of .*wrong.npz' is 1.5 \(float\)"),
        ({"x": images(2), "y": np.array([-1, 1])}, r"are -1 and 1, and -1 means unlabeled"),
        ({"x": images(2), "y": np.array([-1, -1])}, r"none of its 2 images has a label"),
        ({"x": images(2), "y": np.array([-3, 1])}, r"go from -3 to 1, and 0 to 999,999,999 are allowed"),
        ({"x": images(2), "y": np.array([0, 10**9])}, r"go from 0 to 1000000000, and 0 to 999,999,999 are allowed"),
        (
            {"x": images(2), "y": np.array([0, 2]), "classes": ["a", "b"]},
            r"label '2' of '000001' .* neither the name nor the number of one of its 2 classes",
        ),
        ({"x": images(2), "y": np.array([0, 1]), "classes": ["a", "a"]}, r"a name twice"),
    ],
)
def test_wrong_arrays_are_refused_with_what_is_allowed(tmp_path, arrays, message):
    np.savez(tmp_path / "wrong.npz", **arrays)
    with pytest.raises(DataError, match=message):
        open_npz(tmp_path / "wrong.npz", labeled=True)


def test_fingerprint_depends_on_pixels_and_labels(tmp_path):
    def fingerprint(x, y, *, labeled=True):
        np.savez(tmp_path / "f.npz", x=x, y=y)
        return open_npz(tmp_path / "f.npz", labeled=labeled).fingerprint

    x, y = images(3), np.array([0, 1, 1])
    changed = x.copy()
    changed[1, 2, 3, 0] ^= 1
    assert fingerprint(x, y) == fingerprint(x.copy(), y)
    assert len({fingerprint(x, y), fingerprint(changed, y), fingerprint(x, y[::-1]), fingerprint(x[::-1], y)}) == 4
    assert fingerprint(x, y, labeled=False) == fingerprint(x, y[::-1], labeled=False)


def test_digits_are_scikit_learns():
    digits = load_digits()
    source = open_source("digits", labeled=True)
    read = read_all(source)
    assert source.classes == tuple("0123456789")
    assert source.shard_sizes == (1024, 773)
    assert [record.label for record in read] == digits.target.tolist()
    assert read[17].key == "digit-0017"
    assert np.array_equal(read[17].image, np.round(digits.images[17] / 16 * 255))
    assert max(record.image.max() for record in read) == 255


@pytest.mark.parametrize("seed", [0, 3])
def test_parts_of_the_digits_are_stratified_and_disjoint(seed):
    suffix = f"@{seed}" if seed else ""
    parts = {part: open_source(f"digits:{part}{suffix}", labeled=True) for part in ("labeled", "unlabeled", "test")}
    counts = {part: np.bincount([record.label for record in read_all(source)]) for part, source in parts.items()}
    assert counts["labeled"].tolist() == [4] * 10
    assert counts["test"].tolist() == [50] * 10
    assert sum(counts.values()).tolist() == np.bincount(load_digits().target).tolist()
    all_keys = [record.key for source in parts.values() for record in read_all(source)]
    assert len(set(all_keys)) == len(all_keys) == 1797
    assert parts["test"].name == f"digits:test{suffix}"


def test_digits_draws_depend_on_the_seed_only():
    first, same, other = (open_digits("labeled", seed=seed, labeled=True).fingerprint for seed in (1, 1, 2))
    assert first == same != other
    unlabeled = open_digits("unlabeled", seed=1, labeled=False)
    assert {record.label for record in read_all(unlabeled)} == {-1}
    truth = unlabeled.truth(tuple("0123456789"))
    assert all(truth[key] == str(load_digits().target[int(key[-4:])]) for key in list(truth)[:20])


def test_open_source_takes_paths_and_strings(tmp_path, monkeypatch, split_file):
    class_folders(tmp_path / "digits")
    monkeypatch.chdir(tmp_path)
    assert isinstance(open_source("./digits", labeled=True), FolderSource)
    assert open_source("digits", labeled=True).classes == tuple("0123456789")
    assert open_source(tmp_path / "digits", labeled=True).classes == ("cat", "dog")
    assert open_source("data.npz:test", labeled=True).name == "data.npz:test"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_source("~/data.npz", labeled=True).shard_sizes == (5,)
    assert open_source("~/digits", labeled=True).shard_sizes == (6,)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nowhere", r"There is no source 'nowhere'. Understood are a folder"),
        ("foldr", r"There is no source 'foldr'. Did you mean 'folder'\?"),
        ("nowhere.npz:test", r"There is no source 'nowhere.npz:test'"),
        ("data.npz:tset", r"no part 'tset' of 'data.npz'; .* Did you mean 'test'\?"),
        ("notes.txt", r"'notes.txt' is a file that is not understood"),
        ("images.zip", r"Unpack an archive into a folder first"),
        ("images.tar", r"'images.tar' ends too early"),
        ("digits:tests", r"no part 'tests' of the digits .* Did you mean 'test'\?"),
        ("digits:", r"no part '' of the digits"),
        ("digits:test@", r"The seed '' in 'digits:test@'"),
        ("digits:test@-1", r"The seed '-1'"),
        ("digits:test@x", r"The seed 'x' .* whole number"),
        ("digits@3", r"The seed '3' in 'digits@3'"),
    ],
)
def test_unknown_specs_are_refused_with_a_list_of_known_ones(tmp_path, monkeypatch, split_file, spec, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for name in ("notes.txt", "images.tar", "images.zip"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=message):
        open_source(spec, labeled=True)
