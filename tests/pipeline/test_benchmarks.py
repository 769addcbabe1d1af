"""Every benchmark runs: a few steps or images, to show that it works and writes its rows, not to measure anything."""

import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from noisystudent.cost.read import read_assumptions

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "benchmarks"


@pytest.fixture
def run_quick(monkeypatch, tmp_path):
    """Runs a benchmark in this process and returns the rows that it wrote."""
    monkeypatch.syspath_prepend(str(FOLDER))

    def run(name: str, *words: str) -> list[dict[str, Any]]:
        path = tmp_path / "rows.json"
        monkeypatch.setattr(sys, "argv", [name, *words, "--quick", "--json", str(path)])
        with pytest.raises(SystemExit, match="0"):
            runpy.run_path(str(FOLDER / name), run_name="__main__")
        return json.loads(path.read_text())

    return run


def run_quick_alone(name: str, path: Path) -> list[dict[str, Any]]:
    """Runs a benchmark in a separate process and returns the rows that it wrote to ``path``."""
    subprocess.run([sys.executable, str(FOLDER / name), "--quick", "--json", str(path)], check=True)
    return json.loads(path.read_text())


@pytest.mark.parametrize(
    "name", ["selection.py", "near_duplicates.py", "label_size.py", "noise.py", "ahead.py", "whole.py", "features.py"]
)
def test_benchmarks_that_need_no_data_write_rows(run_quick, name):
    rows = run_quick(name)
    assert rows
    assert all(row["machine"] and row["value"] >= 0 for row in rows)


@pytest.mark.parametrize("name", ["trainer.py", "online.py", "teaching.py", "snapshot.py", "distillation.py"])
def test_benchmarks_of_training_run(run_quick, name):
    assert run_quick(name)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("few_labels.py", ["sign-digits"]),
        ("wide_resnet.py", ["--data", "digits"]),
        ("ablation.py", ["fashion"]),
        ("pretrained.py", ["sign-digits"]),
        ("transfer.py", []),
        ("studies.py", ["fashion"]),
        ("studies.py", ["sign-digits", "--start", "backbone"]),
        ("semi_supervised.py", ["digits"]),
        ("semi_supervised.py", ["digits", "--start", "backbone"]),
        ("semi_supervised.py", ["digits", "--long-tailed", "10", "--ways", "default/logit adjustment"]),
        ("semi_supervised.py", ["digits", "--foreign", "0.5", "--ways", "default/foreign dropped"]),
        ("unlabeled_folders.py", ["sign-digits"]),
        ("unlabeled_folders.py", ["digits", "--networks"]),
        ("estimator.py", ["digits"]),
        ("plan.py", []),
        ("findings.py", []),
        ("resolution.py", []),
        ("simclr.py", []),
        ("article.py", ["sign-digits"]),
    ],
)
def test_benchmarks_of_shared_images_run_or_say_what_is_missing(monkeypatch, capsys, tmp_path, name, words):
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [name, *words, "--quick"])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_path(str(FOLDER / name), run_name="__main__")
    assert capsys.readouterr().out


def test_rows_of_semilearn_are_trained_by_it_or_say_that_it_is_not_installed(run_quick):
    words = ["digits", "--ways", "fixmatch/semilearn"]
    (row,) = run_quick("semi_supervised.py", *words)
    assert (row["value"], row["missing"]) == (None, "not installed (--semilearn-python)")
    pytest.importorskip("semilearn", exc_type=ImportError)
    (row,) = run_quick("semi_supervised.py", *words, "--semilearn-python", sys.executable)
    assert row["value"] > 0.3, row["missing"]
    assert "--semilearn-python" not in row["command"]


def test_labeling_takes_the_same_memory_for_four_times_the_images(run_quick, tmp_path):
    chart = tmp_path / "memory.svg"
    rows = run_quick("memory.py", "--plot", str(chart))
    assert len(rows) == 3
    assert all(row["ratio"] < 1.2 for row in rows), rows
    names = {text.text for text in ElementTree.parse(chart).iter("{http://www.w3.org/2000/svg}text")}
    assert {"label a folder", "label tar shards", "1,000", "4,000"} <= names


def test_the_benchmark_of_workers_runs_and_both_make_the_same_bytes(run_quick):
    (row,) = run_quick("workers.py")
    assert row["name"] == "label: two workers"


def test_the_benchmark_of_robustness_writes_rows_and_charts(run_quick, tmp_path):
    rows = {row["name"]: row for row in run_quick("robustness.py", "digits", "--plot", str(tmp_path))}
    control = rows["digits, 4 labels per class: control: accuracy, clean"]
    assert 0 <= control["value"] <= 1
    assert control["difference"] == 0
    assert len(list(tmp_path.glob("digits-*.svg"))) == 4


def test_the_benchmark_of_assumptions_measures_what_they_assume(run_quick):
    values = {row["name"]: row["value"] for row in run_quick("assumptions.py")}
    assert values["decoding for 475 px"] > 0
    assert values["crop and noise at 475 px"] > 0


def test_the_shipped_assumptions_have_the_numbers_of_the_benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    benchmark = runpy.run_path(str(FOLDER / "assumptions.py"))
    assumed = read_assumptions(ROOT / "configs" / "assumptions" / "300m-l2.yaml")
    for model, variant in ((assumed.teacher, "b7"), (assumed.students[0], "l2")):
        operations, parameters = benchmark["count_operations"](variant)
        assert operations["name"].startswith(f"{model.model}, forward")
        assert operations["value"] == pytest.approx(model.gigaflops, rel=1e-3)
        assert operations["ratio"] == pytest.approx(1, abs=0.03)  # to the published multiply-adds
        assert parameters["value"] == model.parameters
    sizes = runpy.run_path(str(FOLDER / "label_size.py"))
    rows = {row["name"]: row["value"] for row in sizes["measure"]("middling", 2)}
    (row_bytes,) = (value for name, value in rows.items() if name.endswith(": per row"))
    assert row_bytes == pytest.approx(assumed.predictions.bytes_per_row, rel=0.05)


def test_the_benchmark_of_decoding_runs(tmp_path):
    rows = run_quick_alone("decode.py", tmp_path / "rows.json")  # timm's loader forks
    names = [row["name"].rsplit(", ", 1)[1] for row in rows]
    assert names == ["first epoch", "later epochs", "10 epochs"]


def test_the_benchmark_of_streaming_runs(tmp_path):
    pytest.importorskip("webdataset")
    rows = run_quick_alone("streaming.py", tmp_path / "rows.json")  # pins itself to one core
    assert [row["ratio"] > 0 for row in rows] == [True, True, True]
