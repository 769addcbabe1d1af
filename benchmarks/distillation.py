"""What distillation does: seven effects of the literature on Fashion-MNIST (16 px) and the digits, several seeds each.

    python benchmarks/distillation.py                       # all, about an hour on two cores
    python benchmarks/distillation.py regularizer --seeds 3
    python benchmarks/distillation.py --quick               # a few steps: only shows that it runs

    regularizer   3% of the labels with hard targets, and with soft targets of a teacher that saw all (Hinton 2015, 6)
    ensemble      five models, their mean, and one model distilled from it (Hinton 2015, 4)
    omitted       a digit that is missing from the transfer set, with and without its bias corrected (Hinton 2015, 3)
    munge         a small net on vectors that MUNGE made of few digits, taught by three nets (Bucila 2006)
    teacher-free  one small and one large model: KD, Re-KD, De-KD, Tf-KD and label smoothing (Yuan 2020)
    smoothing     label smoothing: calibration, and the student of such a teacher (Mueller 2019)
    compression   accuracy against parameters and CPU time of distilled small students

All trainings of an effect take the same steps and batches. A row is the mean over seeds of test top-1 in percent, or of
what it names after a colon, with the lowest and the highest, and the mean paired difference to the row that it is
compared with. The test part only reports: what has to be chosen is chosen on images of the training part. ``--work``
keeps everything, and a later call goes on there; several processes may each take their seeds of it. Reads
``../shared/data`` and skips with a message where it is absent; ``omitted`` and ``munge`` need nothing.
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
    digits_of_test,
    five_teachers,
    milliseconds,
    parameters_of,
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
    """Few labels, hard or soft: where the training ends, and whether it had better been stopped before."""
    data = Fashion.draw(bench.work / "data", bench.seed)
    teacher = bench.train("all/teacher", MIDDLE, data.all, {"train.steps": 2 * bench.steps})
    watching = {**BARE, "validation": data.held_out, "train.evaluate_every": 40, "train.steps": 2 * bench.steps}
    soft = {**watching, "distillation.method": "kd", "distillation.hard_weight": 0.0, "distillation.soft_weight": 1.0}
    found: Scores = {"teacher of all labels": top1(bench.log_probabilities(teacher, data.test), data.test_labels)}
    runs = {"hard targets": bench.train("few/hard", MIDDLE, data.few, watching)}
    for temperature in (2.0, 5.0):
        name = f"soft targets, T = {temperature:g}"
        told = {**soft, "distillation.temperature": temperature}
        runs[name] = bench.distill(f"few/soft-{temperature:g}", MIDDLE, [teacher], labeled=data.few, settings=told)
    for name, checkpoint in runs.items():
        rows = [json.loads(row) for row in (checkpoint / "metrics.jsonl").read_text().splitlines()]
        watched = [row for row in rows if "validation_top1" in row]
        answers = bench.log_probabilities(checkpoint, data.test)
        found[f"3%, {name}"] = top1(answers, data.test_labels)
        found[f"3%, {name}: NLL"] = negative_log_likelihood(answers, data.test_labels)
        found[f"3%, {name}: top-1 lost since the best on validation"] = 100 * (
            max(row["validation_top1"] for row in watched) - watched[-1]["validation_top1"]
        )
        found[f"3%, {name}: NLL risen since the best on validation"] = watched[-1]["validation_nll"] - min(
            row["validation_nll"] for row in watched
        )
    return found


def ensemble(bench: Bench) -> Scores:
    """Five models, their mean and its student."""
    data = Fashion.draw(bench.work / "data", bench.seed)
    teachers = five_teachers(bench, data)
    answers = [bench.log_probabilities(each, data.test) for each in teachers]
    student = bench.distill(
        "five/student", MIDDLE, teachers, labeled=data.some, settings={"distillation.preset": "paper:hinton2015"}
    )
    alone = [top1(each, data.test_labels) for each in answers]
    mean = top1(np.log(np.mean(np.exp(answers), axis=0)), data.test_labels)
    distilled = top1(bench.log_probabilities(student, data.test), data.test_labels)
    return {"one model (mean of 5)": float(np.mean(alone)), "ensemble of 5": mean, "distilled into one": distilled}


def omitted(bench: Bench) -> Scores:
    """Digits without their threes: the student never sees one, and its bias for them is corrected on other images."""
    folder = bench.work / "digits"
    folder.mkdir(parents=True, exist_ok=True)
    x, y = training_digits(bench.seed)
    held_out, rest = draw_labeled(y, 30, bench.seed)
    transfer = rest[y[rest] != 3]
    for name, rows in {"all": rest, "transfer": transfer, "held-out": held_out}.items():
        np.savez(folder / f"{name}.npz", x=x[rows], y=y[rows], classes=np.array([str(digit) for digit in range(10)]))
    test = f"digits:test@{bench.seed}"
    truth = digits_of_test(bench.seed)
    all_of_them, without = str(folder / "all.npz"), str(folder / "transfer.npz")
    teacher = bench.train("omitted/teacher", MIDDLE, all_of_them, {"noise.flip": False})
    soft = {"recipe": "compression", "noise.flip": False, "distillation.temperature": 4.0}
    found: Scores = {}
    for name, source in (("all digits", all_of_them), ("no threes", without)):
        student = bench.distill(
            f"omitted/{name.replace(' ', '-')}", MIDDLE, [teacher], labeled=None, unlabeled=source, settings=soft
        )
        answers = bench.log_probabilities(student, test)
        found[name] = top1(answers, truth)
        found[f"{name}: right of the threes"] = top1(answers[truth == 3], truth[truth == 3])
    seen = bench.log_probabilities(student, str(folder / "held-out.npz"))
    bias = max(np.arange(0, 15, 0.25), key=lambda each: (top1(raised(seen, each), y[held_out]), -each))
    corrected = raised(answers, bias)
    found["no threes, bias corrected"] = top1(corrected, truth)
    found["no threes, bias corrected: right of the threes"] = top1(corrected[truth == 3], truth[truth == 3])
    found["no threes, bias corrected: the bias, logits"] = float(bias)
    return found


def raised(log_probabilities: npt.NDArray[np.float32], bias: float) -> npt.NDArray[np.float32]:
    """The answers with more for the threes; normalization does not matter to the largest."""
    return log_probabilities + bias * (np.arange(10) == 3).astype(np.float32)


def munged(bench: Bench) -> Scores:
    """A small net and the mean of three on 200 digits, and its students on those, on others, and on vectors made up."""
    folder = bench.work / "munged"
    folder.mkdir(parents=True, exist_ok=True)
    x, y = training_digits(bench.seed)
    few, rest = draw_labeled(y, 20, bench.seed)
    vectors = x[few].reshape(len(few), -1).astype(np.float64)
    made = noisystudent.munge(vectors, multiplier=50, probability=0.5, variance=4.0, seed=bench.seed)
    names = np.array([str(digit) for digit in range(10)])
    np.savez(folder / "labeled.npz", x=x[few], y=y[few], classes=names)
    transfer = {
        "the 200": x[few],
        "10,000 made by MUNGE": made.clip(0, 255).round().astype(np.uint8),
        "1,097 others": x[rest],
    }
    labeled, test, truth = str(folder / "labeled.npz"), f"digits:test@{bench.seed}", digits_of_test(bench.seed)
    bare = {**BARE, "data.size": 8}
    teachers = [
        bench.train(f"munged/teacher-{k}", MIDDLE, labeled, {**bare, "seed": 10 * bench.seed + k}) for k in range(3)
    ]
    answers = [bench.log_probabilities(each, test) for each in teachers]
    found = {"mean of 3": top1(np.log(np.mean(np.exp(answers), axis=0)), truth)}
    found["small on the labels"] = top1(
        bench.log_probabilities(bench.train("munged/alone", SMALL, labeled, bare), test), truth
    )
    for name, images in transfer.items():
        source = folder / f"transfer-{len(images)}.npz"
        np.savez(source, x=images.reshape(-1, 8, 8))
        student = bench.distill(
            f"munged/student-{len(images)}", SMALL, teachers, labeled=None, unlabeled=str(source),
            settings={"recipe": "compression", **bare},
        )  # fmt: skip
        found[f"small on {name}"] = top1(bench.log_probabilities(student, test), truth)
    return found


def teacher_free(bench: Bench) -> Scores:
    """All methods on one pair, each with the budget of the others."""
    data = Fashion.draw(bench.work / "data", bench.seed)
    small = bench.train("pair/small", SMALL, data.some)
    large = bench.train("pair/large", LARGE, data.some)
    poor = bench.train("pair/poor", LARGE, data.some, {"train.stop_after": max(1, bench.steps // 20)})
    checkpoints = {"small alone": small, "large alone": large, "poor large": poor}
    checkpoints["small, label smoothing 0.1"] = bench.train(
        "pair/smoothed", SMALL, data.some, {"objective.label_smoothing": 0.1}
    )

    def taught(
        name: str, student: str, teachers: Sequence[Path], preset: str, more: Settings = MappingProxyType({})
    ) -> None:
        settings = {"distillation.preset": preset, **more}
        folder = f"pair/{name.replace(' ', '-').replace(',', '')}"
        checkpoints[name] = bench.distill(folder, student, teachers, labeled=data.some, settings=settings)

    taught("small, KD by large", SMALL, [large], "repo:tf-kd")
    taught("small, KD by large, T 4", SMALL, [large], "repo:mdistiller-kd")
    taught("small, De-KD by poor large", SMALL, [poor], "repo:tf-kd")
    taught("large, Re-KD by small", LARGE, [small], "repo:tf-kd-reversed")
    taught("small, Tf-KD self", SMALL, [small], "repo:tf-kd-self-mobilenetv2")
    taught("small, Tf-KD reg (text, power)", SMALL, [], "paper:yuan2020-reg")
    taught("small, Tf-KD reg (text, softmax)", SMALL, [], "paper:yuan2020-reg-softmax")
    released = "repo:tf-kd-reg-mobilenetv2"
    taught("small, Tf-KD reg (code)", SMALL, [], released)
    taught("small, its smoothing, its scale", SMALL, [], released, {"distillation.method": "matched_smoothing"})
    mild = {"distillation.hard_weight": 0.9, "distillation.soft_weight": 0.1}
    taught("small, KD by large, mild", SMALL, [large], "repo:mdistiller-kd", mild)
    taught("small, De-KD by poor large, mild", SMALL, [poor], "repo:mdistiller-kd", mild)
    taught("large, Re-KD by small, mild", LARGE, [small], "repo:mdistiller-kd", mild)
    taught("small, Tf-KD self, mild", SMALL, [small], "repo:mdistiller-kd", mild)
    its = equivalent_smoothing(DistillationSettings(preset=released), 10)
    scaled = {
        "distillation.method": "confidence_penalty",
        "distillation.hard_weight": its.scale,
        "distillation.soft_weight": 0.0,
    }
    taught("small, plain labels, its scale", SMALL, [], "", scaled)
    found = {
        name: top1(bench.log_probabilities(each, data.test), data.test_labels) for name, each in checkpoints.items()
    }
    return found | {"Tf-KD reg (code): its smoothing": its.share, "Tf-KD reg (code): its scale": its.scale}


def smoothing(bench: Bench) -> Scores:
    """Teachers of plain and of smoothed labels: accuracy, calibration before and after scaling, and their students."""
    data = Fashion.draw(bench.work / "data", bench.seed)
    found: Scores = {}
    for name, share in (("plain labels", 0.0), ("smoothed labels", 0.1)):
        teacher = bench.train(f"smoothing/{share}", LARGE, data.some, {"objective.label_smoothing": share})
        answers = bench.log_probabilities(teacher, data.test)
        temperature = fit_temperature(bench.log_probabilities(teacher, data.held_out), data.held_out_labels)
        scaled = apply_temperature(answers, temperature)
        names = [str(number) for number in range(10)]
        found[f"teacher of {name}"] = top1(answers, data.test_labels)
        found[f"{name}: ECE"] = 100 * float(score(answers, data.test_labels, names)["ece"])  # type: ignore[arg-type]
        found[f"{name}: ECE, scaled"] = 100 * float(score(scaled, data.test_labels, names)["ece"])  # type: ignore[arg-type]
        found[f"{name}: temperature"] = temperature
        for at in (1.0, 4.0):
            told = {"distillation.method": "kd", "distillation.hard_weight": 0.0, "distillation.soft_weight": 1.0}
            student = bench.distill(
                f"smoothing/{share}-student-{at:g}", SMALL, [teacher], labeled=data.some,
                settings={**told, "distillation.temperature": at},
            )  # fmt: skip
            found[f"student of a teacher of {name}, T = {at:g}"] = top1(
                bench.log_probabilities(student, data.test), data.test_labels
            )
    return found


def compression(bench: Bench) -> Scores:
    """An ensemble's students of several sizes, beside the same models alone; time of one image on one thread."""
    data = Fashion.draw(bench.work / "data", bench.seed)
    teachers = five_teachers(bench, data)
    answers = [bench.log_probabilities(each, data.test) for each in teachers]
    found = {"ensemble of 5": top1(np.log(np.mean(np.exp(answers), axis=0)), data.test_labels)}
    found["ensemble of 5: thousand parameters"] = 5 * parameters_of(teachers[0]) / 1e3
    found["ensemble of 5: ms an image"] = 5 * milliseconds(teachers[0])
    for model in (SMALL, "resnet_small_20", MIDDLE):
        alone = bench.train(f"compression/{model}-alone", model, data.some)
        student = bench.distill(
            f"compression/{model}", model, teachers, labeled=data.some, unlabeled=data.all,
            settings={"recipe": "compression", "distillation.temperature": 2.0},
        )  # fmt: skip
        found[f"{model} alone"] = top1(bench.log_probabilities(alone, data.test), data.test_labels)
        found[f"{model} distilled"] = top1(bench.log_probabilities(student, data.test), data.test_labels)
        found[f"{model}: thousand parameters"] = parameters_of(student) / 1e3
        found[f"{model}: ms an image"] = milliseconds(student)
    return found


# By effect: how it is measured, and the row that its others are compared with.
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
    """Mean, lowest and highest over seeds of every number, and the mean paired difference to the effect's base."""
    base = EFFECTS[effect][1]
    rows = []
    for name in scores[0]:
        values = np.array([each[name] for each in scores])
        against = values - np.array([each[base] for each in scores])
        comparable = ":" not in name and name != base
        rows.append(
            {
                "name": f"{effect}: {name}",
                "value": round(float(values.mean()), 3),
                "unit": "as named" if ":" in name else "top-1, %",
                "versus": base if comparable else None,
                "difference": [round(float(each), 3) for each in (against.mean(), against.min(), against.max())]
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
    """An effect's rows over seeds; each seed's numbers are kept in its folder."""
    scores = []
    for seed in seeds:
        folder = work / f"seed-{seed}"
        kept = folder / f"{effect}.json"
        if not kept.exists():
            found = EFFECTS[effect][0](Bench(folder, seed, steps, {}))
            kept.write_text(json.dumps(found, indent=1) + "\n")
        scores.append(json.loads(kept.read_text()))
    return rows_of(effect, scores)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("effects", nargs="*", metavar="EFFECT", help=f"which (default all): {', '.join(EFFECTS)}")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=600, help="optimizer steps of a training")
    parser.add_argument("--work", type=Path, help="where to work, to resume later (default: a folder that is removed)")
    parser.add_argument("--quick", action="store_true", help="two steps, one seed, the digits: only shows that it runs")
    parser.add_argument("--json", type=Path, help="write the rows there")
    given = parser.parse_args()
    unknown = [each for each in given.effects if each not in EFFECTS]
    if unknown:
        parser.error(f"there is no effect {unknown[0]!r}; there are {', '.join(EFFECTS)}")
    effects = given.effects or (["omitted", "munge"] if given.quick else list(EFFECTS))
    if not {"omitted", "munge"}.issuperset(effects) and is_missing("fashion"):
        return 0
    seeds = range(given.first_seed, given.first_seed + (1 if given.quick else given.seeds))
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for effect in effects:
            rows += measure(effect, seeds, given.work or Path(temporary), 2 if given.quick else given.steps)
            for row in rows:
                if row["name"].startswith(f"{effect}: "):
                    low, high = row["interval"]
                    by = "  {:+.2f} ({:+.2f} to {:+.2f}) to".format(*row["difference"]) if row["versus"] else ""
                    print(
                        f"{row['name']:<62} {row['value']:8.2f} ({low:.2f} to {high:.2f}){by} {row['versus'] or ''}",
                        flush=True,
                    )
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
