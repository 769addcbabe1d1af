"""A teacher and sources of tiny images, for the tests of labeling."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from data_images import noise_image, png
from noisystudent.data.source import SHARD_ROWS
from noisystudent.models.checkpoint import save_classifier
from noisystudent.models.classifier import create_classifier

SETTINGS = {"runtime.threads": 1, "runtime.label_batch_size": 256}


def save_teacher(folder: Path, *, channels: int = 1, seed: int = 0, classes: int = 3) -> Path:
    """An untrained teacher for images of 8 pixels."""
    folder.mkdir(parents=True)
    torch.manual_seed(seed)
    save_classifier(
        create_classifier("tiny_resnet", classes=[f"{row}" for row in range(classes)], channels=channels, size=8),
        folder,
    )
    return folder


def save_unlabeled(path: Path, shards: int, *, seed: int = 0) -> Path:
    """Gray images in a .npz file: full shards, and a last one of 24."""
    count = (shards - 1) * SHARD_ROWS + 24
    np.savez(path, x=np.random.default_rng(seed).integers(0, 256, (count, 8, 8), dtype=np.uint8))
    return path


def save_folder(folder: Path, count: int, broken: dict[int, bytes]) -> Path:
    """Color PNG files; the numbers in ``broken`` have these bytes instead."""
    folder.mkdir(parents=True)
    contents = [png(noise_image(8, 8, seed=seed)) for seed in range(7)]
    for number in range(count):
        (folder / f"{number:05d}.png").write_bytes(broken.get(number, contents[number % 7]))
    return folder


def content(folder: Path) -> dict[str, str]:
    """A digest of every file of finished predictions except the lock."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def content_after_kills(out: Path) -> dict[str, str]:
    """``content`` without the hidden files that a kill left, which are swept only when they are old."""
    hidden = (".tmp", ".claim")
    return {name: digest for name, digest in content(out).items() if name[0] != "." or not name.endswith(hidden)}


def keys(folder: Path) -> list[str]:
    """The keys of all rows, in the order of the parts."""
    return [key for path in sorted(folder.glob("part-*")) for key in pq.read_table(path)["key"].to_pylist()]
