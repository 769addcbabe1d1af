"""Images as a caller has them (paths, PIL images, arrays, tensors), as a source whose shards can be decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from noisystudent.artifacts.folder import fingerprint_of
from noisystudent.data.decode import convert_image
from noisystudent.data.formats import SUFFIXES
from noisystudent.data.images import ImageFormat, Images, decode_shard
from noisystudent.data.source import NO_LABEL, Record, Source, cut_shards, shard_slice
from noisystudent.data.sources.folder import read_file
from noisystudent.data.sources.open import open_source
from noisystudent.errors import DataError

Array = npt.NDArray[Any]
Result = TypeVar("Result")
UndecodedImages = (
    str | Path | Source | Image.Image | Array | Tensor | Sequence[Image.Image | Array | Tensor | str | Path]
)
ImageInput = Images | UndecodedImages
"""What a predictor takes as images; ``Predictor.predict`` explains each kind."""

_UNDERSTOOD = (
    "Give a source such as a folder, a file, a PIL image or a list of them, a NumPy array (uint8 [H, W], [H, W, C], "
    "[N, H, W] or [N, H, W, C]) or a torch tensor (uint8, or floats from 0 to 1, [C, H, W] or [N, C, H, W]); C is 1 "
    "or 3."
)


def map_decoded(images: ImageInput, format: ImageFormat, function: Callable[[Images], Result]) -> Iterator[Result]:
    """Decodes images one shard after the other and yields what a function makes of each; holds one shard at a time.

    Args:
        images: anything in ``ImageInput``; ``Images``, which are decoded already, are used as they are.
        format: size and channels of the decoded images.
        function: what is computed of the images of a shard.

    Raises:
        DataError: an image cannot be read, or the images are of an unknown kind.
    """
    if isinstance(images, Images):
        yield function(images)
        return
    source = source_of(images, format)
    for shard in range(len(source.shard_sizes)):
        yield function(_decode(source, shard, format))


def _decode(source: Source, shard: int, format: ImageFormat) -> Images:
    """The images of one shard; raises ``DataError`` if one cannot be read."""
    decoded = decode_shard(source, shard, format)
    if decoded.failures:
        rows, failure = sum(source.shard_sizes[: shard + 1]), decoded.failures[0]
        raise DataError(
            f"{len(decoded.failures):,} of the first {rows:,} images of {source.name!r} cannot be read, first "
            f"{failure.key!r}: {failure.reason}. The result would lack their rows: repair or remove them, or call "
            "noisystudent.predict, which lists them."
        )
    return decoded


def source_of(images: UndecodedImages, format: ImageFormat) -> Source:
    """The source of images that are not decoded yet.

    Args:
        images: a source, image files, PIL images, arrays or tensors.
        format: the channels and the bits per channel to which PIL images are converted.

    Raises:
        DataError: the images are of an unknown kind, shape, type or range, or the source cannot be opened.
    """
    if isinstance(images, str | Path):
        path = Path(images).expanduser()
        if path.suffix.lower() in SUFFIXES and path.is_file():
            return GivenImages([path], format)
        return open_source(images, labeled=False)
    if isinstance(images, Image.Image):
        return GivenImages([images], format)
    if isinstance(images, np.ndarray):
        return GivenImages(_split_array(images), format)
    if isinstance(images, Tensor):
        return GivenImages(_split_tensor(images), format)
    if isinstance(images, Sequence):
        return GivenImages([_require_image(image) for image in images], format)
    if hasattr(images, "shard_sizes"):
        return open_source(images, labeled=False)
    raise DataError(f"a {type(images).__name__} is not understood as images. {_UNDERSTOOD}")


class GivenImages:
    """An unlabeled source of images that the caller gave: open PIL images, arrays or paths of image files.

    The keys are the indices, or a file's path.
    """

    classes: tuple[str, ...] | None = None

    def __init__(self, images: Sequence[Image.Image | Array | Path], format: ImageFormat) -> None:
        self.name = "the given images"
        self.shard_sizes: tuple[int, ...] = cut_shards(len(images))
        self.files: Mapping[str, str] = {}
        self._images, self._format = images, format

    @property
    def fingerprint(self) -> str:
        """A hash of the keys: what is given in memory is never stored under its fingerprint."""
        return fingerprint_of([self._key(index) for index in range(len(self._images))])

    def read(self, shard: int) -> Iterator[Record]:
        """The records of one shard; an unreadable file has a ``problem``."""
        for index in range(len(self._images))[shard_slice(shard)]:
            key, image = self._key(index), self._images[index]
            if isinstance(image, Path):
                content, problem = read_file(image)
                yield Record(key, content, NO_LABEL, problem)
            elif isinstance(image, Image.Image):
                yield _convert(key, image, self._format)
            else:
                yield Record(key, image, NO_LABEL)

    def truth(self, classes: Sequence[str]) -> dict[str, str] | None:
        """None: the true classes are unknown."""
        return None

    def _key(self, index: int) -> str:
        image = self._images[index]
        return str(image) if isinstance(image, Path) else str(index)


def _convert(key: str, image: Image.Image, format: ImageFormat) -> Record:
    try:
        return Record(key, convert_image(image, format.channels, bits=format.bits), NO_LABEL)
    except DataError as error:
        return Record(key, b"", NO_LABEL, str(error))


def _require_image(image: object) -> Image.Image | Array | Path:
    """One entry of a sequence of images."""
    if isinstance(image, Image.Image):
        return image
    if isinstance(image, str | Path):
        return Path(image).expanduser()
    if isinstance(image, np.ndarray | Tensor):
        parts = _split_array(image) if isinstance(image, np.ndarray) else _split_tensor(image)
        if len(parts) == 1:
            return parts[0]
        raise DataError(f"an entry of the list of images has shape {tuple(image.shape)}; give one image per entry.")
    raise DataError(f"a {type(image).__name__} in the list is no image. {_UNDERSTOOD}")


def _split_array(array: Array) -> Sequence[Array]:
    """The images of an array, [H, W] or [H, W, 3] each; views of the same memory."""
    is_image = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3))
    images = array[None] if is_image else array
    if array.dtype != np.uint8:
        raise DataError(f"an array of {array.dtype} is no image: convert it to uint8, 0 to 255. {_UNDERSTOOD}")
    if images.ndim == 4 and images.shape[3] == 1:
        images = images[..., 0]
    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] != 3):
        raise DataError(f"an array of shape {array.shape} holds no images. {_UNDERSTOOD}")
    if not all(images.shape[1:]):
        raise DataError(f"an array of shape {array.shape} has images without pixels. {_UNDERSTOOD}")
    return images  # type: ignore[return-value]  # an array is a sequence of its rows


def _split_tensor(tensor: Tensor) -> Sequence[Array]:
    """The images of a tensor, as arrays [H, W] or [H, W, 3]."""
    if tensor.ndim not in (3, 4) or tensor.shape[-3] not in (1, 3):
        raise DataError(f"a tensor of shape {tuple(tensor.shape)} holds no images. {_UNDERSTOOD}")
    values = tensor.detach().cpu()
    if values.is_floating_point():
        if values.numel() and not (values.min() >= 0 and values.max() <= 1):
            low, high = float(values.min()), float(values.max())
            raise DataError(
                f"a tensor of floats from {low:g} to {high:g} is no image: pixels are from 0 to 1, not normalized, "
                "since the predictor normalizes. Divide by 255, or give uint8."
            )
        values = (values.float() * 255).round().to(torch.uint8)
    elif values.dtype != torch.uint8:
        raise DataError(f"a tensor of {values.dtype} is no image. {_UNDERSTOOD}")
    batch = values if values.ndim == 4 else values[None]
    return _split_array(batch.permute(0, 2, 3, 1).numpy())
