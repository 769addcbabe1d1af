"""A labeling job in a form that can be sent to another process, and when it is finished."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from noisystudent.artifacts.claims import sweep
from noisystudent.artifacts.folder import MANIFEST, State, commit, read_json, state_of, write_json
from noisystudent.data.images import Failure
from noisystudent.data.settings import DataSettings
from noisystudent.data.source import Source
from noisystudent.data.sources.open import open_source
from noisystudent.data.store import Store
from noisystudent.display.sources import unreadable_sentence
from noisystudent.display.wording import printable
from noisystudent.errors import ArtifactError
from noisystudent.models.predictor import Predictor
from noisystudent.noise.settings import NoiseSettings
from noisystudent.pseudo_labels.labeling.label_shards import gather_failures
from noisystudent.pseudo_labels.predictions import (
    FAILED,
    PREDICTIONS,
    SUMMARY,
    PartStats,
    cut_parts,
    part_path,
    read_failed,
    read_part_stats,
    summarize,
)
from noisystudent.runtime.settings import RuntimeSettings
from noisystudent.settings import Settings


class Job(Settings):
    """A teacher, a source, and everything else that determines the predictions and where they are written.

    ``teacher`` is what ``Predictor.open`` takes as text; it is empty for a module, which has no name. With a ``store``,
    the URL of a folder, the predictions are written there, and ``out`` is the folder where this machine works.
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
    """A job with its source opened; ``inputs`` identify the predictions."""

    job: Job
    source: Source
    inputs: Mapping[str, Any]

    @classmethod
    def open(cls, job: Job, predictor: Predictor, inputs: Mapping[str, Any] | None = None) -> Task:
        """Opens the source of a job whose teacher is opened.

        Args:
            job: the job.
            predictor: the job's teacher.
            inputs: the job's inputs, if another process has just computed them, which takes time.
        """
        source = open_source(job.source, labeled=False)
        return cls(job, source, inputs or _inputs(job, source, predictor))

    @cached_property
    def parts(self) -> tuple[range, ...]:
        """The shards of each part; they follow from the source, so all workers agree on them."""
        return cut_parts(len(self.source.shard_sizes))

    @cached_property
    def store(self) -> Store | None:
        """The folder behind a URL that the predictions are written to, if there is one."""
        return Store(self.job.store) if self.job.store else None

    def begin(self) -> None:
        """Writes the inputs to the store; raises ``MismatchError`` if it has predictions of other inputs."""
        if self.store:
            self.store.begin(self.job.out, self.inputs)

    def is_complete(self) -> bool:
        """Whether the predictions are finished, in the store if there is one."""
        if self.store:
            return self.store.holds(MANIFEST)
        return state_of(self.job.out, self.inputs) is State.COMPLETE

    def has(self, part: int) -> bool:
        """Whether a part exists, in the store if there is one."""
        path = part_path(self.job.out, part)
        return self.store.holds(path.name) if self.store else path.exists()

    def unfinished(self) -> list[int]:
        """The parts that do not exist yet."""
        present = self.store.names() if self.store else {entry.name for entry in os.scandir(self.job.out)}
        return [part for part in range(len(self.parts)) if part_path(self.job.out, part).name not in present]

    def rows(self, parts: Iterable[int]) -> int:
        """The number of images in the parts."""
        return sum(self.source.shard_sizes[shard] for part in parts for shard in self.parts[part])

    def commit(self) -> None:
        """Accounts for every image, writes ``summary.json`` and then the manifest.

        Raises ``ArtifactError`` for a part that does not account for all images of its shards, and ``DataError`` if
        more images than allowed could not be read.
        """
        if self.store:
            for part in range(len(self.parts)):
                if not part_path(self.job.out, part).exists():
                    self.store.fetch(part_path(self.job.out, part).name, self.job.out)
        stats = [self._account_for(part) for part in range(len(self.parts))]
        gather_failures(self.job.out, self.source, stats, self.job.data.max_corrupt_fraction)
        write_json(self.job.out / SUMMARY, summarize(stats, len(self.inputs["classes"])))
        sweep(self.job.out)
        commit(self.job.out, PREDICTIONS, self.inputs)
        if self.store:
            for name in (FAILED, SUMMARY, MANIFEST):
                self.store.put(self.job.out / name)

    def _account_for(self, part: int) -> PartStats:
        path, sizes = part_path(self.job.out, part), [self.source.shard_sizes[shard] for shard in self.parts[part]]
        stats = read_part_stats(path)
        counts = list(stats.rows)
        for index, _, _ in stats.failed:
            counts[index] += 1
        if counts != sizes:
            raise ArtifactError(
                f"{path} accounts for {counts} images, but its shards have {sizes}; delete it and run the command "
                "again."
            )
        return stats


def describe(job: Job) -> str:
    """The content of the finished predictions, in one line."""
    stored = Store(job.store).read(SUMMARY) if job.store else None
    summary = json.loads(stored) if stored else read_json(job.out / SUMMARY)
    line = f"{summary['images']:,} images labeled in {summary['parts']:,} parts"
    fewest, most, mass = (summary["kept"][name] for name in ("fewest", "most", "mass"))
    if fewest < summary["classes"]:
        count = f"{fewest} to {most}" if fewest < most else f"{most}"
        line += f"; stored of {summary['classes']:,} classes: the {count} likeliest, {mass:.2%} of the probability"
    return line + _describe_failed(job, summary["failed"])


def _describe_failed(job: Job, count: int) -> str:
    """How many images cannot be read, and the first of them where this machine has the list; empty for none."""
    if not count:
        return ""
    failures = [Failure(key, reason) for key, reason in read_failed(job.out)]
    first = f": {unreadable_sentence(failures)}" if failures else ""
    return printable(f"; {count:,} cannot be read, {FAILED} says why{first}")


def _inputs(job: Job, source: Source, predictor: Predictor) -> dict[str, Any]:
    return {
        "teacher": predictor.fingerprint,
        "source": source.fingerprint,
        "files": dict(source.files),
        "classes": list(predictor.classes),
        "view": {"noise": job.noise.deciding(), "seed": job.seed} if job.noise.teacher else "plain",
        "precision": job.runtime.precision,
        **({"engine": job.runtime.engine} if job.runtime.engine != "torch" else {}),
    }
