"""The verbs of single stages: train, label, select, evaluate, predict."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from noisystudent.errors import SettingsError
from noisystudent.verbs.options import CHECKPOINT_HELP, SOURCE_HELP, with_settings


def train(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """One model, on labels or on labels and selected pseudo labels."""
    parser.add_argument(
        "--predictions", metavar="FOLDER", help="for a student: what 'label' wrote for --unlabeled, or its URL"
    )
    parser.add_argument("--selection", type=Path, metavar="FOLDER", help="for a student: what 'select' wrote from it")
    given = with_settings(parser, words)
    from noisystudent import api
    from noisystudent.runtime.ranks import open_ranks

    trained = api.train(
        config=given.pop("config"),
        unlabeled=given.pop("unlabeled", None),
        predictions=given.pop("predictions"),
        selection=given.pop("selection"),
        settings=given,
    )
    if open_ranks().first:
        print(
            f"{trained.model}: {trained.parameters:,} parameters, {trained.passes:,} passes, "
            f"{trained.seconds:.1f} s -> {trained.folder}"
        )


def label(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """A checkpoint labels a source."""
    parser.add_argument("--teacher", required=True, metavar="CHECKPOINT", help=f"who labels: {CHECKPOINT_HELP}")
    parser.add_argument("--source", required=True, metavar="SOURCE", help=f"the pictures to label: {SOURCE_HELP}")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where the predictions go, perhaps a URL")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of the noise, with --noise.teacher (default 0)"
    )
    parser.add_argument(
        "--worker",
        metavar="K/N",
        help="this process is the K-th (from 1) of N that run this command; auto/N in a Kubernetes indexed job of N "
        "completions; known from the environment in a Slurm array or under torchrun",
    )
    parser.add_argument(
        "--workers", type=int, metavar="N", help="start N processes on this machine (default 1), or N actors on Ray"
    )
    parser.add_argument("--engine", choices=("local", "ray"), default="local", help="ray: on a Ray cluster")
    given = with_settings(parser, words, rooms=("runtime.", "data.", "noise."))
    from noisystudent import api

    out = given.pop("out")
    api.label(
        teacher=given.pop("teacher"),
        source=given.pop("source"),
        out=out,
        seed=given.pop("seed"),
        worker=given.pop("worker"),
        workers=given.pop("workers"),
        engine=given.pop("engine"),
        settings=given,
    )
    print(out)


def select(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Which pseudo labels to train on."""
    parser.add_argument("--predictions", required=True, metavar="FOLDER", help="what 'label' wrote, or its URL")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the selection goes")
    parser.add_argument(
        "--round", type=int, default=1, metavar="R", help="the curriculum takes R x fraction (default 1)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the copies' draw (default 0)")
    given = with_settings(parser, words, rooms=("selection.",))
    from noisystudent import choosing

    summary = choosing.select(
        predictions=given.pop("predictions"),
        out=given.pop("out"),
        round=given.pop("round"),
        seed=given.pop("seed"),
        settings=given,
    )
    print(f"{summary['selected']} of {summary['rows']} selected, {summary['copies']} with copies")
    for row in summary["per_class"]:  # type: ignore[attr-defined]
        print(
            f"  {row['class']:<20} predicted {row['predicted']:>8}  selected {row['selected']:>8}  "
            f"copies {row['copies']:>8}"
        )
    for warning in summary["warnings"]:  # type: ignore[attr-defined]
        print(f"  note: {warning}")


def evaluate(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """A checkpoint is scored on labeled pictures."""
    parser.add_argument("--checkpoint", required=True, metavar="CHECKPOINT", help=f"what is scored: {CHECKPOINT_HELP}")
    parser.add_argument("--source", required=True, metavar="SOURCE", help=f"labeled pictures: {SOURCE_HELP}")
    parser.add_argument(
        "--calibrate",
        metavar="SOURCE",
        help="fit a temperature on these labeled pictures, none of which is scored, and also score with it",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="also write all scores there as JSON; with a suite: a folder"
    )
    parser.add_argument("--suite", metavar="NAMES", help="short for --evaluation.suite")
    given = with_settings(parser, words, rooms=("runtime.", "data.", "evaluation."))
    from noisystudent import api
    from noisystudent.config import one_room
    from noisystudent.evaluation.settings import EvaluationSettings
    from noisystudent.runtime.ranks import open_ranks

    checkpoint, source, out, suite = (given.pop(name) for name in ("checkpoint", "source", "out", "suite"))
    if suite:
        given["evaluation.suite"] = suite
    if "evaluation.suite" in given and not out:
        raise SettingsError("a suite keeps what it measures in a folder, to go on there; give --out FOLDER.")
    told = {name: value for name, value in given.items() if name.startswith("evaluation.")}
    one_room(EvaluationSettings, "evaluation", told)  # mistakes are told before anything is scored
    scores = api.evaluate(
        checkpoint=checkpoint,
        source=source,
        calibrate=given.pop("calibrate"),
        out=out / "scores.json" if "evaluation.suite" in given else out,
        settings={name: value for name, value in given.items() if name not in told},
    )
    if not open_ranks().first:
        return
    scaled: Any = scores.get("temperature_scaling", {})
    for name in ("top1", "top5", "ece", "nll", "brier"):
        after = f" -> {scaled[name]:.4f} at temperature {scaled['temperature']:.2f}" if name in scaled else ""
        print(f"{name:<6} {scores[name]:.4f}{after}")
    print(f"count  {scores['count']}")
    if "classes" in scores:
        print(f"  note: the pictures are of {scores['classes']}; answers are among all of them")
    if scaled:
        _tell_calibration(scaled)
    if "evaluation.suite" in given:
        from noisystudent import measuring

        _tell_robustness(measuring.robustness(checkpoint=checkpoint, source=source, out=out, settings=given))


def _tell_calibration(scaled: dict[str, Any]) -> None:
    print(f"temperature fitted on {scaled['count']} pictures of {scaled['source']}")
    if scaled["left_out"]:
        print(f"  note: {scaled['left_out']} more were left out, since the same pictures are scored")
    if scaled["at_end"]:
        print("  note: the temperature is at the end of its range: fit it on more pictures, or harder ones, to use it")


def compare(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Several checkpoints' robustness beside that of the first."""
    parser.add_argument(
        "checkpoints", nargs="+", metavar="CHECKPOINT", help=f"the first is compared with; each {CHECKPOINT_HELP}"
    )
    parser.add_argument("--source", required=True, metavar="SOURCE", help=f"labeled pictures: {SOURCE_HELP}")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where all of it goes")
    parser.add_argument("--suite", metavar="NAMES", help="short for --evaluation.suite (default corruptions)")
    given = with_settings(parser, words, rooms=("runtime.", "data.", "evaluation."))
    from noisystudent import measuring
    from noisystudent.reporting.terminal import plain_robustness

    suite, out = given.pop("suite"), given.pop("out")
    if suite:
        given["evaluation.suite"] = suite
    told = measuring.compare(checkpoints=given.pop("checkpoints"), source=given.pop("source"), out=out, settings=given)
    print("\n".join(plain_robustness(told)))
    print(f"page: {out / 'comparison.html'}")


def _tell_robustness(told: dict[str, Any]) -> None:
    corruptions, steadiness, attacks = (told.get(name) for name in ("corruptions", "perturbations", "attacks"))
    if "calibration" in told:
        _tell_confidence(told["calibration"])
    if corruptions:
        _tell_corruptions(corruptions)
    if steadiness:
        _tell_steadiness(steadiness)
    if "natural" in told:
        _tell_natural(told["natural"])
    if attacks:
        how = f"{attacks['norm']}, PGD of {attacks['steps']} steps"
        print(f"\naccuracy under attack ({how}), clean {attacks['clean']:.4f}:")
        for row in attacks["curve"]:
            strongest = f"  AutoAttack {row['autoattack']:.4f}" if "autoattack" in row else ""
            print(f"  epsilon {row['epsilon']:>5g}/255  FGSM {row['fgsm']:.4f}  PGD {row['pgd']:.4f}{strongest}")
        for warning in attacks["warnings"]:
            print(f"  note: {warning}")


def _tell_corruptions(found: dict[str, Any]) -> None:
    print(f"\nerror under corruptions ({_origin(found)}), by severity:")
    severities = sorted({severity for by_severity in found["errors"].values() for severity in by_severity})
    for name, by_severity in found["errors"].items():
        cells = (f"{by_severity[each]:.4f}" if each in by_severity else "-" for each in severities)
        print(f"  {name:<18}" + "".join(f" {cell:>6}" for cell in cells))
    lacking = f"there is no {'; no '.join(found['missing'])}" if found["missing"] else "some classes have no pictures"
    print(f"  mean {f'none of all 15: {lacking}' if found['mean'] is None else format(found['mean'], '.4f')}")
    if classes := found.get("missing_classes"):
        first = classes if isinstance(classes, list) else next(iter(classes.values()))
        where = "every condition" if classes is first else f"{len(classes)} conditions, such as {next(iter(classes))}"
        print(f"  note: no pictures of {len(first)} of the model's classes ({first[0]!r}, ...) in {where}")
    _tell_ignored(found)
    if alexnet := found.get("alexnet"):
        print(f"  mean corruption error (AlexNet has 100) {alexnet['mean_corruption_error']:.2f}")
        print(
            f"  relative mean corruption error {alexnet['relative_mean_corruption_error']:.2f}, "
            f"clean error {alexnet['clean_error']:.4f} on {alexnet['clean_source']}"
        )
    if relative := found.get("relative_to_baseline"):
        print(f"  mean corruption error ({relative['baseline']} has 100) {_rate(relative['mean_corruption_error'])}")


def _tell_steadiness(found: dict[str, Any]) -> None:
    print(f"\nalong perturbed sequences ({_origin(found)}):")
    for name, each in found["perturbations"].items():
        print(f"  {name:<18} flips {each['flip_probability']:.4f}  top-5 distance {each['top5_distance']:.3f}")
    if found["missing"]:
        print(f"  mean none of all ten: there is no {'; no '.join(found['missing'])}")
    else:
        means = found["mean_flip_probability"], found["mean_top5_distance"]
        print(f"  {'mean':<18} flips {means[0]:.4f}  top-5 distance {means[1]:.3f}")
    _tell_ignored(found)
    if relative := found.get("relative"):
        print(
            f"  {relative['baseline']} has 100: mean flip rate {_rate(relative['mean_flip_rate'])}, mean top-5 "
            f"distance {_rate(relative['mean_top5_distance'])}"
        )


def _origin(found: dict[str, Any]) -> str:
    if found["source"] == "published":
        return f"published, {found['folder']}"
    return f"generated, strengths for {found['table']} px"


def _rate(value: float | None) -> str:
    return "none: not all of the set are there" if value is None else f"{value:.2f}"


def _tell_ignored(found: dict[str, Any]) -> None:
    if ignored := found.get("ignored"):
        more = f" and {len(ignored) - 5} more" if len(ignored) > 5 else ""
        print(f"  note: passed over in the folder: {', '.join(ignored[:5])}{more}")


def _tell_confidence(found: dict[str, Any]) -> None:
    even, odd = found["temperatures"]
    print(f"\ncalibration as it is -> each half at the other's temperature, {even:.2f} and {odd:.2f}:")
    by_severity = {f"severity {severity}": each for severity, each in found["corrupted"].items()}
    for name, each in {"clean": found, **by_severity}.items():
        scores = (f"{score} {each['plain'][score]:.4f} -> {each['scaled'][score]:.4f}" for score in ("ece", "nll"))
        print(f"  {name:<18} {'  '.join(scores)}")


def _tell_natural(sets: dict[str, Any]) -> None:
    from noisystudent.reporting.wording import printable

    print("\nnaturally shifted sets:")
    for name, found in sets.items():
        print(f"  {name}: {found['count']} pictures, {printable(found['classes'])}")
        for score, value in found.items():
            if isinstance(value, float) and not score.endswith("_standard_error"):
                error = found.get(f"{score}_standard_error")
                print(f"    {score:<30} {value:7.4f}" + ("" if error is None else f" +- {error:.4f}"))
        for note in found["notes"]:
            print(f"    note: {printable(note)}")


def predict(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """A table of file, class and confidence."""
    parser.add_argument("--checkpoint", required=True, metavar="CHECKPOINT", help=f"what predicts: {CHECKPOINT_HELP}")
    parser.add_argument("--source", required=True, metavar="SOURCE", help=f"the pictures: {SOURCE_HELP}")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE.csv", help="the table of file, class, confidence"
    )
    given = with_settings(parser, words, rooms=("runtime.", "data."))
    from noisystudent import api
    from noisystudent.runtime.ranks import open_ranks

    out = given.pop("out")
    failures = api.predict(checkpoint=given.pop("checkpoint"), source=given.pop("source"), out=out, settings=given)
    if not open_ranks().first:
        return
    for failure in failures:
        print(f"unreadable: {failure.key}: {failure.reason}", file=sys.stderr)
    print(out)
