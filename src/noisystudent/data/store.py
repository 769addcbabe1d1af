"""Folders of finished work in an object store: written there file by file, each whole, and brought here to be read.

An object store has no rename and no locks, and needs none of them: a file is there whole, or not at all, and what
several workers may put there has the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from noisystudent.artifacts.folder import INPUTS, MANIFEST, Inputs, atomic_write, differences, folder_lock, verify
from noisystudent.data.files import is_url, open_filesystem, persistently
from noisystudent.errors import ArtifactError, MismatchError
from noisystudent.runtime.env import cache_folder

_HERE = "file://"


class Store:
    """A folder behind a URL that any store of fsspec's can write to."""

    def __init__(self, url: str) -> None:
        """Raises ``DataError`` when what reads the URL is not installed."""
        self.url = url.rstrip("/")
        self._filesystem, self._path = open_filesystem(self.url)

    def names(self) -> set[str]:
        """The files that lie there now; none when there is no such folder."""

        def ask() -> set[str]:
            self._filesystem.invalidate_cache()  # others write there meanwhile
            try:
                found = self._filesystem.ls(self._path, detail=False)
            except FileNotFoundError:
                return set()
            return {str(name).rsplit("/", 1)[-1] for name in found}

        return persistently(ask, self.url)

    def holds(self, name: str) -> bool:
        """Whether the file ``name`` lies there now."""

        def ask() -> bool:
            self._filesystem.invalidate_cache()
            return bool(self._filesystem.exists(f"{self._path}/{name}"))

        return persistently(ask, f"{self.url}/{name}")

    def read(self, name: str) -> bytes | None:
        """What the file ``name`` holds, or None where there is none."""
        try:
            content: bytes = persistently(
                lambda: self._filesystem.cat_file(f"{self._path}/{name}"), f"{self.url}/{name}"
            )
        except FileNotFoundError:
            return None
        return content

    def put(self, path: Path) -> None:
        """Puts a file there under its own name; it appears whole."""
        content = path.read_bytes()
        name = f"{self.url}/{path.name}"
        persistently(lambda: self._filesystem.pipe_file(f"{self._path}/{path.name}", content), name, doing="written")

    def fetch(self, name: str, folder: Path) -> None:
        """Brings the file ``name`` into ``folder``, where it appears whole. Raises ``ArtifactError`` without one."""
        content = self.read(name)
        if content is None:
            raise ArtifactError(f"{self.url} has no file {name!r}; make it again with the command that wrote it.")
        with atomic_write(folder / name) as temporary:
            temporary.write_bytes(content)

    def begin(self, folder: Path, inputs: Inputs) -> None:
        """Says there what the work in ``folder`` is made from; raises ``MismatchError`` when it says something else."""
        said = self.read(INPUTS)
        if said is None:
            self.put(folder / INPUTS)
        elif changes := differences(json.loads(said), dict(inputs)):
            raise MismatchError(
                f"{self.url} was made from other inputs ({'; '.join(changes[:5])}); give another --out, or delete it."
            )


def store_url(place: str | Path) -> str:
    """The URL of a folder in a store, or nothing for a path, which may also be written as ``file://``."""
    return str(place) if is_url(str(place)) and not str(place).startswith(_HERE) else ""


def local_folder(place: str | Path) -> Path:
    """Where the artifact at a path or URL lies on this machine: the path, or a folder of the cache."""
    if not store_url(place):
        return Path(str(place).removeprefix(_HERE))
    return cache_folder() / "stores" / hashlib.sha256(str(place).rstrip("/").encode()).hexdigest()[:16]


def fetched(place: str | Path, kind: str) -> Path:
    """The folder of a finished artifact: itself, or, for a URL, a copy in the cache, which is brought up to date.

    Raises ``ArtifactError`` when the store holds no finished artifact of that kind, or damaged files.
    """
    folder = local_folder(place)
    if not store_url(place):
        return folder
    store = Store(store_url(place))
    manifest = store.read(MANIFEST)
    if manifest is None:
        raise ArtifactError(
            f"{store.url} has no {MANIFEST}: it is not finished {kind}. Finish the command that makes it."
        )
    with folder_lock(folder):
        present = folder / MANIFEST
        if not present.is_file() or present.read_bytes() != manifest:
            present.unlink(missing_ok=True)
            for name in [*_file_names(store, manifest), INPUTS, MANIFEST]:
                store.fetch(name, folder)
            verify(folder, kind)
    return folder


def _file_names(store: Store, manifest: bytes) -> list[str]:
    """The files that a manifest lists, none of which may lead out of the folder."""
    try:
        said: dict[str, Any] = json.loads(manifest)
        names = [str(name) for name in said["files"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{store.url}/{MANIFEST} is damaged ({error}); make it again.") from error
    for name in names:
        if Path(name).name != name or name.startswith("."):
            raise ArtifactError(f"{store.url}/{MANIFEST} names the file {name!r}, which no part is called.")
    return names
