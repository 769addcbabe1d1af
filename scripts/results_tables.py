#!/usr/bin/env python3
"""Makes tables and curves of the pages of docs/results/ from the rows that benchmarks wrote there.

    python benchmarks/semi_supervised.py fashion --samples 76800 153600 --json docs/results/ways-fashion-20.json
    python scripts/results_tables.py            # writes what is between the marks; --check only compares

A pair of marks in such a page names the files of one table, and everything between them is written:

    <!-- results: ways-fashion-20.json ways-cifar10-100.json -->
    <!-- end of results -->

So no number is typed by hand, and every table has its commands, its machine and its versions. Rows of ways
(``semi_supervised.py``) become a table with a column per data set and number of samples, and a curve of accuracy
against samples where a data set has several; rows of studies (``studies.py``) a table with the paper's signs.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from noisystudent.display.charts import Series, line_chart
from noisystudent.display.wording import percent, plural, points
from noisystudent.reporting.standalone import standalone

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "results"
BLOCK = re.compile(r"(<!-- results: (?P<files>[^>]+?) -->\n)(?P<text>.*?)(<!-- end of results -->)", re.DOTALL)
DATA = {
    "digits": "digits",
    "sign-digits": "hand signs",
    "trashnet": "waste",
    "fashion": "Fashion-MNIST",
    "cifar10": "CIFAR-10 (JPEG q75)",
}
NAMES = {
    "fixmatch": "FixMatch",
    "flexmatch": "FlexMatch",
    "freematch": "FreeMatch",
    "softmatch": "SoftMatch",
    "mean_teacher": "Mean Teacher",
}
ON_CURVE = ("labels only", "default", "one long round, soft", "fixmatch", "freematch", "mean_teacher")  # colors are few

Row = dict[str, Any]
Charts = dict[str, str]  # the texts of SVG files by name


def filled(page: str, folder: Path) -> tuple[str, Charts]:
    """The page with what is between its marks made anew, and the charts that it shows.

    Args:
        page: the text of a Markdown page.
        folder: where the files of rows are.

    Raises:
        SystemExit: a file is missing, or its rows are of no known kind; the message names it.
    """
    charts: Charts = {}

    def fill(block: re.Match[str]) -> str:
        names = block["files"].split()
        rows = [row for name in names for row in read_rows(folder / name)]
        lines = list(study_lines(rows) if "study" in rows[0] else way_lines(rows, Path(names[0]).stem, charts))
        return block[1] + "\n".join(lines) + "\n" + block[4]

    return BLOCK.sub(fill, page), charts


def read_rows(path: Path) -> list[Row]:
    """The rows of a file."""
    try:
        rows: list[Row] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SystemExit(f"{path} cannot be read ({error}); write it with --json of its benchmark.") from error
    if not rows or not ("way" in rows[0] or "study" in rows[0]):
        raise SystemExit(
            f"{path} has no rows of semi_supervised.py or studies.py; write it with --json of one of them."
        )
    return rows


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table."""
    return [f"| {' | '.join(cells)} |" for cells in (columns, ["---"] * len(columns), *rows)]


def origin_lines(rows: Sequence[Row]) -> Iterator[str]:
    """The commands that repeat rows, and where they were measured."""
    for command in dict.fromkeys(row["command"] for row in rows):
        yield f"`{command}`  "
    machines = ", ".join(dict.fromkeys(row["machine"] for row in rows))
    versions = dict.fromkeys(
        ", ".join(f"{name} {row['versions'][name]}" for name in ("noisystudent", "torch") if name in row["versions"])
        for row in rows
    )
    yield f"({machines}; {'; '.join(versions)})"


# ---------------------------------------------------------------- ways


def way_lines(rows: Sequence[Row], stem: str, charts: Charts) -> Iterator[str]:
    """Ways by what they were measured on: the mean over seeds, with the lowest and the highest; the best is bold."""
    yield from origin_lines(rows)
    yield ""
    columns: dict[str, dict[str, Row]] = {}
    for row in rows:
        columns.setdefault(column_of(row), {})[way_of(row)] = row
    heads = [f"{column} ({seeds_of(ways)})" for column, ways in columns.items()]
    body = [
        [way, *(way_cell(ways.get(way), best_of(ways), most_seeds(ways)) for ways in columns.values())]
        for way in dict.fromkeys(map(way_of, rows))
    ]
    if len(columns) == 1:
        heads.append("beyond labels only, by seed")
        (ways,) = columns.values()
        body = [[*cells, ", ".join(map(points, ways[cells[0]]["beyond_labels_only"]))] for cells in body]
    yield from table(["test accuracy, %", *heads], body)
    curves = by_curve(rows)
    for data, of_data in curves.items():
        name = f"{stem}-{data}.svg" if len(curves) > 1 else f"{stem}.svg"
        charts[name] = curve(of_data)
        yield ""
        yield f"![Accuracy against samples, {title_of(of_data[0])}]({name})"


def way_of(row: Row) -> str:
    """What a way is called in a table."""
    first, comma, rest = row["way"].partition(",")
    return NAMES.get(first, first) + comma + rest


def title_of(row: Row) -> str:
    """The data set, its labels, what is planted in it, and what everything starts from."""
    planted = "" if row["split"] == "as they are" else f", {row['split']}"
    start = "" if row["start"] == "scratch" else ", frozen backbone"
    return f"{DATA[row['data']]}, {row['labels']} labels per class{planted}{start}"


def column_of(row: Row) -> str:
    """What a row was measured on; heads on a frozen backbone have no samples."""
    return title_of(row) + ("" if row["start"] == "backbone" else f", {row['samples']:,} samples")


def seeds_of(ways: Mapping[str, Row]) -> str:
    """How many seeds a column has; ways that could not run have none."""
    return plural(most_seeds(ways), "seed")


def most_seeds(ways: Mapping[str, Row]) -> int:
    """The number of seeds that a column was measured with."""
    return max(row["seeds"] for row in ways.values())


def best_of(ways: Mapping[str, Row]) -> float:
    """The best mean of a column."""
    return max(row["value"] or 0.0 for row in ways.values())


def way_cell(row: Row | None, best: float, seeds: int) -> str:
    """A mean with its range where there are several seeds, and with their number if not all could run, or why not."""
    if row is None:
        return ""
    if row["value"] is None:
        return str(row["missing"]).partition(" (")[0].partition(":")[0]
    mean = f"{100 * row['value']:.1f}"
    low, high = (f"{100 * bound:.1f}" for bound in row["interval"])
    shown = f"**{mean}**" if row["value"] == best else mean
    spread = [f"{low} to {high}"] if row["seeds"] > 1 else []
    short = [f"{row['seeds']} of {plural(seeds, 'seed')}"] if row["seeds"] < seeds else []
    return f"{shown} ({', '.join([*spread, *short])})" if spread or short else shown


def by_curve(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each data set that was measured with several numbers of samples."""
    grouped: dict[str, list[Row]] = {}
    for row in rows:
        grouped.setdefault(f"{row['data']}-{row['labels']}", []).append(row)
    return {name: group for name, group in grouped.items() if len({row["samples"] for row in group}) > 1}


def curve(rows: Sequence[Row]) -> str:
    """The text of a chart: accuracy against samples, a line per way."""
    samples = sorted({row["samples"] for row in rows})
    series = []
    for way in ON_CURVE:
        of_way = sorted((row for row in rows if row["way"] == way and row["value"]), key=lambda row: row["samples"])
        if of_way:
            places = [float(samples.index(row["samples"])) for row in of_way]
            series.append(
                Series(way_of(of_way[0]), tuple((x, 100 * row["value"]) for x, row in zip(places, of_way, strict=True)))
            )
    chart = line_chart(
        series,
        title=f"Accuracy against samples: {title_of(rows[0])}",
        x_label="samples seen in all",
        y_label="test accuracy, %",
        x_names=[f"{count:,}" for count in samples],
    )
    return standalone(chart)


# ---------------------------------------------------------------- studies


def study_lines(rows: Sequence[Row]) -> Iterator[str]:
    """The cells of studies beside the paper's differences, and how many of the signs agree."""
    yield from origin_lines(rows)
    yield ""
    yield from table(
        ["study (seeds)", "cell", "top-1, %", "minus the reference, 95% interval", "in the paper", "sign"],
        [study_cells(row) for row in rows],
    )
    judged = [row for row in rows if row["agreement"] in ("same sign", "opposite sign")]
    same = sum(row["agreement"] == "same sign" for row in judged)
    of_studies: dict[str, list[bool]] = {}
    for row in judged:
        of_studies.setdefault(row["study"], []).append(row["agreement"] == "same sign")
    agreeing = sum(2 * sum(signs) > len(signs) for signs in of_studies.values())
    shown = sum(row["shown"] for row in judged)
    yield ""
    yield (
        f"{same} of {len(judged)} cells have the paper's sign, and in {agreeing} of {len(of_studies)} studies most "
        f"have; the interval leaves out 0 in {shown}."
    )


def study_cells(row: Row) -> list[str]:
    """A row of a study's table."""
    study = f"{DATA[row['data']]}: `{row['study']}`"
    if missing := row.get("missing"):
        return [study, row["cell"], str(missing).partition(" (")[0], "", "", ""]
    study += f" ({len(row['by_seed'])})"
    if row["difference"] is None:
        difference = "reference"
    else:
        interval = row["interval"]
        between = f" ({points(interval[0])} to {points(interval[1])})" if interval else ""
        difference = points(row["difference"]) + between
    there = row["published_difference"]
    published = "" if there is None else points(there)
    return [study, row["cell"], percent(row["value"]).rstrip("%"), difference, published, row["agreement"]]


def main(words: Sequence[str]) -> int:
    """Writes what has changed; with --check, says what would and returns 1."""
    texts: dict[Path, str] = {}
    for path in sorted(FOLDER.glob("*.md")):
        texts[path], charts = filled(path.read_text(encoding="utf-8"), FOLDER)
        texts |= {FOLDER / name: text for name, text in charts.items()}
    old = [path for path, text in texts.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if "--check" in words:
        for path in old:
            print(f"{path.relative_to(ROOT)} is not what its rows give; run scripts/results")
        return int(bool(old))
    for path in old:
        path.write_text(texts[path], encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
