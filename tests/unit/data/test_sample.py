"""A sample of a source: evenly spread, in the source's order, and no other image is read for it."""

import pytest
from PIL import Image

from data_images import ListSource, noise_image
from noisystudent.data.sample import SpreadSource
from noisystudent.data.sources import folder
from noisystudent.data.sources.builtin import open_digits
from noisystudent.data.sources.folder import FolderSource


def keys_of(source):
    return [record.key for shard in range(len(source.shard_sizes)) for record in source.read(shard)]


def test_it_is_spread_evenly_over_the_source_with_its_labels():
    sample = SpreadSource(open_digits(labeled=True), 3)
    assert keys_of(sample) == ["digit-0000", "digit-0898", "digit-1796"]
    assert sample.classes == tuple("0123456789")
    assert [sample.keys(shard) for shard in range(2)] == [["digit-0000", "digit-0898"], ["digit-1796"]]
    assert sum(SpreadSource(open_digits(labeled=False), 5000).shard_sizes) == 1797


def test_a_note_follows_those_of_the_source():
    source = ListSource([noise_image(8, 8)] * 5)
    assert SpreadSource(source, 2, "few of them").notes == ("few of them",)
    assert keys_of(SpreadSource(source, 2)) == ["0/0", "0/4"]  # a source without read_rows is read through


def test_no_other_file_of_a_folder_is_read(tmp_path, monkeypatch):
    for number in range(40):
        Image.new("L", (8, 8)).save(tmp_path / f"{number:02}.png")
    read, read_file = [], folder.read_file

    def noted(path):
        read.append(path.name)
        return read_file(path)

    monkeypatch.setattr(folder, "read_file", noted)
    assert keys_of(SpreadSource(FolderSource(tmp_path, labeled=False), 3)) == ["00.png", "20.png", "39.png"]
    assert read == ["00.png", "20.png", "39.png"]


@pytest.mark.parametrize("rows", [[1, 0], [2]])
def test_a_folder_gives_its_rows_in_the_order_that_is_asked_for(tmp_path, rows):
    for name in "abc":
        Image.new("L", (8, 8)).save(tmp_path / f"{name}.png")
    found = FolderSource(tmp_path, labeled=False).read_rows(0, rows)
    assert [record.key for record in found] == [f"{'abc'[row]}.png" for row in rows]
