"""The commands about images alone: show-noise, pack."""

from __future__ import annotations

import sys
from pathlib import Path

from noisystudent.commands.options import SOURCE_HELP, with_settings
from noisystudent.commands.parser import Parser
from noisystudent.commands.say import announce, say
from noisystudent.display.wording import printable


def show_noise(parser: Parser, arguments: list[str]) -> None:
    """Draws a sheet of images under noise."""
    parser.add_argument("source", metavar="SOURCE", help=f"the images: {SOURCE_HELP}")
    parser.add_argument(
        "--out", type=Path, default=Path("noise.png"), metavar="FILE.png", help="file of the sheet (default noise.png)"
    )
    parser.add_argument(
        "--by",
        choices=("strengths", "operations"),
        default="strengths",
        help="columns of the sheet: noise.strengths, or the operations of RandAugment one by one (default strengths)",
    )
    parser.add_argument("--images", type=int, default=8, metavar="N", help="number of images (default 8)")
    given = with_settings(parser, arguments, "show-noise")
    announce(parser.command)
    from noisystudent import api
    from noisystudent.commands.output import open_and_describe

    say(
        api.show_noise(
            source=open_and_describe(given.pop("source"), labeled=False),
            out=given.pop("out"),
            by=given.pop("by"),
            images=given.pop("images"),
            settings=given,
        )
    )


def pack(parser: Parser, arguments: list[str]) -> None:
    """Packs a source into tar shards."""
    parser.add_argument("source", metavar="SOURCE", help=f"the images: {SOURCE_HELP}")
    parser.add_argument("out", type=Path, metavar="FOLDER", help="folder of the tar files")
    parser.add_argument("--labeled", action="store_true", help="pack the labels of the source as well")
    parser.add_argument(
        "--rows", type=int, default=10_000, metavar="N", help="largest number of images per file (default 10000)"
    )
    parser.add_argument(
        "--bytes", type=int, default=10**9, metavar="N", help="a file is full at this many bytes (default 1000000000)"
    )
    given = parser.parse_args(arguments)
    from noisystudent.commands.output import open_and_describe
    from noisystudent.data.shards.pack import pack  # without torch

    open_and_describe(given.source, labeled=given.labeled)
    packed = pack(
        source=given.source,
        out=given.out,
        labeled=given.labeled,
        rows_per_shard=given.rows,
        bytes_per_shard=given.bytes,
    )
    for failure in packed.failures:
        say(printable(f"left out: {failure.key}: {failure.reason}"), sys.stderr)
    say(f"{packed.images:,} images in {packed.shards:,} tar files -> {packed.folder}")
