"""Sequences of perturbed images as they are published: ImageNet-P, Tiny-ImageNet-P and CIFAR-10-P.

Hendrycks and Dietterich 2019, section 4.2. Videos are ``PERTURBATION/CLASS/*.mp4``, also one folder deeper; arrays are
``PERTURBATION.npy``, uint8 [N, frames, H, W, 3]. There are no labels, and none are needed.
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
    """The sequences of one perturbation, ``count`` of them; ``frames`` reads the one of a number from 0.

    ``fingerprint`` changes when an array does, or the name, size, first or last 4 KiB of a video.
    """

    count: int
    fingerprint: str
    frames: Callable[[int], Frames]


class PerturbedSet:
    """The perturbations of a published set, by the names of their folders or files, ``known`` being those that count.

    Raises ``DataError`` for a folder that holds no such set.
    """

    def __init__(self, root: str | Path, *, known: Sequence[str]) -> None:
        parts = find_parts(root, known, SETTING)
        self.name = parts.name
        self._arrays = parts.arrays
        self.ignored = parts.ignored
        self.names = tuple(parts.places)
        self._places = parts.places

    def sequences(self, name: str) -> Sequences:
        """The sequences under one name; raises ``DataError`` for an array of another form, or no videos in a folder."""
        return (_mapped if self._arrays else _filmed)(self._places[name])


def _mapped(path: Path) -> Sequences:
    array = map_array(path)
    if array.dtype != np.uint8 or array.ndim != 5 or array.shape[-1] not in (1, 3) or not array.size:
        raise DataError(
            f"{str(path)!r} is {array.dtype} of shape {array.shape}, and sequences are uint8 [N, frames, H, W, 3]. "
            "Give the published file."
        )

    def frames(number: int) -> Frames:
        some = np.asarray(array[number], dtype=np.uint8)
        return some if some.shape[-1] == 3 else some[..., 0]

    return Sequences(len(array), hash_file(path), frames)


def _filmed(folder: Path) -> Sequences:
    paths = _videos(folder)
    if not paths:
        raise DataError(f"{str(folder)!r} holds no videos that end in {', '.join(SUFFIXES)}. Unpack the archive again.")
    total = hashlib.sha256()
    for path in paths:
        total.update(f"{path.relative_to(folder).as_posix()}\0".encode("utf-8", "surrogateescape"))
        total.update(_digest(path))
    return Sequences(len(paths), total.hexdigest(), partial(_frames_of, paths))


def _videos(folder: Path) -> list[Path]:
    """The videos below a folder in the order of their names; what is hidden or a link is passed over."""
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = (Path(parent, name) for name in files if not name.startswith("."))
        found += [path for path in paths if path.suffix.lower() in SUFFIXES and not path.is_symlink()]
    return sorted(found)


def _frames_of(paths: Sequence[Path], number: int) -> Frames:
    return read_video(paths[number])


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        head = file.read(SAMPLE_BYTES)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - SAMPLE_BYTES))
        return sample_digest(size, head, file.read(SAMPLE_BYTES))
