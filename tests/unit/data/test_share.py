"""A share of a source: nested, seeded by key, the same for any division into shards, and known to its fingerprint."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_images import ListSource, class_folders, png
from noisystudent.config import resolve
from noisystudent.data.share import ShareSource, is_in_share
from noisystudent.data.source import Record, Source, shard_keys
from noisystudent.data.sources.arrays import ArraySource
from noisystudent.data.sources.open import open_source
from noisystudent.errors import DataError, SettingsError
from tar_shards import write_shards

KEYS = [f"image-{number}" for number in range(4000)]


def keys_of(source: Source) -> list[str]:
    return [key for shard in range(len(source.shard_sizes)) for key in shard_keys(source, shard)]


def records(source: Source) -> list[Record]:
    return [record for shard in range(len(source.shard_sizes)) for record in source.read(shard)]


def arrays(count: int) -> ArraySource:
    images = np.arange(count * 64, dtype=np.uint64).astype(np.uint8).reshape(count, 8, 8)
    return ArraySource("arrays", images, keys=KEYS[:count], labels=None, classes=None, labeled=False)


@pytest.mark.parametrize("share", [1 / 16, 0.25, 0.9])
def test_a_share_has_about_its_part_of_the_keys(share):
    kept = sum(is_in_share(key, share, 0) for key in KEYS)
    assert kept / len(KEYS) == pytest.approx(share, abs=4 * (share * (1 - share) / len(KEYS)) ** 0.5)


def test_larger_shares_hold_the_smaller_ones_and_seeds_are_independent():
    shares = [{key for key in KEYS if is_in_share(key, share, 3)} for share in (1 / 128, 1 / 16, 0.5, 1.0)]
    for smaller, larger in itertools.pairwise(shares):
        assert smaller < larger
    assert len(shares[-1]) == len(KEYS)
    other = {key for key in KEYS if is_in_share(key, 0.5, 4)}
    assert len(other & shares[2]) / len(KEYS) == pytest.approx(0.25, abs=0.03)


def test_the_records_are_those_of_the_source_in_its_order():
    source = arrays(3000)  # three shards
    share = ShareSource(source, 0.3, 0)
    wanted = [record for record in records(source) if is_in_share(record.key, 0.3, 0)]
    assert [(record.key, record.image.tobytes()) for record in records(share)] == [
        (record.key, record.image.tobytes()) for record in wanted
    ]
    assert keys_of(share) == [record.key for record in wanted]
    assert sum(share.shard_sizes) == len(wanted)
    assert all(share.shard_sizes)
    assert share.notes == (f"{len(wanted)} of its 3000 images are used (data.unlabeled_share 0.3)",)


def test_a_share_does_not_depend_on_how_the_source_is_divided():
    class Divided(ListSource):
        """Given records, by an own source that does not name its keys."""

        def read(self, shard):
            return iter(self._shards[shard])

    source = arrays(200)
    whole = records(source)
    small = Divided(*[whole[start : start + 7] for start in range(0, len(whole), 7)])
    assert not hasattr(small, "keys")
    assert keys_of(ShareSource(small, 0.2, 1)) == keys_of(ShareSource(source, 0.2, 1))


def test_share_and_seed_are_in_the_fingerprint():
    source = arrays(100)
    prints = {ShareSource(source, share, seed).fingerprint for share, seed in ((0.5, 0), (0.5, 1), (0.25, 0))}
    assert len({*prints, source.fingerprint}) == 4


def test_a_share_without_an_image_is_refused():
    with pytest.raises(DataError, match=r"a share of 0\.0001 of the 3 images of 'arrays' .* holds none; give a larger"):
        ShareSource(arrays(3), 0.0001, 0)


def test_every_source_names_its_keys_without_reading(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = class_folders(tmp_path / "folder")
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    (folder / "table.csv").write_text("path\n" + "\n".join(files))
    content = [png(np.full((8, 8, 3), number, np.uint8)) for number in range(5)]
    pq.write_table(pa.table({"image": [{"bytes": image, "path": None} for image in content]}), tmp_path / "t.parquet")
    shards = write_shards(tmp_path / "shards", labels=False)
    for spec in (folder, folder / "table.csv", tmp_path / "t.parquet", shards):
        source = open_source(str(spec), labeled=False)
        assert hasattr(source, "keys"), spec
        assert keys_of(source) == [record.key for record in records(source)], spec
        kept = ShareSource(source, 0.7, 0)
        assert [record.key for record in records(kept)] == keys_of(kept), spec


@pytest.mark.parametrize("share", ["0", "1.5", "-1"])
def test_shares_out_of_range_are_refused(share):
    with pytest.raises(SettingsError, match=r"data\.unlabeled_share"):
        resolve({"labeled": "a", "unlabeled": "b", "out": "c", "data.unlabeled_share": share})
