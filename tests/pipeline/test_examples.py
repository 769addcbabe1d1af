"""Every example runs as it is, in a folder of its own; notebooks are stored without output."""

import json
import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SCRIPTS, NOTEBOOKS = sorted(EXAMPLES.glob("*.py")), sorted(EXAMPLES.glob("*.ipynb"))


def code_cells(notebook: Path) -> list[dict]:
    return [cell for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"]


def test_the_page_of_the_examples_names_each():
    page = (EXAMPLES / "README.md").read_text()
    assert [path.name for path in (*SCRIPTS, *NOTEBOOKS) if f"[{path.name}]({path.name})" not in page] == []
    assert (len(SCRIPTS), len(NOTEBOOKS)) == (5, 3)


def test_examples_stand_alone():
    for path in (*SCRIPTS, *NOTEBOOKS):
        assert "tests" not in path.read_text()
        assert path.stat().st_size < 8_000, path.name


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_runs(script, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(script), run_name="__main__")
    assert capsys.readouterr().out


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_cell_by_cell(notebook, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    for number, cell in enumerate(code_cells(notebook)):
        assert (cell["outputs"], cell["execution_count"]) == ([], None), f"cell {number} holds output"
        exec(compile("".join(cell["source"]), f"{notebook.name}, cell {number}", "exec"), names)
    assert capsys.readouterr().out
