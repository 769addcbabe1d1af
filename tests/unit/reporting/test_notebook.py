"""A notebook shows runs, models and sheets; names in them are text, never markup."""

import os
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from noisystudent.models.calibration import Calibration
from noisystudent.models.classifier import create_classifier
from noisystudent.models.predictor import Predictor
from noisystudent.pipeline.run_folder import Run
from noisystudent.reporting.sheet import is_sheet, write_sheet
from noisystudent.runtime.html import in_html, table_html
from noisystudent.runtime.settings import RuntimeSettings
from summaries import parsed_summary, summary

ODD = "<script>alert(1)</script>&\"'\u202e\x1b"


class Reader(HTMLParser):
    """Collects tags and texts, and checks that every tag is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_text_is_shown_as_it_is():
    assert in_html("a < b & c") == "a &lt; b &amp; c"
    read = Reader(table_html([[ODD, "1"]], [ODD, "n"]))
    assert read.tags == {"table", "thead", "tbody", "tr", "th", "td"}
    assert read.text.count("<script>alert(1)</script>&\"'\\u202e\\x1b") == 2


def test_a_run_shows_its_verdict_its_table_and_its_page():
    shown = Run(Path("runs") / ODD, parsed_summary(summary(baseline=ODD)))._repr_html_()
    read = Reader(shown)
    text = "\n".join(read.text)
    assert "script" not in read.tags
    assert "on 300 held-out labels" in text
    for name in ("Teacher", "Control", "Round 1", "Delivered", "85.0%"):
        assert name in text
    assert "report.html" in text


@pytest.mark.parametrize("count", [3, 1000])
def test_a_model_shows_its_classes_and_its_temperature(count):
    classifier = create_classifier("tiny_resnet", classes=(ODD, *map(str, range(count - 1))), channels=1, size=8)
    predictor = Predictor.of_classifier(ODD, "", classifier, RuntimeSettings(device="cpu"))
    fitted = replace(predictor, calibration=Calibration(temperature=0.5, labels=9, fitted_on="validation labels"))
    read = Reader(fitted._repr_html_())
    text = "\n".join(read.text)
    assert "script" not in read.tags
    assert "0.5, of 9 validation labels" in text
    assert ("... (1,000)" in text) == (count == 1000)
    assert "none" in Reader(predictor._repr_html_()).text


def test_a_sheet_shows_its_image_and_stands_for_its_path(tmp_path):
    sheet = write_sheet(tmp_path / "a.png", ["a"], np.zeros((1, 1, 8, 8, 1), np.uint8))
    assert sheet._repr_png_() == (tmp_path / "a.png").read_bytes()
    assert os.fspath(sheet) == str(sheet) == str(tmp_path / "a.png")
    assert is_sheet(Path(sheet))
