"""How often images that only look alike are taken for near-duplicates, and how many real copies are found.

    python benchmarks/near_duplicates.py                    # five data sets, a few minutes
    python benchmarks/near_duplicates.py --sheet folder     # and contact sheets of the pairs, to judge them by eye
    python benchmarks/near_duplicates.py --large            # time for 10^6 images beside 10^4, on made-up ones
    python benchmarks/near_duplicates.py --quick

The training part of each data set is the pile, its test part is held out; identical images are taken out first.
"Left out" is the share of the pile that a run leaves out: at most so much is wrong, and all of it where no image is
in both parts. "By hash alone" is what would be left out without the closer look.

"Found" is the share of copies that are left out when one changed copy of each of up to 1,000 test images is added
to the pile, each kind of change by itself, with the exact 95% interval. Reads ``../shared/data``; a data set that is
absent is skipped with a message.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.stats import binomtest

from noisystudent.data.dedup.leakage import DuplicateIndex
from noisystudent.data.dedup.perceptual import hash_images, near_duplicates
from noisystudent.data.images import Images, decode_source, infer_format
from noisystudent.data.settings import DataSettings
from noisystudent.data.sources.open import open_source
from noisystudent.reporting.sheet import write_sheet
from noisystudent.runtime.env import describe_machine, versions
from splits import SHARED

SETS = {
    "cifar10": "cifar10-jpg.tar.xz",
    "fashion": "fashion-mnist.npz",
    "trashnet": "trashnet-128.tar.xz",
    "sign-digits": "sign-digits-64.tar.xz",
    "digits": None,
}
COPIES = 1000
PAIRS_SHOWN = 24
DISTANCE = DataSettings().near_duplicates
assert isinstance(DISTANCE, int)

Pixels = npt.NDArray[np.uint8]


def read(name: str, work: Path) -> tuple[Images, Images]:
    """The training and the test part of a data set, as a run decodes them."""
    file = SETS[name]
    if file is None:
        parts = ["digits:unlabeled", "digits:test"]
    elif file.endswith(".npz"):
        parts = [f"{SHARED / file}:{part}" for part in ("train", "test")]
    else:
        with tarfile.open(SHARED / file) as archive:
            archive.extractall(work / name, filter="data")
        (root,) = [path.parent for path in (work / name).rglob("train")]
        parts = [str(root / part) for part in ("train", "test")]
    sources = [open_source(part, labeled=True) for part in parts]
    format = infer_format(sources[0], DataSettings())
    train, test = (decode_source(each, format, max_corrupt_fraction=0, memory_limit_gb=8) for each in sources)
    twins = DuplicateIndex(test, "none").identical(train)
    return train.take(np.array([row for row, key in enumerate(train.keys) if key not in twins])), test


def saved_again(quality: int) -> Callable[[Image.Image, np.random.Generator], Image.Image]:
    def change(image: Image.Image, random: np.random.Generator) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file)

    return change


def halved(image: Image.Image, random: np.random.Generator) -> Image.Image:
    half = image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC)
    return half.resize(image.size, Image.Resampling.BICUBIC)


def cropped(share: float) -> Callable[[Image.Image, np.random.Generator], Image.Image]:
    def change(image: Image.Image, random: np.random.Generator) -> Image.Image:
        left, top = share * random.random(2) * image.size
        box = (left, top, left + (1 - share) * image.width, top + (1 - share) * image.height)
        return image.resize(image.size, Image.Resampling.BICUBIC, box=box)

    return change


def brightened(factor: float) -> Callable[[Image.Image, np.random.Generator], Image.Image]:
    return lambda image, random: image.point(lambda level: min(255, round(factor * level)))


CHANGES = {
    "saved as JPEG, quality 75": saved_again(75),
    "saved as JPEG, quality 40": saved_again(40),
    "halved and enlarged": halved,
    "20% brighter": brightened(1.2),
    "20% darker": brightened(0.8),
    "cropped by 2% of its edges": cropped(0.02),
    "cropped by 5% of its edges": cropped(0.05),
}


def with_copies(pile: Images, test: Images, rows: npt.NDArray[np.int64], change: Callable[..., Any]) -> Images:
    """The pile, and after it a changed copy of each of the test images ``rows``."""
    random = np.random.default_rng(0)
    height, width = np.maximum(pile.pixels.shape[2:], test.pixels.shape[2:])
    pixels = np.zeros((len(pile) + len(rows), pile.pixels.shape[1], height, width), np.uint8)
    pixels[: len(pile), :, : pile.pixels.shape[2], : pile.pixels.shape[3]] = pile.pixels
    for canvas, row in zip(pixels[len(pile) :], rows, strict=True):
        tall, wide = test.sizes[row]
        original = test.pixels[row, :, :tall, :wide].transpose(1, 2, 0)
        changed = np.asarray(change(Image.fromarray(original.squeeze()), random))
        canvas[:, :tall, :wide] = changed[None] if changed.ndim == 2 else changed.transpose(2, 0, 1)
    return replace(
        pile,
        keys=(*pile.keys, *(f"copy of {test.keys[row]}" for row in rows)),
        pixels=pixels,
        sizes=np.concatenate([pile.sizes, test.sizes[rows]]),
        labels=np.full(len(pixels), -1),
        digests=("",) * len(pixels),
    )


def close_by_hash(pile: Images, test: Images) -> int:
    """How many images of the pile have a test image within the distance."""
    here, there = hash_images(pile).hashes, hash_images(test).hashes
    blocks = np.array_split(here, max(1, len(here) // 256))
    return sum(int((np.bitwise_count(block[:, None] ^ there) <= DISTANCE).any(axis=1).sum()) for block in blocks)


def measure(name: str, pile: Images, test: Images, sheet: Path | None) -> list[dict[str, Any]]:
    """What is left out of the pile, and what is found of each kind of copies."""
    rows, partners = near_duplicates(pile, test, DISTANCE)
    found = [row_of(f"{name}: left out of {len(pile):,} beside {len(test):,}", len(rows), len(pile))]
    found.append(row_of(f"{name}: by hash alone", close_by_hash(pile, test), len(pile)))
    if sheet and len(rows):
        write_pairs(sheet / f"{name}.png", pile, test, rows, partners)
    chosen = np.sort(np.random.default_rng(0).permutation(len(test))[:COPIES])
    for change, function in CHANGES.items():
        here, there = near_duplicates(with_copies(pile, test, chosen, function), test, DISTANCE)
        copies = here >= len(pile)
        correct = int((there[copies] == chosen[here[copies] - len(pile)]).sum())
        found.append(row_of(f"{name}: found when {change}", correct, len(chosen)))
    return found


def write_pairs(
    path: Path, pile: Images, test: Images, rows: npt.NDArray[np.int64], partners: npt.NDArray[np.int64]
) -> None:
    """Some of the pairs, the image of the pile beside the held-out one."""
    shown = np.sort(np.random.default_rng(0).permutation(len(rows))[:PAIRS_SHOWN])
    edge = int(min(pile.sizes.min(), test.sizes.min()))
    cells = [
        np.stack([images.pixels[row, :, :edge, :edge].transpose(1, 2, 0) for images, row in ((pile, a), (test, b))])
        for a, b in zip(rows[shown], partners[shown], strict=True)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_sheet(path, ["pile", "held out"], np.stack(cells))


def measure_large(images: int, held_out: int) -> list[dict[str, Any]]:
    """Seconds for a pile of made-up images, one in 1,000 of them a copy of a held-out one."""
    random = np.random.default_rng(0)
    test = made_up(random.integers(0, 256, (held_out, 1, 16, 16), dtype=np.uint8))
    pixels = random.integers(0, 256, (images, 1, 16, 16), dtype=np.uint8)
    copied = np.arange(0, images, 1000)
    pixels[copied] = test.pixels[copied // 1000 % held_out] // 2 + 50
    start = time.perf_counter()
    rows, _ = near_duplicates(made_up(pixels), test, DISTANCE)
    seconds = time.perf_counter() - start
    assert np.array_equal(rows, copied), (len(rows), len(copied))
    return [{**row_of(f"{images:,} images beside {held_out:,}", 1, 1), "value": round(seconds, 1), "unit": "s"}]


def made_up(pixels: Pixels) -> Images:
    count = len(pixels)
    keys = tuple(map(str, range(count)))
    return Images(keys, pixels, np.full((count, 2), 16, np.int32), np.full(count, -1), ("",) * count, (), None)


def row_of(name: str, hits: int, of: int) -> dict[str, Any]:
    interval = binomtest(hits, of).proportion_ci()
    return {
        "name": name,
        "value": round(hits / of, 6),
        "unit": f"share of {of:,}",
        "versus": None,
        "ratio": None,
        "seeds": 1,
        "interval": [round(float(interval.low), 6), round(float(interval.high), 6)],
        "machine": describe_machine(),
        "versions": versions(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the two smallest data sets")
    parser.add_argument("--large", action="store_true", help="only the time of a large search")
    parser.add_argument("--sheet", type=Path, metavar="FOLDER", help="write images of the pairs there")
    parser.add_argument("--json", type=Path, help="write the rows there")
    given = parser.parse_args()
    rows = []
    if given.large:
        rows = measure_large(1_000_000, 10_000)
    else:
        for name in ("sign-digits", "digits") if given.quick else SETS:
            if SETS[name] and not (SHARED / SETS[name]).exists():
                print(f"skipped: {SETS[name]} is not in ../shared/data", file=sys.stderr)
                continue
            with tempfile.TemporaryDirectory() as work:
                rows += measure(name, *read(name, Path(work)), given.sheet)
    for each in rows:
        if each["unit"] == "s":
            print(f"{each['name']:<56}{each['value']:.1f} s")
        else:
            low, high = (100 * bound for bound in each["interval"])
            print(f"{each['name']:<56}{100 * each['value']:8.3f}%  ({low:.3f} to {high:.3f})")
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
