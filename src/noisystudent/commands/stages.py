"""The commands of single stages: train, pretrain, fix, label, select, evaluate, compare."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, get_args

from noisystudent.commands.options import CHECKPOINT_HELP, SOURCE_HELP, add_verify, sizes_of, with_settings
from noisystudent.commands.parser import Parser
from noisystudent.commands.say import announce, say
from noisystudent.errors import SettingsError
from noisystudent.results.article import TableKind
from noisystudent.runtime.terminal import terminal_width


def train(parser: Parser, arguments: list[str]) -> None:
    """Trains one model."""
    parser.add_argument(
        "--predictions", metavar="FOLDER", help="for a student: what 'label' wrote for --unlabeled, or its URL"
    )
    parser.add_argument("--selection", type=Path, metavar="FOLDER", help="for a student: what 'select' wrote from it")
    parser.add_argument(
        "--start",
        metavar="CHECKPOINT",
        help=f"start from the weights of a model, or of an encoder that 'pretrain' made: {CHECKPOINT_HELP}",
    )
    add_verify(parser)
    given = with_settings(parser, arguments, "train")
    announce(parser.command)
    from noisystudent import api
    from noisystudent.runtime.process_group import open_process_group

    checkpoint = api.train(
        config=given.pop("config"),
        unlabeled=given.pop("unlabeled", None),
        predictions=given.pop("predictions"),
        selection=given.pop("selection"),
        start=given.pop("start"),
        verify=given.pop("verify"),
        settings=given,
    )
    if open_process_group().is_main:
        say(
            f"{checkpoint.model}: {checkpoint.parameters:,} parameters, {checkpoint.samples_seen:,} samples seen, "
            f"{checkpoint.seconds:.1f} s -> {checkpoint.folder}"
        )


def fix(parser: Parser, arguments: list[str]) -> None:
    """Fixes a trained model for a larger test size."""
    parser.add_argument("--checkpoint", required=True, metavar="CHECKPOINT", help=f"the model: {CHECKPOINT_HELP}")
    parser.add_argument("--size", metavar="auto|N", help="short for --fix.size (default auto)")
    add_verify(parser)
    given = with_settings(parser, arguments, "fix", {"size": "fix.size"})
    announce(parser.command)
    from noisystudent import api
    from noisystudent.runtime.process_group import open_process_group

    out, checkpoint = given.get("out"), given.pop("checkpoint")
    result = api.fix(checkpoint=checkpoint, verify=given.pop("verify"), settings=given)
    if not open_process_group().is_main:
        return
    if result.ratio is not None and result.ratio_before is not None:
        say(
            f"objects look {result.ratio_before:.2f} times as large in the test as in training at "
            f"{result.trained_size} px, and {result.ratio:.2f} times at {result.size} px"
        )
    for at in result.scores:
        if at.validation:
            say(f"{'fixed' if at.fixed else 'before':<6}  {at.size} px  top1 {at.validation.top1:.4f}")
    say(out)


def pretrain(parser: Parser, arguments: list[str]) -> None:
    """Pretrains an encoder without labels, and prints the scores of its features."""
    parser.add_argument("--method", metavar="{simclr}", help="short for --pretraining.method (default simclr)")
    parser.add_argument("--model", metavar="NAME", help="short for --model.teacher, the network in timm")
    add_verify(parser)
    named = {"method": "pretraining.method", "model": "model.teacher"}
    given = with_settings(parser, arguments, "pretrain", named)
    announce(parser.command)
    from noisystudent import api
    from noisystudent.runtime.process_group import open_process_group

    made = api.pretrain(config=given.pop("config"), verify=given.pop("verify"), settings=given)
    if not open_process_group().is_main:
        return
    checkpoint, scores = made.checkpoint, made.probe
    say(
        f"{checkpoint.model}: {checkpoint.parameters:,} parameters, {checkpoint.samples_seen:,} samples seen, "
        f"{checkpoint.seconds:.1f} s -> {checkpoint.folder}"
    )
    if scores:
        say(
            f"on its frozen features, {scores.labels} labels give {100 * scores.linear:.1f}% with a linear classifier "
            f"and {100 * scores.neighbors:.1f}% by nearest neighbors, of {scores.images} {scores.held_out} images"
        )


def label(parser: Parser, arguments: list[str]) -> None:
    """Labels images with a checkpoint."""
    parser.add_argument("--teacher", required=True, metavar="CHECKPOINT", help=f"the teacher: {CHECKPOINT_HELP}")
    parser.add_argument("--source", required=True, metavar="SOURCE", help=f"the images to label: {SOURCE_HELP}")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="folder of the predictions, or its URL")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of the noise, with --noise.teacher (default 0)"
    )
    parser.add_argument(
        "--worker",
        metavar="K/N",
        help="this process is number K (from 1) of N that run this command; auto/N in a Kubernetes indexed job of N "
        "completions; in a Slurm array or under torchrun it is read from the environment",
    )
    parser.add_argument(
        "--workers", type=int, metavar="N", help="start N processes on this machine (default 1), or N actors on Ray"
    )
    parser.add_argument(
        "--engine", choices=("local", "ray"), default="local", help="ray: on a Ray cluster (default local)"
    )
    given = with_settings(parser, arguments, "label")
    announce(parser.command)
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
    say(out)


def select(parser: Parser, arguments: list[str]) -> None:
    """Selects the pseudo labels to train on."""
    parser.add_argument("--predictions", required=True, metavar="FOLDER", help="what 'label' wrote, or its URL")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder of the selection")
    parser.add_argument(
        "--round", type=int, default=1, metavar="R", help="the curriculum selects R x fraction (default 1)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the copies (default 0)")
    given = with_settings(parser, arguments, "select")
    from noisystudent import api
    from noisystudent.display.wording import printable

    summary = api.select(
        predictions=given.pop("predictions"),
        out=given.pop("out"),
        round=given.pop("round"),
        seed=given.pop("seed"),
        settings=given,
    )
    print(f"{summary.selected} of {summary.rows} selected, {summary.copies} with copies")
    for row in summary.per_class:
        counts = f"predicted {row.predicted:>8}  selected {row.selected:>8}  copies {row.copies:>8}"
        say(f"  {printable(row.name):<20} {counts}")
    for warning in summary.warnings:
        say(f"  note: {warning}")


def evaluate(parser: Parser, arguments: list[str]) -> None:
    """Scores a checkpoint on labeled images, and runs robustness benchmarks on it."""
    parser.add_argument("--checkpoint", required=True, metavar="CHECKPOINT", help=f"the model: {CHECKPOINT_HELP}")
    parser.add_argument("--source", required=True, metavar="SOURCE", help=f"labeled images: {SOURCE_HELP}")
    parser.add_argument(
        "--calibrate",
        metavar="SOURCE",
        help="fit a temperature on these labeled images, which must be others than those to score, and score with it "
        "as well",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="JSON file for all scores; with a suite: folder of the results"
    )
    parser.add_argument("--suite", metavar="NAMES", help="short for --evaluation.suite")
    parser.add_argument(
        "--size",
        type=sizes_of,
        default=(),
        metavar="N,...",
        help="score at these sizes of the input as well, in pixels: accuracy over resolution",
    )
    given = with_settings(parser, arguments, "robustness", {"suite": "evaluation.suite"})
    announce(parser.command)
    from noisystudent import api
    from noisystudent.commands.output import open_and_describe, print_robustness, print_scores, warn_of_emulation
    from noisystudent.runtime.process_group import open_process_group

    checkpoint, spec, out = (given.pop(name) for name in ("checkpoint", "source", "out"))
    calibrate, sizes = given.pop("calibrate"), given.pop("size")
    benchmarks = [name for name in given if name.startswith("evaluation.")]
    if benchmarks:
        _require_suite(given, out)
    source = open_and_describe(spec, labeled=True)
    if calibrate is not None:
        calibrate = open_and_describe(calibrate, labeled=True, role="calibration")
    if benchmarks:
        from noisystudent.artifacts.ownership import own_folder
        from noisystudent.pipeline.evaluation import check_robustness

        check_robustness(checkpoint, source, out, given, "robustness")
        own_folder(out)
    warn_of_emulation(given, "robustness")
    scores = api.evaluate(
        checkpoint=checkpoint,
        source=source,
        calibrate=calibrate,
        sizes=sizes,
        out=out / "scores.json" if benchmarks else out,
        settings={name: value for name, value in given.items() if name not in benchmarks},
    )
    if not open_process_group().is_main:
        return
    print_scores(scores)
    if benchmarks:
        print_robustness(api.robustness(checkpoint=checkpoint, source=source, out=out, settings=given))


def _require_suite(given: dict[str, object], out: Path | None) -> None:
    """Raises ``SettingsError`` for settings of benchmarks without any benchmark to run, or without a folder."""
    from noisystudent.config import section_settings
    from noisystudent.evaluation.settings import EvaluationSettings

    if not section_settings(EvaluationSettings, "evaluation", given, command="robustness").suite:
        raise SettingsError("--suite names no benchmark; give names such as corruptions,attacks, or leave it out.")
    if not out:
        raise SettingsError("a suite needs a folder for its results, from which it can resume; give --out FOLDER.")


def compare(parser: Parser, arguments: list[str]) -> None:
    """Compares the robustness of several checkpoints with that of the first, or makes a table of finished runs."""
    parser.add_argument(
        "checkpoints",
        nargs="+",
        metavar="RUN|CHECKPOINT",
        help=f"models; the others are compared with the first; each {CHECKPOINT_HELP}; with --table and without "
        "--source, folders of finished runs",
    )
    parser.add_argument("--source", metavar="SOURCE", help=f"labeled images: {SOURCE_HELP}")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder of the results and the page")
    parser.add_argument("--suite", metavar="NAMES", help="short for --evaluation.suite (default corruptions)")
    parser.add_argument(
        "--table",
        choices=get_args(TableKind),
        help="a table with its figures as the article has them, as JSON, Markdown, CSV, LaTeX and SVG, instead",
    )
    parser.add_argument(
        "--published",
        metavar="FILE.csv|article",
        help="with --table: published rows to set beside it; article: those that this package has",
    )
    given = with_settings(parser, arguments, "compare", {"suite": "evaluation.suite"})
    kind, published = given.pop("table"), given.pop("published")
    if kind is not None:
        _make_table(kind, published, given)
        return
    if published is not None:
        raise SettingsError("--published adds rows to a --table; give that too.")
    if given["source"] is None:
        raise SettingsError("compare needs --source, labeled images; of finished runs it makes a --table without.")
    announce(parser.command)
    from noisystudent import api
    from noisystudent.commands.output import open_and_describe, warn_of_emulation
    from noisystudent.reporting.terminal import plain_robustness

    out, checkpoints = given.pop("out"), given.pop("checkpoints")
    given.setdefault("evaluation.suite", "corruptions")
    source = open_and_describe(given.pop("source"), labeled=True)
    warn_of_emulation(given, "compare")
    comparison = api.compare(checkpoints=checkpoints, source=source, out=out, settings=given)
    say("\n".join(plain_robustness(comparison, terminal_width(sys.stdout))))
    say(f"page: {out / 'comparison.html'}")


def _make_table(kind: TableKind, published: str | None, given: dict[str, Any]) -> None:
    """Makes a table of runs or, with a source, of models, and prints it."""
    from noisystudent import api
    from noisystudent.commands.output import open_and_describe
    from noisystudent.reporting.article.write import plain

    source, out, models = (given.pop(name) for name in ("source", "out", "checkpoints"))
    if source is not None:
        source = open_and_describe(source, labeled=True)
    table = api.table(kind, models, out=out, source=source, published=published, settings=given)
    say(plain(table, terminal_width(sys.stdout)))
    say(f"table and figures: {out}")
