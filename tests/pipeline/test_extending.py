"""The examples of docs/extending.md run as they stand, in their order, and each is short."""

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text()
BLOCKS = re.findall(r"^## ([^\n]*)\n|^```python[^\n]*\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
MOST_LINES = 40


def examples() -> list[tuple[str, str]]:
    """The heading and the code of each example."""
    heading, found = "setup", []
    for title, code in BLOCKS:
        if title:
            heading = title
        else:
            found.append((heading, code))
    return found


def test_every_part_that_can_be_replaced_has_an_example():
    headings = " ".join(heading for heading, _ in examples())
    for part in ("objective", "selection", "model", "noise", "robustness measure", "source", "parts alone"):
        assert part in headings


def test_examples_are_short():
    assert [(heading, code.count("\n")) for heading, code in examples() if code.count("\n") > MOST_LINES] == []


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
