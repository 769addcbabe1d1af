"""Reads a run folder for the page: checks every file, and reads large files in batches."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from noisystudent.artifacts.typed_json import read_result
from noisystudent.errors import ArtifactError
from noisystudent.pseudo_labels.predictions import FAILED, list_parts
from noisystudent.pseudo_labels.selection.results import SelectionSummary
from noisystudent.reporting.read_findings import (
    read_class_shares,
    read_evidence,
    read_findings,
    read_map,
    read_won_lost,
)
from noisystudent.reporting.records import Examples, Mistakes, PseudoLabel, RunRecord, WrongImage
from noisystudent.results.facts import RunFacts, StrengthChoice, UnreadableImage
from noisystudent.results.run import RunSummary
from noisystudent.results.version import note_of_version

NO_TRUTH: Mapping[str, int] = MappingProxyType({})
EXAMPLES_PER_GROUP = 12
MISTAKES_SHOWN = 24
MAX_ROWS_SEARCHED = 1_000_000  # for examples, so that the search takes seconds for any number of pseudo labels
_BATCH_ROWS = 65_536


def read_run(folder: Path, truth: Mapping[str, int] = NO_TRUTH) -> RunRecord:
    """Reads the folder of a finished run.

    Args:
        folder: The folder.
        truth: The true class of unlabeled images by key, as an index, where it is known.

    Raises:
        ArtifactError: ``summary.json`` or ``run.json`` is missing, or a file cannot be read.
    """
    with note_of_version(Path(folder)):
        return _read(Path(folder), truth)


def _read(folder: Path, truth: Mapping[str, int]) -> RunRecord:
    summary = read_result(
        RunSummary,
        folder / "summary.json",
        when_missing="It is written when a run is complete: run the same command again to finish the run, then report.",
    )
    facts = read_result(
        RunFacts,
        folder / "run.json",
        when_missing="It is written when a run starts: copy the whole run folder, then report.",
    )
    noise_file = folder / "noise.png"
    selections = {
        student.round: read_result(SelectionSummary, file)
        for student in summary.rounds
        if (file := folder / f"round-{student.round}" / "selection" / "summary.json").exists()
    }
    labeled = [student.round for student in summary.rounds if student.selected is not None]
    examples = _read_examples(folder, max(labeled), truth) if labeled else None
    if examples and examples.round in selections and examples.rows < selections[examples.round].rows:
        examples = replace(examples, complete=False)  # a part is missing
    return RunRecord(
        folder=folder,
        summary=summary,
        facts=_with_streamed_failures(facts, folder / "round-1" / "predictions" / FAILED),
        strength=_read_strength(folder / "strength", facts),
        selections=selections,
        examples=examples,
        mistakes=_read_mistakes(folder / "scores", summary.delivered),
        noise_sheet=_read_image(noise_file) if noise_file.exists() else None,
        findings=read_findings(folder),
        evidence=read_evidence(folder),
        won_lost=read_won_lost(folder, summary),
        image_map=read_map(folder),
        class_shares=read_class_shares(folder, summary),
    )


def _read_strength(folder: Path, facts: RunFacts) -> StrengthChoice | None:
    """The search for a noise strength; None where the settings have one, whatever an earlier run left in its folder."""
    noise = facts.settings.get("noise")
    if not isinstance(noise, dict) or noise.get("strength") != "auto":
        return None
    files = (folder / "choice" / "summary.json", folder / "summary.json")  # the second one of older runs
    return next((read_result(StrengthChoice, file) for file in files if file.exists()), None)


def _read_image(file: Path) -> bytes:
    """The bytes of an image file; raises ``ArtifactError`` if it is no image."""
    content = file.read_bytes()
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.verify()
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ArtifactError(f"{file} is damaged: delete it and run the command of the run again.") from error
    return content


def _with_streamed_failures(facts: RunFacts, failed: Path) -> RunFacts:
    """The facts with the unreadable images of a streamed unlabeled set, which are found when it is labeled."""
    source = facts.sources.get("unlabeled")
    if source is None or not failed.exists():
        return facts
    rows = [row for batch in _batches([failed], ["key", "reason"]) for row in batch.to_pylist()]
    source = replace(source, failures=tuple(UnreadableImage(**row) for row in rows))
    return replace(facts, sources={**facts.sources, "unlabeled": source})


def _batches(files: list[Path], columns: list[str]) -> Iterator[pa.RecordBatch]:
    for file in files:
        try:
            with pq.ParquetFile(file) as table:
                missing = sorted(set(columns) - set(table.schema_arrow.names))
                if missing:
                    raise ArtifactError(
                        f"{file} is not what this program writes: column {missing[0]!r} is missing. "
                        "Delete the file's folder and run the command of the run again."
                    )
                # By row group, because the length of a batch across two row groups would depend on the column types.
                for group in range(table.num_row_groups):
                    yield from table.iter_batches(batch_size=_BATCH_ROWS, row_groups=[group], columns=columns)
        except FileNotFoundError as error:
            raise ArtifactError(
                f"{file} is missing. Delete the file's folder and run the command of the run again."
            ) from error
        except (pa.ArrowException, OSError) as error:
            raise ArtifactError(
                f"{file} is damaged: {error}. Delete the file's folder and run the command of the run again."
            ) from error


def _read_examples(folder: Path, number: int, truth: Mapping[str, int]) -> Examples | None:
    selection = folder / f"round-{number}" / "selection"
    if not any(selection.glob("part-*.parquet")):
        return None
    most_confident: list[PseudoLabel] = []
    least_confident: list[PseudoLabel] = []
    rejected: dict[str, list[PseudoLabel]] = {}
    wrong: list[PseudoLabel] = []
    rows, complete, wrong_rows, known_rows = 0, True, 0, 0
    for batch in _pseudo_labels(folder / f"round-{number}" / "predictions", list_parts(selection)):
        if rows >= MAX_ROWS_SEARCHED:
            complete = False
            break
        rows += batch.num_rows
        selected = np.asarray(batch["copies"]) > 0
        if truth:
            known = np.array([truth.get(key, -1) for key in batch["key"].to_pylist()])
            is_wrong = selected & (known >= 0) & (known != np.asarray(batch["prediction"]))
            wrong_rows, known_rows = wrong_rows + int(is_wrong.sum()), known_rows + int((selected & (known >= 0)).sum())
            wrong = _keep_best(wrong, batch, is_wrong, descending=True)
        reasons = np.asarray(batch["reason"].to_pylist(), dtype=object)
        most_confident = _keep_best(most_confident, batch, selected, descending=True)
        least_confident = _keep_best(least_confident, batch, selected, descending=False)
        for reason in sorted(set(reasons[~selected])):
            with_reason = ~selected & (reasons == reason)
            rejected[reason] = _keep_best(rejected.get(reason, []), batch, with_reason, descending=True)
    keys = {example.key for example in most_confident}
    return Examples(
        round=number,
        most_confident=tuple(most_confident),
        least_confident=tuple(example for example in least_confident if example.key not in keys),
        rejected={reason: tuple(rejected[reason]) for reason in sorted(rejected)},
        rows=rows,
        complete=complete,
        wrong=tuple(replace(label, truth=truth[label.key]) for label in wrong),
        wrong_rows=wrong_rows,
        known_rows=known_rows,
    )


def _pseudo_labels(predictions: Path, parts: list[Path]) -> Iterator[pa.RecordBatch]:
    """The rows of a selection's parts, joined with the corresponding rows of the predictions."""
    for part in parts:
        batches = (
            _batches([predictions / part.name], ["key", "prediction", "confidence"]),
            _batches([part], ["copies", "reason"]),
        )
        for prediction, selection in itertools.zip_longest(*batches):
            if prediction is None or selection is None or prediction.num_rows != selection.num_rows:
                raise ArtifactError(
                    f"{part} has other rows than {predictions / part.name}, from which it was made. Delete the "
                    "folders of both and run the command of the run again."
                )
            yield pa.RecordBatch.from_arrays(
                [*prediction.columns, *selection.columns], [*prediction.schema.names, *selection.schema.names]
            )


def _keep_best(
    best: list[PseudoLabel], batch: pa.RecordBatch, chosen: np.ndarray, *, descending: bool
) -> list[PseudoLabel]:
    """The most or least confident of ``best`` and the chosen rows of a batch; ties keep the earlier row."""
    sign = -1.0 if descending else 1.0
    candidates = np.flatnonzero(chosen)
    confidence = sign * np.asarray(batch["confidence"], dtype=np.float64)[candidates]
    first = candidates[np.argsort(confidence, kind="stable")[:EXAMPLES_PER_GROUP]]
    of_batch = [PseudoLabel(**row) for row in batch.take(pa.array(first)).to_pylist()]
    return sorted([*best, *of_batch], key=lambda example: sign * example.confidence)[:EXAMPLES_PER_GROUP]


def _read_mistakes(folder: Path, delivered: str) -> Mistakes | None:
    # The name comes from a file, so only files in the folder itself are opened.
    file = next((file for file in folder.glob("*/test.parquet") if file.parent.name == delivered), None)
    if file is None:
        return None
    mistakes: list[WrongImage] = []
    wrong = count = 0
    for batch in _batches([file], ["key", "label", "prediction", "confidence"]):
        label = np.asarray(batch["label"], dtype=np.int64)
        wrong_rows = np.flatnonzero((np.asarray(batch["prediction"], dtype=np.int64) != label) & (label >= 0))
        wrong += len(wrong_rows)
        count += int((label >= 0).sum())
        confidence = np.asarray(batch["confidence"], dtype=np.float64)[wrong_rows]
        first = wrong_rows[np.argsort(-confidence, kind="stable")[:MISTAKES_SHOWN]]
        mistakes += [WrongImage(**row) for row in batch.take(pa.array(first)).to_pylist()]
        mistakes = sorted(mistakes, key=lambda mistake: -mistake.confidence)[:MISTAKES_SHOWN]
    return Mistakes(images=tuple(mistakes), wrong=wrong, count=count)
