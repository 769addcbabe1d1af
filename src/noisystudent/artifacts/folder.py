"""Folders that hold finished work: recognised by what they were made from, never redone, never mixed up.

A stage opens its folder with the inputs it is about to use (``begin``), writes its files, and closes it by writing
``manifest.json`` last (``commit``). So a folder is in one of four states:

    absent     nothing there
    partial    begun with the same inputs, no manifest yet: the stage may go on from what it saved
    complete   a manifest with the same inputs: the stage is skipped
    stale      made from other inputs: set aside under its own fingerprint, brought back if those inputs return

Everything is written to a temporary name and renamed, so that a kill at any instant leaves either the old file or
the new one. No torch here.
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
FULL_DISK = 2**16  # bytes free, below which a failed write is put down to the disk
FORMAT = 1

Json = Any  # what json.dumps takes; the standard library has no type for it
Inputs = Mapping[str, Json]


class State(StrEnum):
    """Where a stage's folder stands with respect to the inputs at hand."""

    ABSENT = "absent"
    PARTIAL = "partial"
    COMPLETE = "complete"
    STALE = "stale"


@dataclass(frozen=True)
class Manifest:
    """What a complete artifact says of itself.

    ``fingerprint`` identifies the content: two artifacts of the same kind with equal files have equal ones,
    whenever and wherever they were made.
    """

    kind: str
    inputs: dict[str, Json]
    files: dict[str, str]
    fingerprint: str


def fingerprint_of(value: Json) -> str:
    """A 32-character hash of a JSON value; equal values give equal hashes whatever the order of their keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def hash_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def atomic_write(path: Path, *, once: bool = False) -> Iterator[Path]:
    """Gives a temporary path beside ``path`` to write to, and renames it to ``path`` when the block ends well.

    A reader never sees half a file. With ``once``, a file that is there by then stays, and what was written is
    dropped. A full disk becomes an ``ArtifactError`` that names the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not the process's number: on two machines, or in two containers, it may be the same.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        with disk_full_as_error(path):
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            if not once or not _linked(temporary, path):
                os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _linked(temporary: Path, path: Path) -> bool:
    """Gives a file the name ``path`` too, unless that is taken; False where the file system has no hard links."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return True
    except OSError:
        return path.exists()
    return True


@contextmanager
def disk_full_as_error(path: Path) -> Iterator[None]:
    """Turns a failed write to ``path`` into an ``ArtifactError`` when the disk is full; other errors pass.

    Not every library says so by an ``OSError``: torch and safetensors raise errors of their own, so the disk is asked.
    """
    try:
        yield
    except Exception as error:
        said = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        said = said or os.strerror(errno.ENOSPC) in str(error)
        if not said and shutil.disk_usage(path.parent).free >= FULL_DISK:
            raise
        raise ArtifactError(
            f"the disk is full: could not write {path}. Free some space and run the same command again; "
            "all finished work is kept."
        ) from error


def write_json(path: Path, value: Json) -> None:
    """Writes a JSON file atomically, keys in the order given, readable by people."""
    with atomic_write(path) as temporary:
        temporary.write_text(_text_of(value))


def _text_of(value: Json) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: Path) -> Json:
    """Reads a JSON file; a missing or damaged one is an ``ArtifactError`` that names it."""
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
    """Opens ``folder`` for a stage that works from ``inputs``; does nothing if it was opened before, with whatever."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / INPUTS).exists():
        with atomic_write(folder / INPUTS, once=True) as temporary:
            temporary.write_text(_text_of(dict(inputs)))


def commit(folder: Path, kind: str, inputs: Inputs, *, volatile: tuple[str, ...] = ()) -> Manifest:
    """Closes ``folder``: hashes its files and writes the manifest, after which the artifact is complete.

    ``volatile`` names files that differ between equal runs (timings); they are kept but identify nothing.
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
    """Reads the manifest of a complete artifact of ``kind``; raises ``ArtifactError`` for anything else."""
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
    """Reads the manifest and checks every file against its hash; a changed or missing file is an error."""
    manifest = read_manifest(folder, kind)
    for name, expected in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise ArtifactError(f"{path} is missing although its manifest lists it; delete {folder} and run again.")
        if hash_file(path) != expected:
            raise ArtifactError(f"{path} was changed after it was written; delete {folder} and run again.")
    return manifest


def state_of(folder: Path, inputs: Inputs) -> State:
    """Says whether the work in ``folder`` is absent, partial, complete or stale for ``inputs``."""
    try:
        found = _read_json(folder / INPUTS)
    except FileNotFoundError:
        return State.ABSENT
    if fingerprint_of(found) != fingerprint_of(dict(inputs)):
        return State.STALE
    return State.COMPLETE if (folder / MANIFEST).exists() else State.PARTIAL


def differences(before: Json, after: Json, name: str = "") -> list[str]:
    """Names what differs between two JSON values, one line each: ``train.steps: 300 -> 400``."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        lines = []
        for key in dict.fromkeys([*before, *after]):
            dotted = f"{name}.{key}" if name else str(key)
            lines += differences(before.get(key), after.get(key), dotted)
        return lines
    same = fingerprint_of(before) == fingerprint_of(after)  # a tuple is a list, once it is written
    return [] if same else [f"{name}: {_short(before)} -> {_short(after)}"]


def _short(value: Json) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def prepare(folder: Path, inputs: Inputs) -> tuple[State, list[str]]:
    """Makes ``folder`` ready for ``inputs`` and returns its state (never stale) and what had changed.

    Work from other inputs is set aside as ``<folder>.<fingerprint of its inputs>``, not deleted; work set aside
    earlier that was made from these very inputs is brought back.
    """
    changes: list[str] = []
    if state_of(folder, inputs) is State.STALE:
        before = read_json(folder / INPUTS)
        changes = differences(before, dict(inputs))
        os.replace(folder, _archived(folder, before))
    archived = _archived(folder, dict(inputs))
    if archived.is_dir() and state_of(folder, inputs) is State.ABSENT:
        _make_way(folder)
        os.replace(archived, folder)
    begin(folder, inputs)
    return state_of(folder, inputs), changes


def to_be_moved(folder: Path, inputs: Inputs) -> bool:
    """Whether ``prepare`` would set other work aside, or bring back what was set aside earlier."""
    state = state_of(folder, inputs)
    return state is State.STALE or (state is State.ABSENT and _archived(folder, dict(inputs)).is_dir())


def _make_way(folder: Path) -> None:
    """Removes a folder that holds nothing but this process's lock."""
    if not folder.is_dir():
        return
    (folder / LOCK).unlink(missing_ok=True)
    if any(folder.iterdir()):
        raise ArtifactError(
            f"{folder} holds files that noisystudent did not write; move them away or give another --out."
        )
    folder.rmdir()


def _archived(folder: Path, inputs: Json) -> Path:
    return folder.with_name(f"{folder.name}.{fingerprint_of(inputs)[:12]}")


def require_inputs(folder: Path, manifest: Manifest, name: str, expected: str) -> None:
    """Refuses an artifact whose input ``name`` is another than ``expected``, showing both fingerprints."""
    found = manifest.inputs.get(name)
    if found != expected:
        raise MismatchError(
            f"{folder} was made from another {name} than the one given (fingerprint {found}, given {expected}); "
            f"give the {name} it was made from, or make it again."
        )


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Holds a run's folder for this process alone; a second process gets an ``ArtifactError`` at once."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ArtifactError(
                f"another process is working in {folder}; wait for it, stop it, or give another --out."
            ) from None
        yield
