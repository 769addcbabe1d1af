"""Generated scenes and their near-duplicates: saved again as JPEG, or halved and enlarged."""

import io

import numpy as np
from PIL import Image

from noisystudent.data.images import Images


def as_images(images) -> Images:
    """Gray or color images, [H, W] or [H, W, 3], as ``Images``: each at the top left of its canvas."""
    images = [np.asarray(image, np.uint8) for image in images]
    images = [image[None] if image.ndim == 2 else image.transpose(2, 0, 1) for image in images]
    height, width = (max(image.shape[axis] for image in images) for axis in (1, 2))
    pixels = np.zeros((len(images), images[0].shape[0], height, width), np.uint8)
    for canvas, image in zip(pixels, images, strict=True):
        canvas[:, : image.shape[1], : image.shape[2]] = image
    sizes = np.array([image.shape[1:] for image in images], np.int32)
    keys = tuple(str(row) for row in range(len(images)))
    return Images(keys, pixels, sizes, np.full(len(images), -1), keys, (), None)


def scene(random, height: int, width: int, channels: int = 3) -> np.ndarray:
    """A random image with detail at every scale, weaker at finer scales, as in photographs."""
    total = np.full((height, width, channels), 128.0)
    for cells, contrast in ((4, 50.0), (8, 30.0), (24, 12.0)):
        for channel in range(channels):
            coarse = random.normal(0, contrast, (cells, cells)).astype(np.float32)
            total[..., channel] += np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    return total.clip(0, 255).astype(np.uint8)


def saved_again(image, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def halved(image) -> np.ndarray:
    height, width = image.shape[:2]
    small = Image.fromarray(image).resize((width // 2, height // 2), Image.Resampling.BICUBIC)
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))
