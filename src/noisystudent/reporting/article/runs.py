"""Reads finished runs for tables, and groups those that differ in their seed alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from noisystudent.artifacts.folder import MANIFEST, parse_manifest
from noisystudent.artifacts.tables import read_table
from noisystudent.artifacts.typed_json import read_result
from noisystudent.errors import MismatchError, SettingsError
from noisystudent.results.facts import RunFacts
from noisystudent.results.run import EvaluatedModel, Role, RunSummary

_OF_EACH_RUN = ("seed", "out", "labeled", "unlabeled", "validation", "test", "budget")
_GIVEN = ("arguments", "file ", "recipe ")

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FinishedRun:
    """A finished run or distillation: its folder, its results and how it was asked for."""

    folder: Path
    summary: RunSummary
    facts: RunFacts
    role: Role

    @property
    def is_distillation(self) -> bool:
        """Whether ``distill`` made it."""
        return self.facts.command[1:2] == ("distill",)

    @property
    def seed(self) -> int:
        """Its seed."""
        return self.summary.seed or 0

    @property
    def has_luck(self) -> bool:
        """Whether another seed would give other models; fits of heads are convex."""
        return self.setting("model.tune") != "head"

    def setting(self, name: str) -> object:
        """The value of a setting by its dotted name; None if it has none."""
        value: object = self.facts.settings
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value

    def images(self, role: str) -> int:
        """The number of images of a source; 0 without it."""
        source = self.facts.sources.get(role)
        return source.images if source else 0

    @property
    def held_out(self) -> str:
        """Identifies the images that it reports on."""
        source = self.facts.sources.get(self.role)
        return source.fingerprint if source else ""

    def correct(self, stage: str) -> Floats | None:
        """Whether a model is right about each held-out image (0 or 1), float64 [N]; None if that is not stored."""
        file = self.folder / "scores" / stage / f"{self.role}.parquet"
        if not file.is_file():
            return None
        table = read_table(file, ["label", "prediction"])
        return np.asarray(table["label"].to_numpy() == table["prediction"].to_numpy(), np.float64)

    def identity(self, stage: str) -> str:
        """Identifies the scores of a model, which runs that share the model share, too; empty if that is not stored."""
        folder = self.folder / "scores" / stage
        return parse_manifest(folder).fingerprint if (folder / MANIFEST).is_file() else ""

    @property
    def labels_only(self) -> EvaluatedModel | None:
        """The labels-only model that its students are compared with."""
        return self.summary.control or (None if self.is_distillation else self.summary.teacher)


def read_runs(folders: Sequence[Path]) -> list[FinishedRun]:
    """Reads finished runs.

    Raises:
        ArtifactError: A folder holds no finished run, or its files are damaged.
        MismatchError: The runs have other classes.
        SettingsError: A folder is given twice, or a run has no held-out labels.
    """
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise SettingsError(f"a run is given twice among {', '.join(map(str, folders))}; give each once.")
    runs = [_read_run(folder) for folder in folders]
    for run in runs[1:]:
        if run.summary.classes != runs[0].summary.classes:
            raise MismatchError(
                f"{run.folder} has the classes {', '.join(run.summary.classes[:10])}, and {runs[0].folder} "
                f"{', '.join(runs[0].summary.classes[:10])}; a table compares runs of the same classes. Leave one out."
            )
    return runs


def _read_run(folder: Path) -> FinishedRun:
    advice = "A table is made of folders of finished runs and distillations; of checkpoints with --source."
    summary = read_result(RunSummary, folder / "summary.json", when_missing=advice)
    facts = read_result(RunFacts, folder / "run.json", when_missing=advice)
    role = summary.reporting_role()
    if role is None:
        raise SettingsError(f"{folder} has no held-out labels, so it has no numbers; run it with --test.")
    return FinishedRun(folder, summary, facts, role)


def grouped(runs: Iterable[FinishedRun]) -> list[tuple[FinishedRun, ...]]:
    """The runs in groups that differ in their seed, and the images that it draws, alone; in the order of the first.

    Raises ``SettingsError`` for two runs of one group with the same seed.
    """
    groups: dict[str, list[FinishedRun]] = {}
    for run in runs:
        members = groups.setdefault(_asked(run), [])
        if any(other.seed == run.seed for other in members):
            raise SettingsError(
                f"{run.folder} repeats another of the runs with the same seed {run.seed}; leave one out, or its "
                "numbers would count twice."
            )
        members.append(run)
    return [tuple(members) for members in groups.values()]


def _asked(run: FinishedRun) -> str:
    """What the user asked for, apart from seed, folders and sources; and how many images there were."""
    given = {
        name: run.setting(name)
        for name, origin in run.facts.origins.items()
        if origin.startswith(_GIVEN) and name not in _OF_EACH_RUN
    }
    counts = [run.images("labeled"), run.images("unlabeled"), run.role]
    start = run.facts.start.fingerprint if run.facts.start else None
    return json.dumps([run.facts.command[1:2], run.summary.recipe, given, counts, start], sort_keys=True, default=str)
