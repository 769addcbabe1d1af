"""Measures seven effects of distillation from the literature, on Fashion-MNIST (16 px) and the digits, over seeds.

    python benchmarks/distillation.py                       # all, about an hour on two cores
    python benchmarks/distillation.py regularizer --seeds 3
    python benchmarks/distillation.py --quick               # a few steps: a smoke test

    regularizer   3% of the labels with hard targets, and with soft targets of a teacher of all labels (Hinton 2015, 6)
    ensemble      five models, their mean, and one model distilled from it (Hinton 2015, 4)
    omitted       a digit that is missing from the transfer set, with and without bias correction (Hinton 2015, 3)
    munge         a small model on MUNGE vectors made from few digits, with three teachers (Bucila 2006)
    teacher-free  one small and one large model: KD, Re-KD, De-KD, Tf-KD and label smoothing (Yuan 2020)
    smoothing     label smoothing: calibration, and the student of such a teacher (Mueller 2019)
    compression   accuracy against parameters and CPU time of distilled small students

All training runs of an effect use the same number of steps and the same batch size. A row is the mean over seeds of
test top-1 in percent (or of the quantity after the colon) with the lowest and the highest value, and the mean paired
difference to its reference row. The test part only reports; every choice uses images of the training part. ``--work``
stores everything, so a later call resumes, and several processes may each compute different seeds. The benchmark reads
``../shared/data`` and skips with a message if it is missing; ``omitted`` and ``munge`` do not need it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

import noisystudent
from distilling import (
    BARE,
    LARGE,
    MIDDLE,
    SMALL,
    Bench,
    Fashion,
    Scores,
    Settings,
    five_teachers,
    milliseconds,
    parameters_of,
    test_digit_labels,
    top1,
    training_digits,
)
from noisystudent.data.stratified import draw_labeled
from noisystudent.evaluation.metrics.calibration import negative_log_likelihood
from noisystudent.evaluation.metrics.scores import score
from noisystudent.evaluation.metrics.temperature import apply_temperature, fit_temperature
from noisystudent.losses.objectives import equivalent_smoothing
from noisystudent.losses.settings import DistillationSettings
from noisystudent.runtime.env import describe_machine, versions
from splits import is_missing


def regularizer(bench: Bench) -> Scores:
    """Few labels, hard or soft: the final scores, and whether early stopping would have helped."""
    data = Fashion.draw(bench.work / "data", bench.seed)
    teacher = bench.train("all/teacher", MIDDLE, data.all, {"train.steps": 2 * bench.steps})
    validating = {**BARE, "validation": data.held_out, "train.evaluate_every": 40, "train.steps": 2 * bench.steps}
    soft = {**validating, "distillation.method": "kd", "distillation.hard_weight": 0.0, "distillation.soft_weight": 1.0}
    scores: Scores = {"teacher of all labels": top1(bench.log_probabilities(teacher, data.test), data.test_labels)}
    runs = {"hard targets": bench.train("few/hard", MIDDLE, data.few, validating)}
    for temperature in (2.0, 5.0):
        name = f"soft targets, T = {temperature:g}"
        settings = {**soft, "distillation.temperature": temperature}
        runs[name] = bench.distill(f"few/soft-{temperature:g}", MIDDLE, [teacher], labeled=data.few, settings=settings)
    for name, checkpoint in runs.items():
        rows = [json.loads(row) for row in (checkpoint / "metrics.jsonl").read_text().splitlines()]
        validated = [row for row in rows if "validation_top1" in row]
        answers = bench.log_probabilities(checkpoint, data.test)
        scores[f"3%, {name}"] = top1(answers, data.test_labels)
        scores[f"3%, {name}: NLL"] = negative_log_likelihood(answers, data.test_labels)
        scores[f"3%, {name}: top-1 lost since the best on validation"] = 100 * (
            max(row["validation_top1"] for row in validated) - validated[-1]["validation_top1"]
        )
        scores[f"3%, {name}: NLL risen since the best on validation"] = validated[-1]["validation_nll"] - min(
            row["validation_nll"] for row in validated
        )
    return scores


def ensemble(bench: Bench) -> Scores:
    """Five models, their mean prediction, and a student of it."""
    data = Fashion.draw(bench.work / "data", bench.seed)
    teachers = five_teachers(bench, data)
    answers = [bench.log_probabilities(teacher, data.test) for teacher in teachers]
    student = bench.distill(
        "five/student", MIDDLE, teachers, labeled=data.labeled, settings={"distillation.preset": "paper:hinton2015"}
    )
    alone = [top1(log_probabilities, data.test_labels) for log_probabilities in answers]
    mean = top1(np.log(np.mean(np.exp(answers), axis=0)), data.test_labels)
    distilled = top1(bench.log_probabilities(student, data.test), data.test_labels)
    return {"one model (mean of 5)": float(np.mean(alone)), "ensemble of 5": mean, "distilled into one": distilled}


def omitted(bench: Bench) -> Scores:
    """Digits without threes: the student never sees a three, and its bias for threes is corrected on other images."""
    folder = bench.work / "digits"
    folder.mkdir(parents=True, exist_ok=True)
    x, y = training_digits(bench.seed)
    held_out, rest = draw_labeled(y, 30, bench.seed)
    transfer = rest[y[rest] != 3]
    for name, rows in {"all": rest, "transfer": transfer, "held-out": held_out}.items():
        np.savez(folder / f"{name}.npz", x=x[rows], y=y[rows], classes=np.array([str(digit) for digit in range(10)]))
    test = f"digits:test@{bench.seed}"
    truth = test_digit_labels(bench.seed)
    all_digits, without_threes = str(folder / "all.npz"), str(folder / "transfer.npz")
    teacher = bench.train("omitted/teacher", MIDDLE, all_digits, {"noise.flip": False})
    soft = {"recipe": "compression", "noise.flip": False, "distillation.temperature": 4.0}
    scores: Scores = {}
    for name, source in (("all digits", all_digits), ("no threes", without_threes)):
        student = bench.distill(
            f"omitted/{name.replace(' ', '-')}", MIDDLE, [teacher], labeled=None, unlabeled=source, settings=soft
        )
        answers = bench.log_probabilities(student, test)
        scores[name] = top1(answers, truth)
        scores[f"{name}: threes correct"] = top1(answers[truth == 3], truth[truth == 3])
    on_held_out = bench.log_probabilities(student, str(folder / "held-out.npz"))
    biases = np.arange(0, 15, 0.25)
    bias = max(biases, key=lambda added: (top1(add_bias(on_held_out, added), y[held_out]), -added))
    corrected = add_bias(answers, bias)
    scores["no threes, bias corrected"] = top1(corrected, truth)
    scores["no threes, bias corrected: threes correct"] = top1(corrected[truth == 3], truth[truth == 3])
    scores["no threes, bias corrected: the bias, logits"] = float(bias)
    return scores


def add_bias(log_probabilities: npt.NDArray[np.float32], bias: float) -> npt.NDArray[np.float32]:
    """Adds ``bias`` to the logit of the threes; the largest one needs no normalization."""
    return log_probabilities + bias * (np.arange(10) == 3).astype(np.float32)


def munged(bench: Bench) -> Scores:
    """A small model, the mean of three teachers, and students on the 200 labeled digits, others and MUNGE vectors."""
    folder = bench.work / "munged"
    folder.mkdir(parents=True, exist_ok=True)
    x, y = training_digits(bench.seed)
    few, rest = draw_labeled(y, 20, bench.seed)
    vectors = x[few].reshape(len(few), -1).astype(np.float64)
    synthetic = noisystudent.munge(vectors, multiplier=50, probability=0.5, variance=4.0, seed=bench.seed)
    names = np.array([str(digit) for digit in range(10)])
    np.savez(folder / "labeled.npz", x=x[few], y=y[few], classes=names)
    transfer = {
        "the 200": x[few],
        "10,000 made by MUNGE": synthetic.clip(0, 255).round().astype(np.uint8),
        "1,097 others": x[rest],
    }
    labeled, test, truth = str(folder / "labeled.npz"), f"digits:test@{bench.seed}", test_digit_labels(bench.seed)
    bare = {**BARE, "data.size": 8}
    teachers = [
        bench.train(f"munged/teacher-{k}", MIDDLE, labeled, {**bare, "seed": 10 * bench.seed + k}) for k in range(3)
    ]
    answers = [bench.log_probabilities(teacher, test) for teacher in teachers]
    scores = {"mean of 3": top1(np.log(np.mean(np.exp(answers), axis=0)), truth)}
    scores["small on the labels"] = top1(
        bench.log_probabilities(bench.train("munged/alone", SMALL, labeled, bare), test), truth
    )
    for name, images in transfer.items():
        source = folder / f"transfer-{len(images)}.npz"
        np.savez(source, x=images.reshape(-1, 8, 8))
        student = bench.distill(
            f"munged/student-{len(images)}", SMALL, teachers, labeled=None, unlabeled=str(source),
            settings={"recipe": "compression", **bare},
        )  # fmt: skip
        scores[f"small on {name}"] = top1(bench.log_probabilities(student, test), truth)
    return scores


def teacher_free(bench: Bench) -> Scores:
    """All methods on one pair of models, with the same budget."""
    data = Fashion.draw(bench.work / "data", bench.seed)
    small = bench.train("pair/small", SMALL, data.labeled)
    large = bench.train("pair/large", LARGE, data.labeled)
    poor = bench.train("pair/poor", LARGE, data.labeled, {"train.stop_after": max(1, bench.steps // 20)})
    checkpoints = {"small alone": small, "large alone": large, "poor large": poor}
    checkpoints["small, label smoothing 0.1"] = bench.train(
        "pair/smoothed", SMALL, data.labeled, {"objective.label_smoothing": 0.1}
    )

    def distill(
        name: str, student: str, teachers: Sequence[Path], preset: str, more: Settings = MappingProxyType({})
    ) -> None:
        settings = {"distillation.preset": preset, **more}
        folder = f"pair/{name.replace(' ', '-').replace(',', '')}"
        checkpoints[name] = bench.distill(folder, student, teachers, labeled=data.labeled, settings=settings)

    distill("small, KD by large", SMALL, [large], "repo:tf-kd")
    distill("small, KD by large, T 4", SMALL, [large], "repo:mdistiller-kd")
    distill("small, De-KD by poor large", SMALL, [poor], "repo:tf-kd")
    distill("large, Re-KD by small", LARGE, [small], "repo:tf-kd-reversed")
    distill("small, Tf-KD self", SMALL, [small], "repo:tf-kd-self-mobilenetv2")
    distill("small, Tf-KD reg (text, power)", SMALL, [], "paper:yuan2020-reg")
    distill("small, Tf-KD reg (text, softmax)", SMALL, [], "paper:yuan2020-reg-softmax")
    released = "repo:tf-kd-reg-mobilenetv2"
    distill("small, Tf-KD reg (code)", SMALL, [], released)
    distill("small, matched smoothing", SMALL, [], released, {"distillation.method": "matched_smoothing"})
    mild = {"distillation.hard_weight": 0.9, "distillation.soft_weight": 0.1}
    distill("small, KD by large, mild", SMALL, [large], "repo:mdistiller-kd", mild)
    distill("small, De-KD by poor large, mild", SMALL, [poor], "repo:mdistiller-kd", mild)
    distill("large, Re-KD by small, mild", LARGE, [small], "repo:mdistiller-kd", mild)
    distill("small, Tf-KD self, mild", SMALL, [small], "repo:mdistiller-kd", mild)
    equivalent = equivalent_smoothing(DistillationSettings(preset=released), 10)
    scaled = {
        "distillation.method": "confidence_penalty",
        "distillation.hard_weight": equivalent.scale,
        "distillation.soft_weight": 0.0,
    }
    distill("small, plain labels, matched scale", SMALL, [], "", scaled)
    scores = {
        name: top1(bench.log_probabilities(checkpoint, data.test), data.test_labels)
        for name, checkpoint in checkpoints.items()
    }
    return scores | {
        "Tf-KD reg (code): equivalent smoothing": equivalent.share,
        "Tf-KD reg (code): equivalent scale": equivalent.scale,
    }


def smoothing(bench: Bench) -> Scores:
    """Teachers with plain and with smoothed labels: accuracy, calibration before and after scaling, students."""
    data = Fashion.draw(bench.work / "data", bench.seed)
    scores: Scores = {}
    for name, share in (("plain labels", 0.0), ("smoothed labels", 0.1)):
        teacher = bench.train(f"smoothing/{share}", LARGE, data.labeled, {"objective.label_smoothing": share})
        answers = bench.log_probabilities(teacher, data.test)
        temperature = fit_temperature(bench.log_probabilities(teacher, data.held_out), data.held_out_labels)
        scaled = apply_temperature(answers, temperature)
        names = [str(number) for number in range(10)]
        scores[f"teacher of {name}"] = top1(answers, data.test_labels)
        scores[f"{name}: ECE"] = 100 * (score(answers, data.test_labels, names).ece or 0.0)
        scores[f"{name}: ECE, scaled"] = 100 * (score(scaled, data.test_labels, names).ece or 0.0)
        scores[f"{name}: temperature"] = temperature
        for at in (1.0, 4.0):
            soft = {"distillation.method": "kd", "distillation.hard_weight": 0.0, "distillation.soft_weight": 1.0}
            student = bench.distill(
                f"smoothing/{share}-student-{at:g}", SMALL, [teacher], labeled=data.labeled,
                settings={**soft, "distillation.temperature": at},
            )  # fmt: skip
            scores[f"student of a teacher of {name}, T = {at:g}"] = top1(
                bench.log_probabilities(student, data.test), data.test_labels
            )
    return scores


def compression(bench: Bench) -> Scores:
    """Students of an ensemble in several sizes, compared with the same models alone, and their time per image."""
    data = Fashion.draw(bench.work / "data", bench.seed)
    teachers = five_teachers(bench, data)
    answers = [bench.log_probabilities(teacher, data.test) for teacher in teachers]
    scores = {"ensemble of 5": top1(np.log(np.mean(np.exp(answers), axis=0)), data.test_labels)}
    scores["ensemble of 5: thousand parameters"] = 5 * parameters_of(teachers[0]) / 1e3
    scores["ensemble of 5: ms per image"] = 5 * milliseconds(teachers[0])
    for model in (SMALL, "resnet_small_20", MIDDLE):
        alone = bench.train(f"compression/{model}-alone", model, data.labeled)
        student = bench.distill(
            f"compression/{model}", model, teachers, labeled=data.labeled, unlabeled=data.all,
            settings={"recipe": "compression", "distillation.temperature": 2.0},
        )  # fmt: skip
        scores[f"{model} alone"] = top1(bench.log_probabilities(alone, data.test), data.test_labels)
        scores[f"{model} distilled"] = top1(bench.log_probabilities(student, data.test), data.test_labels)
        scores[f"{model}: thousand parameters"] = parameters_of(student) / 1e3
        scores[f"{model}: ms per image"] = milliseconds(student)
    return scores


# By effect: its function, and the reference row of the others.
EFFECTS: dict[str, tuple[Callable[[Bench], Scores], str]] = {
    "regularizer": (regularizer, "3%, hard targets"),
    "ensemble": (ensemble, "one model (mean of 5)"),
    "omitted": (omitted, "no threes"),
    "munge": (munged, "small on the labels"),
    "teacher-free": (teacher_free, "small alone"),
    "smoothing": (smoothing, "teacher of plain labels"),
    "compression": (compression, "ensemble of 5"),
}


def rows_of(effect: str, scores: Sequence[Scores]) -> list[dict[str, Any]]:
    """Mean, lowest and highest value over seeds of every number, and the paired difference to the reference row."""
    reference = EFFECTS[effect][1]
    rows = []
    for name in scores[0]:
        values = np.array([by_name[name] for by_name in scores])
        difference = values - np.array([by_name[reference] for by_name in scores])
        comparable = ":" not in name and name != reference
        rows.append(
            {
                "name": f"{effect}: {name}",
                "value": round(float(values.mean()), 3),
                "unit": "as named" if ":" in name else "top-1, %",
                "versus": reference if comparable else None,
                "difference": [round(float(statistic(difference)), 3) for statistic in (np.mean, np.min, np.max)]
                if comparable
                else None,
                "seeds": len(scores),
                "interval": [round(float(values.min()), 3), round(float(values.max()), 3)],
                "machine": describe_machine(),
                "versions": versions(),
            }
        )
    return rows


def measure(effect: str, seeds: Sequence[int], work: Path, steps: int) -> list[dict[str, Any]]:
    """An effect's rows over seeds; each seed's folder stores its numbers."""
    scores = []
    for seed in seeds:
        folder = work / f"seed-{seed}"
        stored = folder / f"{effect}.json"
        if not stored.exists():
            measured = EFFECTS[effect][0](Bench(folder, seed, steps, {}))
            stored.write_text(json.dumps(measured, indent=1) + "\n")
        scores.append(json.loads(stored.read_text()))
    return rows_of(effect, scores)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "effects", nargs="*", metavar="EFFECT", help=f"the effects to measure (default all): {', '.join(EFFECTS)}"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=600, help="optimizer steps per training run")
    parser.add_argument("--work", type=Path, help="folder for the work, to resume later (default: a temporary folder)")
    parser.add_argument("--quick", action="store_true", help="two steps, one seed, the digits: a smoke test")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    unknown = [effect for effect in options.effects if effect not in EFFECTS]
    if unknown:
        parser.error(f"unknown effect {unknown[0]!r}; choose from {', '.join(EFFECTS)}")
    effects = options.effects or (["omitted", "munge"] if options.quick else list(EFFECTS))
    if not {"omitted", "munge"}.issuperset(effects) and is_missing("fashion"):
        return 0
    seeds = range(options.first_seed, options.first_seed + (1 if options.quick else options.seeds))
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for effect in effects:
            rows += measure(effect, seeds, options.work or Path(temporary), 2 if options.quick else options.steps)
            for row in rows:
                if row["name"].startswith(f"{effect}: "):
                    low, high = row["interval"]
                    difference = "  {:+.2f} ({:+.2f} to {:+.2f}) to".format(*row["difference"]) if row["versus"] else ""
                    value = f"{row['value']:8.2f} ({low:.2f} to {high:.2f})"
                    print(f"{row['name']:<62} {value}{difference} {row['versus'] or ''}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
