"""A table and its figures as the article has them: ``table.json``, from which all other files are made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

TableKind = Literal["methods", "distillation", "robustness", "attack"]
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArticleCell:
    """A number of a table: the mean over seeds, its 95% interval, and how far it is from labels-only training.

    ``by_seed`` are the numbers of the seeds, in the order of the row's; the interval of a single seed is over images
    alone.
    """

    value: float
    by_seed: tuple[float, ...] = ()
    interval: Interval | None = None
    difference: float | None = None
    difference_interval: Interval | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArticleColumn:
    """A column of numbers: its heading, and whether they are fractions, which tables show as percentages."""

    name: str
    is_fraction: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ArticleRow:
    """One row: what was trained, how, from what, and its numbers by column.

    Attributes:
        method: Name of the method.
        model: The architecture; of a distillation, student and teacher.
        parameters: Number of parameters.
        extra_data: What it learned from beside the labels, in words; ``none`` for labels alone.
        train_size: Edge in pixels of the images that it was trained on.
        test_size: Edge in pixels of the images that it was tested on.
        samples_seen: Images through forward and backward in one training.
        seeds: The seeds of the trainings that the numbers are means of.
        images: Test images of one seed.
        published: Whether the numbers are a paper's; such rows are set apart, and in no mean.
        source: Where a published row is from.
        cells: The numbers by the name of their column.
    """

    method: str
    model: str = ""
    parameters: int | None = None
    extra_data: str = ""
    train_size: int | None = None
    test_size: int | None = None
    samples_seen: int | None = None
    seeds: tuple[int, ...] = ()
    images: int | None = None
    published: bool = False
    source: str = ""
    cells: dict[str, ArticleCell] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArticlePoint:
    """A point of a figure, with the 95% interval of its y."""

    x: float
    y: float
    interval: Interval | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArticleSeries:
    """A line of a figure; published ones are gray."""

    name: str
    points: tuple[ArticlePoint, ...]
    published: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ArticleFigure:
    """A figure: the name of its file, its labels and its lines; ``y`` values are percentages."""

    name: str
    title: str
    x_label: str
    y_label: str
    series: tuple[ArticleSeries, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArticleTable:
    """``table.json``: the rows of a table, the figures beside it, and notes on how both were made."""

    kind: TableKind
    title: str
    columns: tuple[ArticleColumn, ...]
    rows: tuple[ArticleRow, ...]
    figures: tuple[ArticleFigure, ...] = ()
    notes: tuple[str, ...] = ()
