"""Pages of runs that are incomplete, damaged, of another version or moved, of odd names, and of very many classes."""

import json
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

import noisystudent
from noisystudent.errors import ArtifactError
from noisystudent.pipeline.page_images import SourceImages
from noisystudent.pipeline.run_folder import open_run
from noisystudent.reporting.page import SHOWN, open_page, write_report
from noisystudent.reporting.read import read_run
from noisystudent.reporting.thumbnails import KEPT, keep_thumbnails, load_thumbnails, read_kept
from page_states import colored_images, with_colored_map
from reading_pages import INJECTION, Page, section_text
from run_folders import full_run, run_facts, synthetic_images, with_findings, with_models, write_json, write_rows


def page_of(folder, load_images=synthetic_images) -> Page:
    return Page(write_report(folder, load_images=load_images).read_text())


@pytest.fixture(scope="module")
def complete(tmp_path_factory) -> Path:
    folder = full_run(tmp_path_factory.mktemp("runs") / "run", rounds=2)
    return with_colored_map(with_findings(with_models(folder, rounds=2), count=3, points=12))


# ---- incomplete and damaged folders ----


@pytest.mark.parametrize("damage", ["missing", "empty", "half", "garbage"])
def test_every_file_that_is_lost_or_damaged_is_a_page_or_a_message(complete, tmp_path, damage):
    folder = tmp_path / "run"
    shutil.copytree(complete, folder)
    read = {"missing": set(), "damaged": set()}
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = file.read_bytes()
        file.unlink()
        if damage != "missing":
            file.write_bytes({"empty": b"", "half": content[: len(content) // 2], "garbage": b"\x00\xff" * 50}[damage])
        try:
            read_run(folder)
        except ArtifactError as error:
            message = str(error)
            assert str(file) in message
            assert re.search("again|copy the whole run folder", message), message
            assert not re.search(r"Errno|<_io|object at", message), message
            assert f"{file.name} is {'missing' if damage == 'missing' else 'damaged'}" in message
            read["damaged"].add(file.relative_to(folder).as_posix())
        else:
            read["missing"].add(file.relative_to(folder).as_posix())
        file.write_bytes(content)
    assert {"summary.json", "run.json"} <= read["damaged"]
    if damage == "missing":
        assert len(read["missing"]) > len(read["damaged"])


@pytest.mark.parametrize("lost", ["findings", "scores", "round-2", "round-2/selection", "strength"])
def test_a_folder_that_is_lost_leaves_a_page_that_says_what_is_unknown(complete, tmp_path, lost):
    folder = tmp_path / "run"
    shutil.copytree(complete, folder)
    shutil.rmtree(folder / lost)
    page = page_of(folder)
    assert "88.5% instead of 81.3% right" in section_text(page, "verdict")
    if lost == "findings":
        assert "label-issues" not in page.words
    if lost == "scores":
        assert "does not contain the test predictions" in section_text(page, "mistakes")
    if lost in ("round-2", "round-2/selection"):
        assert "does not contain the selection of the last round" in section_text(page, "examples")


def test_a_lost_part_of_the_pseudo_labels_is_said(complete, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(complete, folder)
    (folder / "round-2/selection/part-00001.parquet").unlink()
    assert "only 150 of its rows were searched" in section_text(page_of(folder), "examples")


def test_an_unfinished_run_says_how_it_is_finished(tmp_path):
    write_json(tmp_path / "run" / "run.json", run_facts(["a", "b"]))
    for read in (read_run, open_run):
        with pytest.raises(ArtifactError, match=r"summary\.json is missing.*run the same command again to finish"):
            read(tmp_path / "run")


# ---- other versions ----


def of_version(folder: Path, version: str, **changes: object) -> Path:
    facts, summary = (json.loads((folder / name).read_text()) for name in ("run.json", "summary.json"))
    write_json(folder / "run.json", facts | {"version": version})
    write_json(folder / "summary.json", summary | changes)
    return folder


def test_a_newer_run_that_is_only_richer_is_shown(tmp_path):
    folder = of_version(full_run(tmp_path / "run"), "9.9", carbon={"grams": 3})
    facts = json.loads((folder / "run.json").read_text())
    write_json(folder / "run.json", facts | {"moon": "full"})
    assert "noisystudent 9.9" in section_text(page_of(folder), "verdict")


def test_a_run_of_another_version_that_cannot_be_read_names_the_version(tmp_path):
    folder = of_version(full_run(tmp_path / "run"), "9.9", verdict={"decision": "splendid"})
    own = re.escape(noisystudent.__version__)
    for read in (read_run, open_run):
        with pytest.raises(
            ArtifactError, match=rf"decision.*The run is of version 9\.9, and this is noisystudent {own}"
        ):
            read(folder)


@pytest.mark.parametrize("facts", ["", "[]", '{"version": 3}'])
def test_a_damaged_file_of_unknown_version_is_called_damaged_alone(tmp_path, facts):
    folder = full_run(tmp_path / "run")
    (folder / "run.json").write_text(facts)
    with pytest.raises(ArtifactError, match=r"run\.json is") as caught:
        read_run(folder)
    assert "of version" not in str(caught.value)


def test_a_run_of_the_first_version_is_shown_in_todays_words(tmp_path):
    folder = full_run(tmp_path / "run")
    summary = json.loads((folder / "summary.json").read_text())
    summary["verdict"] |= {"decision": "roll back", "difference": -0.04, "interval": [-0.07, -0.01]}
    for student in summary["rounds"]:
        student["rolled_back"] = student.pop("worse")
    write_json(folder / "summary.json", summary)
    page = page_of(folder)
    assert "The unlabeled images did harm" in section_text(page, "verdict")
    assert "Round 2 (worse, not kept)" in section_text(page, "scores")


# ---- moved, and without originals ----


def test_a_run_that_was_moved_has_the_same_page_but_for_its_place(complete, tmp_path):
    first, second = tmp_path / "old" / "run", tmp_path / "new" / "run"
    shutil.copytree(complete, first)
    before = write_report(first, load_images=synthetic_images).read_text()
    second.parent.mkdir()
    shutil.move(first, second)
    after = write_report(second, load_images=synthetic_images).read_text()
    assert after == before.replace(str(first), str(second)) != before


def test_the_copies_travel_with_a_run_whose_sources_stay_behind(complete, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(complete, folder)
    keep_thumbnails(folder, open_page(folder, colored_images)[1])
    page = page_of(folder, SourceImages.of_run(folder))
    assert "Originals of test images are gone or changed: their copies" in section_text(page, "won-lost")
    assert not [1 for _, attributes in page.tags if attributes.get("class") == "gap"]


def test_without_originals_and_copies_the_page_says_so(complete, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(complete, folder)
    text = section_text(page_of(folder, lambda role, keys: {}), "label-issues")
    assert "The originals of the labeled images are gone or changed, and the run kept no copies." in text
    assert text.count("not shown") == 3


# ---- names and numbers of classes ----


@pytest.mark.parametrize(
    "name", [INJECTION, "</script><script>", "\x1b[31mred\x07", "\u202eevil\u202c", "שלום", "ё" * 300, "a b\tc\n"]
)
def test_class_names_are_only_text(tmp_path, name):
    folder = with_findings(with_models(full_run(tmp_path / "run", [name, "two", "three"])))
    for file in ("findings/summary.json",):
        content = json.loads((folder / file).read_text().replace("unlabeled/0000.png", "</script>&<b>"))
        write_json(folder / file, content)
    write_report(folder, load_images=synthetic_images)
    text = (folder / "report.html").read_text()
    assert text.count("<script") == 2
    assert text.count("</script>") == 2
    assert '<b>"' not in text
    Page(text)


@pytest.mark.parametrize("count", [200, 1000])
def test_many_classes_and_classes_with_one_image_stay_small(tmp_path, count):
    classes = [f"kind number {index}" for index in range(count)]
    folder = with_findings(full_run(tmp_path / "run", classes, rounds=1), points=5000)
    path = write_report(folder, load_images=synthetic_images)
    assert path.stat().st_size < 3_000_000
    assert "The 20 classes that changed most, of" in section_text(Page(path.read_text()), "gains")


def test_originals_that_are_gone_are_replaced_by_the_copies_of_the_run(tmp_path):
    folder = with_findings(with_models(full_run(tmp_path / "run")))
    wanted = {"labeled": [f"labeled/{row:04d}.png" for row in range(SHOWN)]}
    keep_thumbnails(folder, load_thumbnails(folder, wanted, synthetic_images))
    assert (folder / KEPT).exists()
    page = page_of(folder, lambda role, keys: {})
    text = section_text(page, "label-issues")
    assert "Originals of labeled images are gone or changed: their copies in the run's folder are shown." in text
    shown = [attributes for tag, attributes in page.tags if tag == "img" and "labeled image" in attributes["alt"]]
    assert len(shown) == len(read_kept(folder)["labeled"]) > 0


@pytest.mark.parametrize("damage", [b"", b"PAR1 and no more"])
def test_damaged_copies_cost_images_and_not_the_page(tmp_path, damage):
    folder = with_findings(with_models(full_run(tmp_path / "run")))
    (folder / KEPT).write_bytes(damage)
    page = page_of(folder, lambda role, keys: {})
    text = section_text(page, "label-issues")
    assert "The copies of images that the run kept cannot be read" in text
    assert f"{KEPT} is damaged" in text


def test_a_format_that_no_page_shows_is_not_taken_from_the_copies(tmp_path):
    write_rows(tmp_path / KEPT, role=["test"], key=["x"], format=["svg+xml"], image=[b"<svg/>"])
    assert read_kept(tmp_path) == {}


def test_200_classes_and_100_000_predictions_are_a_small_page_within_seconds(tmp_path):
    classes = [f"kind number {index}" for index in range(200)]
    folder = with_colored_map(
        with_findings(with_models(full_run(tmp_path / "run", classes), 3), count=200, points=5000)
    )
    random, rows = np.random.default_rng(0), 100_000
    for number in (1, 2, 3):
        write_rows(
            folder / f"round-{number}/predictions/part-00000.parquet",
            key=[f"unlabeled/{row:06d}.png" for row in range(rows)],
            prediction=random.integers(0, 200, rows).astype(np.uint16),
            confidence=random.random(rows).astype(np.float32),
        )
        write_rows(
            folder / f"round-{number}/selection/part-00000.parquet",
            copies=np.ones(rows, np.uint16),
            reason=["selected"] * rows,
        )
        for of_part in ("predictions", "selection"):
            (folder / f"round-{number}" / of_part / "part-00001.parquet").unlink()
    truth = {f"unlabeled/{row:06d}.png": row % 200 for row in range(rows)}
    before = time.process_time()
    path = write_report(folder, load_images=colored_images, truth=truth)
    assert time.process_time() - before < 10
    assert path.stat().st_size < 3_000_000
