"""A contact sheet: rows of images, named columns of their views, as one PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from noisystudent.artifacts.folder import atomic_write

SMALLEST_CELL = 72  # pixels: smaller images are enlarged by a whole factor, every pixel kept sharp
GAP = 6
HEADER = 22
PAPER, INK = (255, 255, 255), (40, 40, 40)


def write_sheet(path: Path, columns: Sequence[str], cells: npt.NDArray[np.uint8]) -> None:
    """Writes ``cells``, uint8 [rows, columns, S, S, 1 or 3], with the names of the columns above them."""
    drawn = draw_sheet(columns, cells)
    with atomic_write(path) as temporary:
        drawn.save(temporary, format="PNG", optimize=True)


def draw_sheet(columns: Sequence[str], cells: npt.NDArray[np.uint8]) -> Image.Image:
    """The sheet as an image; a column is as wide as its image or its name, whichever is wider."""
    rows, count, edge = cells.shape[:3]
    assert count == len(columns)
    factor = max(1, -(-SMALLEST_CELL // edge))
    edge *= factor
    font = ImageFont.load_default(size=12)
    widths = [max(edge, int(font.getlength(name)) + GAP) for name in columns]
    lefts = np.cumsum([GAP, *(width + GAP for width in widths)])
    sheet = Image.new("RGB", (int(lefts[-1]), HEADER + rows * (edge + GAP)), PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, (name, left) in enumerate(zip(columns, lefts, strict=False)):
        draw.text((int(left), 4), name, fill=INK, font=font)
        for row in range(rows):
            cell = cells[row, number]
            image = Image.fromarray(cell[..., 0] if cell.shape[-1] == 1 else cell).convert("RGB")
            enlarged = image.resize((edge, edge), Image.Resampling.NEAREST)
            sheet.paste(enlarged, (int(left), HEADER + row * (edge + GAP)))
    return sheet
