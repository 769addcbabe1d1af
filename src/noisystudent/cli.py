"""The command line: one verb a stage. Parses, builds, calls; no logic.

Only the verb that is asked for imports its room, inside its function, so that ``--help`` stays quick.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from noisystudent import __version__
from noisystudent.errors import NoisyStudentError, SettingsError, nearest_name
from noisystudent.runtime.launcher import require_alone
from noisystudent.runtime.threads import let_threads_sleep

# The verbs whose work processes under torchrun share.
SHARED = ("run", "train", "distill", "label", "evaluate", "predict")
SOURCE_HELP = (
    "a folder, an .npz file (FILE.npz:test takes its test part), tar shards or Parquet (a file, a folder, a pattern "
    "such as train-{000..123}.tar, or a URL of one), a .csv of paths, hf:NAME:SPLIT, or digits"
)


class _Parser(argparse.ArgumentParser):
    """argparse with errors that are ours: one line, exit code 2."""

    def error(self, message: str) -> NoReturn:
        raise SettingsError(f"{message} (see '{self.prog} --help')")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code: 0 done, 1 it failed, 2 it was asked wrongly, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    let_threads_sleep()
    try:
        return _dispatch(words)
    except NoisyStudentError as error:
        if debug:
            traceback.print_exc()
        print(f"noisystudent: {error}", file=sys.stderr)
        return 2 if isinstance(error, SettingsError) else 1
    except KeyboardInterrupt:
        print("noisystudent: interrupted; run the same command again to go on.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if debug:
            traceback.print_exc()
        print(
            f"noisystudent: {error.strerror or error}: {error.filename or ''} (finished work is kept)", file=sys.stderr
        )
        return 1


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0 if words else 2
    if words[0] in ("-V", "--version"):
        print(f"noisystudent {__version__}")
        return 0
    verb, *rest = words
    if verb not in VERBS:
        raise SettingsError(f"unknown verb {verb!r}; there are {', '.join(VERBS)}.{nearest_name(verb, VERBS)}")
    if verb not in SHARED:
        require_alone(verb)
    try:
        VERBS[verb][1](_Parser(prog=f"noisystudent {verb}", description=VERBS[verb][0], allow_abbrev=False), rest)
    except SystemExit as stop:  # argparse's --help
        return int(stop.code or 0)
    return 0


def _overview() -> str:
    verbs = "\n".join(f"  {verb:<10} {text}" for verb, (text, _) in VERBS.items())
    return (
        "usage: noisystudent VERB [options]\n\n"
        "A few labels and many unlabeled pictures in, a better classifier and an honest verdict out.\n\n"
        f"{verbs}\n\n"
        "'noisystudent VERB --help' lists a verb's options, --debug shows where an error came from.\n"
        "Start with: noisystudent demo"
    )


def _run(parser: argparse.ArgumentParser, words: list[str]) -> None:
    given = _with_settings(parser, words)
    config = given.pop("config")
    from noisystudent import api
    from noisystudent.config import resolve
    from noisystudent.reporting.terminal import print_summary
    from noisystudent.runtime.ranks import open_ranks

    summary = api.run(config=config, settings=given)
    if open_ranks().first:
        print_summary(summary)
        out = Path(resolve(given, config).settings.out)
        print(f"model: {out / 'best'}\npage: {out / 'report.html'}")


def _plan(parser: argparse.ArgumentParser, words: list[str]) -> None:
    parser.add_argument(
        "--assume",
        type=Path,
        metavar="FILE.yaml",
        help="instead of a run at hand: what one would take in time, bytes and money, from the sizes, rates and prices "
        "in this file (docs/scale.md)",
    )
    given = _with_settings(parser, words)
    assumed = given.pop("assume")
    if assumed:
        _plan_assumed(assumed, [name for name, value in given.items() if value is not None])
        return
    from noisystudent import api
    from noisystudent.artifacts import State
    from noisystudent.reporting.wording import duration

    stages = api.plan(config=given.pop("config"), settings=given)
    shown = {State.COMPLETE: "done", State.PARTIAL: "begun", State.ABSENT: "to do", State.STALE: "to do again"}
    for stage in stages:
        cost = f"{stage.passes:>12,} passes" if stage.passes else ""
        left = f"  about {duration(stage.seconds)}" if stage.seconds else ""
        print(f"{shown[stage.state]:<12}{stage.name:<28}{cost}{left}")
    passes = sum(stage.passes for stage in stages if stage.state is not State.COMPLETE)
    print(f"left: {passes:,} image passes, about {duration(sum(stage.seconds for stage in stages))} on this machine")


def _plan_assumed(file: Path, others: list[str]) -> None:
    if others:
        raise SettingsError(f"plan --assume takes everything from its file; leave out --{', --'.join(others)}.")
    from noisystudent.cost.estimate import estimate  # without torch
    from noisystudent.cost.read import read_assumptions
    from noisystudent.cost.text import describe

    print(describe(estimate(read_assumptions(file))))


def _demo(parser: argparse.ArgumentParser, words: list[str]) -> None:
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="repeat with seeds 0 to N-1 (default 1)")
    parser.add_argument("--out", default="runs/demo", metavar="FOLDER", help="where to write (default runs/demo)")
    given = parser.parse_args(words)
    from noisystudent.demonstration import demo, print_demo

    print_demo(demo(out=given.out, seeds=given.seeds))


def _train(parser: argparse.ArgumentParser, words: list[str]) -> None:
    parser.add_argument(
        "--predictions", metavar="FOLDER", help="for a student: what 'label' wrote for --unlabeled, or its URL"
    )
    parser.add_argument("--selection", type=Path, metavar="FOLDER", help="for a student: what 'select' wrote from it")
    given = _with_settings(parser, words)
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


def _distill(parser: argparse.ArgumentParser, words: list[str]) -> None:
    parser.add_argument(
        "--teacher",
        metavar="FOLDER[,FOLDER]",
        help="who teaches: checkpoints, or names of models to train on the labels first; several are an ensemble",
    )
    parser.add_argument(
        "--student", metavar="MODEL[,MODEL]", help="who learns; of several, each from the one before (default auto)"
    )
    given = _with_settings(parser, words)
    from noisystudent import api
    from noisystudent.config import resolve
    from noisystudent.reporting.terminal import print_summary
    from noisystudent.runtime.ranks import open_ranks

    teacher, student, config = given.pop("teacher"), given.pop("student"), given.pop("config")
    summary = api.distill(
        teacher=teacher and teacher.split(","),
        student=student and student.split(","),
        config=config,
        settings=given,
    )
    if open_ranks().first:
        print_summary(summary)
        out = Path(resolve(given, config, recipe="distillation").settings.out)
        print(f"model: {out / 'best'}\npage: {out / 'report.html'}")


def _label(parser: argparse.ArgumentParser, words: list[str]) -> None:
    parser.add_argument("--teacher", type=Path, required=True, metavar="FOLDER", help="the checkpoint that labels")
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
    given = _with_settings(parser, words, rooms=("runtime.", "data.", "noise."))
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


def _select(parser: argparse.ArgumentParser, words: list[str]) -> None:
    parser.add_argument("--predictions", required=True, metavar="FOLDER", help="what 'label' wrote, or its URL")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the selection goes")
    parser.add_argument(
        "--round", type=int, default=1, metavar="R", help="the curriculum takes R x fraction (default 1)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the copies' draw (default 0)")
    given = _with_settings(parser, words, rooms=("selection.",))
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


def _evaluate(parser: argparse.ArgumentParser, words: list[str]) -> None:
    parser.add_argument("--checkpoint", type=Path, required=True, metavar="FOLDER", help="the checkpoint to score")
    parser.add_argument("--source", required=True, metavar="SOURCE", help=f"labeled pictures: {SOURCE_HELP}")
    parser.add_argument(
        "--calibrate",
        metavar="SOURCE",
        help="fit a temperature on these labeled pictures, none of which is scored, and also score with it",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write all scores there as JSON")
    given = _with_settings(parser, words, rooms=("runtime.", "data."))
    from noisystudent import api
    from noisystudent.runtime.ranks import open_ranks

    scores = api.evaluate(
        checkpoint=given.pop("checkpoint"),
        source=given.pop("source"),
        calibrate=given.pop("calibrate"),
        out=given.pop("out"),
        settings=given,
    )
    if not open_ranks().first:
        return
    scaled: Any = scores.get("temperature_scaling", {})
    for name in ("top1", "top5", "ece", "nll", "brier"):
        after = f" -> {scaled[name]:.4f} at temperature {scaled['temperature']:.2f}" if name in scaled else ""
        print(f"{name:<6} {scores[name]:.4f}{after}")
    print(f"count  {scores['count']}")
    if scaled:
        _tell_calibration(scaled)


def _tell_calibration(scaled: dict[str, Any]) -> None:
    print(f"temperature fitted on {scaled['count']} pictures of {scaled['source']}")
    if scaled["left_out"]:
        print(f"  note: {scaled['left_out']} more were left out, since the same pictures are scored")
    if scaled["at_end"]:
        print("  note: the temperature is at the end of its range: fit it on more pictures, or harder ones, to use it")


def _predict(parser: argparse.ArgumentParser, words: list[str]) -> None:
    parser.add_argument("--checkpoint", type=Path, required=True, metavar="FOLDER", help="the checkpoint that predicts")
    parser.add_argument("--source", required=True, metavar="SOURCE", help=f"the pictures: {SOURCE_HELP}")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE.csv", help="the table of file, class, confidence"
    )
    given = _with_settings(parser, words, rooms=("runtime.", "data."))
    from noisystudent import api
    from noisystudent.runtime.ranks import open_ranks

    out = given.pop("out")
    failures = api.predict(checkpoint=given.pop("checkpoint"), source=given.pop("source"), out=out, settings=given)
    if not open_ranks().first:
        return
    for failure in failures:
        print(f"unreadable: {failure.key}: {failure.reason}", file=sys.stderr)
    print(out)


def _show_noise(parser: argparse.ArgumentParser, words: list[str]) -> None:
    parser.add_argument("source", metavar="SOURCE", help=f"the pictures: {SOURCE_HELP}")
    parser.add_argument(
        "--out", type=Path, default=Path("noise.png"), metavar="FILE.png", help="the sheet (default noise.png)"
    )
    parser.add_argument(
        "--by",
        choices=("strengths", "operations"),
        default="strengths",
        help="columns: noise.strengths, or RandAugment's operations one by one (default strengths)",
    )
    parser.add_argument("--pictures", type=int, default=8, metavar="N", help="how many pictures (default 8)")
    given = _with_settings(parser, words, rooms=("noise.", "data."))
    from noisystudent import api

    print(
        api.show_noise(
            source=given.pop("source"),
            out=given.pop("out"),
            by=given.pop("by"),
            pictures=given.pop("pictures"),
            settings=given,
        )
    )


def _pack(parser: argparse.ArgumentParser, words: list[str]) -> None:
    parser.add_argument("source", metavar="SOURCE", help=f"the pictures: {SOURCE_HELP}")
    parser.add_argument("out", type=Path, metavar="FOLDER", help="where the tar files go")
    parser.add_argument("--labeled", action="store_true", help="the source has labels: pack them too")
    parser.add_argument("--rows", type=int, default=10_000, metavar="N", help="most pictures a file (default 10000)")
    parser.add_argument(
        "--bytes", type=int, default=10**9, metavar="N", help="a file is full at so many bytes (default 1000000000)"
    )
    given = parser.parse_args(words)
    from noisystudent.data.shards.pack import pack  # without torch

    packed = pack(
        source=given.source,
        out=given.out,
        labeled=given.labeled,
        rows_per_shard=given.rows,
        bytes_per_shard=given.bytes,
    )
    for failure in packed.failures:
        print(f"left out: {failure.key}: {failure.reason}", file=sys.stderr)
    print(f"{packed.pictures:,} pictures in {packed.shards:,} tar files -> {packed.folder}")


def _report(parser: argparse.ArgumentParser, words: list[str]) -> None:
    parser.add_argument("run", metavar="FOLDER", help="the folder of a finished run")
    given = parser.parse_args(words)
    from noisystudent import api

    print(api.report(given.run))


def _with_settings(parser: argparse.ArgumentParser, words: list[str], rooms: tuple[str, ...] = ("",)) -> dict[str, Any]:
    """Parses a verb's words with the settings of ``rooms`` as options; returns what was given, by dotted name."""
    from noisystudent.config import setting_fields

    fields = {name: field for name, field in setting_fields().items() if name.startswith(rooms)}
    if rooms == ("",):
        parser.add_argument(
            "--config", type=Path, metavar="FILE.yaml", help="settings from a file; options win over it"
        )
    for name, field in fields.items():
        default = "" if field.is_required() else f" (default {field.default})"
        text = f"{field.description}{default}".replace("%", "%%")
        parser.add_argument(f"--{name}", default=argparse.SUPPRESS, metavar="VALUE", help=text)
    given, unknown = parser.parse_known_args(words)
    for word in unknown:
        name = word.split("=", 1)[0].removeprefix("--")
        known = [option.removeprefix("--") for action in parser._actions for option in action.option_strings]
        raise SettingsError(
            f"unknown option {word!r}.{nearest_name(name, known)} 'noisystudent VERB --help' lists them all."
        )
    return vars(given)


VERBS: dict[str, tuple[str, Callable[[argparse.ArgumentParser, list[str]], None]]] = {
    "demo": ("the main job on scikit-learn's digits, offline, in about two minutes", _demo),
    "run": ("two folders in; a better classifier, a verdict and a page out", _run),
    "plan": ("what run would do, what of it is done, and how long the rest takes", _plan),
    "train": ("train one model, on labels or on labels and selected pseudo labels", _train),
    "distill": ("let teachers teach a student: soft targets, ensembles, compression, teacher-free methods", _distill),
    "label": ("let a checkpoint label a source", _label),
    "select": ("choose which pseudo labels to train on", _select),
    "evaluate": ("score a checkpoint on labeled pictures", _evaluate),
    "predict": ("write a CSV of file, class, confidence for a folder", _predict),
    "show-noise": ("a contact sheet of pictures under noise, to see whether the label survives", _show_noise),
    "pack": ("write any source as tar shards with an index, for large data and object stores", _pack),
    "report": ("make the page of a finished run again", _report),
}
