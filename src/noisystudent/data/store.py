"""Artifact folders in an object store: written file by file, and copied to a local cache for reading.

An object store has no rename and no locks, and this module needs neither: a file appears whole or not at all, and
several workers that write the same file write the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from noisystudent.artifacts.changes import in_words
from noisystudent.artifacts.damage import find_damage
from noisystudent.artifacts.folder import INPUTS, MANIFEST, Inputs, atomic_write, differences, verify
from noisystudent.artifacts.ownership import folder_lock
from noisystudent.data.files import is_url, open_filesystem, with_retries
from noisystudent.errors import ArtifactError, MismatchError
from noisystudent.runtime.env import cache_folder

_LOCAL_SCHEME = "file://"


class Store:
    """A folder behind a URL of any store that fsspec can write to."""

    def __init__(self, url: str) -> None:
        """Raises ``DataError`` if the package that reads the URL is not installed."""
        self.url = url.rstrip("/")
        self._filesystem, self._path = open_filesystem(self.url)

    def names(self) -> set[str]:
        """The names of the files now in the folder; empty if there is no such folder."""

        def request() -> set[str]:
            self._filesystem.invalidate_cache()  # other workers write there at the same time
            try:
                paths = self._filesystem.ls(self._path, detail=False)
            except FileNotFoundError:
                return set()
            return {str(path).rsplit("/", 1)[-1] for path in paths}

        return with_retries(request, self.url)

    def holds(self, name: str) -> bool:
        """Whether the folder now has the file ``name``."""

        def request() -> bool:
            self._filesystem.invalidate_cache()
            return bool(self._filesystem.exists(f"{self._path}/{name}"))

        return with_retries(request, f"{self.url}/{name}")

    def read(self, name: str) -> bytes | None:
        """The content of the file ``name``, or None if there is none."""
        try:
            content: bytes = with_retries(
                lambda: self._filesystem.cat_file(f"{self._path}/{name}"), f"{self.url}/{name}"
            )
        except FileNotFoundError:
            return None
        return content

    def put(self, path: Path) -> None:
        """Writes a local file to the folder under its own name; it appears whole."""
        content = path.read_bytes()
        name = f"{self.url}/{path.name}"
        with_retries(lambda: self._filesystem.pipe_file(f"{self._path}/{path.name}", content), name, doing="written")

    def fetch(self, name: str, folder: Path) -> None:
        """Copies the file ``name`` to the local ``folder``, atomically; ``ArtifactError`` if there is none."""
        content = self.read(name)
        if content is None:
            raise ArtifactError(f"{self.url} has no file {name!r}; make it again with the command that wrote it.")
        with atomic_write(folder / name) as temporary:
            temporary.write_bytes(content)

    def begin(self, folder: Path, inputs: Inputs) -> None:
        """Records the inputs of the work in ``folder``; ``MismatchError`` if the store records other inputs."""
        recorded = self.read(INPUTS)
        if recorded is None:
            self.put(folder / INPUTS)
        elif changes := in_words(differences(self._recorded(recorded), dict(inputs))):
            raise MismatchError(
                f"{self.url} was made from other inputs ({'; '.join(changes[:5])}); give another --out, or delete it."
            )

    def _recorded(self, content: bytes) -> dict[str, Any]:
        """The inputs that the store records; ``ArtifactError`` if they are damaged."""
        try:
            recorded = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise ArtifactError(f"{self.url}/{INPUTS} is damaged ({error}); delete the folder.") from error
        if not isinstance(recorded, dict):
            raise ArtifactError(f"{self.url}/{INPUTS} is damaged (it is no object); delete the folder.")
        return recorded


def store_url(location: str | Path) -> str:
    """The URL of a folder in a store, or empty for a local path, with or without ``file://``."""
    return str(location) if is_url(str(location)) and not str(location).startswith(_LOCAL_SCHEME) else ""


def local_folder(location: str | Path) -> Path:
    """The local folder of the artifact at a path or URL: the path itself, or a folder in the cache."""
    if not store_url(location):
        return Path(str(location).removeprefix(_LOCAL_SCHEME))
    return cache_folder() / "stores" / hashlib.sha256(str(location).rstrip("/").encode()).hexdigest()[:16]


def fetched(location: str | Path, kind: str) -> Path:
    """The local folder of a complete artifact: itself, or, for a URL, a copy in the cache, updated if necessary.

    Raises ``ArtifactError`` if the store has no complete artifact of this kind, or damaged files.
    """
    folder = local_folder(location)
    if not store_url(location):
        return folder
    store = Store(store_url(location))
    manifest = store.read(MANIFEST)
    if manifest is None:
        raise ArtifactError(
            f"{store.url} has no {MANIFEST}: it is not finished {kind}. Finish the command that makes it."
        )
    with folder_lock(folder):
        local_manifest = folder / MANIFEST
        if not local_manifest.is_file() or local_manifest.read_bytes() != manifest or find_damage(folder):
            local_manifest.unlink(missing_ok=True)
            for name in [*_file_names(store, manifest), INPUTS, MANIFEST]:
                store.fetch(name, folder)
            verify(folder, kind)
    return folder


def _file_names(store: Store, manifest: bytes) -> list[str]:
    """The files that a manifest lists; ``ArtifactError`` if one leads out of the folder."""
    try:
        content: dict[str, Any] = json.loads(manifest)
        names = [str(name) for name in content["files"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ArtifactError(f"{store.url}/{MANIFEST} is damaged ({error}); make it again.") from error
    for name in names:
        if Path(name).name != name or name.startswith("."):
            raise ArtifactError(
                f"{store.url}/{MANIFEST} names the file {name!r}, which is not a safe file name; make it again."
            )
    return names
