"""What docs/files.md says: the table of a section, and the trees of folders as patterns of paths."""

import functools
import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "files.md"

Row = tuple[str, str]  # type and meaning


@functools.cache
def sections() -> dict[str, str]:
    """The text below each heading, to the next heading of any level."""
    parts = re.split(r"^#+ (.+)\n", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    headings = parts[1::2]
    assert len(set(headings)) == len(headings)
    return dict(zip(headings, parts[2::2], strict=True))


def tables(heading: str) -> list[dict[str, Row]]:
    """The tables of a section: type and meaning by the names in the first column, which may hold several."""
    found = []
    for block in re.findall(r"(?:^\|.*\n)+", sections()[heading], re.MULTILINE):
        head, _, *rows = [
            [cell.strip() for cell in line.strip().strip("|").split(" | ")] for line in block.splitlines()
        ]
        assert head in (["field", "type", "meaning"], ["column", "type", "meaning"]), heading
        names = [(re.findall(r"`([^`]+)`", cells[0]), (cells[1], cells[2])) for cells in rows]
        found.append({name: row for several, row in names for name in several})
    return found


def names(heading: str) -> set[str]:
    """The fields or columns that the first table of a section lists."""
    return set(tables(heading)[0])


@functools.cache
def trees() -> dict[str, dict[str, str]]:
    """The lines of every tree by its name: the description of each path, folders with a slash at the end."""
    blocks = re.findall(r"^```text\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return {block.partition("/")[0]: _paths(block.splitlines()[1:]) for block in blocks}


def _paths(lines: list[str]) -> dict[str, str]:
    paths: dict[str, str] = {}
    parents: list[str] = []
    for line in lines:
        name, _, description = line.strip().partition(" ")
        level = (len(line) - len(line.lstrip())) // 2
        parents = [*parents[: level - 1], name]
        paths["".join(parents)] = description.strip()
    return paths


@functools.cache
def lines_of(tree: str, folder: str = "") -> dict[re.Pattern[str], str]:
    """The files of a folder, those of the trees that it refers to included: the line ``TREE: path`` by the pattern.

    A word in angle brackets stands for any name. ``folder`` is put before the paths.
    """
    lines: dict[re.Pattern[str], str] = {}
    for path, description in trees()[tree].items():
        reference = re.match(r"[A-Z]{2,}\b", description)
        if not path.endswith("/"):
            lines[re.compile(re.sub(r"<[^>]+>", "[^/]+", re.escape(folder + path)))] = f"{tree}: {path}"
        elif reference:
            lines |= lines_of(reference[0], folder + path)
    return lines


def line_of(tree: str, path: str) -> str | None:
    """The line that names a file of a folder; of several, the most literal one."""
    matching = [pattern for pattern in lines_of(tree) if pattern.fullmatch(path)]
    return lines_of(tree)[min(matching, key=lambda pattern: pattern.pattern.count("[^/]+"))] if matching else None
