"""Folders of runs for tests of the page: all numbers come from a seed, no model was trained."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def synthetic_scores(random: np.random.Generator, classes: list[str], top1: float, count: int = 400) -> dict:
    total = len(classes)
    truth = np.arange(count) % total
    wrong = random.random(count) >= top1
    prediction = np.where(wrong, (truth + random.integers(1, total, count)) % total, truth)
    confusion = np.zeros((total, total), int)
    np.add.at(confusion, (truth, prediction), 1)
    edges = np.linspace(0, 1, 11)
    accuracies = np.clip(edges[:-1] + 0.02, 0, 1)
    calibration = [
        {
            "low": low,
            "high": low + 0.1,
            "count": int(40 * low),
            "confidence": low + 0.06,
            "accuracy": accuracy,
        }
        for low, accuracy in zip(edges[:-1].tolist(), accuracies.tolist(), strict=True)
    ]
    images = confusion.sum(axis=1)
    shares = [int(confusion[label, label]) / int(images[label]) if images[label] else None for label in range(total)]
    return {
        "top1": float((prediction == truth).mean()),
        "top5": 0.99,
        "ece": 0.034,
        "nll": 0.41,
        "brier": 0.2,
        "count": count,
        "per_class": dict(zip(classes, shares, strict=True)),
        "confusion": confusion.tolist(),
        "calibration": calibration,
    }


def evaluated(name: str, **scores: dict | None) -> dict:
    by_role = {"validation": None, "test": None} | scores
    return {"name": name, "model": "small", "parameters": 1_234_567, "samples_seen": 96_000, "seconds": 83.0} | by_role


def write_rows(file: Path, **columns: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), file)


def write_json(file: Path, content: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def write_selection(folder: Path, random: np.random.Generator, classes: list[str], rows: int = 300) -> None:
    prediction = random.integers(0, len(classes), rows).astype(np.uint16)
    confidence = random.beta(6, 2, rows).astype(np.float32)
    copies = np.where(confidence > 0.7, 1 + (prediction == 0), 0).astype(np.uint16)
    reason = np.where(copies > 0, "selected", np.where(confidence > 0.6, "over-target", "below-threshold"))
    for part, part_rows in enumerate(np.array_split(np.arange(rows), 2)):
        write_rows(
            folder.parent / "predictions" / f"part-{part:05d}.parquet",
            key=[f"unlabeled/{row:04d}.png" for row in part_rows],
            prediction=prediction[part_rows],
            confidence=confidence[part_rows],
        )
        write_rows(
            folder / f"part-{part:05d}.parquet",
            copies=copies[part_rows],
            reason=pa.array(reason[part_rows].tolist()).dictionary_encode(),
        )
    counts, edges = np.histogram(confidence, 20, (0, 1))
    reasons, reason_counts = np.unique(reason, return_counts=True)
    per_class = [
        {
            "name": name,
            "predicted": int((prediction == index).sum()),
            "selected": int(((prediction == index) & (copies > 0)).sum()),
            "copies": int(copies[prediction == index].sum()),
            "threshold": 0.7,
        }
        for index, name in enumerate(classes)
    ]
    summary = {
        "rows": rows,
        "selected": int((copies > 0).sum()),
        "copies": int(copies.sum()),
        "per_class": per_class,
        "reasons": dict(zip(reasons.tolist(), reason_counts.tolist(), strict=True)),
        "confidence_histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
        "warnings": [f"class {classes[0]!r} has few images"],
    }
    write_json(folder / "summary.json", summary)


def run_facts(classes: list[str], **more: object) -> dict:
    source = {"name": "images/labeled", "fingerprint": "0a1b", "images": 400, "classes": classes}
    return {
        "version": "0.1.0",
        "command": ["noisystudent", "run", "--out", "runs/my first"],
        "recipe": "curriculum",
        "settings": {"train": {"steps": 3000, "mixing": None}, "noise": {"operations": 2, "strength": "auto"}},
        "origins": {"train.steps": "command line", "train.mixing": "default", "noise.operations": "default"},
        "sources": {"labeled": source, "unlabeled": None, "validation": None, "test": None},
        "versions": {"numpy": "2.0"},
        "machine": "a synthetic machine",
    } | more


def full_run(folder: Path, classes: list[str] | None = None, rounds: int = 3) -> Path:
    random = np.random.default_rng(0)
    classes = classes or [f"class {letter}" for letter in "abcdef"]
    eval_result = [
        {
            "validation": synthetic_scores(random, classes, top1, 120),
            "test": synthetic_scores(random, classes, top1),
        }
        for top1 in (0.80, 0.82, 0.86, 0.89, 0.88)
    ]
    results = [
        evaluated(f"round {number}", **eval_result[number + 1])
        | {"round": number, "selected": 200, "copies": 240, "worse": number == 2}
        | {"pseudo_labels": {"pseudo_label_top1": 0.8 + 0.02 * number, "selected_top1": 0.9 + 0.01 * number}}
        | {"diagnostics": {"agreement": None if number == 1 else 0.96, "class_drift": 0.02, "mean_confidence": 0.8}}
        for number in range(1, rounds + 1)
    ]
    verdict = {"decision": "keep", "reason": "the unlabeled images helped", "difference": 0.0724}
    verdict |= {"interval": [0.031, 0.114], "p_value": 0.0004, "labels": 400, "source": "test"}
    summary = {
        "recipe": "curriculum",
        "seed": 7,
        "classes": classes,
        "teacher": evaluated("teacher", **eval_result[0]),
    }
    summary |= {
        "control": evaluated("control", **eval_result[1]),
        "rounds": results,
        "delivered": f"round-{rounds}",
    }
    summary |= {"student": evaluated("student", **eval_result[rounds + 1]), "verdict": verdict}
    summary |= {"baselines": [{"name": "logistic regression", "top1": 0.71}]}
    summary |= {"cost": {"seconds": 7990.0, "samples_seen": 1_790_000}}
    write_json(folder / "summary.json", summary)
    facts = run_facts(classes)
    labeled = facts["sources"]["labeled"]
    facts["sources"]["labeled"] = labeled | {
        "failures": [{"key": "a/broken.png", "reason": "truncated"}],
        "per_class": dict.fromkeys(classes, 66),
        "passed_over": [{"what": "files that end in .txt", "count": 30, "names": ["a/x.txt", "a/y.txt"]}],
        "notes": ["the class folder 'test' looks like a part of a data set"],
        "conflicts": [{"keys": ["a/1.png", "b/2.png"], "classes": ["class a", "class b"]}],
        "repeats": 3,
    }
    duplicates = [
        {"key": "unlabeled/0001.png", "same_as": "test/0002.png", "found": "identical"},
        {"key": "unlabeled/0003.png", "same_as": "test/0004.png", "found": "near-duplicate"},
    ]
    facts["sources"]["unlabeled"] = {"name": "images/unlabeled", "images": 300, "left_out": duplicates}
    facts["sources"]["test"] = labeled | {"name": "images/test"}
    write_json(folder / "run.json", facts)
    candidates = [
        {
            "strength": strength,
            "top1": 0.8 + strength / 10,
            "nll": 0.6,
            "behind": 0.12,
            "standard_error": 0.034,
            "labels": 40,
        }
        for strength in (0.0, 0.25, 0.5)
    ]
    choice = {"chosen": 0.5, "by": "cross-fitting", "candidates": candidates}
    write_json(folder / "strength" / "choice" / "summary.json", choice)
    for number in range(1, rounds + 1):
        write_selection(folder / f"round-{number}" / "selection", random, classes)
    label = np.arange(400) % len(classes)
    write_rows(
        folder / "scores" / f"round-{rounds}" / "test.parquet",
        key=[f"test/{index:04d}.png" for index in range(400)],
        label=label,
        prediction=np.where(np.arange(400) % 10 == 3, (label + 1) % len(classes), label).astype(np.uint16),
        confidence=random.random(400).astype(np.float32),
    )
    return folder


def minimal_run(folder: Path) -> Path:
    """A run without held-out labels, control and rounds: only the two files that every run has."""
    verdict = {
        "decision": "no clear gain",
        "reason": "no held-out labels",
        "difference": None,
        "interval": None,
    }
    verdict |= {"p_value": None, "labels": 0, "source": "none"}
    summary = {"recipe": "curriculum", "seed": 0, "classes": ["cat", "dog"], "teacher": evaluated("teacher")}
    summary |= {"control": None, "rounds": [], "student": evaluated("teacher"), "delivered": "teacher"}
    summary |= {"baselines": [], "verdict": verdict, "cost": {"seconds": None, "samples_seen": None}}
    write_json(folder / "summary.json", summary)
    write_json(folder / "run.json", run_facts(["cat", "dog"], origins={}))
    return folder


def with_robustness(folder: Path, robustness: dict | None) -> Path:
    summary = json.loads((folder / "summary.json").read_text())
    write_json(folder / "summary.json", summary | {"robustness": robustness})
    return folder


def synthetic_images(role: str, keys: list[str]) -> dict[str, np.ndarray]:
    """Checkered squares whose shade depends on the key; every seventh image is missing."""
    shades = {key: sum(key.encode()) % 200 for key in keys}
    board = np.indices((8, 8)).sum(axis=0) % 2
    return {key: (shade + 50 * board).astype(np.uint8) for key, shade in shades.items() if shade % 7}


def with_models(folder: Path, rounds: int = 3) -> Path:
    """Adds the test predictions of all models: on 400 images, the student wins 20 and loses 4 against the control."""
    summary = json.loads((folder / "summary.json").read_text())
    classes, label = len(summary["classes"]), np.arange(400) % len(summary["classes"])
    wrong_rows = {"control": np.arange(10, 40), "teacher": np.arange(10, 60)}
    wrong_rows |= {f"round-{number}": np.arange(20, 30) for number in range(1, rounds)}
    wrong_rows[f"round-{rounds}"] = np.concatenate([np.arange(10, 20), np.arange(100, 104)])
    for name, rows in wrong_rows.items():
        prediction = label.copy()
        prediction[rows] = (label[rows] + 1) % classes
        write_rows(
            folder / "scores" / name / "test.parquet",
            key=[f"test/{index:04d}.png" for index in range(400)],
            label=label,
            prediction=prediction.astype(np.uint16),
            confidence=np.linspace(0.5, 1, 400).astype(np.float32),
        )
    return folder


def with_findings(folder: Path, count: int = 30, points: int = 60, **changes: object) -> Path:
    """Adds what a run finds: ``count`` images in every list, and a map of ``points`` images."""
    classes = json.loads((folder / "summary.json").read_text())["classes"]
    first, second = classes[0], classes[-1]
    issue = {"label": first, "prediction": second, "label_probability": 0.01, "confidence": 0.9}
    to_label = {"first": first, "first_confidence": 0.5, "second": second, "second_confidence": 0.45}
    content = {
        "labels": 400,
        "labels_by": "cross-fitting",
        "label_issues": [{"key": f"labeled/{row:04d}.png"} | issue for row in range(count)],
        "unlabeled": 300,
        "checked": 300,
        "threshold": 0.7,
        "out_of_class": [
            {"key": f"unlabeled/{row:04d}.png", "prediction": first, "confidence": 0.6, "distance": 0.9}
            for row in range(count)
        ],
        "label_next": [{"key": f"unlabeled/{100 + row:04d}.png"} | to_label for row in range(count)],
        "label_for_test": [f"unlabeled/{200 + row:04d}.png" for row in range(count)],
        "confidence_counts": np.linspace(300, 0, 101).astype(int).tolist(),
    }
    write_json(folder / "findings" / "summary.json", content | changes)
    random = np.random.default_rng(0)
    write_rows(
        folder / "findings" / "map.parquet",
        **{
            "key": [f"unlabeled/{row:04d}.png" for row in range(points)],
            "labeled": np.arange(points) < points // 6,
            "x": random.random(points).astype(np.float32),
            "y": random.random(points).astype(np.float32),
            "class": (np.arange(points) % len(classes)).astype(np.uint16),
            "confidence": random.random(points).astype(np.float32),
            "out_of_class": np.arange(points) > points - points // 6,
        },
    )
    columns = int(np.ceil(np.sqrt(points)))
    stream = io.BytesIO()
    Image.new("RGB", (16 * columns, 16 * columns)).save(stream, format="JPEG")
    (folder / "findings" / "map.jpg").write_bytes(stream.getvalue())
    return folder
