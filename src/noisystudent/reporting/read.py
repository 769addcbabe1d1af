"""A run folder in, a ``RunRecord`` out: every file checked, the big ones read a batch at a time."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from noisystudent.errors import ArtifactError
from noisystudent.pseudo_labels.predictions import list_parts
from noisystudent.reporting.records import (
    Examples,
    Mistakes,
    PseudoLabel,
    RunFacts,
    RunRecord,
    SelectionSummary,
    StrengthChoice,
    Summary,
    Verdict,
    WrongImage,
)
from noisystudent.reporting.robustness.records import Robustness

EXAMPLES_PER_GROUP = 12
MISTAKES_SHOWN = 24
EXAMPLE_ROWS = 1_000_000  # looking through the pseudo labels stays a matter of seconds, however many there are
_BATCH_ROWS = 65_536

Content = TypeVar("Content")
_SUMMARY = TypeAdapter(Summary)
_VERDICT = TypeAdapter(Verdict)
_ROBUSTNESS = TypeAdapter(Robustness)
_FACTS = TypeAdapter(RunFacts)
_STRENGTH = TypeAdapter(StrengthChoice)
_SELECTION = TypeAdapter(SelectionSummary)


def read_run(folder: Path) -> RunRecord:
    """The record of a finished run folder.

    Raises ``ArtifactError`` when ``summary.json`` or ``run.json`` is missing, or when any file that is there
    cannot be read as what this program writes.
    """
    folder = Path(folder)
    summary = _read_json(
        folder / "summary.json",
        _SUMMARY,
        "It is written when a run is complete: run the same command again to finish the run, then report.",
    )
    facts = _read_json(
        folder / "run.json",
        _FACTS,
        "It is written when a run starts: copy the whole run folder, then report.",
    )
    strength_file = folder / "strength" / "summary.json"
    noise_file = folder / "noise.png"
    selections = {
        one.round: _read_json(file, _SELECTION, "")
        for one in summary.rounds
        if (file := folder / f"round-{one.round}" / "selection" / "summary.json").exists()
    }
    return RunRecord(
        folder=folder,
        summary=summary,
        facts=facts,
        strength=_read_json(strength_file, _STRENGTH, "") if strength_file.exists() else None,
        selections=selections,
        examples=_read_examples(folder, summary.rounds[-1].round) if summary.rounds else None,
        mistakes=_read_mistakes(folder / "scores", summary.delivered),
        noise_sheet=noise_file.read_bytes() if noise_file.exists() else None,
    )


def parse_summary(summary: Mapping[str, object] | Summary) -> Summary:
    """The typed form of the content of a ``summary.json``; raises ``ArtifactError`` where it is not one."""
    return _parse(summary, _SUMMARY, "The summary")


def parse_verdict(verdict: Mapping[str, object] | Verdict) -> Verdict:
    """The typed form of a ``summary.json``'s verdict; raises ``ArtifactError`` where it is not one."""
    return _parse(verdict, _VERDICT, "The verdict")


def parse_robustness(told: Mapping[str, object] | Robustness) -> Robustness:
    """The typed form of the content of a ``comparison.json``; raises ``ArtifactError`` where it is not one."""
    return _parse(told, _ROBUSTNESS, "The comparison")


def _parse(content: object, adapter: TypeAdapter[Content], what: str) -> Content:
    try:
        return adapter.validate_python(content)
    except ValidationError as error:
        raise ArtifactError(f"{what} is not what this program writes: {_first_problem(error)}.") from error


def _read_json(file: Path, adapter: TypeAdapter[Content], when_missing: str) -> Content:
    repair = f"Delete {file.name} and run the command of the run again to have it written anew."
    try:
        content = json.loads(file.read_bytes())
        # File names may hold bytes that are no text; a replacement character keeps the rest readable.
        text = json.dumps(content, ensure_ascii=False).encode("utf-8", errors="replace")
        return adapter.validate_json(text)
    except FileNotFoundError as error:
        raise ArtifactError(f"{file} is missing. {when_missing}".rstrip()) from error
    except OSError as error:
        raise ArtifactError(f"{file} cannot be read: {error.strerror or error}.") from error
    except ValidationError as error:
        raise ArtifactError(f"{file} is not what this program writes: {_first_problem(error)}. {repair}") from error
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{file} is damaged: {error}. {repair}") from error


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place or 'content'}: {first['msg']}"


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
                # By row group: across two of them, how long a batch is would depend on the kinds of its columns.
                for group in range(table.num_row_groups):
                    yield from table.iter_batches(batch_size=_BATCH_ROWS, row_groups=[group], columns=columns)
        except (pa.ArrowException, OSError) as error:
            raise ArtifactError(
                f"{file} is damaged: {error}. Delete the file's folder and run the command of the run again."
            ) from error


def _read_examples(folder: Path, number: int) -> Examples | None:
    selected = folder / f"round-{number}" / "selection"
    if not any(selected.glob("part-*.parquet")):
        return None
    surest: list[PseudoLabel] = []
    least_sure: list[PseudoLabel] = []
    rejected: dict[str, list[PseudoLabel]] = {}
    rows, complete = 0, True
    for batch in _pseudo_labels(folder / f"round-{number}" / "predictions", list_parts(selected)):
        if rows >= EXAMPLE_ROWS:
            complete = False
            break
        rows += batch.num_rows
        kept = np.asarray(batch["copies"]) > 0
        reasons = np.asarray(batch["reason"].to_pylist(), dtype=object)
        surest = _keep_best(surest, batch, kept, descending=True)
        least_sure = _keep_best(least_sure, batch, kept, descending=False)
        for reason in sorted(set(reasons[~kept])):
            chosen = ~kept & (reasons == reason)
            rejected[reason] = _keep_best(rejected.get(reason, []), batch, chosen, descending=True)
    shown = {one.key for one in surest}
    return Examples(
        round=number,
        surest=tuple(surest),
        least_sure=tuple(one for one in least_sure if one.key not in shown),
        rejected={reason: tuple(rejected[reason]) for reason in sorted(rejected)},
        rows=rows,
        complete=complete,
    )


def _pseudo_labels(predictions: Path, parts: list[Path]) -> Iterator[pa.RecordBatch]:
    """The rows of a selection's parts, each beside the row of the predictions that it is about."""
    for part in parts:
        sides = (
            _batches([predictions / part.name], ["key", "prediction", "confidence"]),
            _batches([part], ["copies", "reason"]),
        )
        for said, choice in itertools.zip_longest(*sides):
            if said is None or choice is None or said.num_rows != choice.num_rows:
                raise ArtifactError(
                    f"{part} has other rows than {predictions / part.name}, from which it was made. Delete the "
                    "folders of both and run the command of the run again."
                )
            yield pa.RecordBatch.from_arrays(
                [*said.columns, *choice.columns], [*said.schema.names, *choice.schema.names]
            )


def _keep_best(
    best: list[PseudoLabel], batch: pa.RecordBatch, chosen: np.ndarray, *, descending: bool
) -> list[PseudoLabel]:
    """The best so far joined with the chosen rows of a batch; ties go to the earlier row."""
    sign = -1.0 if descending else 1.0
    candidates = np.flatnonzero(chosen)
    confidence = sign * np.asarray(batch["confidence"], dtype=np.float64)[candidates]
    first = candidates[np.argsort(confidence, kind="stable")[:EXAMPLES_PER_GROUP]]
    found = [PseudoLabel(**row) for row in batch.take(pa.array(first)).to_pylist()]
    return sorted([*best, *found], key=lambda one: sign * one.confidence)[:EXAMPLES_PER_GROUP]


def _read_mistakes(folder: Path, delivered: str) -> Mistakes | None:
    # The name comes from a file: only a file that lies in the folder itself is opened.
    file = next((file for file in folder.glob("*/test.parquet") if file.parent.name == delivered), None)
    if file is None:
        return None
    found: list[WrongImage] = []
    wrong = count = 0
    for batch in _batches([file], ["key", "label", "prediction", "confidence"]):
        label = np.asarray(batch["label"], dtype=np.int64)
        mistaken = np.flatnonzero((np.asarray(batch["prediction"], dtype=np.int64) != label) & (label >= 0))
        wrong += len(mistaken)
        count += int((label >= 0).sum())
        confidence = np.asarray(batch["confidence"], dtype=np.float64)[mistaken]
        first = mistaken[np.argsort(-confidence, kind="stable")[:MISTAKES_SHOWN]]
        found += [WrongImage(**row) for row in batch.take(pa.array(first)).to_pylist()]
        found = sorted(found, key=lambda one: -one.confidence)[:MISTAKES_SHOWN]
    return Mistakes(images=tuple(found), wrong=wrong, count=count)
