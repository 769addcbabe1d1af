"""A contact sheet as one PNG: images in rows, their views in named columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from noisystudent.artifacts.folder import atomic_write

MIN_CELL = 72  # pixels; smaller images are enlarged by a whole factor with sharp pixels
GAP = 6
HEADER = 22
_SOFTWARE = "noisystudent"  # written into the file, so that no other image is replaced
BACKGROUND, INK = (255, 255, 255), (40, 40, 40)


@dataclass(frozen=True)
class NoiseSheet:
    """The file of a contact sheet, which a notebook shows; it stands wherever a path does."""

    path: Path

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)

    def _repr_png_(self) -> bytes:
        return self.path.read_bytes()


def write_sheet(path: Path, columns: Sequence[str], cells: npt.NDArray[np.uint8]) -> NoiseSheet:
    """Writes a contact sheet as a PNG file, and returns it.

    Args:
        path: the file to write.
        columns: names of the columns.
        cells: square images, uint8 [rows, columns, S, S, 1 or 3].
    """
    sheet = draw_sheet(columns, cells)
    marks = PngInfo()
    marks.add_text("Software", _SOFTWARE)
    with atomic_write(path) as temporary:
        sheet.save(temporary, format="PNG", optimize=True, pnginfo=marks)
    return NoiseSheet(path)


def is_sheet(path: Path) -> bool:
    """Whether a file is a sheet that ``write_sheet`` wrote."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            return image.info.get("Software") == _SOFTWARE
    except (OSError, ValueError, SyntaxError):
        return False


def draw_sheet(columns: Sequence[str], cells: npt.NDArray[np.uint8]) -> Image.Image:
    """Draws a contact sheet; a column is as wide as the wider of its images and its name."""
    rows, count, edge = cells.shape[:3]
    assert count == len(columns)
    factor = max(1, -(-MIN_CELL // edge))
    edge *= factor
    font = ImageFont.load_default(size=12)
    widths = [max(edge, int(font.getlength(name)) + GAP) for name in columns]
    lefts = np.cumsum([GAP, *(width + GAP for width in widths)])
    sheet = Image.new("RGB", (int(lefts[-1]), HEADER + rows * (edge + GAP)), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for column, (name, left) in enumerate(zip(columns, lefts, strict=False)):
        draw.text((int(left), 4), name, fill=INK, font=font)
        for row in range(rows):
            cell = cells[row, column]
            image = Image.fromarray(cell[..., 0] if cell.shape[-1] == 1 else cell).convert("RGB")
            enlarged = image.resize((edge, edge), Image.Resampling.NEAREST)
            sheet.paste(enlarged, (int(left), HEADER + row * (edge + GAP)))
    return sheet
