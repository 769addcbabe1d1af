"""Decoded images in one array, at one size, with what could not be decoded beside them."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from noisystudent.artifacts.folder import fingerprint_of
from noisystudent.data.decode import Header, decode_image, read_header
from noisystudent.data.settings import DataSettings
from noisystudent.data.source import NO_LABEL, Record, Source
from noisystudent.errors import DataError

_UNCROPPED_EDGE = 64  # up to this size images are stored at it, above with room to crop the official 32 px
_CROP_MARGIN = 32
_LARGEST_AUTO_SIZE = 224
_MAX_ASPECT = 1.5
_WORKERS = min(8, os.cpu_count() or 1)
_CHUNK = 16  # records decoded by one task: few enough to keep little in memory, enough to pay for the task


@dataclass(frozen=True, slots=True)
class Failure:
    """An image that could not be read, and why."""

    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class ImageFormat:
    """The size and channels that all images of a run are brought to: ``size`` is the model's input edge.

    ``whole``: images that were cropped when they were published, and are seen to their edges.
    """

    size: int
    channels: Literal[1, 3]
    whole: bool = False

    @property
    def storage_size(self) -> int:
        """The short edge as stored: ``size`` up to 64 px or of ``whole`` images, else ``size`` + 32 to crop from."""
        return self.size if self.whole or self.size <= _UNCROPPED_EDGE else self.size + _CROP_MARGIN


@dataclass(frozen=True, eq=False)
class Images:
    """Decoded images of one source, in its order, without those that could not be decoded.

    ``pixels`` is uint8 [N, C, H, W]: each image lies top left on the canvas, zeros to the right and below.
    ``sizes`` is int32 [N, 2]: the height and width of each image on the canvas. ``labels`` is int64 [N],
    rows of ``classes``, -1 for none. ``digests`` are equal exactly when the stored pixels are, whatever the
    file format.
    """

    keys: tuple[str, ...]
    pixels: npt.NDArray[np.uint8]
    sizes: npt.NDArray[np.int32]
    labels: npt.NDArray[np.int64]
    digests: tuple[str, ...]
    failures: tuple[Failure, ...]
    classes: tuple[str, ...] | None

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, indices: npt.NDArray[np.int64]) -> Images:
        """The images at ``indices`` (int [M], in that order), copied; the failures stay with the whole."""
        chosen = [int(index) for index in indices]
        return Images(
            keys=tuple(self.keys[index] for index in chosen),
            pixels=self.pixels[chosen],
            sizes=self.sizes[chosen],
            labels=self.labels[chosen],
            digests=tuple(self.digests[index] for index in chosen),
            failures=(),
            classes=self.classes,
        )

    def without_labels(self) -> Images:
        """The same images with every label -1 and no classes; the pixels are shared."""
        return replace(self, labels=np.full(len(self), NO_LABEL, dtype=np.int64), classes=None)


def infer_format(labeled: Source, settings: DataSettings) -> ImageFormat:
    """The format that ``settings`` ask for, ``auto`` being read from the heads of the labeled images.

    Auto size: the median short edge, rounded to a multiple of 8, from 8 to 224; but images that all have
    one size of at most 64 px keep its short edge. Auto channels: 1 when every image is gray. Raises
    ``DataError`` when no image can be read.
    """
    if settings.size != "auto" and settings.channels != "auto":
        return ImageFormat(settings.size, 1 if settings.channels == "gray" else 3)
    headers = list(_headers(labeled))
    if not headers:
        raise DataError(f"None of the images of {labeled.name!r} can be read. Check that they open in a viewer.")
    size = _auto_size(headers) if settings.size == "auto" else settings.size
    gray = all(header.gray for header in headers) if settings.channels == "auto" else settings.channels == "gray"
    return ImageFormat(size, 1 if gray else 3)


def content_fingerprint(images: Images) -> str:
    """Identifies decoded images by their keys, pixels and labels, in order."""
    return fingerprint_of([images.keys, images.digests, images.labels.tolist()])


def decode_shard(source: Source, shard: int, format: ImageFormat, *, only: Collection[str] | None = None) -> Images:
    """The images of one shard, decoded by several threads, in order; failures are recorded, never replaced.

    ``only`` these keys are decoded, where it is given.

    The short edge becomes ``format.storage_size`` (Pillow, bicubic with antialiasing; an image that has it
    already keeps its pixels bit for bit) and the middle of the long edge is kept, at most 1.5 times the short
    one. The canvas is as large as the largest image of the shard.
    """
    stored, failures = _read_shard(source, shard, format, only)
    pixels = np.zeros((len(stored), format.channels, *_canvas(stored, format)), dtype=np.uint8)
    _lay(stored, pixels)
    return _gathered(stored, failures, pixels, source.classes)


def decode_source(
    source: Source,
    format: ImageFormat,
    *,
    max_corrupt_fraction: float,
    memory_limit_gb: float,
    progress: Callable[[int], None] | None = None,
) -> Images:
    """All images of a source as ``decode_shard`` gives them, on one canvas.

    ``progress`` is called after each shard with the number of images it had, unreadable ones included.
    Raises ``DataError`` as soon as it is sure that more than ``max_corrupt_fraction`` of the images cannot
    be read, that none can, or that the pixels take more than ``memory_limit_gb`` (10^9 bytes).
    """
    rows = sum(source.shard_sizes)
    smallest = (rows, format.channels, format.storage_size, format.storage_size)
    _check_memory(source, format, smallest, memory_limit_gb)
    pixels = np.zeros(smallest, dtype=np.uint8)
    parts: list[Images] = []
    failures: list[Failure] = []
    filled = 0
    for shard, shard_rows in enumerate(source.shard_sizes):
        stored, failed = _read_shard(source, shard, format)
        canvas = np.maximum(pixels.shape[2:], _canvas(stored, format))
        _check_memory(source, format, (*pixels.shape[:2], *canvas), memory_limit_gb)
        pixels = _enlarged(pixels, filled, int(canvas[0]), int(canvas[1]))
        _lay(stored, pixels[filled:])
        filled += len(stored)
        parts.append(_gathered(stored, failed, pixels[:0], source.classes))
        failures += failed
        check_failures(source, failures, rows, max_corrupt_fraction)
        if progress is not None:
            progress(shard_rows)
    return Images(
        keys=tuple(key for part in parts for key in part.keys),
        pixels=pixels[:filled],
        sizes=np.concatenate([part.sizes for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        digests=tuple(digest for part in parts for digest in part.digests),
        failures=tuple(failures),
        classes=source.classes,
    )


@dataclass(frozen=True, slots=True)
class _Stored:
    """One decoded image at its stored size, pixels [C, H, W]."""

    key: str
    label: int
    pixels: npt.NDArray[np.uint8]
    digest: str


def _read_shard(
    source: Source, shard: int, format: ImageFormat, only: Collection[str] | None = None
) -> tuple[list[_Stored], list[Failure]]:
    """The decoded images of one shard, and those that could not be."""
    stored: list[_Stored] = []
    failures: list[Failure] = []
    records = (record for record in source.read(shard) if only is None or record.key in only)
    for outcome in _decoded(records, format):
        if isinstance(outcome, _Stored):
            stored.append(outcome)
        else:
            failures.append(outcome)
    return stored, failures


def _canvas(stored: list[_Stored], format: ImageFormat) -> tuple[int, int]:
    """Height and width that hold every image, and one of square shape where there is none."""
    edge = format.storage_size
    heights, widths = ([image.pixels.shape[axis] for image in stored] for axis in (1, 2))
    return max(heights, default=edge), max(widths, default=edge)


def _lay(stored: list[_Stored], pixels: npt.NDArray[np.uint8]) -> None:
    """Puts each image top left on its canvas, a row of ``pixels``, which may have more rows."""
    for canvas, image in zip(pixels, stored, strict=False):
        canvas[:, : image.pixels.shape[1], : image.pixels.shape[2]] = image.pixels


def _gathered(
    stored: list[_Stored], failures: list[Failure], pixels: npt.NDArray[np.uint8], classes: tuple[str, ...] | None
) -> Images:
    return Images(
        keys=tuple(image.key for image in stored),
        pixels=pixels,
        sizes=np.array([image.pixels.shape[1:] for image in stored], dtype=np.int32).reshape(-1, 2),
        labels=np.array([image.label for image in stored], dtype=np.int64),
        digests=tuple(image.digest for image in stored),
        failures=tuple(failures),
        classes=classes,
    )


def _decoded(records: Iterator[Record], format: ImageFormat) -> Iterator[_Stored | Failure]:
    """Each record decoded, in order, with no more than a few chunks of files in memory at a time."""
    with ThreadPoolExecutor(_WORKERS) as pool:
        waiting: deque[Future[list[_Stored | Failure]]] = deque()
        while chunk := list(itertools.islice(records, _CHUNK)):
            waiting.append(pool.submit(_decode_chunk, chunk, format))
            if len(waiting) > 2 * _WORKERS:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _decode_chunk(records: Iterable[Record], format: ImageFormat) -> list[_Stored | Failure]:
    return [_decode_record(record, format) for record in records]


def _decode_record(record: Record, format: ImageFormat) -> _Stored | Failure:
    if record.problem:
        return Failure(record.key, record.problem)
    try:
        decoded = decode_image(record.image, format.channels)
    except DataError as error:
        return Failure(record.key, str(error))
    pixels = _as_stored(decoded, format)
    digest = hashlib.blake2b(f"{pixels.shape}".encode(), digest_size=16)
    digest.update(pixels.data)
    return _Stored(record.key, record.label, pixels, digest.hexdigest())


def stored_pixels(image: bytes | npt.NDArray[np.uint8], format: ImageFormat) -> npt.NDArray[np.uint8]:
    """One image as ``decode_shard`` stores it, uint8 [C, H, W]; raises ``DataError`` where it cannot be read."""
    return _as_stored(decode_image(image, format.channels), format)


def _as_stored(decoded: Image.Image, format: ImageFormat) -> npt.NDArray[np.uint8]:
    fitted = np.asarray(_fitted(decoded, format.storage_size), dtype=np.uint8)
    return np.ascontiguousarray(fitted[None] if fitted.ndim == 2 else fitted.transpose(2, 0, 1))


def _fitted(image: Image.Image, edge: int) -> Image.Image:
    """The middle of ``image`` with its short edge resized to ``edge``.

    It is cropped before it is resized: an image of 1 x 100,000 pixels would otherwise grow beyond all
    memory.
    """
    short = min(image.size)
    left, top, width, height = _middle(image.width, image.height, int(_MAX_ASPECT * short))
    if (width, height) != image.size:
        image = image.crop((left, top, left + width, top + height))
    if short == edge:
        return image
    longest = int(_MAX_ASPECT * edge)
    target = [min(longest, max(edge, round(length * edge / short))) for length in (width, height)]
    return image.resize((target[0], target[1]), Image.Resampling.BICUBIC)


def _middle(width: int, height: int, longest: int) -> tuple[int, int, int, int]:
    """Left, top, width and height of the central part with no edge above ``longest``."""
    kept_width, kept_height = min(width, longest), min(height, longest)
    return (width - kept_width) // 2, (height - kept_height) // 2, kept_width, kept_height


def _headers(source: Source) -> Iterator[Header]:
    """The heads of all images that have a readable one."""
    for shard in range(len(source.shard_sizes)):
        for record in source.read(shard):
            if not record.problem:
                try:
                    yield read_header(record.image)
                except DataError:
                    continue  # decode_source reports it by name


def _auto_size(headers: list[Header]) -> int:
    short_edges = [min(header.height, header.width) for header in headers]
    one_size = len({tuple(sorted(header[:2])) for header in headers}) == 1
    if one_size and short_edges[0] <= _UNCROPPED_EDGE:
        return max(8, short_edges[0])
    nearest = int(np.median(short_edges) / 8 + 0.5) * 8
    return min(_LARGEST_AUTO_SIZE, max(8, nearest))


def _enlarged(pixels: npt.NDArray[np.uint8], filled: int, height: int, width: int) -> npt.NDArray[np.uint8]:
    """``pixels`` on a canvas of at least ``height`` x ``width``, its first ``filled`` rows kept."""
    if pixels.shape[2:] == (height, width):
        return pixels
    larger = np.zeros((*pixels.shape[:2], height, width), dtype=np.uint8)
    larger[:filled, :, : pixels.shape[2], : pixels.shape[3]] = pixels[:filled]
    return larger


def _check_memory(source: Source, format: ImageFormat, shape: tuple[int, ...], limit_gb: float) -> None:
    needed_gb = float(np.prod(shape, dtype=np.float64)) / 1e9
    if needed_gb > limit_gb:
        edge = int(format.storage_size * (limit_gb / needed_gb) ** 0.5)
        fitting = edge if edge <= _UNCROPPED_EDGE else max(_UNCROPPED_EDGE, edge - _CROP_MARGIN)
        raise DataError(
            f"The {shape[0]:,} images of {source.name!r} need {needed_gb:.3g} GB of memory at data.size "
            f"{format.size}, and data.memory_limit_gb allows {limit_gb:g}. Set a smaller data.size, about "
            f"{max(8, fitting // 8 * 8)}, or a higher data.memory_limit_gb if the machine has the memory. Unlabeled "
            "ones need not be kept: data.streaming always."
        )


def check_failures(source: Source, failures: list[Failure], rows: int, max_corrupt_fraction: float) -> None:
    """Raises ``DataError`` when more than ``max_corrupt_fraction`` of a source's ``rows`` images, or all, failed."""
    if not failures or (len(failures) <= max_corrupt_fraction * rows and len(failures) < rows):
        return
    named = "; ".join(f"{failure.key!r}: {failure.reason}" for failure in failures[:5])
    more = f"; and {len(failures) - 5:,} more" if len(failures) > 5 else ""
    if len(failures) == rows:
        raise DataError(f"None of the {rows:,} images of {source.name!r} can be read ({named}{more}). Check them.")
    raise DataError(
        f"At least {len(failures):,} of the {rows:,} images of {source.name!r} cannot be read "
        f"({named}{more}), more than data.max_corrupt_fraction {max_corrupt_fraction:g} allows. Repair or "
        "remove them, or set a higher data.max_corrupt_fraction."
    )
