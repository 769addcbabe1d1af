"""Folders of finished work, identified by their inputs: a finished stage is never repeated, and inputs are never mixed.

A stage opens its folder with its inputs (``begin``), writes its files, and closes the folder by writing
``manifest.json`` last (``commit``). So a folder is in one of four states:

    absent     the folder has not been begun
    partial    begun with the same inputs, without a manifest: the stage resumes from the files it saved
    complete   a manifest and the same inputs: the stage is skipped
    stale      begun with other inputs: archived under the fingerprint of these, restored when they return

Every file is written under a temporary name and then renamed, so that a kill at any instant leaves either the old file
or the new one. No torch here.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from noisystudent.errors import ArtifactError, MismatchError

MANIFEST = "manifest.json"
INPUTS = "inputs.json"
LOCK = ".lock"
FULL_DISK = 2**16  # free bytes; with fewer, a failed write is blamed on the full disk
FORMAT = 1

Json = Any  # a value that json.dumps accepts; the standard library has no type for it
Inputs = Mapping[str, Json]


class State(StrEnum):
    """The state of a stage's folder for the current inputs."""

    ABSENT = "absent"
    PARTIAL = "partial"
    COMPLETE = "complete"
    STALE = "stale"


@dataclass(frozen=True)
class Manifest:
    """The description of a complete artifact: its kind, its inputs, the hashes of its files, its fingerprint.

    ``fingerprint`` identifies the content: artifacts of the same kind with equal files have equal fingerprints,
    whenever and wherever they were made.
    """

    kind: str
    inputs: dict[str, Json]
    files: dict[str, str]
    fingerprint: str


def fingerprint_of(value: Json) -> str:
    """Returns a 32-character hash of a JSON value; the order of keys does not matter."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def hash_file(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def atomic_write(path: Path, *, once: bool = False) -> Iterator[Path]:
    """Yields a temporary path to write to, and renames it to ``path`` when the block ends without an error.

    A reader never sees half a file.

    Args:
        path: the file to write; its folder is made if needed.
        once: keep a file that exists by then, and discard the new one.

    Raises:
        ArtifactError: the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # A process number does not do: it can be equal on two machines or in two containers.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        with disk_full_as_error(path):
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            if not once or not _link(temporary, path):
                os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _link(temporary: Path, path: Path) -> bool:
    """Links ``path`` to a file unless ``path`` exists; returns False if the file system has no hard links."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return True
    except OSError:
        return path.exists()
    return True


@contextmanager
def disk_full_as_error(path: Path) -> Iterator[None]:
    """Turns a failed write to ``path`` into an ``ArtifactError`` if the disk is full; other errors pass unchanged.

    torch and safetensors raise errors of other types than ``OSError``, so the free space of the disk decides for them.
    """
    try:
        yield
    except Exception as error:
        is_named = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        is_named = is_named or os.strerror(errno.ENOSPC) in str(error)
        if not is_named and shutil.disk_usage(path.parent).free >= FULL_DISK:
            raise
        raise ArtifactError(
            f"the disk is full: could not write {path}. Free some space and run the same command again; "
            "all finished work is kept."
        ) from error


def write_json(path: Path, value: Json) -> None:
    """Writes an indented JSON file atomically; keys keep their order."""
    with atomic_write(path) as temporary:
        temporary.write_text(_text_of(value))


def _text_of(value: Json) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: Path) -> Json:
    """Reads a JSON file.

    Raises:
        ArtifactError: the file is missing or damaged.
    """
    try:
        return _read_json(path)
    except FileNotFoundError:
        raise ArtifactError(f"{path} does not exist; run the command that writes it first.") from None


def _read_json(path: Path) -> Json:
    try:
        return json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path} is damaged ({error}); delete it and run the command again.") from None


def begin(folder: Path, inputs: Inputs) -> None:
    """Opens ``folder`` for a stage with ``inputs``; does nothing if it was opened before, even with other inputs."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / INPUTS).exists():
        with atomic_write(folder / INPUTS, once=True) as temporary:
            temporary.write_text(_text_of(dict(inputs)))


def commit(folder: Path, kind: str, inputs: Inputs, *, volatile: tuple[str, ...] = ()) -> Manifest:
    """Closes ``folder``: hashes its files and writes the manifest, which makes the artifact complete.

    Args:
        folder: the folder of the artifact.
        kind: kind of the artifact, such as ``checkpoint``.
        inputs: everything that the content depends on, as JSON values.
        volatile: names of files that differ between equal runs (timings); the fingerprint does not include them.

    Returns:
        The manifest.
    """
    begin(folder, inputs)
    skipped = {MANIFEST, INPUTS, *volatile}
    files = {
        path.relative_to(folder).as_posix(): hash_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).as_posix() not in skipped and not path.name.startswith(".")
    }
    manifest = Manifest(kind, dict(inputs), files, fingerprint_of({"kind": kind, "files": files}))
    write_json(folder / MANIFEST, {"format": FORMAT, **vars(manifest)})
    return manifest


def read_manifest(folder: Path, kind: str) -> Manifest:
    """Reads the manifest of a complete artifact of ``kind``.

    Raises:
        ArtifactError: the folder is missing, unfinished, of another kind or of another format.
    """
    if not folder.is_dir():
        raise ArtifactError(f"{folder} does not exist; expected a folder with {kind} that noisystudent wrote.")
    if not (folder / MANIFEST).exists():
        raise ArtifactError(f"{folder} has no {MANIFEST}: it is not finished {kind}. Finish the command that makes it.")
    raw = read_json(folder / MANIFEST)
    if raw.get("format") != FORMAT:
        raise ArtifactError(
            f"{folder / MANIFEST} has format {raw.get('format')!r}, this version reads {FORMAT}; make it again."
        )
    if raw.get("kind") != kind:
        raise ArtifactError(f"{folder} holds {raw.get('kind')!r}, but {kind!r} is needed here.")
    return Manifest(raw["kind"], raw["inputs"], raw["files"], raw["fingerprint"])


def verify(folder: Path, kind: str) -> Manifest:
    """Reads the manifest and checks every file against its hash.

    Raises:
        ArtifactError: a file is missing or was changed, or the folder is no complete artifact of ``kind``.
    """
    manifest = read_manifest(folder, kind)
    for name, expected in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise ArtifactError(f"{path} is missing although its manifest lists it; delete {folder} and run again.")
        if hash_file(path) != expected:
            raise ArtifactError(f"{path} was changed after it was written; delete {folder} and run again.")
    return manifest


def state_of(folder: Path, inputs: Inputs) -> State:
    """Returns the state of the work in ``folder`` for ``inputs``."""
    try:
        begun_with = _read_json(folder / INPUTS)
    except FileNotFoundError:
        return State.ABSENT
    if fingerprint_of(begun_with) != fingerprint_of(dict(inputs)):
        return State.STALE
    return State.COMPLETE if (folder / MANIFEST).exists() else State.PARTIAL


def differences(before: Json, after: Json, name: str = "") -> list[str]:
    """Lists the differences between two JSON values, one line per value: ``train.steps: 300 -> 400``."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        lines = []
        for key in dict.fromkeys([*before, *after]):
            dotted = f"{name}.{key}" if name else str(key)
            lines += differences(before.get(key), after.get(key), dotted)
        return lines
    same = fingerprint_of(before) == fingerprint_of(after)  # not ==, because JSON writes a tuple as a list
    return [] if same else [f"{name}: {_short(before)} -> {_short(after)}"]


def _short(value: Json) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def prepare(folder: Path, inputs: Inputs) -> tuple[State, list[str]]:
    """Makes ``folder`` ready for ``inputs``.

    Work from other inputs is archived as ``<folder>.<fingerprint of its inputs>``, not deleted; archived work from
    these inputs is restored.

    Returns:
        The state of the folder, never stale, and the differences of the archived inputs to these.
    """
    changes: list[str] = []
    if state_of(folder, inputs) is State.STALE:
        before = read_json(folder / INPUTS)
        changes = differences(before, dict(inputs))
        os.replace(folder, _archived(folder, before))
    archived = _archived(folder, dict(inputs))
    if archived.is_dir() and state_of(folder, inputs) is State.ABSENT:
        _remove_unused(folder)
        os.replace(archived, folder)
    begin(folder, inputs)
    return state_of(folder, inputs), changes


def must_archive_or_restore(folder: Path, inputs: Inputs) -> bool:
    """Returns whether ``prepare`` would archive other work or restore archived work."""
    state = state_of(folder, inputs)
    return state is State.STALE or (state is State.ABSENT and _archived(folder, dict(inputs)).is_dir())


def _remove_unused(folder: Path) -> None:
    """Removes a folder that holds nothing but a lock."""
    if not folder.is_dir():
        return
    (folder / LOCK).unlink(missing_ok=True)
    # Another process that opens the folder at this moment makes a new lock; then rmdir fails and is tried again.
    if any(path.name != LOCK for path in folder.iterdir()):
        raise ArtifactError(
            f"{folder} holds files that noisystudent did not write; move them away or give another --out."
        )
    folder.rmdir()


def _archived(folder: Path, inputs: Json) -> Path:
    return folder.with_name(f"{folder.name}.{fingerprint_of(inputs)[:12]}")


def require_inputs(folder: Path, manifest: Manifest, name: str, expected: str) -> None:
    """Checks that an artifact was made from the input ``name`` with the fingerprint ``expected``.

    Raises:
        MismatchError: it was made from another one; the message shows both fingerprints.
    """
    actual = manifest.inputs.get(name)
    if actual != expected:
        raise MismatchError(
            f"{folder} was made from another {name} than the one given (fingerprint {actual}, given {expected}); "
            f"give the {name} it was made from, or make it again."
        )


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Locks a run's folder for this process during the block.

    Raises:
        ArtifactError: another process holds the lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ArtifactError(
                f"another process is working in {folder}; wait for it, stop it, or give another --out."
            ) from None
        yield
