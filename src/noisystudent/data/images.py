"""Decodes the images of a source into one array at one size, and records those that fail."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from noisystudent.artifacts.folder import fingerprint_of
from noisystudent.data.decode import Header, decode_image, largest_wide_value, read_header
from noisystudent.data.resizing import crop_and_resize, squash, squashed_size
from noisystudent.data.sample import evenly_spread
from noisystudent.data.settings import DataSettings
from noisystudent.data.source import NO_LABEL, Record, Source, require_label
from noisystudent.data.wide import depth_of
from noisystudent.errors import DataError

_UNCROPPED_EDGE = 64  # larger images are stored with an extra margin, for the official crop
_CROP_MARGIN = 32  # pixels
_ROUNDING = 1e-6  # pixels: 224 / (224 / 256) may be slightly less than 256
_LARGEST_AUTO_SIZE = 224
_WORKERS = min(8, os.cpu_count() or 1)
_SAMPLED_SHARDS, _SAMPLED_ROWS = 16, 64  # in which images with 16 bits per channel are looked for
_CHUNK = 16  # records decoded by one task: few enough to keep little in memory, enough to pay for the task


@dataclass(frozen=True, slots=True)
class Failure:
    """An image that could not be read, and why."""

    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class ImageFormat:
    """The size and channels of all images of a run: ``size`` is the edge of the model's input in pixels.

    ``whole``: the images were cropped when they were published, so evaluation uses them up to their edges. ``crop``:
    the share of the short edge that the plain view shows, above 0 to 1, as ``crop_pct`` in a model's config says it;
    None: ``size`` of ``size`` + 32 pixels. Up to 64 px the view shows all of it in any case. ``bits``: how many of
    their bits images with 16 bits per channel use, found in the images that train; None: as many as each image needs,
    because none of those has 16. ``squash``: both edges are resized to the storage size, and the plain view shows all.
    """

    size: int
    channels: Literal[1, 3]
    whole: bool = False
    bits: int | None = None
    crop: float | None = None
    squash: bool = False

    @property
    def storage_size(self) -> int:
        """The short edge of a stored image: ``size`` for ``whole`` images, else as the functions below say."""
        if self.whole:
            return self.size
        return squashed_edge(self.size) if self.squash else stored_edge(self.size, self.crop)

    @property
    def identity(self) -> list[str]:
        """What identifies the format beside size, channels and bits: nothing where images are stored as usual."""
        if self.squash:
            return [f"squashed to {self.storage_size}"]
        return [] if self.storage_size == stored_edge(self.size, None) else [f"stored at {self.storage_size}"]


def is_cropped(size: int) -> bool:
    """Whether the plain view of ``size`` pixels shows a part of an image; smaller ones show the whole short edge."""
    return size > _UNCROPPED_EDGE


def stored_edge(size: int, crop: float | None) -> int:
    """The short edge in pixels at which images are stored for a view of ``size``: timm's, rounded down, for a crop."""
    if size <= _UNCROPPED_EDGE:
        return size
    return size + _CROP_MARGIN if crop is None else int(size / crop + _ROUNDING)


def squashed_edge(size: int) -> int:
    """The edge in pixels of squashed images, of which training sees windows of ``size``.

    BiT's pairs (Kolesnikov et al. 2020, released code): 160 for 128, 512 for 480; smaller ones in proportion to 128.
    """
    return size + min(_CROP_MARGIN, size // 4)


@dataclass(frozen=True, eq=False)
class Images:
    """The decoded images of one source, in its order, without those that could not be decoded.

    ``pixels`` is uint8 [N, C, H, W]: each image lies at the top left of its canvas, with zeros to the right and below.
    ``sizes`` is int32 [N, 2]: the height and width of each image on its canvas. ``labels`` is int64 [N]: the index of
    the class in ``classes``, or -1 for none. Two ``digests`` are equal if and only if the stored pixels are equal,
    whatever the file format.
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
        """A copy of the images at ``indices`` (int [M]), in that order, without the failures."""
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
        """The same images with every label -1 and no classes; both share the pixels."""
        return replace(self, labels=np.full(len(self), NO_LABEL, dtype=np.int64), classes=None)


def infer_format(labeled: Source, settings: DataSettings) -> ImageFormat:
    """The image format from the settings; ``auto`` is resolved from the headers of the labeled images.

    Auto size: the median short edge, rounded to a multiple of 8, from 8 to 224; but if all images have the same size
    of at most 64 px, its short edge; of images to be squashed, 128 or 480 by the median area. Auto channels: 1 if every
    image is gray. The bits that 16-bit images use hold the largest value of all of them. Raises ``DataError`` if no
    image can be read.
    """
    squashed = settings.resize == "squash"
    if settings.size != "auto" and settings.channels != "auto":
        bits = _survey(labeled)[1] if _has_wide_images(labeled) else None
        return ImageFormat(settings.size, 1 if settings.channels == "gray" else 3, bits=bits, squash=squashed)
    headers, bits = _survey(labeled)
    if not headers:
        raise DataError(f"None of the images of {labeled.name!r} can be read. Check that they open in a viewer.")
    auto_size = squashed_size([header.height * header.width for header in headers]) if squashed else _auto_size(headers)
    size = auto_size if settings.size == "auto" else settings.size
    gray = all(header.gray for header in headers) if settings.channels == "auto" else settings.channels == "gray"
    return ImageFormat(size, 1 if gray else 3, bits=bits, squash=squashed)


def content_fingerprint(images: Images) -> str:
    """Identifies decoded images by their keys, pixels and labels, in order."""
    return fingerprint_of([images.keys, images.digests, images.labels.tolist()])


def decode_shard(
    source: Source, shard: int, format: ImageFormat, *, only: Callable[[str], bool] | None = None
) -> Images:
    """Decodes the images of one shard with several threads, in order; failures are recorded, never replaced.

    The short edge becomes ``format.storage_size`` (Pillow, bicubic with antialiasing; an image that already has this
    size keeps its pixels bit for bit). The long edge is cropped around its center to at most 1.5 times the short one;
    with ``format.squash`` nothing is cropped, and both edges get this size.
    The canvas is as large as the largest image of the shard.

    Args:
        source: where the images come from.
        shard: index of the shard.
        format: size and channels of the decoded images.
        only: whether to decode the image with a key, asked once per image in order; None: all.
    """
    decoded, failures = _read_shard(source, shard, format, only)
    pixels = np.zeros((len(decoded), format.channels, *_canvas_size(decoded, format)), dtype=np.uint8)
    _paste(decoded, pixels)
    return _as_images(decoded, failures, pixels, source.classes)


def decode_source(
    source: Source,
    format: ImageFormat,
    *,
    max_corrupt_fraction: float,
    memory_limit_gb: float,
    progress: Callable[[int], None] | None = None,
) -> Images:
    """Decodes all images of a source as ``decode_shard`` does, on canvases of one size.

    Args:
        source: where the images come from.
        format: size and channels of the decoded images.
        max_corrupt_fraction: largest tolerated fraction of unreadable images, 0 to 1.
        memory_limit_gb: largest memory for the pixels, in gigabytes (10^9 bytes).
        progress: called after each shard with its number of images, including unreadable ones.

    Raises:
        DataError: too many images, or all, are unreadable, or the pixels exceed the memory limit. Raised as soon as
            this is certain.
    """
    rows = sum(source.shard_sizes)
    smallest = (rows, format.channels, format.storage_size, format.storage_size)
    check_memory(source, format, smallest, memory_limit_gb)
    pixels = np.zeros(smallest, dtype=np.uint8)
    parts: list[Images] = []
    failures: list[Failure] = []
    filled = 0
    for shard, shard_rows in enumerate(source.shard_sizes):
        decoded, shard_failures = _read_shard(source, shard, format)
        canvas = np.maximum(pixels.shape[2:], _canvas_size(decoded, format))
        check_memory(source, format, (*pixels.shape[:2], *canvas), memory_limit_gb)
        pixels = _enlarge_canvas(pixels, filled, int(canvas[0]), int(canvas[1]))
        _paste(decoded, pixels[filled:])
        filled += len(decoded)
        parts.append(_as_images(decoded, shard_failures, pixels[:0], source.classes))
        failures += shard_failures
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
class _DecodedImage:
    """One decoded image at its storage size, pixels uint8 [C, H, W]."""

    key: str
    label: int
    pixels: npt.NDArray[np.uint8]
    digest: str


def _read_shard(
    source: Source, shard: int, format: ImageFormat, only: Callable[[str], bool] | None = None
) -> tuple[list[_DecodedImage], list[Failure]]:
    """The decoded images of one shard, and the failures."""
    decoded: list[_DecodedImage] = []
    failures: list[Failure] = []
    records = (record for record in source.read(shard) if only is None or only(record.key))
    for result in _decode_records(records, format):
        if isinstance(result, _DecodedImage):
            require_label(source, result.key, result.label)
            decoded.append(result)
        else:
            failures.append(result)
    return decoded, failures


def _canvas_size(decoded: list[_DecodedImage], format: ImageFormat) -> tuple[int, int]:
    """The height and width that hold every image; those of a square image if there is none."""
    edge = format.storage_size
    heights, widths = ([image.pixels.shape[axis] for image in decoded] for axis in (1, 2))
    return max(heights, default=edge), max(widths, default=edge)


def _paste(decoded: list[_DecodedImage], pixels: npt.NDArray[np.uint8]) -> None:
    """Copies each image to the top left of its canvas, a row of ``pixels``, which may have more rows."""
    for canvas, image in zip(pixels, decoded, strict=False):
        canvas[:, : image.pixels.shape[1], : image.pixels.shape[2]] = image.pixels


def _as_images(
    decoded: list[_DecodedImage],
    failures: list[Failure],
    pixels: npt.NDArray[np.uint8],
    classes: tuple[str, ...] | None,
) -> Images:
    return Images(
        keys=tuple(image.key for image in decoded),
        pixels=pixels,
        sizes=np.array([image.pixels.shape[1:] for image in decoded], dtype=np.int32).reshape(-1, 2),
        labels=np.array([image.label for image in decoded], dtype=np.int64),
        digests=tuple(image.digest for image in decoded),
        failures=tuple(failures),
        classes=classes,
    )


def _decode_records(records: Iterator[Record], format: ImageFormat) -> Iterator[_DecodedImage | Failure]:
    """Decodes each record, in order, with only a few chunks of files in memory at a time."""
    with ThreadPoolExecutor(_WORKERS) as pool:
        pending: deque[Future[list[_DecodedImage | Failure]]] = deque()
        while chunk := list(itertools.islice(records, _CHUNK)):
            pending.append(pool.submit(_decode_chunk, chunk, format))
            if len(pending) > 2 * _WORKERS:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()


def _decode_chunk(records: Iterable[Record], format: ImageFormat) -> list[_DecodedImage | Failure]:
    return [_decode_record(record, format) for record in records]


def _decode_record(record: Record, format: ImageFormat) -> _DecodedImage | Failure:
    if record.problem:
        return Failure(record.key, record.problem)
    try:
        image = decode_image(record.image, format.channels, bits=format.bits)
    except DataError as error:
        return Failure(record.key, str(error))
    pixels = _to_stored_pixels(image, format)
    digest = hashlib.blake2b(f"{pixels.shape}".encode(), digest_size=16)
    digest.update(pixels.data)
    return _DecodedImage(record.key, record.label, pixels, digest.hexdigest())


def stored_pixels(image: bytes | npt.NDArray[np.uint8], format: ImageFormat) -> npt.NDArray[np.uint8]:
    """The pixels of one image as ``decode_shard`` stores them, uint8 [C, H, W]; ``DataError`` if it is unreadable."""
    return _to_stored_pixels(decode_image(image, format.channels, bits=format.bits), format)


def _to_stored_pixels(image: Image.Image, format: ImageFormat) -> npt.NDArray[np.uint8]:
    edge = format.storage_size
    resized = squash(image, edge) if format.squash else crop_and_resize(image, edge)
    pixels = np.asarray(resized, dtype=np.uint8)
    return np.ascontiguousarray(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))


def _survey(source: Source) -> tuple[list[Header], int | None]:
    """The readable headers of all images, and how many bits those with 16 bits per channel use, or None."""
    headers: list[Header] = []
    largest = -1
    for shard in range(len(source.shard_sizes)):
        for record in source.read(shard):
            if record.problem:
                continue
            with suppress(DataError):  # decode_source reports it by name
                headers.append(read_header(record.image))
            if largest < 2**14:  # larger values need all 16 bits, whatever follows
                value = largest_wide_value(record.image)
                largest = largest if value is None else max(largest, value)
    return headers, depth_of(largest) if largest >= 0 else None


def _has_wide_images(source: Source) -> bool:
    """Whether any of a few images from all over the source has 16 bits per channel."""
    shards = evenly_spread(len(source.shard_sizes), _SAMPLED_SHARDS) if source.shard_sizes else ()
    sample = (record for shard in shards for record in itertools.islice(source.read(int(shard)), _SAMPLED_ROWS))
    return any(largest_wide_value(record.image) is not None for record in sample if not record.problem)


def _auto_size(headers: list[Header]) -> int:
    short_edges = [min(header.height, header.width) for header in headers]
    same_size = len({tuple(sorted(header[:2])) for header in headers}) == 1
    if same_size and short_edges[0] <= _UNCROPPED_EDGE:
        return max(8, short_edges[0])
    rounded = int(np.median(short_edges) / 8 + 0.5) * 8
    return min(_LARGEST_AUTO_SIZE, max(8, rounded))


def _enlarge_canvas(pixels: npt.NDArray[np.uint8], filled: int, height: int, width: int) -> npt.NDArray[np.uint8]:
    """The first ``filled`` images on canvases of ``height`` x ``width``, which are no smaller than before."""
    if pixels.shape[2:] == (height, width):
        return pixels
    larger = np.zeros((*pixels.shape[:2], height, width), dtype=np.uint8)
    larger[:filled, :, : pixels.shape[2], : pixels.shape[3]] = pixels[:filled]
    return larger


def check_memory(source: Source, format: ImageFormat, shape: tuple[int, ...], limit_gb: float) -> None:
    """Raises ``DataError`` where pixels of a shape (images, channels, height, width) exceed the memory allowed."""
    needed_gb = float(np.prod(shape, dtype=np.float64)) / 1e9
    if needed_gb > limit_gb:
        edge = int(format.storage_size * (limit_gb / needed_gb) ** 0.5)
        fitting_size = edge if edge <= _UNCROPPED_EDGE else max(_UNCROPPED_EDGE, edge - _CROP_MARGIN)
        raise DataError(
            f"The {shape[0]:,} images of {source.name!r} need {needed_gb:.3g} GB of memory at data.size "
            f"{format.size}, and data.memory_limit_gb allows {limit_gb:g}. Set a smaller data.size, about "
            f"{max(8, fitting_size // 8 * 8)}, or a higher data.memory_limit_gb if the machine has the memory. "
            "Unlabeled images need not be in memory: set data.streaming always."
        )


def check_failures(source: Source, failures: list[Failure], rows: int, max_corrupt_fraction: float) -> None:
    """Raises ``DataError`` if more than ``max_corrupt_fraction`` of a source's ``rows`` images failed, or all."""
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
