"""The images of the README: the chart is that of the results, and both are small."""

from pathlib import Path

import pytest
from PIL import Image

from project_scripts import load_script

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def gain_chart():
    return load_script("gain_chart")


def test_the_chart_is_up_to_date(gain_chart):
    assert gain_chart.FILE.read_text(encoding="utf-8") == gain_chart.chart(), "run python scripts/gain_chart.py"


def test_the_chart_has_the_numbers_of_the_results(gain_chart):
    pages = [(ROOT / "docs" / "results" / name).read_text(encoding="utf-8") for name in gain_chart.PAGES]
    rows = gain_chart.gains(*pages)
    assert len(rows) == 10
    for name, control, student in rows:
        assert f"{control:.1f}" in "".join(pages), name
        assert f"{student:.1f}" in "".join(pages), name
        assert name in gain_chart.FILE.read_text(encoding="utf-8")


def test_tables_are_read_without_emphasis(gain_chart):
    text = "\n## A\nText.\n\n| model | top-1 |\n|---|---|\n| **student** | **99.1** |\n\n| other | 1 |\n\n## B\n"
    assert gain_chart.table_below(text, "A") == [["model", "top-1"], ["student", "99.1"]]


def test_the_images_are_small():
    shown = ROOT / "docs" / "page.webp"
    assert shown.stat().st_size < 150_000
    with Image.open(shown) as image:
        assert image.size == (1200, 640)
    assert (ROOT / "docs" / "gain.svg").stat().st_size < 20_000
