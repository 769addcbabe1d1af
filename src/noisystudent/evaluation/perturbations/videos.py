"""Short videos as arrays of frames, by PyAV, which is an extra."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from noisystudent.data.decode import MAX_PIXELS
from noisystudent.errors import DataError

SUFFIXES = (".mp4",)


def read_video(path: Path) -> npt.NDArray[np.uint8]:
    """All frames of an MP4 file, uint8 [frames, H, W, 3] in RGB.

    Raises ``DataError``, with the command that installs PyAV where it is missing, for a file that is damaged or no
    MP4, and for one of more than 178 million pixels, all frames together.
    """
    av = _decoder(path)
    frames: list[npt.NDArray[np.uint8]] = []
    pixels = 0
    try:
        # An open file and a named format: FFmpeg then follows no link to another file or address.
        with path.open("rb") as file, av.open(file, format="mp4") as container:
            for frame in container.decode(video=0):
                pixels += frame.width * frame.height
                if pixels > MAX_PIXELS:
                    raise DataError(f"The video {str(path)!r} has more than the {MAX_PIXELS:,} pixels allowed.")
                frames.append(frame.to_ndarray(format="rgb24"))
    except (OSError, ValueError, IndexError, RuntimeError) as error:  # PyAV's own errors are all among these
        if isinstance(error, DataError):
            raise
        raise DataError(f"The video {str(path)!r} cannot be read ({error}). Unpack it again.") from error
    if not frames or len({frame.shape for frame in frames}) > 1:
        raise DataError(
            f"The video {str(path)!r} has {len(frames)} frames, which must be of one size. Unpack it again."
        )
    return np.stack(frames)


def _decoder(path: Path) -> Any:  # noqa: ANN401 - the module, which may be absent
    try:
        import av
    except ImportError as error:
        raise DataError(
            f"{str(path)!r} is a video, which needs the package av: pip install 'noisystudent[videos]' ({error})."
        ) from error
    return av
