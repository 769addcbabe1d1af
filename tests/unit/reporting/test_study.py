"""A study's table: in the terminal, as Markdown, as CSV and as a page."""

import csv
import io
from dataclasses import replace

from noisystudent.reporting.study import study_csv, study_markdown, study_text, study_view, write_study
from study_results import study_result

RESULT = study_result("without <b>noise|")
ROWS = RESULT.rows


def test_the_table_is_in_percent_with_differences_in_points_beside_the_papers():
    view = study_view(RESULT)

    assert view.columns[-3:] == ("top-1 in the paper", "difference there", "sign")
    assert view.rows[0] == ("noisy student", "92.0%", "-", "-", "83.9%", "-", "-")
    assert view.rows[1] == ("without <b>noise|", "89.0%", "-3.0", "-5.0 to -1.0", "83.6%", "-0.3", "same sign")


def test_a_difference_that_is_not_shown_says_so():
    hidden = replace(RESULT, rows=(ROWS[0], replace(ROWS[1], shown=False)))

    assert study_view(hidden).rows[1][-1] == "same sign, not shown"


def test_a_study_of_ones_own_has_no_columns_of_the_paper():
    rows = tuple(replace(row, published=None, published_difference=None, agreement="") for row in ROWS)

    assert len(study_view(replace(RESULT, rows=rows, source="")).columns) == 4


def test_csv_has_the_exact_numbers():
    rows = list(csv.DictReader(io.StringIO(study_csv(RESULT))))

    assert rows[1]["cell"] == "without <b>noise|"
    assert float(rows[1]["top1"]) == 0.89
    assert rows[1]["top1_by_seed"] == "0.88 0.9"
    assert (rows[1]["interval_low"], rows[1]["settings"]) == ("-0.05", "noise.unlabeled.input=false")
    assert rows[0]["difference"] == ""


def test_a_cell_without_a_result_says_why():
    missing = replace(
        ROWS[1], top1=(), difference=None, interval=None, agreement="", shown=False, missing="Seed 0: <none>"
    )
    result = replace(RESULT, rows=(ROWS[0], missing))

    assert study_view(result).rows[1][1:4] == ("-", "-", "-")
    assert "without <b>noise| has no result. Seed 0: <none>" in study_view(result).notes
    row = list(csv.DictReader(io.StringIO(study_csv(result))))[1]
    assert (row["top1"], row["top1_by_seed"], row["missing"]) == ("", "", "Seed 0: <none>")


def test_names_are_escaped(tmp_path):
    page = write_study(RESULT, tmp_path).read_text()

    assert "without &lt;b&gt;noise|" in page
    assert "<b>" not in page
    assert "without &lt;b>noise\\|" in study_markdown(RESULT)
    assert (tmp_path / "study.csv").read_text() == study_csv(RESULT)


def test_the_text_says_how_it_was_measured():
    text = study_text(RESULT)

    assert "the mean of seeds 0 and 1, on 500 test images each" in text
    assert "took 1 min 30 s" in text
    assert "test images and the luck of training" in text
    assert "luck" not in study_text(replace(RESULT, luck=False))
