"""What is to be labeled, in a form that can be told to another process, and when it is finished."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noisystudent.artifacts import MANIFEST, commit, hash_file, read_manifest
from noisystudent.data.open import open_source
from noisystudent.data.pictures import Failure, check_failures
from noisystudent.data.settings import DataSettings
from noisystudent.data.source import Source
from noisystudent.errors import ArtifactError
from noisystudent.models.checkpoint import CHECKPOINT
from noisystudent.noise.settings import NoiseSettings
from noisystudent.predictions import PREDICTIONS, account_for, part_path, write_failed
from noisystudent.runtime.settings import RuntimeSettings
from noisystudent.settings import Settings
from noisystudent.sharing import sweep


class Job(Settings):
    """A teacher over a source: all that decides the predictions, and where they go."""

    teacher: Path
    source: str
    out: Path
    seed: int
    runtime: RuntimeSettings
    noise: NoiseSettings
    data: DataSettings


@dataclass(frozen=True)
class Task:
    """A job with its source opened, and ``inputs``, by which its folder is known."""

    job: Job
    source: Source
    inputs: Mapping[str, Any]

    @classmethod
    def open(cls, job: Job, classes: Sequence[str], inputs: Mapping[str, Any] | None = None) -> Task:
        """Opens the source; ``inputs`` may be told by a process that has just found them, since reading takes time."""
        source = open_source(job.source, labeled=False)
        return cls(job, source, inputs or _inputs(job, source, classes))

    def unfinished(self) -> list[int]:
        """The shards that have no part yet."""
        present = {entry.name for entry in os.scandir(self.job.out)}
        shards = range(len(self.source.shard_sizes))
        return [shard for shard in shards if part_path(self.job.out, shard).name not in present]

    def rows(self, shards: Iterable[int]) -> int:
        """How many pictures the shards have."""
        return sum(self.source.shard_sizes[shard] for shard in shards)

    def commit(self) -> int:
        """Accounts for every picture, writes the manifest, and returns how many could not be read.

        Raises ``ArtifactError`` for a part that does not account for its whole shard, and ``DataError`` when more
        pictures than allowed could not be read.
        """
        failed: list[tuple[int, str, str]] = []
        for shard, size in enumerate(self.source.shard_sizes):
            path = part_path(self.job.out, shard)
            labeled, unreadable = account_for(path)
            if labeled + len(unreadable) != size:
                raise ArtifactError(
                    f"{path} accounts for {labeled + len(unreadable)} pictures, but its shard has {size}; delete it "
                    "and run the command again."
                )
            failed += [(shard, key, reason) for key, reason in unreadable]
        failures = [Failure(key, reason) for _, key, reason in failed]
        check_failures(self.source, failures, sum(self.source.shard_sizes), self.job.data.max_corrupt_fraction)
        write_failed(self.job.out, failed)
        sweep(self.job.out)
        commit(self.job.out, PREDICTIONS, self.inputs)
        return len(failed)


def _inputs(job: Job, source: Source, classes: Sequence[str]) -> dict[str, Any]:
    return {
        "teacher": _fingerprint(job.teacher),
        "source": source.fingerprint,
        "files": dict(source.files),
        "classes": list(classes),
        "view": {"noise": job.noise.model_dump(), "seed": job.seed} if job.noise.teacher else "plain",
        "precision": job.runtime.precision,
    }


def _fingerprint(checkpoint: Path) -> str:
    """A checkpoint's fingerprint: ours from its manifest, another's from its weights."""
    if (checkpoint / MANIFEST).exists():
        return read_manifest(checkpoint, CHECKPOINT).fingerprint
    return hash_file(checkpoint / "model.safetensors")
