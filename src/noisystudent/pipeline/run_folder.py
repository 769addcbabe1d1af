"""A finished run or distillation in Python: its summary, its model, its files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from noisystudent.artifacts.typed_json import read_result
from noisystudent.errors import ArtifactError
from noisystudent.evaluation.verdict import Verdict
from noisystudent.models.factory import ModelFactory
from noisystudent.models.predictor import Predictor
from noisystudent.pipeline.findings.stage import FINDINGS
from noisystudent.pipeline.summary import BEST
from noisystudent.reporting.notebook import run_html
from noisystudent.results.facts import RunFacts
from noisystudent.results.findings import Findings, ImageToLabel, LabelIssue, OutOfClassImage
from noisystudent.results.run import EvaluatedModel, RoundResult, RunSummary
from noisystudent.results.version import note_of_version


@dataclass(frozen=True)
class Run:
    """A finished run: ``path`` is its folder, ``summary`` what ``summary.json`` holds.

    ``factory`` builds the architecture where the run trained a user's own model.
    """

    path: Path
    summary: RunSummary
    factory: ModelFactory | None = None

    @property
    def verdict(self) -> Verdict:
        """Whether the unlabeled images helped: the last student that was kept against labels-only training."""
        return self.summary.verdict

    @property
    def teacher(self) -> EvaluatedModel | None:
        """The first teacher with its scores; None for methods without one."""
        return self.summary.teacher

    @property
    def control(self) -> EvaluatedModel | None:
        """The labels-only control with its scores; None where none was trained."""
        return self.summary.control

    @property
    def rounds(self) -> tuple[RoundResult, ...]:
        """The student of each round (of a distillation: each student) with its scores."""
        return self.summary.rounds

    @property
    def student(self) -> EvaluatedModel:
        """The delivered model with its scores."""
        return self.summary.student

    @cached_property
    def model(self) -> Predictor:
        """The delivered model, ready to predict; loaded on first use."""
        return Predictor.open(self.path / BEST, factory=self.factory)

    @cached_property
    def facts(self) -> RunFacts:
        """The content of ``run.json``: command, settings, sources, versions."""
        return read_result(RunFacts, self.path / "run.json")

    @cached_property
    def findings(self) -> Findings:
        """What the run found in its own images: ``findings/summary.json``; a distillation has none."""
        when_missing = "A run writes it at its end, and a distillation does not: run the command of the run again."
        return read_result(Findings, self.path / FINDINGS / "summary.json", when_missing=when_missing)

    @property
    def label_issues(self) -> tuple[LabelIssue, ...]:
        """The labels that look wrong, the most suspicious first; ``label_issues.csv`` has the same."""
        return self.findings.label_issues

    @property
    def out_of_class(self) -> tuple[OutOfClassImage, ...]:
        """The unlabeled images that may be of no class, the farthest first; ``out_of_class.csv`` has the same."""
        return self.findings.out_of_class

    @property
    def label_next(self) -> tuple[ImageToLabel, ...]:
        """The images to label next, the most useful first; ``label_next.csv`` has the same."""
        return self.findings.label_next

    @property
    def report(self) -> Path:
        """The page of the run, an HTML file."""
        return self.path / "report.html"

    def _repr_html_(self) -> str:
        """The run as a notebook shows it: verdict, table, page."""
        return run_html(self.summary, self.path)

    def __repr__(self) -> str:
        scores = self.student.scores(self.summary.reporting_role())
        accuracy = f", top1={scores.top1:.3f}" if scores else ""
        verdict = self.verdict.in_short
        return f"Run({str(self.path)!r}, verdict={verdict!r}, delivered={self.summary.delivered!r}{accuracy})"


def open_run(path: str | Path, *, factory: ModelFactory | None = None) -> Run:
    """Opens the folder of a finished run or distillation.

    Args:
        path: The folder that ``run`` or ``distill`` wrote.
        factory: The factory of the run's model, where that was your own.

    Raises:
        ArtifactError: The folder does not exist, holds no finished run, or a file in it is damaged.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise ArtifactError(f"{folder} does not exist; give the folder of a run.")
    when_missing = "It is written when a run is complete: run the same command again to finish it."
    with note_of_version(folder):
        summary = read_result(RunSummary, folder / "summary.json", when_missing=when_missing)
    return Run(folder, summary, factory)
