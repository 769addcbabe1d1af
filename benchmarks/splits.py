"""Seeded splits of real data sets into labeled, unlabeled and test images, as sources that the package opens.

A stratified draw takes the labeled images from the training part; the unlabeled images are the rest without its labels.
A split for development never opens the test part: images of the training part that are neither labeled nor unlabeled
ones replace it.
"""

from __future__ import annotations

import io
import shutil
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from noisystudent.data.sources.builtin import open_digits
from noisystudent.data.sources.folder import FolderSource
from noisystudent.data.stratified import draw_labeled
from noisystudent.random_streams import generator

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
FILES = {
    "sign-digits": "sign-digits-64.tar.xz",
    "trashnet": "trashnet-128.tar.xz",
    "fashion": "fashion-mnist.npz",
    "cifar10": "cifar10-jpg.tar.xz",
}

Arrays = dict[str, npt.NDArray[Any]]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Drawing:
    """How to draw a split.

    Attributes:
        labels: Labels per class; with ``labeled_tail``, of the most frequent class.
        unlabeled: The most unlabeled images; 0 = all.
        seed: The seed.
        development: Whether images of the training part replace the test part.
        tail: The ratio of the most frequent class of the unlabeled images to the rarest one; the frequencies in between
            are a geometric series (Cui et al. 2019), and the seed draws which class has which. 0 = as they are.
        labeled_tail: The same among the labels, of which every class keeps two.
        reverse: Whether the most frequent class among the labels is the rarest of the unlabeled images.
        foreign: The share of the unlabeled images that are of classes without labels, which are then half of the
            classes; for development. 0 = none.
    """

    labels: int
    unlabeled: int
    seed: int
    development: bool = False
    tail: float = 0.0
    labeled_tail: float = 0.0
    reverse: bool = False
    foreign: float = 0.0


@dataclass(frozen=True)
class Split:
    """Rows of a training part: labeled, unlabeled, and for development those that replace the test part.

    ``known`` are the classes that have labels, ascending.
    """

    labeled: Rows
    unlabeled: Rows
    development: Rows
    known: Rows


def is_missing(name: str) -> bool:
    """Whether the data set's file is missing; prints a message if so."""
    missing = name in FILES and not (SHARED / FILES[name]).exists()
    if missing:
        print(f"skipped: {FILES[name]} is not in ../shared/data", file=sys.stderr)
    return missing


def write_split(name: str, drawing: Drawing, out: Path) -> dict[str, str]:
    """Writes a split of the data set ``name`` to ``out``; returns the sources labeled, unlabeled and test."""
    out.mkdir(parents=True, exist_ok=True)
    match name:
        case "digits":
            return _split_arrays(read_digits(drawing.seed), f"digits:test@{drawing.seed}", out, drawing)
        case "fashion":
            return _split_arrays(_read_fashion(), f"{SHARED / FILES[name]}:test", out, drawing)
        case "cifar10":
            parts = _read_cifar10()
            np.savez(out / "test.npz", **parts["test"])
            return _split_arrays(parts["train"], str(out / "test.npz"), out, drawing)
        case _:
            with tarfile.open(SHARED / FILES[name]) as archive:
                archive.extraction_filter = getattr(tarfile, "data_filter", None)  # from Python 3.11.4 on
                archive.extractall(out / "all")
            (root,) = [path.parent for path in (out / "all").rglob("train")]
            return _split_folder(root, out, drawing)


def write_splits(name: str, drawings: Sequence[Drawing], folder: Path) -> dict[str, str]:
    """Writes a split per seed into ``folder``; returns the sources, in which ``{seed}`` stands for the seed."""
    named: dict[str, str] = {}
    for drawing in drawings:
        sources = write_split(name, drawing, folder / str(drawing.seed))
        named = {
            role: source.replace(f"{folder}/{drawing.seed}/", f"{folder}/{{seed}}/") for role, source in sources.items()
        }
    return named


def draw(labels: Rows, drawing: Drawing) -> Split:
    """Draws a split of the rows of a training part with these labels, int64 [N]."""
    labeled, rest = draw_labeled(labels, drawing.labels, drawing.seed)
    shuffled = generator(drawing.seed, "pile").permutation(rest)  # the stream's name; another one draws other rows
    held_out = len(shuffled) // 6 if drawing.development else 0
    unlabeled, development = shuffled[held_out:], shuffled[:held_out]
    classes = int(labels.max()) + 1
    if drawing.labeled_tail:
        shares = tail_shares(classes, drawing.seed, drawing.labeled_tail)
        labeled = _with_tail(labeled, labels, shares, most=drawing.labels)
    if drawing.tail:
        shares = tail_shares(classes, drawing.seed, drawing.tail, reverse=drawing.reverse)
        unlabeled = _with_tail(unlabeled, labels, shares, limit=drawing.unlabeled or len(labels))
    known = np.arange(classes)
    if drawing.foreign:
        assert drawing.development, "the test part has images of all classes"
        known = np.sort(generator(drawing.seed, "foreign").permutation(classes)[: -(-classes // 2)])
        labeled, development = (rows[np.isin(labels[rows], known)] for rows in (labeled, development))
        unlabeled = _with_foreign(unlabeled, np.isin(labels[unlabeled], known), drawing.foreign)
    unlabeled = unlabeled[: drawing.unlabeled or None]
    return Split(labeled, np.sort(unlabeled), np.sort(development), known)


def tail_shares(classes: int, seed: int, ratio: float, *, reverse: bool = False) -> npt.NDArray[np.float64]:
    """The share of each class in a long tail, float64 [K]; ``ratio`` and ``reverse`` are those of ``Drawing``."""
    order = generator(seed, "tail").permutation(classes)
    shares = np.empty(classes)
    shares[order[::-1] if reverse else order] = ratio ** (-np.arange(classes) / max(classes - 1, 1))
    return shares / shares.sum()


def _with_tail(rows: Rows, labels: Rows, shares: npt.NDArray[np.float64], *, most: int = 0, limit: int = 0) -> Rows:
    """The first rows of each class, in proportion to ``shares``.

    ``most``: the number of the most frequent class, of which every class keeps two; or ``limit``: about how many to
    take in all, of which every class has one.
    """
    counts = np.bincount(labels[rows], minlength=len(shares))
    total = most / shares.max() if most else min(float(np.min(counts / shares)), limit)
    kept = np.maximum(np.round(shares * total).astype(np.int64), 2 if most else 1)
    number = np.empty(len(rows), np.int64)
    for label in range(len(shares)):
        of_class = labels[rows] == label
        number[of_class] = np.arange(of_class.sum())
    return rows[number < kept[labels[rows]]]


def _with_foreign(rows: Rows, is_known: npt.NDArray[np.bool_], share: float) -> Rows:
    """As many rows as there are, of which a share is of other classes than the known ones, evenly mixed."""
    known, foreign = rows[is_known], rows[~is_known]
    total = min(len(known) / (1 - share), len(foreign) / share)
    known, foreign = known[: round(total * (1 - share))], foreign[: round(total * share)]
    places = np.concatenate([(np.arange(len(part)) + 0.5) / len(part) for part in (known, foreign)])
    return np.concatenate([known, foreign])[np.argsort(places, kind="stable")]


def _split_folder(root: Path, out: Path, drawing: Drawing) -> dict[str, str]:
    source = FolderSource(root / "train", labeled=True)
    records = [record for shard in range(len(source.shard_sizes)) for record in source.read(shard)]
    split = draw(np.array([record.label for record in records]), drawing)
    for part in ("labeled", "unlabeled", "development"):
        for row in getattr(split, part):
            key = records[row].key
            # The names of foreign classes would be unknown ones.
            target = out / part / (key.replace("/", "-") if drawing.foreign and part == "unlabeled" else key)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / "train" / key, target)
    test = out / "development" if drawing.development else root / "test"
    return {"labeled": str(out / "labeled"), "unlabeled": str(out / "unlabeled"), "test": str(test)}


def _split_arrays(arrays: Arrays, test: str, out: Path, drawing: Drawing) -> dict[str, str]:
    split = draw(arrays["y"].astype(np.int64), drawing)
    for part in ("labeled", "unlabeled", "development"):
        rows = getattr(split, part)
        content = {"x": arrays["x"][rows]}
        if not (drawing.foreign and part == "unlabeled"):
            content["y"] = np.searchsorted(split.known, arrays["y"][rows])
            content["classes"] = arrays["classes"][split.known]
        np.savez(out / f"{part}.npz", **content)
    test = str(out / "development.npz") if drawing.development else test
    return {"labeled": str(out / "labeled.npz"), "unlabeled": str(out / "unlabeled.npz"), "test": test}


def _read_fashion() -> Arrays:
    with np.load(SHARED / FILES["fashion"], allow_pickle=False) as data:
        return {"x": data["x_train"], "y": data["y_train"], "classes": data["classes"]}


def read_digits(seed: int) -> Arrays:
    """The digits outside the demo's test part for ``seed``."""
    parts = [open_digits(part, seed=seed, labeled=True) for part in ("labeled", "unlabeled")]
    records = [record for part in parts for shard in range(len(part.shard_sizes)) for record in part.read(shard)]
    return {
        "x": np.stack([np.asarray(record.image) for record in records]),
        "y": np.array([record.label for record in records]),
        "classes": np.array(parts[0].classes),
    }


def _read_cifar10() -> dict[str, Arrays]:
    """The parts train and test, decoded from the archive's members ``.../<part>/<class>/<file>.jpg``."""
    images: dict[str, list[tuple[str, str, npt.NDArray[np.uint8]]]] = {"train": [], "test": []}
    with tarfile.open(SHARED / FILES["cifar10"]) as archive:
        for member in archive:
            opened = archive.extractfile(member)
            if opened is None:
                continue
            *_, part, name, file = Path(member.name).parts
            if part in images:
                images[part].append((name, file, np.asarray(Image.open(io.BytesIO(opened.read())).convert("RGB"))))
    classes = sorted({name for name, _, _ in images["train"]})
    return {
        part: {
            "x": np.stack([pixels for _, _, pixels in rows]),
            "y": np.array([classes.index(name) for name, _, _ in rows]),
            "classes": np.array(classes),
        }
        for part, rows in ((part, sorted(rows, key=lambda row: row[:2])) for part, rows in images.items())
    }
