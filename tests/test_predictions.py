"""Parts of predictions: their names and their order, also beyond five digits."""

import numpy as np
import pytest

from noisystudent.errors import ArtifactError
from noisystudent.predictions import list_parts, part_path, read_all, read_copies, write_part
from noisystudent.selection import SelectionSettings, select

SHARDS = (0, 1, 9_999, 10_000, 99_999, 100_000, 100_001, 1_000_000, 2_999_999)


def test_parts_beyond_five_digits_stay_in_the_order_of_their_shards(tmp_path):
    for shard in reversed(SHARDS):
        part_path(tmp_path, shard).touch()
    listed = list_parts(tmp_path)
    assert listed == [part_path(tmp_path, shard) for shard in SHARDS]
    assert listed != sorted(listed)  # as text, shard 100,000 would come before shard 99,999


def test_rows_beyond_five_digits_are_read_and_selected_in_order(tmp_path):
    predictions, selection = tmp_path / "predictions", tmp_path / "selection"
    for shard in SHARDS:
        log_probabilities = np.log(np.array([[0.6, 0.4]] * 2, np.float32))
        write_part(part_path(predictions, shard), [f"{shard}-a", f"{shard}-b"], log_probabilities)
    keys, _ = read_all(predictions, 2)
    assert keys == [f"{shard}-{row}" for shard in SHARDS for row in "ab"]
    # All are equally confident, so the first rows win: 11 of 18.
    settings = SelectionSettings(rule="threshold", per_class=11)
    select(selection, list_parts(predictions), settings, classes=("x", "y"), round_number=1, seed=0)
    assert [path.name for path in list_parts(selection)] == [path.name for path in list_parts(predictions)]
    copies = np.concatenate([read_copies(path) for path in list_parts(selection)])
    assert copies.tolist() == [1] * 11 + [0] * 7


@pytest.mark.parametrize(
    "name", ["part-00001 (copy).parquet", "part-1.parquet", "part-x.parquet", "part-\u0661.parquet"]
)
def test_a_file_that_is_named_almost_like_a_part_is_not_taken_for_one(tmp_path, name):
    part_path(tmp_path, 0).touch()
    (tmp_path / name).touch()
    with pytest.raises(ArtifactError, match=r"is not named as parts are, like part-00000\.parquet; move it away"):
        list_parts(tmp_path)
