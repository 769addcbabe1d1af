"""Reads what a run found in its images, and how its models answer for held-out images, for the page."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from noisystudent.artifacts.tables import read_table
from noisystudent.artifacts.typed_json import read_result
from noisystudent.errors import ArtifactError
from noisystudent.pseudo_labels.shift import ClassShares
from noisystudent.reporting.headline import is_distillation, judged_model
from noisystudent.reporting.records import Answer, ComparedImage, ImageMap, MapPoint, WonLost
from noisystudent.results.facts import HeadEvidence
from noisystudent.results.findings import Findings
from noisystudent.results.run import RunSummary

COMPARED_SHOWN = 12  # of the images won, and of those lost
_COLUMNS = ("key", "label", "prediction", "confidence")


def read_findings(folder: Path) -> Findings | None:
    """What the run found in its images; None in a distillation and in a run of an earlier version."""
    file = folder / "findings" / "summary.json"
    return read_result(Findings, file) if file.exists() else None


def read_evidence(folder: Path) -> HeadEvidence | None:
    """What cross-fitting on the labels showed; None without it."""
    file = folder / "cross-fit" / "summary.json"
    return read_result(HeadEvidence, file) if file.exists() else None


def read_class_shares(folder: Path, summary: RunSummary) -> dict[int, ClassShares]:
    """The class shares that selections aimed at, by round; 0 stands for those of all rounds."""
    files = {0: folder / "class-shares" / "summary.json"}
    files |= {one.round: folder / f"round-{one.round}" / "class-shares" / "summary.json" for one in summary.rounds}
    return {number: read_result(ClassShares, file) for number, file in files.items() if file.exists()}


def read_map(folder: Path) -> ImageMap | None:
    """The map of the run's images; None without one.

    Raises ``ArtifactError`` if one of its files is damaged.
    """
    table_file, sprite_file = folder / "findings" / "map.parquet", folder / "findings" / "map.jpg"
    if not (table_file.exists() and sprite_file.exists()):
        return None
    table = read_table(table_file, ("key", "labeled", "x", "y", "class", "confidence", "out_of_class"))
    sprite = sprite_file.read_bytes()
    try:
        with Image.open(io.BytesIO(sprite)) as image:
            width = image.width
    except (OSError, Image.DecompressionBombError) as error:
        raise ArtifactError(
            f"{sprite_file} is damaged. Delete the folder findings and run the command of the run again."
        ) from error
    points = tuple(
        MapPoint(row["key"], row["labeled"], row["x"], row["y"], row["class"], row["confidence"], row["out_of_class"])
        for row in table.to_pylist()
    )
    columns = int(np.ceil(np.sqrt(max(len(points), 1))))
    return ImageMap(points, sprite, width // columns)


def read_won_lost(folder: Path, summary: RunSummary) -> WonLost | None:
    """The held-out images that the student wins and loses against the control; None without both."""
    role = summary.reporting_role()
    if role is None or summary.control is None or is_distillation(summary):
        return None
    stages = {summary.control.name: summary.control.name.replace(" ", "-")}
    stages |= {model.name: model.name.replace(" ", "-") for model in (summary.teacher, *summary.rounds) if model}
    student = judged_model(summary).name
    files = {name: folder / "scores" / Path(stage).name / f"{role}.parquet" for name, stage in stages.items()}
    control = summary.control.name
    if student not in files or student == control or not (files[student].exists() and files[control].exists()):
        return None
    tables = {name: read_table(file, _COLUMNS) for name, file in files.items() if file.exists()}
    order = [control, *(name for name in tables if name not in (control, student)), student]
    keys = tables[control]["key"]
    if any(table["key"] != keys for table in tables.values()):
        raise ArtifactError(
            f"the models in {folder / 'scores'} were scored on other {role} images than each other. Delete the folder "
            "scores and run the command of the run again."
        )
    labels = tables[control]["label"].to_numpy()
    right = {name: tables[name]["prediction"].to_numpy() == labels for name in (control, student)}
    won, lost = right[student] & ~right[control], right[control] & ~right[student]
    return WonLost(
        role=role,
        won=int(won.sum()),
        lost=int(lost.sum()),
        both_wrong=int((~right[control] & ~right[student]).sum()),
        won_images=_shown(tables, order, won, student),
        lost_images=_shown(tables, order, lost, student),
    )


def _shown(
    tables: dict[str, pa.Table], order: list[str], rows: npt.NDArray[np.bool_], student: str
) -> tuple[ComparedImage, ...]:
    """The rows where the student is surest, with the answers of all models."""
    found = np.flatnonzero(rows)
    sure = tables[student]["confidence"].to_numpy()[found]
    chosen = found[np.argsort(-sure, kind="stable")[:COMPARED_SHOWN]]
    taken = {name: table.take(pa.array(chosen)).to_pylist() for name, table in tables.items()}
    return tuple(
        ComparedImage(
            taken[student][number]["key"],
            taken[student][number]["label"],
            tuple(Answer(name, taken[name][number]["prediction"], taken[name][number]["confidence"]) for name in order),
        )
        for number in range(len(chosen))
    )
