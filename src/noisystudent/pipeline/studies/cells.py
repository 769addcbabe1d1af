"""What a study compares: cells, each of them some settings above those that all cells share."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from noisystudent.config import ALL_SETTINGS
from noisystudent.errors import SettingsError, nearest_name
from noisystudent.run_settings import RunSettings
from noisystudent.settings_input import join_names, named_values, read_yaml

CONTROL = "labels only"  # the row of the reference's control
EQUAL = (  # a comparison of cells says something only where these are the same for all
    *("labeled", "unlabeled", "validation", "test", "out", "seed", "budget"),
    *(f"data.{name}" for name in ("validation_fraction", "few_labels", "few_labels_beside_test", "near_duplicates")),
)
MOST_CELLS = 100
_KEYS = ("title", "question", "reference", "settings", "cells")


@dataclass(frozen=True)
class Cell:
    """One row of a study.

    Attributes:
        name: What the row is called.
        settings: Its settings by dotted name, above those that all cells share.
        published: The accuracy that the paper has for it, as a fraction; None where it has none.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    published: float | None = None

    @property
    def folder(self) -> str:
        """The name of its folder: its letters and digits, so that no name leads anywhere else."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")


@dataclass(frozen=True)
class Study:
    """A question, and the cells that answer it.

    Attributes:
        name: What it is called on the command line, or the file that it was read from.
        title: The heading of its table.
        question: What its cells answer.
        reference: The name of the cell that the others are compared with.
        cells: Its rows, in the order of the table.
        settings: Settings of all cells by dotted name; what a user gives takes precedence over them.
        source: Where the paper has its numbers; empty for a user's own study.
        published_control: The paper's accuracy of labels-only training, as a fraction.
        finding: What the paper says in words, where it has no numbers.
        expected: For cells without numbers, what the paper says of them against the reference: -1, worse; 1, better.
    """

    name: str
    title: str
    question: str
    reference: str
    cells: tuple[Cell, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    published_control: float | None = None
    finding: str = ""
    expected: Mapping[str, int] = field(default_factory=dict)

    def cell(self, name: str) -> Cell:
        """The cell of this name."""
        return next(cell for cell in self.cells if cell.name == name)

    def published_difference(self, cell: Cell) -> float | None:
        """The paper's accuracy of a cell minus that of the reference; None where it lacks one of them."""
        base = self.cell(self.reference).published
        return None if cell.published is None or base is None else cell.published - base

    def published_sign(self, cell: Cell) -> int | None:
        """Whether the paper has a cell below (-1) or above (1) the reference; 0 for level; None where it says nothing.

        Accuracies that differ by less than 0.05 points are level.
        """
        difference = self.published_difference(cell)
        if difference is None:
            return self.expected.get(cell.name)
        return 0 if abs(difference) < 0.0005 else (1 if difference > 0 else -1)


def check_study(study: Study) -> None:
    """Raises ``SettingsError`` for a study that cannot say anything, or whose cells differ in what must be equal."""
    if len(study.cells) < 2:
        count = "no cells" if not study.cells else "one cell"
        raise SettingsError(f"study {study.name} has {count}; a comparison needs at least 2.")
    if len(study.cells) > MOST_CELLS:
        raise SettingsError(f"study {study.name} has {len(study.cells)} cells; at most {MOST_CELLS} are taken.")
    names = [cell.name for cell in study.cells]
    folders: dict[str, str] = {}
    for cell in study.cells:
        if not cell.folder:
            raise SettingsError(f"study {study.name}: a cell is called {cell.name!r}; use letters or digits.")
        if cell.folder in folders:
            raise SettingsError(
                f"study {study.name}: the cells {folders[cell.folder]!r} and {cell.name!r} have the same letters and "
                "digits, which name their folders; rename one."
            )
        folders[cell.folder] = cell.name
        _check_settings(study.name, cell)
    if study.reference not in names:
        raise SettingsError(
            f"study {study.name}: reference {study.reference!r} is no cell.{nearest_name(study.reference, names)} "
            f"Cells: {', '.join(names)}."
        )


def _check_settings(study: str, cell: Cell) -> None:
    for name in cell.settings:
        if name not in ALL_SETTINGS:
            raise SettingsError(
                f"study {study}, cell {cell.name!r}: unknown setting {name!r}.{nearest_name(name, ALL_SETTINGS)}"
            )
    if unequal := [name for name in cell.settings if name in EQUAL]:
        raise SettingsError(
            f"study {study}, cell {cell.name!r} sets {join_names(unequal)}, in which cells must not differ, or "
            "they could not be compared. Leave it out of the cells, and give it for the whole study."
        )


def check_given(study: Study, given: Mapping[str, Any]) -> None:
    """Raises ``SettingsError`` where the user sets for all cells what some cell varies."""
    for cell in study.cells:
        if both := sorted(cell.settings.keys() & given.keys()):
            raise SettingsError(
                f"{join_names(both)} cannot be given: study {study.name} varies it (cell {cell.name!r}). Leave it out, "
                "or write a study of your own (docs/study.md)."
            )


def read_study(file: Path) -> Study:
    """Reads a study of the user's own from a YAML file: ``cells`` with their settings by name, and ``reference``.

    Raises ``SettingsError`` for a file that cannot be read or is no study.
    """
    content = read_yaml(file)
    for key in content:
        if key not in _KEYS:
            raise SettingsError(f"{file}: unknown key {key!r}.{nearest_name(key, _KEYS)} Known: {', '.join(_KEYS)}.")
    cells = content.get("cells")
    if not isinstance(cells, Mapping) or not cells:
        raise SettingsError(
            f"{file} has no cells; write them as in\ncells:\n  base: {{}}\n  stronger: {{noise.strength: 0.5}}"
        )
    rows = tuple(Cell(str(name), _settings_of(file, str(name), values)) for name, values in cells.items())
    texts = {key: str(content.get(key, "")) for key in ("title", "question")}
    reference = str(content.get("reference", rows[0].name))
    common = _settings_of(file, "settings", content.get("settings"))
    return Study(file.stem, texts["title"] or file.stem, texts["question"], reference, rows, common)


def _settings_of(file: Path, name: str, values: object) -> dict[str, Any]:
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        raise SettingsError(f"{file}: {name!r} is {values!r}; give settings, such as {{noise.strength: 0.5}}.")
    return named_values(values, RunSettings, f"{name!r} in {file}")


def read_seeds(text: str) -> tuple[int, ...]:
    """The seeds that a text names: ``3`` stands for 0, 1 and 2, ``4,7`` for these two.

    Raises ``SettingsError`` for anything else, and for a seed that is given twice.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts) or parts == ["0"]:
        raise SettingsError(f"--seeds {text!r} is neither a number of seeds, such as 3, nor a list, such as 0,1,2.")
    numbers = [int(part) for part in parts]
    if len(numbers) == 1 and "," not in text:
        return tuple(range(numbers[0]))
    require_distinct(numbers)
    return tuple(numbers)


def require_distinct(seeds: Sequence[int]) -> None:
    """Raises ``SettingsError`` for no seeds, a negative one, or one that is given twice."""
    if not seeds or min(seeds) < 0:
        raise SettingsError(f"seeds are {list(seeds)}; give at least one whole number, 0 or larger.")
    if twice := sorted({seed for seed in seeds if seeds.count(seed) > 1}):
        raise SettingsError(f"seed {join_names(map(str, twice))} is given twice; give every seed once.")
