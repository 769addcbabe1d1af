"""Error rates of the near-duplicate search: false alarms, and how many real copies it finds.

    python benchmarks/near_duplicates.py                    # five data sets, a few minutes
    python benchmarks/near_duplicates.py --sheet folder     # also writes contact sheets of the pairs, to check by eye
    python benchmarks/near_duplicates.py --large            # time for 10^6 images against 10^4, on random images
    python benchmarks/near_duplicates.py --quick

The training part of each data set is the unlabeled set and its test part is held out; identical images are removed
first. "Excluded" is the share of the unlabeled set that a run excludes. It bounds the false-alarm rate from above, and
equals it where no image is in both parts. "By hash alone" is the share that the hash would exclude without the
correlation check.

"Labels excluded" is the same for 20 labels per class (5 draws) against up to 2,000 test images: alone, and beside up
to 10,000 unlabeled images, which show what kinds of images look alike.

"Found" is the share of copies that are excluded when one changed copy of each of up to 1,000 test images is added to
the unlabeled set, for each kind of change separately, with the exact 95% interval. The benchmark reads
``../shared/data`` and skips a missing data set with a message.
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

from noisystudent.data.dedup.leakage import DuplicateIndex, HeldOutSearch
from noisystudent.data.dedup.perceptual import hash_images, near_duplicates
from noisystudent.data.images import Images, decode_source, infer_format
from noisystudent.data.settings import DataSettings
from noisystudent.data.sources.open import open_source
from noisystudent.data.stratified import draw_labeled
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
DRAWS, PER_CLASS = 5, 20  # of labels
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
            archive.extraction_filter = getattr(tarfile, "data_filter", None)  # from Python 3.11.4 on
            archive.extractall(work / name)
        (root,) = [path.parent for path in (work / name).rglob("train")]
        parts = [str(root / part) for part in ("train", "test")]
    sources = [open_source(part, labeled=True) for part in parts]
    format = infer_format(sources[0], DataSettings())
    train, test = (decode_source(source, format, max_corrupt_fraction=0, memory_limit_gb=8) for source in sources)
    identical = DuplicateIndex(test, "none").identical(train)
    return train.take(np.array([row for row, key in enumerate(train.keys) if key not in identical])), test


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


def with_copies(unlabeled: Images, test: Images, rows: npt.NDArray[np.int64], change: Callable[..., Any]) -> Images:
    """The unlabeled images, followed by a changed copy of each of the test images ``rows``."""
    random = np.random.default_rng(0)
    height, width = np.maximum(unlabeled.pixels.shape[2:], test.pixels.shape[2:])
    pixels = np.zeros((len(unlabeled) + len(rows), unlabeled.pixels.shape[1], height, width), np.uint8)
    pixels[: len(unlabeled), :, : unlabeled.pixels.shape[2], : unlabeled.pixels.shape[3]] = unlabeled.pixels
    for canvas, row in zip(pixels[len(unlabeled) :], rows, strict=True):
        tall, wide = test.sizes[row]
        original = test.pixels[row, :, :tall, :wide].transpose(1, 2, 0)
        changed = np.asarray(change(Image.fromarray(original.squeeze()), random))
        canvas[:, :tall, :wide] = changed[None] if changed.ndim == 2 else changed.transpose(2, 0, 1)
    return replace(
        unlabeled,
        keys=(*unlabeled.keys, *(f"copy of {test.keys[row]}" for row in rows)),
        pixels=pixels,
        sizes=np.concatenate([unlabeled.sizes, test.sizes[rows]]),
        labels=np.full(len(pixels), -1),
        digests=("",) * len(pixels),
    )


def close_by_hash(unlabeled: Images, test: Images) -> int:
    """The number of unlabeled images with a test image within the hash distance."""
    unlabeled_hashes, test_hashes = hash_images(unlabeled).hashes, hash_images(test).hashes
    blocks = np.array_split(unlabeled_hashes, max(1, len(unlabeled_hashes) // 256))
    return sum(int((np.bitwise_count(block[:, None] ^ test_hashes) <= DISTANCE).any(axis=1).sum()) for block in blocks)


def measure(name: str, unlabeled: Images, test: Images, sheet: Path | None) -> list[dict[str, Any]]:
    """The share of unlabeled images that is excluded, and the share of each kind of copies that is found."""
    rows, partners = near_duplicates(unlabeled, test, DISTANCE)
    title = f"{name}: excluded of {len(unlabeled):,} against {len(test):,}"
    measured = [row_of(title, len(rows), len(unlabeled))]
    measured += measure_labels(name, unlabeled, test)
    measured.append(row_of(f"{name}: by hash alone", close_by_hash(unlabeled, test), len(unlabeled)))
    if sheet and len(rows):
        write_pairs(sheet / f"{name}.png", unlabeled, test, rows, partners)
    chosen = np.sort(np.random.default_rng(0).permutation(len(test))[:COPIES])
    for change, function in CHANGES.items():
        rows, partners = near_duplicates(with_copies(unlabeled, test, chosen, function), test, DISTANCE)
        is_copy = rows >= len(unlabeled)
        correct = int((partners[is_copy] == chosen[rows[is_copy] - len(unlabeled)]).sum())
        measured.append(row_of(f"{name}: found when {change}", correct, len(chosen)))
    return measured


def measure_labels(name: str, train: Images, test: Images) -> list[dict[str, Any]]:
    """The share of a few labels that is excluded, without unlabeled images and beside them."""
    alone = beside = drawn = 0
    for seed in range(DRAWS):
        random = np.random.default_rng(seed)
        few, rest = draw_labeled(train.labels, PER_CLASS, seed)
        unlabeled = train.take(np.sort(random.permutation(rest)[:10_000])).without_labels()
        index = DuplicateIndex(test.take(np.sort(random.permutation(len(test))[:2000])), DISTANCE)
        labels = train.take(few)
        alone += len(HeldOutSearch.of([index], None).in_labeled(labels))
        beside += len(HeldOutSearch.of([index], unlabeled).in_labeled(labels))
        drawn += len(labels)
    return [
        row_of(f"{name}: labels excluded, alone", alone, drawn),
        row_of(f"{name}: labels excluded, beside unlabeled images", beside, drawn),
    ]


def write_pairs(
    path: Path, unlabeled: Images, test: Images, rows: npt.NDArray[np.int64], partners: npt.NDArray[np.int64]
) -> None:
    """Writes some of the pairs: the unlabeled image beside the held-out one."""
    shown = np.sort(np.random.default_rng(0).permutation(len(rows))[:PAIRS_SHOWN])
    edge = int(min(unlabeled.sizes.min(), test.sizes.min()))
    cells = [
        np.stack(
            [images.pixels[row, :, :edge, :edge].transpose(1, 2, 0) for images, row in ((unlabeled, a), (test, b))]
        )
        for a, b in zip(rows[shown], partners[shown], strict=True)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_sheet(path, ["unlabeled", "held out"], np.stack(cells))


def measure_large(images: int, held_out: int) -> list[dict[str, Any]]:
    """Seconds for random images, one in 1,000 of which is a copy of a held-out image."""
    random = np.random.default_rng(0)
    test = images_of(random.integers(0, 256, (held_out, 1, 16, 16), dtype=np.uint8))
    pixels = random.integers(0, 256, (images, 1, 16, 16), dtype=np.uint8)
    copied = np.arange(0, images, 1000)
    pixels[copied] = test.pixels[copied // 1000 % held_out] // 2 + 50
    start = time.perf_counter()
    rows, _ = near_duplicates(images_of(pixels), test, DISTANCE)
    seconds = time.perf_counter() - start
    assert np.array_equal(rows, copied), (len(rows), len(copied))
    return [{**row_of(f"{images:,} images against {held_out:,}", 1, 1), "value": round(seconds, 1), "unit": "s"}]


def images_of(pixels: Pixels) -> Images:
    """Unlabeled images of 16 px with numbers as keys."""
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
    parser.add_argument("--large", action="store_true", help="time a large search only")
    parser.add_argument("--sheet", type=Path, metavar="FOLDER", help="write contact sheets of the pairs to this folder")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    rows = []
    if options.large:
        rows = measure_large(1_000_000, 10_000)
    else:
        for name in ("sign-digits", "digits") if options.quick else SETS:
            if SETS[name] and not (SHARED / SETS[name]).exists():
                print(f"skipped: {SETS[name]} is not in ../shared/data", file=sys.stderr)
                continue
            with tempfile.TemporaryDirectory() as work:
                rows += measure(name, *read(name, Path(work)), options.sheet)
    for row in rows:
        if row["unit"] == "s":
            print(f"{row['name']:<56}{row['value']:.1f} s")
        else:
            low, high = (100 * bound for bound in row["interval"])
            print(f"{row['name']:<56}{100 * row['value']:8.3f}%  ({low:.3f} to {high:.3f})")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
