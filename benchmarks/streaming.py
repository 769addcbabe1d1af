"""Compares reading and decoding tar shards with the package webdataset.

    pip install webdataset
    python benchmarks/streaming.py            # 2,000 images of about 500 x 375 on one core; a few minutes
    python benchmarks/streaming.py --quick    # 400 images of half that size

Both read the same generated shards (JPEG and .cls) from the system's cache and treat each image the same way: they
decode it with Pillow and resize it to the storage size of a 224 px model, as ``decode_shard`` does. "reading" leaves
out the decoding. The unit is CPU seconds of the whole process on one core, which other work on the machine disturbs
least. Each round times both in alternating order. Ratios are medians, with the range. This package's index is made
before; that cost is paid once and has a separate row.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from decode import make_image
from noisystudent.data.images import ImageFormat, decode_shard
from noisystudent.data.source import Record, Source
from noisystudent.data.sources.open import open_source
from rows import ratio_row

FORMAT = ImageFormat(224, 3)
PER_SHARD, DISTINCT, SHAPES = 500, 50, ((375, 500), (500, 375), (333, 500))


def make_shards(folder: Path, count: int, scale: float) -> None:
    """``count`` JPEG images with labels, some identical, in tar files of 500."""
    random = np.random.default_rng(0)
    contents = []
    for number in range(DISTINCT):
        height, width = (round(edge * scale) for edge in SHAPES[number % len(SHAPES)])
        buffer = io.BytesIO()
        Image.fromarray(make_image(random, height, width)).save(buffer, "JPEG", quality=90)
        contents.append(buffer.getvalue())
    for shard in range(-(-count // PER_SHARD)):
        with tarfile.open(folder / f"train-{shard:03d}.tar", "w") as archive:
            for number in range(shard * PER_SHARD, min(count, (shard + 1) * PER_SHARD)):
                for ending, content in (("jpg", contents[number % DISTINCT]), ("cls", str(number % 10).encode())):
                    info = tarfile.TarInfo(f"{number:08d}.{ending}")
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))


class Streamed:
    """The samples of webdataset as a source of one shard, so that the same code decodes them."""

    name, fingerprint = "webdataset", ""
    classes: tuple[str, ...] | None = None

    def __init__(self, pattern: str, count: int) -> None:
        self._pattern = pattern
        self.shard_sizes = (count,)
        self.files: dict[str, str] = {}

    def read(self, shard: int) -> Iterator[Record]:
        """All records, in webdataset's order."""
        import webdataset

        for sample in webdataset.WebDataset(self._pattern, shardshuffle=False):
            yield Record(sample["__key__"], sample["jpg"], int(sample["cls"]))

    def truth(self, classes: object) -> dict[str, str] | None:
        """None: the comparison needs no labels."""
        return None


def read_all(source: Source, count: int) -> None:
    read = sum(len(record.image) > 0 for shard in range(len(source.shard_sizes)) for record in source.read(shard))
    assert read == count


def decode_all(source: Source, count: int) -> None:
    assert sum(len(decode_shard(source, shard, FORMAT)) for shard in range(len(source.shard_sizes))) == count


def seconds(action: Callable[[], object]) -> float:
    start = time.process_time()
    action()
    return time.process_time() - start


def compare(count: int, scale: float, rounds: int) -> list[dict[str, Any]]:
    """Rows for reading and for reading and decoding, and one for making the index."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        (folder / "shards").mkdir()
        make_shards(folder / "shards", count, scale)
        last = -(-count // PER_SHARD) - 1
        pattern = f"{folder}/shards/train-{{000..{last:03d}}}.tar"
        open_source(f"{folder}/shards/train-000.tar", labeled=True)  # warm-up: imports modules
        shutil.rmtree(folder / "cache")
        indexing = seconds(lambda: open_source(pattern, labeled=True))
        ours: Source = open_source(pattern, labeled=True)
        theirs: Source = Streamed(pattern, count)
        rows = []
        for name, work in (("reading", read_all), ("reading and decoding", decode_all)):
            pairs = []
            for number in range(rounds):
                pair = {}
                for source in (ours, theirs) if number % 2 else (theirs, ours):
                    pair[source.name] = seconds(lambda work=work, source=source: work(source, count))  # type: ignore[misc]
                pairs.append((pair[ours.name], pair[theirs.name]))
            rows.append(row(f"tar shards, {name}", pairs, count))
        reading = float(np.median([pair for pair, _ in pairs]))
        return [*rows, {**rows[0], "name": "tar shards, making the index once", "value": round(count / indexing),
                        "versus": "one pass of reading and decoding", "ratio": round(reading / indexing, 2),
                        "interval": None}]  # fmt: skip


def row(name: str, pairs: list[tuple[float, float]], count: int) -> dict[str, Any]:
    ratios = [theirs / ours for ours, theirs in pairs]
    rate = round(count / float(np.median([ours for ours, _ in pairs])))
    return ratio_row(name, rate, "images per CPU second", versus="webdataset", ratios=ratios)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few small images")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    try:
        import webdataset  # noqa: F401
    except ImportError:
        print("skipped: this compares with the package webdataset; pip install webdataset")
        return 0
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    rows = compare(400, 0.5, 5) if options.quick else compare(2000, 1.0, 7)
    for measured in rows:
        low, high = measured["interval"] or (None, None)
        spread = f" ({low:.2f} to {high:.2f})" if low is not None else ""
        print(
            f"{measured['name']:<36}{measured['value']:>8,} {measured['unit']}, "
            f"{measured['ratio']:.2f} times {measured['versus']}{spread}"
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
