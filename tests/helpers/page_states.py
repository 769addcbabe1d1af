"""A page for each state: runs with and without a test set, a distillation, a comparison, a study, many classes."""

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from noisystudent.reporting.comparison import write_comparison
from noisystudent.reporting.page import write_report
from noisystudent.reporting.study import write_study
from robustness_examples import comparison_of, named_as_in_a_run, parsed
from run_folders import evaluated, full_run, with_findings, with_models, with_robustness, write_json
from study_results import study_result

STATES = ("test set", "no gain", "worse", "unchecked", "distilled", "many classes", "comparison", "study")
OF_RUNS = STATES[:6]


def colored_images(role: str, keys: list[str]) -> dict[str, np.ndarray]:
    """Color gradients of 96 pixels that depend on the key, as large as photographs on a page."""
    images = {}
    for key in keys:
        random = np.random.default_rng(list(key.encode()))
        corners = Image.fromarray(random.integers(30, 226, (3, 3, 3)).astype(np.uint8))
        images[key] = np.asarray(corners.resize((96, 96), Image.Resampling.BICUBIC))
    return images


def changed(folder: Path, **changes: object) -> Path:
    """A run folder whose summary has other values."""
    summary = json.loads((folder / "summary.json").read_text())
    write_json(folder / "summary.json", summary | changes)
    return folder


def with_verdict(folder: Path, **changes: object) -> Path:
    """A run folder whose verdict has other values."""
    verdict = json.loads((folder / "summary.json").read_text())["verdict"]
    return changed(folder, verdict=verdict | {"controls": 1} | changes)


def with_colored_map(folder: Path) -> Path:
    """A run folder with a map whose images have colors, and with a sheet of noise."""
    sprite = Image.fromarray(np.random.default_rng(0).integers(30, 226, (8, 8, 3)).astype(np.uint8))
    for file, size in ((folder / "findings" / "map.jpg", (128, 128)), (folder / "noise.png", (640, 400))):
        stream = io.BytesIO()
        sprite.resize(size, Image.Resampling.NEAREST).save(stream, format="PNG" if file.suffix == ".png" else "JPEG")
        file.write_bytes(stream.getvalue())
    return folder


def unchecked_run(folder: Path) -> Path:
    """A run without held-out labels, which cross-fitted its labels."""
    summary = json.loads((full_run(folder) / "summary.json").read_text())
    for model in (summary["teacher"], summary["control"], summary["student"], *summary["rounds"]):
        model.update(test=None, validation=None)
        model["worse"] = False
    for model in (summary["teacher"], summary["control"], summary["student"]):
        del model["worse"]
    nothing = {"difference": None, "interval": None, "p_value": None, "labels": 0, "source": "none"}
    verdict = {"decision": "no clear gain", "reason": "no held-out labels"} | nothing
    changed(folder, **summary | {"verdict": verdict, "control": None})
    for file in (folder / "scores").glob("*/*.parquet"):
        file.unlink()
    evidence = {"student": 0.71, "labels_only": 0.66, "p_value": 0.12, "labels": 100}
    write_json(folder / "cross-fit" / "summary.json", evidence)
    return with_findings(folder, count=50)


def distilled_run(folder: Path) -> Path:
    """A distillation of a teacher that was given into a student of a quarter of its size."""
    summary = json.loads((full_run(folder, rounds=1) / "summary.json").read_text())
    (student,) = summary["rounds"]
    student |= {"name": "student 1", "selected": None, "copies": None, "pseudo_labels": None, "diagnostics": None}
    student |= {"model": "tiny_resnet", "parameters": 308_642}
    student["test"] |= {"top1": 0.885}
    teacher = summary["teacher"] | {"milliseconds": 2.13, "test": summary["teacher"]["test"] | {"top1": 0.9525}}
    delivered = {key: student[key] for key in evaluated("student")} | {"name": "student", "milliseconds": 0.81}
    verdict = summary["verdict"] | {"treatment": "the teaching", "controls": 1}
    values = {"rounds": [student], "student": delivered, "teacher": teacher, "delivered": "student-1"}
    return changed(folder, **values, verdict=verdict)


def page_of(state: str, folder: Path) -> Path:
    """Writes the page of a state below ``folder`` and returns its path."""
    if state == "comparison":
        return write_comparison(
            parsed(comparison_of("1 runs/a/best", "2 runs/b/best", "3 runs/c/best")), folder / "page.html"
        )
    if state == "study":
        return write_study(study_result(), folder)
    return write_report(_run(state, folder / "signs"), load_images=colored_images)


def _run(state: str, folder: Path) -> Path:
    if state == "unchecked":
        return unchecked_run(folder)
    if state == "distilled":
        return distilled_run(folder)
    if state == "many classes":
        classes = [f"kind number {index}" for index in range(200)]
        return with_colored_map(with_findings(with_models(full_run(folder, classes))))
    run = with_colored_map(with_findings(with_models(full_run(folder))))
    if state == "no gain":
        values = {"difference": 0.01, "interval": [-0.02, 0.04], "p_value": 0.4}
        return with_verdict(run, decision="no clear gain", **values)
    if state == "worse":
        return with_verdict(run, decision="worse", difference=-0.04, interval=[-0.07, -0.01], p_value=0.01)
    return with_robustness(run, named_as_in_a_run(comparison_of("one", "two", "three")))
