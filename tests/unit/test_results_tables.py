"""The tables of the results are made of measured rows: made-up rows give known tables, and so do the kept ones."""

import json
import runpy
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
MODULE = runpy.run_path(str(ROOT / "scripts" / "results_tables.py"))
filled = MODULE["filled"]
ORIGIN = {"machine": "2 cores", "versions": {"noisystudent": "1.0", "torch": "2.0", "python": "3.11"}}
PAGE = "before\n<!-- results: {} -->\nold\n<!-- end of results -->\nafter\n"


def way(name: str, samples: int, values: list[float] | None, **more: object) -> dict[str, object]:
    row = {
        "way": name, "data": "fashion", "labels": 20, "samples": samples, "start": "scratch", "split": "as they are",
        "value": sum(values) / len(values) if values else None,
        "interval": [min(values), max(values)] if values else None,
        "beyond_labels_only": [0.01, -0.02] if values else [],
        "seeds": len(values or []), "missing": "" if values else "not installed (--semilearn-python)",
        "command": f"python benchmarks/semi_supervised.py fashion --samples {samples}", **ORIGIN,
    }  # fmt: skip
    return row | more


def cell(study: str, name: str, difference: float | None, agreement: str, **more: object) -> dict[str, object]:
    row = {
        "study": study, "cell": name, "data": "cifar10", "value": 0.5, "by_seed": [0.4, 0.6], "difference": difference,
        "interval": None if difference is None else [difference - 0.01, difference + 0.01],
        "published_difference": None, "agreement": agreement, "shown": False,
        "command": "python benchmarks/studies.py cifar10", **ORIGIN,
    }  # fmt: skip
    return row | more


def fill(folder: Path, **files: list[dict[str, object]]) -> tuple[list[str], dict[str, str]]:
    for name, rows in files.items():
        (folder / f"{name}.json").write_text(json.dumps(rows))
    text, charts = filled(PAGE.format(" ".join(f"{name}.json" for name in files)), folder)
    lines = text.splitlines()
    assert (lines[0], lines[-1]) == ("before", "after")
    assert "old" not in lines
    return lines, charts


def test_ways_become_a_table_with_the_best_in_bold_and_its_command(tmp_path):
    rows = [
        way("labels only", 100, [0.7, 0.8]),
        way("fixmatch", 100, [0.9, 0.9]),
        way("fixmatch, semilearn", 100, None),
        way("mean_teacher", 100, [0.6], beyond_labels_only=[], missing="no pseudo label was selected"),
    ]
    lines, charts = fill(tmp_path, ways=rows)
    assert "`python benchmarks/semi_supervised.py fashion --samples 100`  " in lines
    assert "(2 cores; noisystudent 1.0, torch 2.0)" in lines
    head = "Fashion-MNIST, 20 labels per class, 100 samples (2 seeds)"
    assert f"| test accuracy, % | {head} | beyond labels only, by seed |" in lines
    assert "| labels only | 75.0 (70.0 to 80.0) | +1.0, -2.0 |" in lines
    assert "| FixMatch | **90.0** (90.0 to 90.0) | +1.0, -2.0 |" in lines
    assert "| FixMatch, semilearn | not installed |  |" in lines
    assert "| Mean Teacher | 60.0 (1 of 2 seeds) |  |" in lines
    assert charts == {}


def test_several_numbers_of_samples_are_columns_and_a_curve(tmp_path):
    rows = [
        way(name, samples, [0.5 + samples / 1000]) for samples in (100, 200) for name in ("labels only", "fixmatch")
    ]
    lines, charts = fill(tmp_path, ways=rows)
    assert "| FixMatch | **60.0** | **70.0** |" in lines
    assert "](ways.svg)" in next(line for line in lines if line.startswith("!["))
    texts = {text.text for text in ElementTree.fromstring(charts["ways.svg"]).iter("{http://www.w3.org/2000/svg}text")}
    assert {"labels only", "FixMatch", "100", "200", "samples seen in all"} <= texts


def test_what_is_planted_and_the_backbone_are_in_the_head(tmp_path):
    rows = [way("default", 100, [0.5], split="50% foreign", start="backbone", labels=10)]
    lines, _ = fill(tmp_path, a=rows, b=[way("default", 100, [0.5])])
    heads = (
        "Fashion-MNIST, 10 labels per class, 50% foreign, frozen backbone (1 seed) | Fashion-MNIST, 20 labels per class"
    )
    assert any(heads in line for line in lines)


def test_studies_become_a_table_and_their_signs_are_counted(tmp_path):
    rows = [
        cell("rounds", "1 round", None, ""),
        cell("rounds", "2 rounds", 0.012, "same sign", published_difference=0.005, shown=True),
        cell("rounds", "3 rounds", -0.02, "opposite sign"),
        cell("balance", "as they come", -0.01, "same sign"),
        cell("threshold", "0.6", 0.0, ""),
        cell("threshold", "0.9", None, "", by_seed=[], missing="Seed 0: no pseudo label was selected (of 9)"),
    ]
    lines, _ = fill(tmp_path, studies=rows)
    assert "| CIFAR-10 (JPEG q75): `rounds` (2) | 1 round | 50.0 | reference |  |  |" in lines
    assert "| CIFAR-10 (JPEG q75): `rounds` (2) | 2 rounds | 50.0 | +1.2 (+0.2 to +2.2) | +0.5 | same sign |" in lines
    assert "| CIFAR-10 (JPEG q75): `threshold` | 0.9 | Seed 0: no pseudo label was selected |  |  |  |" in lines
    counted = "2 of 3 cells have the paper's sign, and in 1 of 2 studies most have; the interval leaves out 0 in 1."
    assert counted in lines


@pytest.mark.parametrize(("content", "message"), [(None, "cannot be read"), ("{", "cannot be read"), ("[]", "no rows")])
def test_a_file_without_rows_is_named(tmp_path, content, message):
    if content is not None:
        (tmp_path / "a.json").write_text(content)
    with pytest.raises(SystemExit, match=rf"a\.json .*{message}"):
        filled(PAGE.format("a.json"), tmp_path)


def test_the_pages_of_results_are_what_their_rows_give(capsys):
    pages = (page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "results").glob("*.md"))
    assert sum(page.count("<!-- results: ") for page in pages) >= 4  # tables are checked, not none
    assert MODULE["main"](["--check"]) == 0, capsys.readouterr().out


def test_a_command_keeps_what_decides_its_numbers(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    command_of = runpy.run_path(str(ROOT / "benchmarks" / "rows.py"))["command_of"]
    words = [
        "fashion",
        "--json",
        "a.json",
        "--set",
        "noise.flip=true",
        "--work=w",
        "--semilearn-python",
        "p",
        "--seeds",
        "3",
    ]
    assert command_of("x.py", words) == "python benchmarks/x.py fashion --set noise.flip=true --seeds 3"
