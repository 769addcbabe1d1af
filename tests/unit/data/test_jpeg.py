"""JPEG files without their end marker: those that are whole are read, and no others."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from data_images import encoded, noise_image, smooth_image
from noisystudent.data.jpeg import with_end_marker

OPTIONS = {
    "baseline": {},
    "progressive": {"progressive": True},
    "optimized": {"optimize": True},
    "restart markers by row": {"restart_marker_rows": 1},
    "restart markers by block": {"restart_marker_blocks": 1},
    "progressive with restart markers": {"progressive": True, "restart_marker_blocks": 3},
    "full color": {"subsampling": 0},
}


def pixels_of(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_only_a_file_without_a_missing_pixel_gets_its_end_marker(options, mode):
    for pixels in (smooth_image(19, 25), noise_image(8, 16)):
        content = encoded(Image.fromarray(pixels).convert(mode), "JPEG", **options)
        assert with_end_marker(content[:-2]) == content
        assert with_end_marker(content[:-1]) == content
        for length in range(3, len(content) - 2, 5):
            try:
                completed = with_end_marker(content[:length])
            except Exception:  # the caller treats any error as damage
                continue
            assert completed is None or np.array_equal(pixels_of(completed), pixels_of(content)), length
