"""Folders that look like those of finished runs, with known answers, for tests of tables."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

IMAGES = 400
CLASSES = [str(number) for number in range(10)]


def answers(seed: int, accuracy: float, images: int = IMAGES) -> np.ndarray:
    """Whether a model is right about each image: exactly ``accuracy`` of them, bool [N]."""
    correct = np.zeros(images, bool)
    correct[np.random.default_rng(seed).permutation(images)[: round(accuracy * images)]] = True
    return correct


def write_run(
    folder: Path,
    correct: dict[str, np.ndarray],
    *,
    seed: int = 0,
    command: str = "run",
    recipe: str = "curriculum",
    settings: dict | None = None,
    unlabeled: int = 1_000,
    parameters: int = 50_000,
    classes: list[str] = CLASSES,
    robustness: dict | None = None,
    start: dict | None = None,
    baselines: dict[str, float] | None = None,
) -> Path:
    """Writes a run whose models, by stage (``teacher``, ``control``, ``round-1``), are right about ``correct``.

    Stages such as ``fixed/control`` are models that were fixed for 48 px.
    """
    for stage, right in correct.items():
        (folder / "scores" / stage).mkdir(parents=True)
        table = pa.table({"label": np.zeros(len(right), int), "prediction": np.where(right, 0, 1)})
        pq.write_table(table, folder / "scores" / stage / "test.parquet")

    def model(stage: str) -> dict:
        right = correct[stage]
        test = {"top1": float(right.mean()), "top5": 1.0, "count": len(right)}
        shared = {"model": "small", "parameters": parameters, "samples_seen": 9_000, "seconds": 1.0, "test": test}
        return {"name": stage.replace("-", " "), **shared}

    students = [stage for stage in correct if stage.startswith(("round", "student"))]
    rounds = [model(stage) | {"round": number, "worse": False} for number, stage in enumerate(students, start=1)]
    teacher = next((stage for stage in ("teacher", "teacher-1") if stage in correct), None)
    summary = {
        "recipe": recipe,
        "seed": seed,
        "classes": classes,
        "teacher": model(teacher) if teacher else None,
        "control": model("control") if "control" in correct else None,
        "rounds": rounds,
        "student": model(students[-1]),
        "delivered": students[-1],
        "verdict": {"decision": "keep", "reason": ""},
        "robustness": robustness,
        "baselines": [{"name": name, "top1": top1} for name, top1 in (baselines or {}).items()],
        "fixed": [_fixed(stage, right) for stage, right in correct.items() if stage.startswith("fixed/")],
    }
    images = len(next(iter(correct.values())))
    sources = {
        "labeled": {"name": "l", "images": 100, "fingerprint": f"l{seed}"},
        "unlabeled": {"name": "u", "images": unlabeled} if unlabeled else None,
        "test": {"name": "t", "images": images, "fingerprint": "t"},
    }
    facts = {
        "version": "0",
        "command": ["noisystudent", command],
        "recipe": recipe,
        "format": {"size": 32, "channels": 3},
        "settings": settings or {},
        "origins": dict.fromkeys(_names(settings or {}), "arguments"),
        "sources": sources,
        "start": start,
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "run.json").write_text(json.dumps(facts))
    return folder


def _fixed(stage: str, right: np.ndarray) -> dict:
    test = {"size": 48, "top1": float(right.mean()), "top5": 1.0, "count": len(right)}
    scores = [{"size": 48, "fixed": True, "test": test}]
    name = stage.removeprefix("fixed/").replace("-", " ")
    return {"model": name, "checkpoint": stage, "trained_size": 32, "size": 48, "scores": scores}


def _names(settings: dict, before: str = "") -> list[str]:
    found = []
    for name, value in settings.items():
        found += _names(value, f"{before}{name}.") if isinstance(value, dict) else [f"{before}{name}"]
    return found
