"""Motion blur against ImageMagick's own, called as in the authors' code, if its library is installed."""

import ctypes
import os
from ctypes import c_char_p, c_double, c_int, c_size_t, c_ssize_t, c_void_p
from ctypes.util import find_library

import numpy as np
import pytest
import torch

from corruption_references import images
from noisystudent.evaluation.corruptions.filters.levels import round_to_uint8
from noisystudent.evaluation.corruptions.filters.motion import blur_along
from noisystudent.evaluation.corruptions.tables import SEVERITIES, level_of

_BYTES = 1  # MagickCore's CharPixel


@pytest.fixture(scope="module")
def wand():
    """ImageMagick 6's MagickWand library; MAGICK_WAND names another file than the system's."""
    path = os.environ.get("MAGICK_WAND") or find_library("MagickWand-6.Q16")
    if not path:
        pytest.skip("needs the library of ImageMagick 6 (Debian: libmagickwand-6.q16-6)")
    library = ctypes.CDLL(path)
    library.NewMagickWand.restype = c_void_p
    library.MagickConstituteImage.argtypes = [c_void_p, c_size_t, c_size_t, c_char_p, c_int, c_void_p]
    library.MagickMotionBlurImage.argtypes = [c_void_p, c_double, c_double, c_double]
    library.MagickExportImagePixels.argtypes = [
        *(c_void_p, c_ssize_t, c_ssize_t, c_size_t, c_size_t),
        *(c_char_p, c_int, c_void_p),
    ]
    library.DestroyMagickWand.argtypes = [c_void_p]
    library.MagickWandGenesis()
    return library


def blurred(library, image: np.ndarray, radius: float, sigma: float, degrees: float) -> np.ndarray:
    """An image [S, S, C] of bytes after MagickMotionBlurImage."""
    size, channels = image.shape[1:]
    given = np.ascontiguousarray(image)
    result = np.empty_like(given)
    names = b"RGB" if channels == 3 else b"I"
    wand = c_void_p(library.NewMagickWand())
    assert library.MagickConstituteImage(wand, size, size, names, _BYTES, given.ctypes.data_as(c_void_p))
    assert library.MagickMotionBlurImage(wand, radius, sigma, degrees)
    assert library.MagickExportImagePixels(wand, 0, 0, size, size, names, _BYTES, result.ctypes.data_as(c_void_p))
    library.DestroyMagickWand(wand)
    return result


@pytest.mark.parametrize(("name", "channels", "angles"), [("motion_blur", 3, (-45, 45)), ("snow", 1, (-135, -45))])
@pytest.mark.parametrize("size", [32, 64, 224])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_motion_blur_matches_imagemagick(wand, name, channels, angles, size, severity):
    clean, drawn = images(3, size, channels), torch.tensor([0.03, 0.5, 0.78125])
    level = level_of(name, severity, size)
    radius, sigma = level if name == "motion_blur" else level[4:6]
    given = round_to_uint8(blur_along(clean.float(), drawn, angles, radius=radius, sigma=sigma))
    for image, changed, number in zip(clean, given, drawn.double().tolist(), strict=True):
        degrees = angles[0] + number * (angles[1] - angles[0])
        expected = blurred(wand, image.permute(1, 2, 0).numpy(), radius, sigma, degrees)
        difference = np.abs(changed.permute(1, 2, 0).numpy().astype(int) - expected)
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.001  # it works with 16 bits, so halves are rounded twice
