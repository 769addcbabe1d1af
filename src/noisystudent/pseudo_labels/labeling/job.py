"""What is to be labeled, in a form that can be told to another process, and when it is finished."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from noisystudent.artifacts.claims import sweep
from noisystudent.artifacts.folder import MANIFEST, State, commit, read_json, state_of, write_json
from noisystudent.data.settings import DataSettings
from noisystudent.data.source import Source
from noisystudent.data.sources.open import open_source
from noisystudent.data.store import Store
from noisystudent.errors import ArtifactError
from noisystudent.models.load import fingerprint_at
from noisystudent.models.teacher import Teacher
from noisystudent.noise.settings import NoiseSettings
from noisystudent.pseudo_labels.labeling.label_shards import gather_failures
from noisystudent.pseudo_labels.predictions import FAILED, PREDICTIONS, PartStats, cut_parts, part_path, read_part_stats
from noisystudent.runtime.settings import RuntimeSettings
from noisystudent.settings import Settings

SUMMARY = "summary.json"


class Job(Settings):
    """A teacher over a source: all that decides the predictions, and where they go.

    The teacher is named by its folder, or as ``timm:NAME``.
    With a ``store``, the URL of a folder, they go there, and ``out`` is where this machine's processes work.
    """

    teacher: str
    source: str
    out: Path
    store: str = ""
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
    def open(cls, job: Job, teacher: Teacher, inputs: Mapping[str, Any] | None = None) -> Task:
        """Opens the source; ``teacher`` is the job's, opened.

        ``inputs`` may be told by a process that has just found them, since reading takes time.
        """
        source = open_source(job.source, labeled=False)
        return cls(job, source, inputs or _inputs(job, source, teacher))

    @cached_property
    def parts(self) -> tuple[range, ...]:
        """The shards of each part; they follow from the source, so that all workers know the same."""
        return cut_parts(len(self.source.shard_sizes))

    @cached_property
    def store(self) -> Store | None:
        """The folder behind a URL that the predictions go to, if they do."""
        return Store(self.job.store) if self.job.store else None

    def begin(self) -> None:
        """Says in the store what the predictions are made from; raises ``MismatchError`` where it says otherwise."""
        if self.store:
            self.store.begin(self.job.out, self.inputs)

    def is_complete(self) -> bool:
        """Whether the predictions are finished, where they go."""
        if self.store:
            return self.store.holds(MANIFEST)
        return state_of(self.job.out, self.inputs) is State.COMPLETE

    def has(self, part: int) -> bool:
        """Whether a part is there, where the predictions go."""
        path = part_path(self.job.out, part)
        return self.store.holds(path.name) if self.store else path.exists()

    def unfinished(self) -> list[int]:
        """The parts that are not there yet."""
        present = self.store.names() if self.store else {entry.name for entry in os.scandir(self.job.out)}
        return [part for part in range(len(self.parts)) if part_path(self.job.out, part).name not in present]

    def rows(self, parts: Iterable[int]) -> int:
        """How many images the parts are of."""
        return sum(self.source.shard_sizes[shard] for part in parts for shard in self.parts[part])

    def commit(self) -> None:
        """Accounts for every image, says in ``summary.json`` what is stored, and writes the manifest.

        Raises ``ArtifactError`` for a part that does not account for its whole shards, and ``DataError`` when more
        images than allowed could not be read.
        """
        if self.store:
            for part in range(len(self.parts)):
                if not part_path(self.job.out, part).exists():
                    self.store.fetch(part_path(self.job.out, part).name, self.job.out)
        stats = [self._account_for(part) for part in range(len(self.parts))]
        gather_failures(self.job.out, self.source, stats, self.job.data.max_corrupt_fraction)
        write_json(self.job.out / SUMMARY, _summary(stats, len(self.inputs["classes"])))
        sweep(self.job.out)
        commit(self.job.out, PREDICTIONS, self.inputs)
        if self.store:
            for name in (FAILED, SUMMARY, MANIFEST):
                self.store.put(self.job.out / name)

    def _account_for(self, part: int) -> PartStats:
        path, sizes = part_path(self.job.out, part), [self.source.shard_sizes[shard] for shard in self.parts[part]]
        stats = read_part_stats(path)
        found = list(stats.rows)
        for place, _, _ in stats.failed:
            found[place] += 1
        if found != sizes:
            raise ArtifactError(
                f"{path} accounts for {found} images, but its shards have {sizes}; delete it and run the command again."
            )
        return stats


def _summary(stats: Sequence[PartStats], classes: int) -> dict[str, Any]:
    """What summary.json holds: how many images are labeled, and how much of their probability is stored."""
    rows = [sum(stats.rows) for stats in stats]
    kept = [stats.kept_classes for stats, count in zip(stats, rows, strict=True) if count]
    mass = sum(stats.kept_mass * count for stats, count in zip(stats, rows, strict=True))
    return {
        "images": sum(rows),
        "failed": sum(len(stats.failed) for stats in stats),
        "parts": len(stats),
        "classes": classes,
        "kept": {"fewest": min(kept), "most": max(kept), "mass": round(mass / sum(rows), 6)},
    }


def describe(job: Job) -> str:
    """What the finished predictions hold, in one line."""
    found = Store(job.store).read(SUMMARY) if job.store else None
    said = json.loads(found) if found else read_json(job.out / SUMMARY)
    kept = said["kept"]
    line = f"{said['images']:,} images labeled in {said['parts']:,} parts"
    if kept["fewest"] < said["classes"]:
        count = f"{kept['fewest']} to {kept['most']}" if kept["fewest"] < kept["most"] else f"{kept['most']}"
        line += f"; stored of {said['classes']:,} classes: the {count} likeliest, {kept['mass']:.2%} of the probability"
    return line + (f"; {said['failed']:,} cannot be read, {FAILED} says why" if said["failed"] else "")


def _inputs(job: Job, source: Source, teacher: Teacher) -> dict[str, Any]:
    return {
        "teacher": fingerprint_at(job.teacher, teacher.weights),
        "source": source.fingerprint,
        "files": dict(source.files),
        "classes": list(teacher.classes),
        "view": {"noise": job.noise.model_dump(), "seed": job.seed} if job.noise.teacher else "plain",
        "precision": job.runtime.precision,
    }
