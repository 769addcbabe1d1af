"""Runs the cells of a study for every seed, and compares them with the reference on the same test images.

Cells of one seed are paired: stages have the same names, and random streams are named after stages, so that the cells
draw the same order and noise. A stage that several cells share is trained once and taken over by the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from noisystudent.artifacts.folder import MANIFEST, parse_manifest
from noisystudent.artifacts.tables import read_table
from noisystudent.artifacts.typed_json import read_result, write_result
from noisystudent.config import ARGUMENTS, Resolved, given_values, read_settings, require_used, resolve
from noisystudent.data.output import require_output_folder
from noisystudent.errors import MismatchError, NothingSelectedError, SettingsError, nearest_name
from noisystudent.evaluation.paired_trainings import compare_trainings
from noisystudent.models.load import RUN_FACTS
from noisystudent.pipeline import noisy_student
from noisystudent.pipeline.backbones.tune import HEAD
from noisystudent.pipeline.context import run_lock
from noisystudent.pipeline.controls import CONTROL as CONTROL_STAGE
from noisystudent.pipeline.plan import plan
from noisystudent.pipeline.score_stage import SCORES
from noisystudent.pipeline.stage_costs import COST, read_cost
from noisystudent.pipeline.studies.cells import (
    CONTROL,
    Cell,
    Study,
    check_given,
    check_study,
    read_study,
    require_distinct,
)
from noisystudent.pipeline.studies.paper import PAPER_STUDIES
from noisystudent.results.facts import PlannedStage, RunFacts
from noisystudent.results.run import RunSummary
from noisystudent.results.study import Agreement, CellResult, StudyResult
from noisystudent.run_settings import RunSettings
from noisystudent.runtime.env import describe_machine, versions
from noisystudent.runtime.progress import Reporter
from noisystudent.settings_input import SettingsInput

RESULT = "study.json"
SEED = "{seed}"  # in the name of a source: a split of its own for every seed
ROLES = ("labeled", "unlabeled", "validation", "test")

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class StudyRequest:
    """A study and what all its runs share.

    ``given``: the user's settings by dotted name; sources in which ``{seed}`` stands are others for every seed.
    ``shared``: folders of other studies, whose finished stages are taken over where their inputs are the same.
    """

    study: Study
    given: Mapping[str, Any]
    seeds: tuple[int, ...]
    out: Path
    shared: tuple[Path, ...] = ()

    def folder(self, seed: int, cell: Cell) -> Path:
        """The folder of a cell's run."""
        return self.out / f"seed-{seed}" / cell.folder

    def resolved(self, seed: int, cell: Cell) -> Resolved:
        """The settings of a cell's run; raises ``SettingsError`` that names the cell."""
        sources = {
            role: str(self.given[role]).replace(SEED, str(seed)) for role in ROLES if self.given.get(role) is not None
        }
        own = {name: value for name, value in self.study.settings.items() if name not in self.given}
        common = {**own, **self.given, **sources, "seed": seed, "budget": "none"}
        settings: SettingsInput = [{**common, **cell.settings, "out": str(self.folder(seed, cell))}]
        try:
            return resolve(settings, command="run")
        except SettingsError as error:
            raise SettingsError(f"study {self.study.name}, cell {cell.name!r}: {error}") from None


def open_request(
    study: str | Study,
    settings: SettingsInput,
    *,
    config: Path | None,
    seeds: tuple[int, ...],
    out: Path | None,
    shared: tuple[Path, ...] = (),
) -> StudyRequest:
    """A request as a user states it: one of the paper's studies by name, or a file of cells, or a study.

    Args:
        study: The name, the file or the study.
        settings: What the user gave for all cells.
        config: A file of settings for all cells, under ``settings``.
        seeds: The seeds.
        out: The folder; by default ``runs/study-NAME``.
        shared: Folders of other studies, whose finished stages are taken over.

    Raises:
        SettingsError: The study is unknown, or a setting is.
    """
    found = study if isinstance(study, Study) else _find(study)
    given = {**(read_settings(config) if config else {}), **given_values(settings)}
    in_settings = given.pop("out", None)
    folder = out or in_settings or Path("runs") / f"study-{found.name}"
    require_used("study", dict.fromkeys(given, ARGUMENTS))
    return StudyRequest(found, given, seeds, Path(folder), shared)


def _find(name: str) -> Study:
    if name in PAPER_STUDIES:
        return PAPER_STUDIES[name]
    if name.endswith((".yaml", ".yml")):
        return read_study(Path(name))
    raise SettingsError(
        f"unknown study {name!r}.{nearest_name(name, PAPER_STUDIES)} There are {', '.join(PAPER_STUDIES)}; a study of "
        "your own is a file that ends in .yaml."
    )


def check_request(request: StudyRequest) -> None:
    """Raises ``SettingsError`` for a request that cannot be answered, before anything is trained."""
    check_study(request.study)
    check_given(request.study, request.given)
    require_distinct(request.seeds)
    for role in ("labeled", "unlabeled", "test"):
        if not request.given.get(role):
            raise SettingsError(f"a study needs --{role}: its cells are compared on the labels of a test source.")
    require_output_folder(str(request.out), [str(request.given[role]) for role in ROLES if request.given.get(role)])
    resolved = {cell.name: request.resolved(request.seeds[0], cell).settings for cell in request.study.cells}
    _require_different(request.study.name, resolved)


def _require_different(study: str, cells: Mapping[str, RunSettings]) -> None:
    """Raises ``SettingsError`` for two cells whose settings are equal in all but their folders."""
    for (one, first), (other, second) in combinations(cells.items(), 2):
        if first.model_copy(update={"out": second.out}) == second:
            raise SettingsError(
                f"study {study}: the cells {one!r} and {other!r} have the same settings, so there is nothing to "
                "compare. Change a setting of one, or leave it out."
            )


def run_study(request: StudyRequest, *, reporter: Reporter) -> StudyResult:
    """Runs every cell for every seed, or finds them done; returns and writes ``study.json``.

    A cell whose selection leaves no pseudo label has no result, and the others go on without it; for the reference,
    there is no study. Killed at any moment and called again, it resumes. Raises ``NoisyStudentError``.
    """
    check_request(request)
    study = request.study
    summaries: dict[str, list[RunSummary]] = {cell.name: [] for cell in study.cells}
    missing: dict[str, str] = {}
    total, done = len(request.seeds) * len(study.cells), 0
    with run_lock(request.out):
        for seed in request.seeds:
            finished = [run for other in request.shared for run in sorted(other.glob(f"seed-{seed}/*")) if run.is_dir()]
            for cell in study.cells:
                done += 1
                if cell.name in missing:
                    continue
                reporter.say(f"study {study.name}, run {done} of {total}: {cell.name}, seed {seed}")
                resolved = request.resolved(seed, cell)
                try:
                    summaries[cell.name].append(noisy_student.run(resolved, reporter=reporter, shared=finished))
                except NothingSelectedError as error:
                    if cell.name == study.reference:
                        raise
                    missing[cell.name] = f"Seed {seed}: {error}"
                    reporter.say(f"cell {cell.name!r} has no result: {error}")
                finished.append(request.folder(seed, cell))
        result = compare_cells(request, summaries, missing)
        write_result(request.out / RESULT, result)
    return result


def plan_study(request: StudyRequest, *, reporter: Reporter) -> dict[str, tuple[PlannedStage, ...]]:
    """What is left of each cell of the first seed, by name; stages that an earlier cell has are left out.

    Two cells share a training on labels where they differ only in settings that students alone read, and a
    round's stages where they differ only in the number of rounds. The other seeds cost the same.
    """
    check_request(request)
    seed, planned = request.seeds[0], {}
    seen: set[tuple[object, ...]] = set()
    for cell in request.study.cells:
        stages = plan(request.resolved(seed, cell), reporter=reporter).stages
        keys = {stage.name: _shared_key(cell, stage.name) for stage in stages}
        planned[cell.name] = tuple(stage for stage in stages if keys[stage.name] not in seen)
        seen.update(keys.values())
    return planned


NOT_FOR_LABELS = (  # no labels-only training reads these: teacher, noise search and control are the same
    *("selection.", "objective.labels", "objective.temperature", "objective.weighting", "noise.unlabeled."),
    *("rounds.joint", "noise.teacher", "data.unlabeled_share"),
)
STUDENTS_ALONE = (  # these say what a student is, and how many samples its control sees
    *NOT_FOR_LABELS,
    *("rounds.count", "train.ratio", "train.warm_start", "model.students"),
)


def _shared_key(cell: Cell, stage: str) -> tuple[object, ...]:
    """Equal only for cells that share a stage."""
    before_students = stage.startswith(("teacher", "strength", "speed", f"{SCORES}/teacher"))
    ignored: tuple[str, ...] = STUDENTS_ALONE if before_students else ("rounds.count",) if "round-" in stage else ()
    if stage.startswith((CONTROL_STAGE, f"{SCORES}/{CONTROL_STAGE}")):
        ignored = NOT_FOR_LABELS
    own = {name: str(value) for name, value in cell.settings.items() if not (ignored and name.startswith(ignored))}
    return (stage, *sorted(own.items()))


def compare_cells(
    request: StudyRequest, summaries: Mapping[str, Sequence[RunSummary]], missing: Mapping[str, str]
) -> StudyResult:
    """The table of a study from its finished runs, and from why some cells have none, by name."""
    study = request.study
    answers = {
        name: [
            _Answers.read(request.folder(seed, study.cell(name)), _student_of(summary))
            for seed, summary in zip(request.seeds, of_cell, strict=True)
        ]
        for name, of_cell in summaries.items()
        if name not in missing
    }
    compared = answers[study.reference]
    luck = _has_luck(request.folder(request.seeds[0], study.cell(study.reference)))
    rows = [
        _missing_row(study, cell, missing[cell.name])
        if cell.name in missing
        else _row(study, cell, answers[cell.name], compared, summaries[cell.name][0].cost.samples_seen, luck=luck)
        for cell in study.cells
    ]
    if all(summary.control for summary in summaries[study.reference]):
        folders = [request.folder(seed, study.cell(study.reference)) for seed in request.seeds]
        runs = zip(folders, summaries[study.reference], strict=True)
        controls = [_Answers.read(folder, _labels_only_of(summary, folder)) for folder, summary in runs]
        rows.insert(0, _row(study, Cell(CONTROL, {}, study.published_control), controls, compared, None, luck=luck))
    return StudyResult(
        name=study.name,
        title=study.title,
        question=study.question,
        reference=study.reference,
        seeds=request.seeds,
        rows=tuple(rows),
        source=study.source,
        finding=study.finding,
        test_images=len(compared[0].correct),
        luck=luck,
        seconds=round(_seconds_of(request), 1),
        machine=describe_machine(),
        versions=versions(),
    )


def _student_of(summary: RunSummary) -> str:
    """The scores of the student that a run's verdict is about: the last that was kept, else the last.

    Where a cell fixes its models for a larger size, these are the scores after the fix.
    """
    kept = [result for result in summary.rounds if not result.worse] or list(summary.rounds)
    fixed = {model.model: model.checkpoint for model in summary.fixed}
    name = kept[-1].name  # such as "round 3", or "online"
    return fixed.get(name, name.replace(" ", "-"))


def _labels_only_of(summary: RunSummary, run: Path) -> str:
    """The scores of a run's labels-only model: of the control, or of the teacher where that stands for it.

    Where a cell fixes its models for a larger size, these are the scores after the fix, as of the student.
    """
    name = CONTROL_STAGE if (run / SCORES / CONTROL_STAGE).is_dir() else "teacher"
    return {model.model: model.checkpoint for model in summary.fixed}.get(name, name)


def _has_luck(run: Path) -> bool:
    """Whether another seed would train another model: a fit of heads on frozen features has one optimum."""
    model = read_result(RunFacts, run / RUN_FACTS).settings["model"]
    return not (isinstance(model, dict) and model["tune"] == HEAD)


@dataclass(frozen=True, eq=False)
class _Answers:
    """Which test images a model is right about: keys [N], in order, and float [N]."""

    keys: tuple[str, ...]
    correct: Floats

    @classmethod
    def read(cls, run: Path, name: str) -> _Answers:
        """Those of the model of a run whose scores have this name."""
        table = read_table(run / SCORES / name / "test.parquet")
        correct = table["label"].to_numpy() == table["prediction"].to_numpy()
        return cls(tuple(table["key"].to_pylist()), correct.astype(np.float64))


def _row(
    study: Study,
    cell: Cell,
    answers: Sequence[_Answers],
    reference: Sequence[_Answers],
    samples_seen: int | None,
    *,
    luck: bool,
) -> CellResult:
    """A row of the table; raises ``MismatchError`` where it was tested on other images than the reference."""
    row = CellResult(
        name=cell.name,
        settings=dict(cell.settings),
        top1=tuple(float(answer.correct.mean()) for answer in answers),
        published=cell.published,
        samples_seen=samples_seen,
    )
    if cell.name == study.reference:
        return row
    for one, other in zip(answers, reference, strict=True):
        if one.keys != other.keys:
            raise MismatchError(
                f"study {study.name}: {cell.name!r} and {study.reference!r} were tested on different images; all cells "
                "need one test source."
            )
    same_images = len({answer.keys for answer in answers}) == 1
    differences = [one.correct - other.correct for one, other in zip(answers, reference, strict=True)]
    difference, interval = compare_trainings(differences, same_images=same_images, luck=luck)
    return replace(
        row,
        difference=difference,
        interval=interval,
        published_difference=study.published_difference(cell),
        agreement=_agreement(difference, study.published_sign(cell)),
        shown=interval[0] > 0 or interval[1] < 0,
    )


def _missing_row(study: Study, cell: Cell, why: str) -> CellResult:
    """The row of a cell that has no result."""
    return CellResult(
        name=cell.name,
        settings=dict(cell.settings),
        top1=(),
        published=cell.published,
        published_difference=study.published_difference(cell),
        missing=why,
    )


def _agreement(difference: float, published: int | None) -> Agreement:
    if published is None:
        return ""
    if published == 0:
        return "level"
    return "same sign" if difference * published > 0 else "opposite sign"


def _seconds_of(request: StudyRequest) -> float:
    """Seconds of all stages of all runs, each content once."""
    seconds: dict[str, float] = {}
    for cost in sorted(request.out.glob(f"seed-*/**/{COST}")):
        folder = cost.parent
        if (folder / MANIFEST).is_file():
            place = folder.relative_to(request.out).parts
            stage = "/".join([place[0], *place[2:]])
            seconds.setdefault(f"{stage} {parse_manifest(folder).fingerprint}", read_cost(cost).seconds)
    return sum(seconds.values())
