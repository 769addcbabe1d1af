"""The examples of docs/extending.md run as they are written, in their order, and each is short."""

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text()
MAX_LINES, MAX_COLUMNS = 40, 100


def examples() -> list[tuple[str, str]]:
    """The heading and the code of each example."""
    sections = [("setup", PAGE.partition("\n## ")[0])]
    sections += [tuple(section.split("\n", 1)) for section in PAGE.split("\n## ")[1:]]
    return [
        (heading, code)
        for heading, text in sections
        for code in re.findall(r"^```python[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    ]


def test_every_part_that_can_be_replaced_has_an_example():
    headings = " ".join(heading for heading, _ in examples())
    for part in ("objective", "selection", "model", "noise", "robustness measure", "source", "parts alone"):
        assert part in headings


def test_examples_are_short():
    for heading, code in examples():
        assert code.count("\n") < MAX_LINES, heading
        assert [line for line in code.splitlines() if len(line) > MAX_COLUMNS] == [], heading


@pytest.mark.timeout(600)
def test_the_examples_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "extending"}
    for heading, code in examples():
        exec(compile(code, f"docs/extending.md: {heading}", "exec"), namespace)
    for folder in ("objective", "selection", "model", "noise", "source"):
        assert (tmp_path / "runs" / folder / "report.html").exists()
    printed = capsys.readouterr().out.splitlines()
    assert any(line.endswith("pseudo labels trained") for line in printed)
    assert 0 <= float(printed[-1]) <= 1
