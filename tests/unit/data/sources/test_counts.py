"""Every kind of source counts its labels as its records have them, without reading images."""

import csv

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import noisystudent
from data_images import class_folders
from noisystudent.data.source import class_counts
from noisystudent.data.sources.open import open_source

COUNTS = {"cat": 3, "dog": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("counts")
    class_folders(root / "photos")
    (root / "photos/dog/2.png").unlink()
    keys = sorted(path.relative_to(root).as_posix() for path in root.glob("photos/*/*.png"))
    labels = [key.split("/")[1] for key in keys]
    with (root / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *zip(keys, labels, strict=True)])
    pq.write_table(
        pa.table({"image": [(root / key).read_bytes() for key in keys], "label": labels}), root / "x.parquet"
    )
    indices = [("cat", "dog").index(label) for label in labels]
    np.savez(root / "x.npz", x=np.zeros((5, 8, 8), np.uint8), y=np.array(indices), classes=np.array(["cat", "dog"]))
    noisystudent.pack(source=root / "photos", out=root / "shards", labeled=True, rows_per_shard=2, quiet=True)
    return root


@pytest.mark.parametrize("spec", ["photos", "list.csv", "x.parquet", "x.npz", "shards"])
def test_labels_are_counted_as_the_records_have_them(folder, spec):
    source = open_source(str(folder / spec), labeled=True)
    assert class_counts(source) == COUNTS
    assert class_counts(open_source(str(folder / spec), labeled=False)) is None
