"""The sections on what a run found: lists, gains, won and lost, the map, and what bad input does to them."""

import itertools
import json
import re

import pytest

from noisystudent.errors import ArtifactError
from noisystudent.reporting.page import SHOWN, write_report
from noisystudent.reporting.read_findings import read_map, read_won_lost
from reading_pages import Page, section_text
from run_folders import full_run, minimal_run, synthetic_images, with_findings, with_models, write_json, write_rows

FOUND = ["label-issues", "gains", "won-lost", "map", "out-of-class", "label-next"]


def page_of(folder, load_images=synthetic_images) -> Page:
    return Page(write_report(folder, load_images=load_images).read_text())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return with_findings(with_models(full_run(tmp_path_factory.mktemp("runs") / "first")))


@pytest.fixture(scope="module")
def page(run):
    return page_of(run)


def test_the_findings_come_first_and_the_bar_links_to_all(page):
    ids = [attributes["id"] for tag, attributes in page.tags if tag in ("section", "header")]
    assert ids[: len(FOUND) + 2] == ["verdict", *FOUND, "scores"]
    links = {link[1:] for link in page.attributes("href")}
    assert {*FOUND, "advice", "scores", "repeat"} <= links
    assert links <= {*page.attributes("id")}


def test_four_cards_jump_to_their_sections(page):
    first = section_text(page, "verdict")
    assert "30 labels look wrong of 400; check these first" in first
    assert "30 images of no class perhaps, of 300 unlabeled ones" in first
    assert "30 to label next" in first
    assert "is the weakest class" in first


def test_lists_show_their_first_images_and_name_the_file_with_all(page):
    for section, file in (
        ("label-issues", "label_issues.csv"),
        ("out-of-class", "out_of_class.csv"),
        ("label-next", "label_next.csv"),
    ):
        text = section_text(page, section)
        assert file in text
        assert "30" in text
        assert text.count(".png") == SHOWN
    assert "you said class a models say class f , 90%" in section_text(page, "label-issues")
    assert "class a 50% or class f 45%" in section_text(page, "label-next")


def test_empty_lists_are_sentences(tmp_path):
    empty = with_findings(full_run(tmp_path / "run"), count=0, threshold=None)
    page = page_of(empty)
    assert "None of the 400 labels looks wrong" in section_text(page, "label-issues")
    assert "None of the 300 unlabeled images is clearly farther" in section_text(page, "out-of-class")
    assert "no unlabeled images to choose from" in section_text(page, "label-next")


def test_labels_that_the_delivered_model_learned_from_are_called_so(tmp_path):
    page = page_of(with_findings(full_run(tmp_path / "run"), labels_by="own answers"))
    assert "contradicts these labels, although it learned from them" in section_text(page, "label-issues")


def test_won_and_lost_are_counted_over_all_images(run, page):
    summary = json.loads((run / "summary.json").read_text())
    assert summary["control"]["name"] == "control"
    text = section_text(page, "won-lost")
    assert "The student alone is right on 20 test images, the control alone on 4; both are wrong on 10." in text
    assert "teacher: " in text
    assert "round 2: " in text


def test_won_and_lost_against_plain_sets(run):
    from noisystudent.artifacts.typed_json import read_result
    from noisystudent.results.run import RunSummary

    found = read_won_lost(run, read_result(RunSummary, run / "summary.json"))
    assert (found.won, found.lost, found.both_wrong) == (20, 4, 10)
    assert [image.key for image in found.won_images] == [f"test/{row:04d}.png" for row in range(39, 27, -1)]
    assert [answer.model for answer in found.won_images[0].answers] == [
        *("control", "teacher", "round 1", "round 2", "round 3"),
    ]


def test_models_scored_on_other_images_are_named(tmp_path):
    folder = with_models(full_run(tmp_path / "run"))
    write_rows(folder / "scores/control/test.parquet", key=["x"], label=[0], prediction=[0], confidence=[0.5])
    with pytest.raises(ArtifactError, match="other test images"):
        page_of(folder)


def test_the_map_has_its_numbers_and_names_for_every_control(run, page):
    text = (run / "report.html").read_text()
    data = json.loads(re.search(r'id="map-data">(.*?)</script>', text, re.DOTALL)[1])
    assert {len(data[name]) for name in ("x", "y", "class", "sure", "kind", "key")} == {60}
    assert set(data["kind"]) == {0, 1, 2}
    assert data["checked"] == 300
    labeled = [attributes for tag, attributes in page.tags if tag in ("canvas", "input")]
    assert all(attributes.get("aria-label") or attributes.get("id") == "map-confidence" for attributes in labeled)
    assert "map-confidence" in page.attributes("for")
    assert read_map(run).edge == 16


def test_a_damaged_map_is_named(tmp_path):
    folder = with_findings(full_run(tmp_path / "run"))
    (folder / "findings" / "map.jpg").write_bytes(b"no image")
    with pytest.raises(ArtifactError, match=r"map\.jpg is damaged"):
        page_of(folder)


def test_every_region_that_scrolls_has_a_name_of_its_own(page):
    regions = [attributes for _, attributes in page.tags if attributes.get("tabindex") == "0"]
    names = [attributes.get("aria-label") for attributes in regions]
    assert all(names)
    assert all(attributes.get("role") in ("region", "img") for attributes in regions)
    assert len(names) == len(set(names))


def test_headings_skip_no_level(page):
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_without_held_out_labels_the_page_says_which_images_to_label(tmp_path):
    page = page_of(with_findings(minimal_run(tmp_path / "run")))
    assert "Trained, but not checked" in section_text(page, "verdict")
    assert "label_for_test.csv" in section_text(page, "label-for-test")
    assert section_text(page, "label-for-test").count(".png") == SHOWN
    assert "--test FOLDER" in section_text(page, "gains")


def test_class_shares_are_shown_where_they_were_estimated(tmp_path):
    folder = full_run(tmp_path / "run")
    shares = {"shares": {"class a": 0.7, "class b": 0.3}, "reference": {"class a": 0.5, "class b": 0.5}}
    write_json(folder / "round-2/class-shares/summary.json", shares | {"biases": {}, "temperature": 1, "p_value": 0.01})
    text = section_text(page_of(folder), "class-shares")
    assert "Class shares of round 2" in text
    assert "estimated (p = 0.010)" in text
    assert "class a 50.0% 70.0%" in text
