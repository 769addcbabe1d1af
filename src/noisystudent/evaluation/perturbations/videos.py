"""Reads short videos as arrays of frames with PyAV, an optional package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from noisystudent.data.decode import MAX_PIXELS
from noisystudent.errors import DataError

SUFFIXES = (".mp4",)


def read_video(path: Path) -> npt.NDArray[np.uint8]:
    """Reads all frames of an MP4 file.

    Args:
        path: the file.

    Returns:
        The frames in RGB, uint8 [frames, H, W, 3].

    Raises:
        DataError: PyAV is not installed, the file is damaged or not MP4, its frames differ in size, or they have more
            than ``MAX_PIXELS`` pixels in total.
    """
    av = _import_av(path)
    frames: list[npt.NDArray[np.uint8]] = []
    pixels = 0
    try:
        # With an open file and an explicit format, FFmpeg cannot follow links to other files or addresses.
        with path.open("rb") as file, av.open(file, format="mp4") as container:
            for frame in container.decode(video=0):
                pixels += frame.width * frame.height
                if pixels > MAX_PIXELS:
                    raise DataError(
                        f"The video {str(path)!r} has more than the {MAX_PIXELS:,} pixels allowed. Remove it from the "
                        "set."
                    )
                frames.append(frame.to_ndarray(format="rgb24"))
    except (OSError, ValueError, IndexError, RuntimeError) as error:  # the base classes of all PyAV errors
        if isinstance(error, DataError):
            raise
        raise DataError(f"The video {str(path)!r} cannot be read ({error}). Unpack it again.") from error
    if not frames or len({frame.shape for frame in frames}) > 1:
        raise DataError(
            f"The video {str(path)!r} has {len(frames)} frames; it must have frames of one size. Unpack it again."
        )
    return np.stack(frames)


def _import_av(path: Path) -> Any:  # noqa: ANN401 - the module, which may be absent
    try:
        import av
    except ImportError as error:
        raise DataError(
            f"Reading the video {str(path)!r} needs the package av ({error}): pip install 'noisystudent[videos]'"
        ) from error
    return av
