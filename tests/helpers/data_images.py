"""Generated image files and sources, for the tests of the data package."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from noisystudent.data.source import Record
from noisystudent.data.sources.arrays import ArraySource


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    """The bytes of ``image`` saved by Pillow."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def noise_image(height: int, width: int, *, seed: int = 0, channels: int = 3) -> np.ndarray:
    """Random pixels, uint8 [H, W] or [H, W, 3]."""
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def smooth_image(height: int, width: int) -> np.ndarray:
    """A color gradient, uint8 [H, W, 3], without symmetry, that JPEG hardly changes."""
    down = np.linspace(0, 255, height)[:, None] * np.ones(width)
    across = np.linspace(0, 255, width)[None] * np.ones((height, 1))
    return np.stack([down, across, (down + across) / 2], axis=-1).round().astype(np.uint8)


def png(pixels: np.ndarray) -> bytes:
    """``pixels`` as a PNG file."""
    return encoded(Image.fromarray(pixels), "PNG")


def write_image(path: Path, *, seed: int = 0, size: tuple[int, int] = (12, 12), channels: int = 3) -> None:
    """Writes a PNG file of random pixels, and creates its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(noise_image(*size, seed=seed, channels=channels)))


def class_folders(root: Path, classes: Sequence[str] = ("cat", "dog"), per_class: int = 3) -> Path:
    """Creates a folder of class folders with different images."""
    for number, name in enumerate(classes):
        for index in range(per_class):
            write_image(root / name / f"{index}.png", seed=100 * number + index)
    return root


def array_source(images: np.ndarray, labels: Sequence[int] | None = None) -> ArraySource:
    """A source of images in memory, labeled if labels are given."""
    classes = None if labels is None else tuple(f"class-{label}" for label in range(max(labels) + 1))
    return ArraySource(
        "arrays",
        images,
        keys=[f"row-{row}" for row in range(len(images))],
        labels=None if labels is None else np.array(labels, dtype=np.int64),
        classes=classes,
        labeled=labels is not None,
    )


class ListSource:
    """An unlabeled source of given shards of images."""

    name = "list"
    classes: tuple[str, ...] | None = None
    fingerprint = "fixed"
    files: Mapping[str, str] = {}

    def __init__(self, *shards: Sequence[bytes | np.ndarray]) -> None:
        self._shards = shards
        self.shard_sizes = tuple(len(shard) for shard in shards)

    def read(self, shard: int) -> Iterator[Record]:
        for row, image in enumerate(self._shards[shard]):
            yield Record(f"{shard}/{row}", image, -1)

    def truth(self, classes: Sequence[str]) -> dict[str, str] | None:
        return None
