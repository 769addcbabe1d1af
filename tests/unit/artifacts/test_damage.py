"""Damage to finished work is found, named, and mended where it is."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from noisystudent.artifacts.archives import describe_archives, prepare
from noisystudent.artifacts.damage import find_damage, reopen_damaged, require_whole
from noisystudent.artifacts.folder import State, commit, sample_of, state_of
from noisystudent.artifacts.tables import read_table
from noisystudent.errors import ArtifactError

INPUTS = {"steps": 3}


@pytest.fixture
def stage(tmp_path):
    folder = tmp_path / "stage"
    prepare(folder, INPUTS)
    (folder / "large.bin").write_bytes(bytes(range(256)) * 4096)  # 1 MiB
    (folder / "small.json").write_text("{}")
    (folder / "timing.json").write_text("{}")
    (folder / "state.pt").write_text("state")
    commit(folder, "thing", INPUTS, volatile=("timing.json",), temporary=("state.pt",))
    (folder / "state.pt").unlink()
    return folder


def test_whole_work_has_no_damage(stage):
    assert find_damage(stage, full=None) == find_damage(stage) == {}
    assert reopen_damaged(stage, INPUTS) == {}
    assert state_of(stage, INPUTS) is State.COMPLETE


@pytest.mark.parametrize("name", ["large.bin", "small.json", "timing.json"])
def test_a_missing_file_is_named_and_only_it_is_made_again(stage, name):
    (stage / name).unlink()
    others = {path.name for path in stage.iterdir()} - {"manifest.json"}
    assert reopen_damaged(stage, INPUTS) == {name: "is missing"}
    assert state_of(stage, INPUTS) is State.PARTIAL
    assert {path.name for path in stage.iterdir()} == others


@pytest.mark.parametrize("change", [b"", b"{}x", b"[]"])
def test_a_small_file_is_checked_byte_by_byte(stage, change):
    (stage / "small.json").write_bytes(change)
    assert find_damage(stage) == {"small.json": "was changed after it was written"}


def test_a_lost_block_of_a_large_file_is_found_by_the_full_check(stage):
    content = bytearray((stage / "large.bin").read_bytes())
    content[300_000:304_096] = bytes(4096)
    (stage / "large.bin").write_bytes(content)
    assert find_damage(stage, full=("thing",)) == {"large.bin": "was changed after it was written"}
    assert find_damage(stage, full=("model",)) == {}
    with pytest.raises(ArtifactError, match=r"large\.bin was changed .* makes again what is damaged"):
        require_whole(stage, "thing", full=True)


def test_samples_see_the_size_and_both_ends(tmp_path):
    base = bytes(200_000)
    digests = set()
    for content in (base, base + b"\0", b"\1" + base[1:], base[:-1] + b"\1", b""):
        (tmp_path / "f").write_bytes(content)
        digests.add(sample_of(tmp_path / "f"))
    assert len(digests) == 5


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 1}', '{"format": 1, "kind": "x", "inputs": {}, "files": 3}'])
def test_a_damaged_manifest_reopens_its_folder(stage, text):
    (stage / "manifest.json").write_text(text)
    assert "manifest.json" in reopen_damaged(stage, INPUTS)
    assert state_of(stage, INPUTS) is State.PARTIAL


def test_a_manifest_never_leads_out_of_its_folder(stage):
    precious = stage.parent / "precious"
    precious.write_text("mine")
    manifest = json.loads((stage / "manifest.json").read_text())
    manifest["files"]["../precious"] = "0" * 64
    (stage / "manifest.json").write_text(json.dumps(manifest))
    reopen_damaged(stage, INPUTS)
    assert precious.read_text() == "mine"


@pytest.mark.parametrize("text", [None, "{", "\udcff"])
def test_inputs_that_are_lost_are_read_from_the_manifest(stage, text):
    if text is None:
        (stage / "inputs.json").unlink()
    else:
        (stage / "inputs.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert state_of(stage, INPUTS) is State.COMPLETE
    assert state_of(stage, {"steps": 4}) is State.STALE


def test_unfinished_work_whose_inputs_are_damaged_says_what_to_delete(tmp_path):
    prepare(tmp_path / "stage", INPUTS)
    (tmp_path / "stage" / "inputs.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"Delete the folder .*stage and run the command again"):
        prepare(tmp_path / "stage", INPUTS)


def test_a_complete_folder_with_files_of_others_is_not_archived(stage):
    (stage / "notes.txt").write_text("mine")
    with pytest.raises(ArtifactError, match=r"did not write: notes\.txt"):
        prepare(stage, {"steps": 4})
    assert (stage / "notes.txt").read_text() == "mine"
    assert state_of(stage, INPUTS) is State.COMPLETE


def test_archived_folders_name_their_size(stage):
    prepare(stage, {"steps": 4})
    assert describe_archives(stage).startswith(f"the old one is kept as {stage}.")
    assert describe_archives(stage).endswith("(1.0 MB)")
    (stage / "x").write_bytes(bytes(10**6))
    prepare(stage, {"steps": 5})
    assert describe_archives(stage) == f"2 old ones are kept as {stage}.* (2.0 MB in all)"


def test_a_damaged_table_is_one_clear_error(tmp_path):
    path = tmp_path / "part.parquet"
    with pytest.raises(ArtifactError, match="is missing; run the command that makes it again"):
        read_table(path)
    pq.write_table(pa.table({"key": ["a"] * 1000}), path)
    assert read_table(path, ["key"]).num_rows == 1000
    with pytest.raises(ArtifactError, match="has no column 'copies'"):
        read_table(path, ["copies"])
    content = path.read_bytes()
    for damaged in (b"", content[:100], content[:40] + bytes(60) + content[100:], b"not parquet"):
        path.write_bytes(damaged)
        with pytest.raises(ArtifactError, match=r"is damaged .*delete part\.parquet and run the command"):
            read_table(path)


def test_a_file_that_the_user_may_edit_is_never_damaged_and_is_archived_with_its_folder(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights").write_text("1 2 3")
    (folder / "README.md").write_text("a card")
    first = commit(folder, "checkpoint", {"seed": 0}, editable=("README.md",))
    assert list(first.files) == ["weights"]
    (folder / "README.md").write_text("my own card")
    assert find_damage(folder, full=None) == {}
    assert prepare(folder, {"seed": 1})[0] is State.PARTIAL
    (folder / "weights").write_text("4 5 6")
    commit(folder, "checkpoint", {"seed": 1})
    assert prepare(folder, {"seed": 0})[0] is State.COMPLETE
    assert (folder / "README.md").read_text() == "my own card"
