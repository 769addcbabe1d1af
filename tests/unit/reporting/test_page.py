"""The page: all sections, well-formed, self-contained, escaped, and explicit about missing results."""

import base64
import hashlib
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from noisystudent.errors import ArtifactError, DataError
from noisystudent.reporting import read
from noisystudent.reporting.images import data_uri
from noisystudent.reporting.page import write_report
from noisystudent.reporting.read import read_run
from noisystudent.reporting.views import confused_pairs, setting_views
from reading_pages import INJECTION, Page, section_text
from robustness_examples import comparison_of, named_as_in_a_run
from run_folders import full_run, minimal_run, synthetic_images, with_robustness, write_json, write_rows

SECTIONS = [
    *("verdict", "gains", "scores", "progress", "strength", "rounds", "calibration", "classes"),
    *("mistakes", "examples", "left-out", "settings", "cost", "repeat"),
]


@pytest.fixture(scope="module")
def full(tmp_path_factory) -> Path:
    return full_run(tmp_path_factory.mktemp("runs") / "first")


@pytest.fixture(scope="module")
def full_page(full) -> Page:
    return Page(write_report(full, load_images=synthetic_images).read_text())


def test_the_page_has_all_sections_in_order(full_page):
    ids = [attributes["id"] for tag, attributes in full_page.tags if tag in ("section", "header")]
    assert ids == SECTIONS
    links = [link[1:] for link in full_page.attributes("href")]
    assert set(links) <= {*full_page.attributes("id")}


def test_the_page_needs_no_other_file(full_page, full):
    tags = {tag for tag, _ in full_page.tags}
    assert not tags & {"link", "iframe", "object", "embed"}
    assert all(link.startswith("#") for link in full_page.attributes("href"))
    assert all(source.startswith("data:image/png;base64,") for source in full_page.attributes("src"))
    assert not re.search(r"https?://|url\((?!\")|@import", (full / "report.html").read_text())
    assert not [name for _, attributes in full_page.tags for name in attributes if name.startswith("on")]


def test_the_only_script_is_the_one_that_the_policy_allows(full):
    text = (full / "report.html").read_text()
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'" in text
    assert len(script) < 6000


def test_the_headline_says_what_happened_and_the_advice_has_the_verdict(full_page):
    first = section_text(full_page, "verdict")
    assert "The unlabeled images helped: 88.0% instead of 80.8% right" in first or "helped: " in first
    sentence = (
        "The unlabeled images helped: the student is 7.2 points better than the labels-only control "
        "(95% interval +3.1 to +11.4, p < 0.001) on 400 held-out labels of the test source."
    )
    assert sentence in section_text(full_page, "gains")


def test_sections_show_the_content_of_the_files(full_page, full):
    selection = json.loads((full / "round-3" / "selection" / "summary.json").read_text())
    texts = {name: section_text(full_page, name) for name in SECTIONS}
    assert "Baseline: logistic regression 71.0%" in texts["scores"]
    assert "Round 2 (worse, not kept)" in texts["scores"]
    assert "Delivered: round-3" in texts["scores"]
    assert "Strength 0.5 was chosen by cross-fitting" in texts["strength"]
    assert "3.4%" in texts["strength"]
    assert "Training images under noise" not in texts["strength"]
    assert "Round 2 (worse, not kept)" in texts["rounds"]
    assert f"confidence below the threshold {selection['reasons']['below-threshold']}" in texts["rounds"]
    assert "class 'class a' has few images" in texts["rounds"]
    assert "Accuracy of the selected pseudo labels 93.0%" in texts["rounds"]
    assert "Expected calibration error 3.4% on 400 labels of the test source" in texts["calibration"]
    assert "is wrong on 40 of 400 test images" in texts["mistakes"]
    assert "Rejected: confidence below the threshold" in texts["examples"]
    assert "Rejected: beyond the target of its class" in texts["examples"]
    assert "a/broken.png : truncated" in texts["left-out"]
    assert "30 files that end in .txt: a/x.txt , a/y.txt and 28 more" in texts["left-out"]
    assert (
        f"{len(full_summary(full)['classes'])} classes: \u2068class a\u2069 (66), \u2068class b\u2069 (66)"
        in texts["left-out"]
    )
    assert "the class folder 'test' looks like a part of a data set" in texts["left-out"]
    assert "a/1.png ( class a ), b/2.png ( class b )" in texts["left-out"]
    assert "3 images of a class that has the same image already" in texts["left-out"]
    assert "unlabeled/0001.png is identical to test/0002.png" in texts["left-out"]
    assert "unlabeled/0003.png looks the same as test/0004.png" in texts["left-out"]
    assert "train.steps 3000 command line" in texts["settings"]
    assert "2 settings at the default value" in texts["settings"]
    assert "2 h 13 min and 1.79 M samples seen on a synthetic machine" in texts["cost"]
    assert "noisystudent run --out 'runs/my first'" in texts["repeat"]


def full_summary(full: Path) -> dict:
    return json.loads((full / "summary.json").read_text())


def test_unreadable_images_of_a_streamed_set_are_read_from_its_predictions(tmp_path):
    run = full_run(tmp_path / "run", rounds=1)
    write_rows(run / "round-1/predictions/failed.parquet", shard=[0], key=["u/broken.png"], reason=["it is empty"])
    page = Page(write_report(run, load_images=None).read_text())
    assert "Unreadable images, unlabeled u/broken.png : it is empty" in section_text(page, "left-out")


def test_a_strength_without_a_search_says_why(tmp_path):
    run = full_run(tmp_path / "run", rounds=1)
    write_json(run / "strength/choice/summary.json", {"chosen": 0.25, "by": "few labels", "candidates": []})
    text = section_text(Page(write_report(run, load_images=None).read_text()), "strength")
    assert "Strength 0.25 is the weakest of noise.strengths . It was used without a search" in text


def test_the_search_of_an_earlier_run_in_the_folder_is_not_told(tmp_path):
    run = full_run(tmp_path / "run", rounds=1)
    facts = json.loads((run / "run.json").read_text())
    facts["settings"]["noise"]["strength"] = 0.5
    write_json(run / "run.json", facts)
    text = section_text(Page(write_report(run, load_images=None).read_text()), "strength")
    assert "The noise strength (0.5) was not searched for: the settings or the budget say it." in text
    assert "cross-fitting" not in text


def test_images_or_gaps_are_shown(full_page, full):
    record = read_run(full)
    entries = record.mistakes.images + record.examples.most_confident + record.examples.least_confident
    entries += tuple(example for group in record.examples.rejected.values() for example in group)
    loaded = synthetic_images("", [entry.key for entry in entries])
    assert 0 < len(loaded) < len({entry.key for entry in entries})
    images = [attributes for tag, attributes in full_page.tags if tag == "img"]
    assert len(images) == sum(entry.key in loaded for entry in entries)
    gaps = [1 for tag, attributes in full_page.tags if tag == "span" and attributes.get("class") == "gap"]
    assert len(images) + len(gaps) == len(entries)


def test_a_minimal_run_says_what_is_missing(tmp_path):
    page = Page(write_report(minimal_run(tmp_path / "bare"), load_images=None).read_text())
    texts = {name: section_text(page, name) for name in SECTIONS}
    assert "Trained, but not checked" in texts["verdict"]
    assert "Nothing shows whether the unlabeled images helped: no held-out labels." in texts["gains"]
    assert "no held-out labels, so there are no scores" in texts["scores"]
    assert "No control was trained" in texts["scores"]
    assert "No round was run" in texts["progress"]
    assert "was not searched for: the settings or the budget say it" in texts["strength"]
    assert "trained without pseudo labels" in texts["rounds"]
    assert "no held-out labels" in texts["calibration"]
    assert "no held-out labels" in texts["classes"]
    assert "no test source" in texts["mistakes"]
    assert "no pseudo labels" in texts["examples"]
    assert "Every image could be decoded" in texts["left-out"]
    assert "No image duplicates a held-out image" in texts["left-out"]
    assert "Nothing in the sources was passed over" in texts["left-out"]
    assert "not recorded" in texts["cost"]
    assert not [tag for tag, _ in page.tags if tag in ("svg", "img")]


def test_no_test_source_is_reported_on_validation(tmp_path):
    folder = full_run(tmp_path / "run")
    summary = json.loads((folder / "summary.json").read_text())
    for model in (summary["teacher"], summary["control"], summary["student"], *summary["rounds"]):
        model["test"] = None
    summary["verdict"]["source"] = "validation"
    write_json(folder / "summary.json", summary)
    for file in (folder / "scores").glob("*/*.parquet"):
        file.unlink()
    page = Page(write_report(folder, load_images=synthetic_images).read_text())
    assert "somewhat optimistic" in section_text(page, "gains")
    assert "Scores on 120 labels of the validation source" in section_text(page, "scores")
    assert "There was no test source" in section_text(page, "mistakes")
    assert "Control (validation)" in section_text(page, "progress")


def test_everything_from_the_run_is_escaped(tmp_path):
    classes = [INJECTION, "ordinary", "</style><script>", "third"]
    folder = full_run(tmp_path / "<b>run", classes)
    with_robustness(folder, comparison_of(INJECTION, "</style><script>"))
    facts = json.loads((folder / "run.json").read_text())
    facts["settings"] = {INJECTION: {"x": INJECTION}, "y": [INJECTION]}
    facts["origins"] = {f"{INJECTION}.x": INJECTION}
    facts["command"] += [INJECTION]
    facts["machine"] = facts["versions"]["numpy"] = INJECTION
    facts["sources"]["labeled"]["failures"] = [{"key": INJECTION, "reason": INJECTION}]
    facts["sources"]["unlabeled"]["left_out"] = [{"key": INJECTION, "same_as": INJECTION}]
    facts["sources"]["labeled"] |= {
        "per_class": {INJECTION: 1},
        "passed_over": [{"what": INJECTION, "count": 1, "names": [INJECTION]}],
        "notes": [INJECTION],
        "conflicts": [{"keys": [INJECTION], "classes": [INJECTION]}],
    }
    facts["sources"]["test"]["name"] = INJECTION
    write_json(folder / "run.json", facts)
    write_rows(
        folder / "scores" / "round-3" / "test.parquet",
        key=[INJECTION],
        label=[0],
        prediction=[2],
        confidence=[0.9],
    )
    text = write_report(folder, load_images=synthetic_images).read_text()
    page = Page(text)
    assert text.count("<script") == 1
    assert text.count("</style>") == 1
    assert "<script>alert" not in text
    assert "<b>run" not in text
    for section in ("robustness", "rounds", "classes", "mistakes", "examples", "left-out", "settings", "repeat"):
        assert "<script>" in section_text(page, section), f"the name should be readable in {section}"


def test_names_that_are_not_valid_text_do_not_stop_the_page(tmp_path):
    folder = minimal_run(tmp_path / "run")
    facts = json.loads((folder / "run.json").read_text())
    facts["command"].append("bad\udcffname")
    write_json(folder / "run.json", facts)
    assert "bad?name" in section_text(Page(write_report(folder, load_images=None).read_text()), "repeat")


def test_robustness_follows_the_scores(tmp_path):
    comparison = named_as_in_a_run(comparison_of("one", "two", "three"))
    page = Page(write_report(with_robustness(full_run(tmp_path / "run"), comparison), load_images=None).read_text())
    ids = [attributes["id"] for tag, attributes in page.tags if tag in ("section", "header")]
    assert ids == [*SECTIONS[:3], "robustness", *SECTIONS[3:]]
    assert "#robustness" in page.attributes("href")
    text = section_text(page, "robustness")
    assert "Measured on 200 images of the test source (digits:test): accuracy, errors under 2 generated" in text
    assert "were generated from the images at hand" in text
    assert "Round 1 91.0% +1.0 (-1.0 to +3.0)" in text
    assert "Error by corruption, mean over severities" in text
    assert "optimistic" not in text


def test_robustness_on_validation_images_says_so(tmp_path):
    comparison = named_as_in_a_run(comparison_of("one", "two")) | {"role": "validation"}
    page = Page(write_report(with_robustness(full_run(tmp_path / "run"), comparison), load_images=None).read_text())
    assert "images of the validation source (digits:test)" in section_text(page, "robustness")
    assert "somewhat optimistic" in section_text(page, "robustness")


def test_a_run_without_robustness_has_no_section_for_it(tmp_path):
    page = Page(write_report(with_robustness(minimal_run(tmp_path / "run"), None), load_images=None).read_text())
    assert "robustness" not in page.words
    assert "#robustness" not in page.attributes("href")


def test_an_invalid_value_of_robustness_is_named(tmp_path):
    comparison = named_as_in_a_run(comparison_of("one", "two"))
    comparison["measured"]["round 1"]["corruptions"]["errors"]["fog"]["1"] = "many"
    folder = with_robustness(minimal_run(tmp_path / "run"), comparison)
    with pytest.raises(ArtifactError, match=r"robustness\.measured\.round 1\.corruptions\.errors\.fog\.1"):
        read_run(folder)


def test_of_many_classes_only_the_most_important_are_listed(tmp_path):
    folder = full_run(tmp_path / "run", [f"kind {index}" for index in range(70)], rounds=1)
    page = Page(write_report(folder, load_images=None).read_text())
    assert "The 50 classes with the fewest selected images, of 70" in section_text(page, "rounds")
    assert "The 50 least accurate of 70 classes" in section_text(page, "classes")
    assert "most frequent confusions among 70 classes" in section_text(page, "classes")
    assert not [1 for _, attributes in page.tags if attributes.get("class") == "matrix"]


def test_confused_pairs_are_the_largest_off_the_diagonal(full):
    summary = read_run(full).summary
    pairs = confused_pairs([[8, 2, 0], [5, 5, 0], [0, 1, 9]], summary)
    assert [(pair.truth, pair.prediction, pair.count, pair.share) for pair in pairs] == [
        ("class b", "class a", 5, 0.5),
        ("class a", "class b", 2, 0.2),
        ("class c", "class b", 1, 0.1),
    ]


def test_settings_keep_their_origin():
    settings = setting_views({"train": {"steps": 3, "on": True}, "empty": {}}, {"train.steps": "file"})
    assert [(setting.name, setting.value, setting.origin) for setting in settings] == [
        ("train.steps", "3", "file"),
        ("train.on", "true", "not recorded"),
        ("empty", "{}", "not recorded"),
    ]


# ---- examples and mistakes against a plain sort ----


def test_examples_are_the_extremes_of_all_parts(full):
    rows = [
        prediction | choice
        for file in sorted((full / "round-3" / "selection").glob("*.parquet"))
        for prediction, choice in zip(
            pq.read_table(full / "round-3" / "predictions" / file.name).to_pylist(),
            pq.read_table(file).to_pylist(),
            strict=True,
        )
    ]
    examples = read_run(full).examples
    selected = sorted((row for row in rows if row["copies"]), key=lambda row: -row["confidence"])
    assert [example.key for example in examples.most_confident] == [row["key"] for row in selected[:12]]
    assert [example.key for example in examples.least_confident] == [row["key"] for row in reversed(selected[-12:])]
    for reason in ("below-threshold", "over-target"):
        rejected = sorted((row for row in rows if row["reason"] == reason), key=lambda row: -row["confidence"])
        assert [example.key for example in examples.rejected[reason]] == [row["key"] for row in rejected[:12]]
    assert (examples.rows, examples.complete) == (300, True)


def test_wrong_pseudo_labels_are_the_most_confident_selected_ones_with_another_true_class(full, tmp_path):
    rows = [
        prediction | choice
        for file in sorted((full / "round-3" / "selection").glob("*.parquet"))
        for prediction, choice in zip(
            pq.read_table(full / "round-3" / "predictions" / file.name).to_pylist(),
            pq.read_table(file).to_pylist(),
            strict=True,
        )
    ]
    truth = {row["key"]: (row["prediction"] + number % 3) % 6 for number, row in enumerate(rows) if number % 5}
    known = [row for row in rows if row["copies"] and row["key"] in truth]
    wrong = sorted((row for row in known if truth[row["key"]] != row["prediction"]), key=lambda row: -row["confidence"])
    examples = read_run(full, truth).examples
    assert (examples.wrong_rows, examples.known_rows) == (len(wrong), len(known))
    assert [(label.key, label.truth) for label in examples.wrong] == [
        (row["key"], truth[row["key"]]) for row in wrong[:12]
    ]
    path = write_report(full, load_images=synthetic_images, truth=truth, out=tmp_path / "page.html")
    text = section_text(Page(path.read_text()), "examples")
    assert f"{len(wrong)} of {len(known)} pseudo labels in training are wrong" in text


def test_examples_stop_after_enough_rows(full, monkeypatch):
    monkeypatch.setattr(read, "MAX_ROWS_SEARCHED", 100)
    examples = read_run(full).examples
    assert (examples.rows, examples.complete) == (150, False)
    page = Page(write_report(full, load_images=None, out=full / "short.html").read_text())
    assert "only 150 of its rows were searched" in section_text(page, "examples")


def test_few_selected_rows_are_not_shown_twice(tmp_path):
    folder = full_run(tmp_path / "run", rounds=1)
    selection = folder / "round-1" / "selection"
    (selection / "part-00001.parquet").unlink()
    predicted = {"key": ["x", "y"], "prediction": [0, 1], "confidence": [0.9, 0.8]}
    write_rows(folder / "round-1" / "predictions" / "part-00000.parquet", **predicted)
    write_rows(selection / "part-00000.parquet", copies=[1, 3], reason=["selected"] * 2)
    examples = read_run(folder).examples
    assert [example.key for example in examples.most_confident] == ["x", "y"]
    assert examples.least_confident == ()
    assert examples.rejected == {}


def test_mistakes_are_the_most_confident_ones(full):
    rows = pq.read_table(full / "scores" / "round-3" / "test.parquet").to_pylist()
    wrong = sorted((row for row in rows if row["label"] != row["prediction"]), key=lambda row: -row["confidence"])
    mistakes = read_run(full).mistakes
    assert [mistake.key for mistake in mistakes.images] == [row["key"] for row in wrong[:24]]
    assert (mistakes.wrong, mistakes.count) == (40, 400)


def test_the_delivered_name_cannot_leave_the_folder(tmp_path):
    folder = full_run(tmp_path / "run")
    write_rows(folder / "elsewhere.parquet", key=["x"], label=[0], prediction=[1], confidence=[0.9])
    summary = json.loads((folder / "summary.json").read_text())
    write_json(folder / "summary.json", summary | {"delivered": "../elsewhere"})
    assert read_run(folder).mistakes is None


# ---- errors ----


@pytest.mark.parametrize("name", ["summary.json", "run.json"])
def test_a_missing_file_is_named_with_a_remedy(tmp_path, name):
    folder = minimal_run(tmp_path / "run")
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=rf"{name} is missing\. It is written when"):
        write_report(folder, load_images=None)
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", '{"classes": 3}', "\x00\x01", "[" * 100_000])
def test_a_damaged_summary_is_named_with_a_remedy(tmp_path, content):
    folder = minimal_run(tmp_path / "run")
    (folder / "summary.json").write_text(content)
    with pytest.raises(ArtifactError, match=r"summary\.json is .*Delete summary\.json and run the command"):
        write_report(folder, load_images=None)


def test_an_invalid_value_is_named(tmp_path):
    folder = full_run(tmp_path / "run")
    summary = json.loads((folder / "summary.json").read_text())
    summary["rounds"][1]["test"]["top1"] = "high"
    write_json(folder / "summary.json", summary)
    with pytest.raises(ArtifactError, match=r"rounds\.1\.test\.top1"):
        read_run(folder)


@pytest.mark.parametrize(
    ("file", "column"),
    [
        ("round-3/predictions/part-00000.parquet", "confidence"),
        ("round-3/selection/part-00000.parquet", "copies"),
        ("scores/round-3/test.parquet", "confidence"),
    ],
)
def test_a_damaged_part_is_named(tmp_path, file, column):
    folder = full_run(tmp_path / "run")
    (folder / file).write_bytes(b"PAR1 no table")
    with pytest.raises(ArtifactError, match=re.escape(file)):
        read_run(folder)
    write_rows(folder / file, key=["x"])
    with pytest.raises(ArtifactError, match=f"column '{column}' is missing"):
        read_run(folder)


def test_a_selection_with_other_rows_than_its_predictions_is_named(tmp_path):
    folder = full_run(tmp_path / "run", rounds=1)
    write_rows(folder / "round-1" / "selection" / "part-00001.parquet", copies=[1], reason=["selected"])
    with pytest.raises(ArtifactError, match=r"selection/part-00001\.parquet has other rows than .*predictions"):
        read_run(folder)


def test_numbers_that_are_not_finite_are_left_blank(tmp_path):
    folder = full_run(tmp_path / "run")
    summary = json.loads((folder / "summary.json").read_text())
    summary["student"]["test"] |= {"ece": float("nan"), "nll": float("inf")}
    write_json(folder / "summary.json", summary)
    page = Page(write_report(folder, load_images=None).read_text())
    assert re.search(r"Delivered: round-3 [\d.]+% 99\.0% - - 1\.23 M", section_text(page, "scores"))


def test_sources_that_cannot_be_read_are_a_sentence(full, tmp_path):
    def gone(role: str, keys: list[str]) -> dict[str, np.ndarray]:
        raise DataError("the folder is gone")

    page = Page(write_report(full, load_images=gone, out=tmp_path / "page.html").read_text())
    assert "The test images could not be loaded: the folder is gone" in section_text(page, "mistakes")
    assert not [tag for tag, _ in page.tags if tag == "img"]


def test_writing_is_atomic_and_repeatable_and_errors_name_the_file(full, tmp_path, monkeypatch):
    out = tmp_path / "deep" / "page.html"
    assert write_report(full, load_images=synthetic_images, out=out) == out
    first = out.read_bytes()
    write_report(full, load_images=synthetic_images, out=out)
    assert out.read_bytes() == first

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(ArtifactError, match=r"page\.html: Permission denied"):
        write_report(full, load_images=None, out=out)
    assert out.read_bytes() == first
    assert list(out.parent.iterdir()) == [out]


def test_the_report_does_not_import_torch():
    code = (
        "import sys, noisystudent.reporting.page, noisystudent.reporting.terminal\n"
        "assert not {'torch', 'timm', 'matplotlib', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})


# ---- images ----


def decoded(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def test_tiny_images_are_enlarged_without_blur():
    image = np.random.default_rng(0).integers(0, 256, (8, 6, 3), np.uint8)
    np.testing.assert_array_equal(decoded(data_uri(image)), image.repeat(8, axis=0).repeat(8, axis=1))


def test_large_images_are_reduced_in_proportion():
    assert decoded(data_uri(np.zeros((448, 224, 3), np.uint8))).shape == (128, 64, 3)
    assert decoded(data_uri(np.zeros((1, 5000), np.uint8))).shape == (1, 128)


def test_images_of_medium_size_keep_their_size_as_jpeg():
    image = np.linspace(0, 255, 70 * 64).reshape(70, 64).astype(np.uint8)
    for pixels in (image, image[..., None]):
        assert data_uri(pixels).startswith("data:image/jpeg;base64,")
        assert np.abs(decoded(data_uri(pixels)).astype(int) - image).max() < 12


@pytest.mark.parametrize("image", [np.zeros((4, 4)), np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4), np.uint8)])
def test_other_arrays_are_refused(image):
    with pytest.raises(DataError, match="cannot be shown"):
        data_uri(image)


def test_class_names_beyond_the_list_are_numbered(full):
    summary = read_run(full).summary
    assert summary.class_name(1) == "class b"
    assert summary.class_name(99) == "class 99"
