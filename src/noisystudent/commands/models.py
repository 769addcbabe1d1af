"""The commands that use a finished model: predict, export."""

from __future__ import annotations

from pathlib import Path

from noisystudent.commands.options import CHECKPOINT_HELP, SOURCE_HELP, with_settings
from noisystudent.commands.parser import Parser
from noisystudent.commands.say import announce, say


def predict(parser: Parser, arguments: list[str]) -> None:
    """Predicts images: counts per class, a table, copies sorted by class."""
    parser.add_argument("checkpoint", metavar="RUN", help=f"the model: the folder of a run, {CHECKPOINT_HELP}")
    parser.add_argument("source", metavar="FILE_OR_FOLDER", help=f"the images: one image, {SOURCE_HELP}")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="table with file, class, confidence and problem: .csv, .jsonl (JSON lines) or .parquet",
    )
    parser.add_argument(
        "--top", type=int, default=1, metavar="N", help="the N most probable classes of every image (default 1)"
    )
    parser.add_argument(
        "--probabilities", action="store_true", help="write the probability of every class into the table"
    )
    parser.add_argument(
        "--calibrated",
        action="store_true",
        help="confidences at the temperature that the run fitted on labels aside, so that they match accuracies",
    )
    parser.add_argument("--copy-to", type=Path, metavar="FOLDER", help="copy images into a folder per predicted class")
    parser.add_argument(
        "--min-confidence",
        type=float,
        default=0.0,
        metavar="X",
        help="copy only images of at least this confidence, 0 to 1 (default 0)",
    )
    given = with_settings(parser, arguments, "predict")
    announce(parser.command)
    from noisystudent import api
    from noisystudent.commands.output import print_predictions
    from noisystudent.runtime.process_group import open_process_group

    own = ("checkpoint", "source", "out", "top", "probabilities", "calibrated", "copy_to", "min_confidence")
    chosen = {name: given.pop(name) for name in own}
    summary = api.predict(**chosen, settings=given)
    if open_process_group().is_main:
        print_predictions(summary, chosen["out"], chosen["copy_to"])


def export(parser: Parser, arguments: list[str]) -> None:
    """Exports a model to timm, ONNX or torch.export."""
    parser.add_argument("model", metavar="RUN", help=f"the model: the folder of a run, {CHECKPOINT_HELP}")
    parser.add_argument(
        "--to",
        required=True,
        metavar="{timm,onnx,torch-export}",
        help="timm: a folder in the layout of timm's hub; onnx: a graph for onnxruntime; torch-export: one for torch",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder of the export, a new one")
    parser.add_argument(
        "--preprocessing", action="store_true", help="the graph takes uint8 pixels and normalizes them itself"
    )
    parser.add_argument(
        "--license", default="", metavar="NAME", help="license that the card states, such as apache-2.0"
    )
    given = parser.parse_args(arguments)
    announce(parser.command)
    from noisystudent import api

    folder = api.export(
        given.model, to=given.to, out=given.out, preprocessing=given.preprocessing, license=given.license
    )
    say(f"export: {folder} (its README.md shows how to run it)")
