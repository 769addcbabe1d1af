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
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from noisystudent.artifacts.temporary import half_written, held
from noisystudent.errors import ArtifactError, MismatchError

MANIFEST = "manifest.json"
INPUTS = "inputs.json"
LOCK = ".lock"
FULL_DISK = 2**16  # free bytes; with fewer, a failed write is blamed on the full disk
FORMAT = 1
UNCHECKED = "unchecked"  # in place of the sample of a file that the user may edit
_SAMPLED_BLOCKS, _SAMPLE_BLOCK = 16, 4096  # of a file, to find damage

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
    whenever and wherever they were made. ``samples`` are digests of a part of every file, by which damage is found
    cheaply; they include the files that differ between equal runs.
    """

    kind: str
    inputs: dict[str, Json]
    files: dict[str, str]
    fingerprint: str
    samples: dict[str, str] = field(default_factory=dict)


def fingerprint_of(value: Json) -> str:
    """Returns a 32-character hash of a JSON value; the order of keys does not matter."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def hash_file(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sample_of(path: Path) -> str:
    """Returns a digest of a file's size and of its content: all of it up to 64 KiB, else 16 evenly spread blocks."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        total = hashlib.blake2b(f"{size}\0".encode(), digest_size=16)
        last = max(0, size - _SAMPLE_BLOCK)
        last = max(0, size - _SAMPLE_BLOCK)
        blocks = min(_SAMPLED_BLOCKS, -(-size // _SAMPLE_BLOCK))
        for block in range(blocks):
            file.seek(last * block // max(1, blocks - 1))
            total.update(file.read(_SAMPLE_BLOCK))
    return total.hexdigest()


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
    temporary = half_written(path)
    try:
        with disk_full_as_error(path), held(temporary):
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


def commit(
    folder: Path,
    kind: str,
    inputs: Inputs,
    *,
    volatile: tuple[str, ...] = (),
    temporary: tuple[str, ...] = (),
    editable: tuple[str, ...] = (),
) -> Manifest:
    """Closes ``folder``: hashes its files and writes the manifest, which makes the artifact complete.

    Args:
        folder: the folder of the artifact.
        kind: kind of the artifact, such as ``checkpoint``.
        inputs: everything that the content depends on, as JSON values.
        volatile: names of files that differ between equal runs (timings); the fingerprint does not include them.
        temporary: names of files that are removed next, so that the manifest does not list them.
        editable: names of files that the user may edit or delete; no change of theirs is damage.

    Returns:
        The manifest.
    """
    begin(folder, inputs)
    skipped = {MANIFEST, INPUTS, *temporary}
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    kept = {name: path for name, path in paths.items() if name not in skipped and not path.name.startswith(".")}
    files = {name: hash_file(path) for name, path in kept.items() if name not in (*volatile, *editable)}
    samples = {name: UNCHECKED if name in editable else sample_of(path) for name, path in kept.items()}
    manifest = Manifest(kind, dict(inputs), files, fingerprint_of({"kind": kind, "files": files}), samples)
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
    manifest = parse_manifest(folder)
    if manifest.kind != kind:
        raise ArtifactError(f"{folder} holds {manifest.kind!r}, but {kind!r} is needed here.")
    return manifest


def parse_manifest(folder: Path) -> Manifest:
    """Reads the manifest in ``folder``, of any kind.

    Raises:
        ArtifactError: it is missing, damaged or of another format.
    """
    raw = read_json(folder / MANIFEST)
    if isinstance(raw, dict) and raw.get("format") != FORMAT:
        raise ArtifactError(
            f"{folder / MANIFEST} has format {raw.get('format')!r}, this version reads {FORMAT}; make it again."
        )
    try:
        manifest = Manifest(raw["kind"], raw["inputs"], raw["files"], raw["fingerprint"], raw.get("samples", {}))
        names = [*manifest.files, *manifest.samples]
    except (TypeError, KeyError, AttributeError) as error:
        raise ArtifactError(
            f"{folder / MANIFEST} is damaged ({error!r}); delete it and run the command again."
        ) from None
    outside = [name for name in names if Path(name).is_absolute() or ".." in Path(name).parts]
    if outside:
        raise ArtifactError(f"{folder / MANIFEST} names {outside[0]!r}, which lies outside its folder; make it again.")
    return manifest


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
    begun_with = begun_inputs(folder)
    if begun_with is None:
        return State.ABSENT
    if fingerprint_of(begun_with) != fingerprint_of(dict(inputs)):
        return State.STALE
    return State.COMPLETE if (folder / MANIFEST).exists() else State.PARTIAL


def begun_inputs(folder: Path) -> Json | None:
    """The inputs that ``folder`` was begun with, or None if it was not begun.

    If their file is missing or damaged, those in the manifest count. Raises ``ArtifactError`` if neither can be read.
    """
    try:
        return _read_json(folder / INPUTS)
    except FileNotFoundError:
        if not (folder / MANIFEST).exists():
            return None
    except ArtifactError:
        if not (folder / MANIFEST).exists():
            raise ArtifactError(
                f"{folder / INPUTS} is damaged, so nothing tells what the unfinished work in {folder} was made from. "
                f"Delete the folder {folder} and run the command again."
            ) from None
    return parse_manifest(folder).inputs


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


def require_inputs(folder: Path, manifest: Manifest, name: str, expected: str) -> None:
    """Checks that an artifact was made from the input ``name`` with the fingerprint ``expected``.

    Raises:
        MismatchError: it was made from another one.
    """
    if manifest.inputs.get(name) != expected:
        raise MismatchError(
            f"{folder} was made from other {name} than those given; give the {name} that it was made from, or make it "
            "again."
        )
