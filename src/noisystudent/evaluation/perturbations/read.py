"""Reads published sets of perturbation sequences: ImageNet-P, Tiny-ImageNet-P and CIFAR-10-P.

Hendrycks and Dietterich 2019, section 4.2. Videos are ``PERTURBATION/CLASS/*.mp4``, or one level deeper; arrays are
``PERTURBATION.npy``, uint8 [N, frames, H, W, 3]. The sets have no labels, and the measures need none.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from noisystudent.artifacts.folder import hash_file
from noisystudent.data.files import SAMPLE_BYTES, sample_digest
from noisystudent.errors import DataError
from noisystudent.evaluation.perturbations.videos import SUFFIXES, read_video
from noisystudent.evaluation.published_sets import find_parts, map_array

SETTING = "evaluation.perturbations_dir"

Frames = npt.NDArray[np.uint8]  # [frames, H, W] or [frames, H, W, 3]


@dataclass(frozen=True)
class Sequences:
    """The sequences of one perturbation.

    Attributes:
        count: number of sequences.
        fingerprint: changes if an array changes, or the name, size, first or last 4 KiB of a video.
        frames: reads the frames of the sequence with a given index, from 0.
    """

    count: int
    fingerprint: str
    frames: Callable[[int], Frames]


class PerturbedSet:
    """A published set of perturbation sequences.

    Attributes:
        name: the folder of the set, as given.
        ignored: the names of other files and folders beside the perturbations.
        names: the names of the perturbations on disk.
    """

    def __init__(self, root: str | Path, *, known: Sequence[str]) -> None:
        """Finds the perturbations of a set.

        Args:
            root: the folder of the set.
            known: the names that perturbations may have.

        Raises:
            DataError: the folder holds no such set.
        """
        parts = find_parts(root, known, SETTING)
        self.name = parts.name
        self._arrays = parts.arrays
        self.ignored = parts.ignored
        self.names = tuple(parts.paths)
        self._paths = parts.paths

    def sequences(self, name: str) -> Sequences:
        """Opens the sequences of one perturbation.

        Args:
            name: one of ``names``.

        Returns:
            The sequences, which are read one at a time.

        Raises:
            DataError: an array has another type or shape, or a folder has no videos.
        """
        return (_array_sequences if self._arrays else _video_sequences)(self._paths[name])


def _array_sequences(path: Path) -> Sequences:
    array = map_array(path)
    if array.dtype != np.uint8 or array.ndim != 5 or array.shape[-1] not in (1, 3) or not array.size:
        raise DataError(
            f"{str(path)!r} is {array.dtype} of shape {array.shape}; sequences are uint8 [N, frames, H, W, 3]. "
            "Give the published file."
        )

    def frames(number: int) -> Frames:
        sequence = np.asarray(array[number], dtype=np.uint8)
        return sequence if sequence.shape[-1] == 3 else sequence[..., 0]

    return Sequences(len(array), hash_file(path), frames)


def _video_sequences(folder: Path) -> Sequences:
    paths = _videos(folder)
    if not paths:
        raise DataError(f"{str(folder)!r} holds no videos ({', '.join(SUFFIXES)}). Unpack the archive again.")
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.relative_to(folder).as_posix()}\0".encode("utf-8", "surrogateescape"))
        digest.update(_video_digest(path))
    return Sequences(len(paths), digest.hexdigest(), partial(_frames_of, paths))


def _videos(folder: Path) -> list[Path]:
    """The videos in a folder and its subfolders, sorted by path; hidden files and links are skipped."""
    videos: list[Path] = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = (Path(parent, name) for name in files if not name.startswith("."))
        videos += [path for path in paths if path.suffix.lower() in SUFFIXES and not path.is_symlink()]
    return sorted(videos)


def _frames_of(paths: Sequence[Path], number: int) -> Frames:
    return read_video(paths[number])


def _video_digest(path: Path) -> bytes:
    """A digest of the size, the first and the last bytes of a file."""
    with path.open("rb") as file:
        head = file.read(SAMPLE_BYTES)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - SAMPLE_BYTES))
        return sample_digest(size, head, file.read(SAMPLE_BYTES))
