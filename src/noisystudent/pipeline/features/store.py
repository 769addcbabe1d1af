"""Features of images before the last layer of a frozen network: computed once, and kept for every later run.

They lie in the user's cache, one folder per network and view, in files of up to a shard of images. An image is found by
the digest of its pixels, so it may change its name, its role or its set. Several runs may write at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from noisystudent.artifacts.folder import atomic_write, fingerprint_of
from noisystudent.data.images import Images
from noisystudent.errors import SettingsError
from noisystudent.models.predictor import Predictor
from noisystudent.noise.input import InputNoise
from noisystudent.noise.views import noised
from noisystudent.runtime.env import cache_folder

FEATURES = "features"
_DIGESTS = "digests"

Half = npt.NDArray[np.float16]
Digests = npt.NDArray[np.bytes_]


@dataclass(frozen=True)
class FeatureView:
    """One view of every image: the plain one, which teachers see, or a noised one.

    Attributes:
        identity: All that the view depends on beside the image, as JSON values.
        noise: The noise; None for the plain view.
        number: The number of the noised view of an image.
    """

    identity: dict[str, Any]
    noise: InputNoise | None = None
    number: int = 0

    def of(self, images: Images) -> Images:
        """The images as this view shows them; the noise of an image depends on its pixels, not on its place."""
        if self.noise is None:
            return images
        index = torch.tensor([int(digest[:15], 16) for digest in images.digests], dtype=torch.int64)
        return noised(images, self.noise, epoch=self.number, index=index)


@dataclass(frozen=True, eq=False)
class FeatureStore:
    """The stored features of a network under one view.

    Attributes:
        network: The frozen network.
        view: What it sees of an image.
        folder: Where they lie.
    """

    network: Predictor
    view: FeatureView
    folder: Path
    _places: dict[bytes, tuple[Path, int]] = field(default_factory=dict, repr=False)
    _read: set[Path] = field(default_factory=set, repr=False)

    @classmethod
    def open(cls, network: Predictor, view: FeatureView) -> FeatureStore:
        """Opens the store in the user's cache; it need not exist yet."""
        facts = {
            "network": network.fingerprint,
            "size": network.size,
            "precision": network.precision,
            "engine": network.engine,
            "view": view.identity,
        }
        return cls(network, view, cache_folder() / FEATURES / fingerprint_of(facts)[:24])

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(path.stat().st_size for path in self.folder.glob("*.safetensors"))

    def missing(self, images: Images) -> int:
        """How many of the images have no stored features."""
        self._look()
        return len({digest.encode() for digest in images.digests} - self._places.keys())

    def features(self, images: Images) -> Half:
        """The features of images, float16 [N, F]; those that are not stored are computed and stored.

        Raises:
            SettingsError: The cache cannot be written.
            ModelError: A feature is no number.
        """
        self._look()
        digests = [digest.encode() for digest in images.digests]
        new = {digest: row for row, digest in enumerate(digests) if digest not in self._places}
        if new:
            rows = np.array(sorted(new.values()), np.int64)
            computed = self.network.features(self.view.of(images.take(rows))).astype(np.float16)
            self._write([digests[row] for row in rows], computed)
        return self._gather(digests)

    def _look(self) -> None:
        """Reads which images the files hold that appeared since the last look; a damaged file is removed."""
        for path in sorted(set(self.folder.glob("*.safetensors")) - self._read):
            try:
                with safe_open(path, framework="np") as file:
                    digests = file.get_tensor(_DIGESTS)
            except (SafetensorError, OSError):
                path.unlink(missing_ok=True)
                continue
            self._read.add(path)
            for row, digest in enumerate(digests):
                self._places.setdefault(digest.tobytes(), (path, row))

    def _write(self, digests: list[bytes], features: Half) -> None:
        path = self.folder / f"{fingerprint_of([digest.decode() for digest in digests])[:24]}.safetensors"
        as_bytes = np.frombuffer(b"".join(digests), np.uint8).reshape(len(digests), -1)
        try:
            with atomic_write(path, once=True) as temporary:
                save_file({_DIGESTS: as_bytes, FEATURES: features}, temporary)
        except PermissionError as error:
            raise SettingsError(
                f"{self.folder} cannot be written, where features of images are kept; set XDG_CACHE_HOME to a folder "
                "that can be."
            ) from error
        self._look()

    def _gather(self, digests: list[bytes]) -> Half:
        places = [self._places[digest] for digest in digests]
        gathered: Half | None = None
        for path in dict.fromkeys(path for path, _ in places):
            with safe_open(path, framework="np") as file:
                stored = file.get_tensor(FEATURES)
            if gathered is None:
                gathered = np.empty((len(digests), stored.shape[1]), np.float16)
            here = [(to, row) for to, (place, row) in enumerate(places) if place == path]
            gathered[[to for to, _ in here]] = stored[[row for _, row in here]]
        return np.empty((0, 0), np.float16) if gathered is None else gathered
