"""All SQL of the docs runs with DuckDB, on the predictions of ``label`` and on those of a run."""

import re
from pathlib import Path

import pytest

import noisystudent
from small_runs import DIGITS, SMALL

DOCS = Path(__file__).parents[2] / "docs"
QUERIES = [
    query
    for page in sorted(DOCS.glob("*.md"))
    for query in re.findall(r"```sql\n(.*?)```", page.read_text(), re.DOTALL)
]
OF_A_RUN = {"runs/predictions": "runs/photos/round-1/predictions", "runs/selection": "runs/photos/round-1/selection"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A run of two rounds, and predictions and a selection in single stages."""
    folder = tmp_path_factory.mktemp("sql")
    run = noisystudent.run(**DIGITS, out=folder / "runs/photos", settings={**SMALL, "rounds.controls": 0}, quiet=True)
    noisystudent.label(
        teacher=run.path / "teacher", source=DIGITS["unlabeled"], out=folder / "runs/predictions", quiet=True
    )
    noisystudent.select(predictions=folder / "runs/predictions", out=folder / "runs/selection")
    return folder


def test_there_is_sql_in_the_docs():
    assert len(QUERIES) >= 3


@pytest.mark.parametrize("of_a_run", [False, True], ids=["label", "run"])
@pytest.mark.parametrize("query", QUERIES, ids=range(len(QUERIES)))
def test_every_query_of_the_docs_has_rows(query, of_a_run, runs, monkeypatch):
    duckdb = pytest.importorskip("duckdb")
    monkeypatch.chdir(runs)
    for before, after in OF_A_RUN.items() if of_a_run else ():
        query = query.replace(before, after)
    result = duckdb.connect().sql(query)
    rows = result.fetchall()
    assert rows or "WHERE" in query  # two models may agree on every image
    if "class" in result.columns:
        assert {row[result.columns.index("class")] for row in rows} <= set("0123456789")


def test_the_summaries_of_label_and_of_a_run_agree(runs):
    from noisystudent.artifacts.folder import read_json

    by_label = read_json(runs / "runs/predictions/summary.json")
    by_run = read_json(runs / "runs/photos/round-1/predictions/summary.json")
    assert by_run.keys() == by_label.keys()
    assert by_run["classes"] == by_label["classes"] == 10
    classes = [
        read_json(runs / f"{folder}/inputs.json")["classes"] for pair in [*OF_A_RUN.items()][:1] for folder in pair
    ]
    assert classes == [list("0123456789")] * 2


def test_a_selection_can_be_made_from_the_predictions_of_a_run(runs, tmp_path):
    chosen = noisystudent.select(predictions=runs / "runs/photos/round-1/predictions", out=tmp_path / "selection")
    assert [row.name for row in chosen.per_class] == list("0123456789")
