"""The verbs of single stages: train, label, select, evaluate, predict."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from noisystudent.commands.options import CHECKPOINT_HELP, SOURCE_HELP, with_settings
from noisystudent.commands.output import print_robustness, print_scores
from noisystudent.errors import SettingsError


def train(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """One model, on labels or on labels and selected pseudo labels."""
    parser.add_argument(
        "--predictions", metavar="FOLDER", help="for a student: what 'label' wrote for --unlabeled, or its URL"
    )
    parser.add_argument("--selection", type=Path, metavar="FOLDER", help="for a student: what 'select' wrote from it")
    given = with_settings(parser, words)
    from noisystudent import api
    from noisystudent.runtime.process_group import open_process_group

    checkpoint = api.train(
        config=given.pop("config"),
        unlabeled=given.pop("unlabeled", None),
        predictions=given.pop("predictions"),
        selection=given.pop("selection"),
        settings=given,
    )
    if open_process_group().is_main:
        print(
            f"{checkpoint.model}: {checkpoint.parameters:,} parameters, {checkpoint.samples_seen:,} samples seen, "
            f"{checkpoint.seconds:.1f} s -> {checkpoint.folder}"
        )


def label(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """A checkpoint labels a source."""
    parser.add_argument("--teacher", required=True, metavar="CHECKPOINT", help=f"who labels: {CHECKPOINT_HELP}")
    parser.add_argument("--source", required=True, metavar="SOURCE", help=f"the images to label: {SOURCE_HELP}")
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
    """A checkpoint is scored on labeled images."""
    parser.add_argument("--checkpoint", required=True, metavar="CHECKPOINT", help=f"what is scored: {CHECKPOINT_HELP}")
    parser.add_argument("--source", required=True, metavar="SOURCE", help=f"labeled images: {SOURCE_HELP}")
    parser.add_argument(
        "--calibrate",
        metavar="SOURCE",
        help="fit a temperature on these labeled images, none of which is scored, and also score with it",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="also write all scores there as JSON; with a suite: a folder"
    )
    parser.add_argument("--suite", metavar="NAMES", help="short for --evaluation.suite")
    given = with_settings(parser, words, rooms=("runtime.", "data.", "evaluation."))
    from noisystudent import api
    from noisystudent.config import section_settings
    from noisystudent.evaluation.settings import EvaluationSettings
    from noisystudent.runtime.process_group import open_process_group

    checkpoint, source, out, suite = (given.pop(name) for name in ("checkpoint", "source", "out", "suite"))
    if suite is not None:
        given["evaluation.suite"] = suite
    calibrate = given.pop("calibrate")
    told = {name: value for name, value in given.items() if name.startswith("evaluation.")}
    measured = section_settings(EvaluationSettings, "evaluation", told).suite
    if told and not measured:
        raise SettingsError(
            f"{', '.join(told)}: without a suite only the scores are taken. Name what to measure, such as --suite "
            "corruptions,attacks, or leave evaluation's settings out."
        )
    if measured and not out:
        raise SettingsError("a suite keeps what it measures in a folder, to go on there; give --out FOLDER.")
    if measured:
        from noisystudent import measuring

        measuring.check_measurable(checkpoint=checkpoint, source=source, out=out, settings=given)
    scores = api.evaluate(
        checkpoint=checkpoint,
        source=source,
        calibrate=calibrate,
        out=out / "scores.json" if measured else out,
        settings={name: value for name, value in given.items() if name not in told},
    )
    if not open_process_group().is_main:
        return
    print_scores(scores)
    if measured:
        print_robustness(measuring.robustness(checkpoint=checkpoint, source=source, out=out, settings=given))


def compare(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Several checkpoints' robustness beside that of the first."""
    parser.add_argument(
        "checkpoints", nargs="+", metavar="CHECKPOINT", help=f"the first is compared with; each {CHECKPOINT_HELP}"
    )
    parser.add_argument("--source", required=True, metavar="SOURCE", help=f"labeled images: {SOURCE_HELP}")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where all of it goes")
    parser.add_argument("--suite", metavar="NAMES", help="short for --evaluation.suite (default corruptions)")
    given = with_settings(parser, words, rooms=("runtime.", "data.", "evaluation."))
    from noisystudent import measuring
    from noisystudent.reporting.terminal import plain_robustness

    suite, out = given.pop("suite"), given.pop("out")
    if suite is not None:
        given["evaluation.suite"] = suite
    told = measuring.compare(checkpoints=given.pop("checkpoints"), source=given.pop("source"), out=out, settings=given)
    print("\n".join(plain_robustness(told)))
    print(f"page: {out / 'comparison.html'}")


def predict(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """A table of file, class and confidence."""
    parser.add_argument("--checkpoint", required=True, metavar="CHECKPOINT", help=f"what predicts: {CHECKPOINT_HELP}")
    parser.add_argument("--source", required=True, metavar="SOURCE", help=f"the images: {SOURCE_HELP}")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE.csv", help="the table of file, class, confidence"
    )
    given = with_settings(parser, words, rooms=("runtime.", "data."))
    from noisystudent import api
    from noisystudent.runtime.process_group import open_process_group

    out = given.pop("out")
    failures = api.predict(checkpoint=given.pop("checkpoint"), source=given.pop("source"), out=out, settings=given)
    if not open_process_group().is_main:
        return
    for failure in failures:
        print(f"unreadable: {failure.key}: {failure.reason}", file=sys.stderr)
    print(out)
