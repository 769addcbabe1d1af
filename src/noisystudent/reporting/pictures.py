"""``results.png`` and ``confusion.png``: the first screen and the confusion matrix as images to paste anywhere."""

from __future__ import annotations

import math
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from noisystudent.artifacts.folder import atomic_write
from noisystudent.display.wording import percent, shortened
from noisystudent.reporting.first_screen import first_words
from noisystudent.reporting.headline import judged_model
from noisystudent.reporting.records import RunRecord

RESULTS, CONFUSION = "results.png", "confusion.png"
CLASSES_IN_PICTURE = 60  # the cells of a larger matrix are too small to read
INK, SOFT, LINE, GROUND = (26, 29, 35), (91, 100, 114), (223, 227, 232), (255, 255, 255)
COLORS = {"student": (0, 114, 178), "control": (213, 94, 0), "gain": (11, 107, 58)}
RIGHT, WRONG = (0, 114, 178), (192, 49, 43)
_CELL, _NAMES, _SHORT = 44, 150, 18


def write_pictures(record: RunRecord) -> None:
    """Writes both images into the folder of a run; without held-out labels there is no confusion matrix."""
    _save(record.folder / RESULTS, results_picture(record))
    matrix = confusion_picture(record)
    if matrix:
        _save(record.folder / CONFUSION, matrix)


def results_picture(record: RunRecord) -> Image.Image:
    """The headline, its numbers, and the accuracy of each round beside the control."""
    first = first_words(record)
    picture = Image.new("RGB", (1200, 630), GROUND)
    draw = ImageDraw.Draw(picture)
    top = 40.0
    for line in _wrapped(first.title, 44, 1120):
        draw.text((40, top), line, INK, _font(44))
        top += 54
    for line in _wrapped(first.lead, 22, 1120):
        draw.text((40, top + 10), line, SOFT, _font(22))
        top += 30
    left, top = 40.0, top + 40
    for number in first.numbers:
        sure = number.kind != "gain" or first.tone == "good"
        draw.text((left, top), number.text, COLORS[number.kind] if sure else INK, _font(52))
        for offset, line in enumerate(_wrapped(number.what, 18, 340)):
            draw.text((left, top + 62 + 24 * offset), line, SOFT, _font(18))
        left += 370
    _draw_rounds(draw, record, (40, top + 160, 1160, 580))
    return picture


def confusion_picture(record: RunRecord) -> Image.Image | None:
    """The confusion matrix of the delivered model; None without one, or with more than 60 classes."""
    summary = record.summary
    scores = summary.student.scores(summary.reporting_role())
    if scores is None or not scores.confusion or len(summary.classes) > CLASSES_IN_PICTURE:
        return None
    count = len(scores.confusion)
    cell = max(16, min(_CELL, 900 // count))
    edge = max(_NAMES + count * cell + 20, 460)
    picture = Image.new("RGB", (edge, edge + 40), GROUND)
    draw = ImageDraw.Draw(picture)
    legend = f"Rows: true classes. Columns: predicted ({summary.reporting_role()} images)."
    draw.text((20, edge + 8), legend, SOFT, _font(14))
    small = _font(min(14, cell - 4))
    for truth, row in enumerate(scores.confusion):
        y = _NAMES + truth * cell
        draw.text((_NAMES - 8, y + cell / 2), _printed(summary.class_name(truth)), INK, small, anchor="rm")
        for predicted, value in enumerate(row):
            x = _NAMES + predicted * cell
            if truth == 0:
                _draw_upright(picture, _printed(summary.class_name(predicted)), (x, _NAMES - 8), cell, small)
            shade = math.sqrt(value / max(sum(row), 1)) * 0.6
            color = RIGHT if truth == predicted else WRONG
            fill = tuple(round(255 + (part - 255) * shade) for part in color)
            draw.rectangle((x, y, x + cell - 2, y + cell - 2), fill=fill if value else (246, 247, 249))
            if value:
                draw.text((x + cell / 2 - 1, y + cell / 2 - 1), str(value), INK, small, anchor="mm")
    return picture


def _draw_rounds(draw: ImageDraw.ImageDraw, record: RunRecord, box: tuple[float, float, float, float]) -> None:
    summary = record.summary
    role = summary.reporting_role()
    models = [("teacher", summary.teacher), *((one.name, one) for one in summary.rounds)]
    scored = [(name, scores.top1) for name, model in models if model and (scores := model.scores(role))]
    if len(scored) < 2:
        return
    judged, difference = judged_model(summary).scores(role), summary.verdict.difference
    control = judged.top1 - difference if judged and difference is not None else None
    values = [value for _, value in scored] + ([control] if control is not None else [])
    low, high = min(values), max(values)
    left, top, right, bottom = box

    def y(value: float) -> float:
        return bottom - 70 - (value - low) / max(high - low, 0.005) * (bottom - top - 110)

    if control is not None:
        for start in range(int(left), int(right), 18):
            draw.line((start, y(control), start + 10, y(control)), COLORS["control"], 3)
        draw.text((right, y(control) + 6), f"labels only {percent(control)}", COLORS["control"], _font(18), anchor="ra")
    places = [left + 60 + (right - left - 120) * number / (len(scored) - 1) for number in range(len(scored))]
    points = [(x, y(value)) for x, (_, value) in zip(places, scored, strict=True)]
    draw.line(points, COLORS["student"], 4)
    for (x, at), (name, value) in zip(points, scored, strict=True):
        draw.ellipse((x - 8, at - 8, x + 8, at + 8), COLORS["student"])
        draw.text((x, at - 14), percent(value), INK, _font(20), anchor="mb")
        draw.text((x, bottom - 8), name, SOFT, _font(18), anchor="mm")


def _draw_upright(
    picture: Image.Image, text: str, foot: tuple[float, float], cell: int, font: ImageFont.FreeTypeFont
) -> None:
    """Writes a column's name from its foot upward."""
    strip = Image.new("RGB", (_NAMES - 20, cell - 2), GROUND)
    ImageDraw.Draw(strip).text((0, (cell - 2) / 2), text, INK, font, anchor="lm")
    turned = strip.rotate(90, expand=True)
    picture.paste(turned, (int(foot[0]), int(foot[1] - turned.height)))


def _wrapped(text: str, size: int, width: int) -> list[str]:
    """The text in lines that fit into ``width`` pixels."""
    lines, font = [""], _font(size)
    for word in _printed(text, len(text)).split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _printed(text: str, letters: int = _SHORT) -> str:
    """A text that the font draws on one line: control characters and what has no glyph become boxes of their own."""
    return shortened("".join(letter if letter.isprintable() else " " for letter in text), letters)


def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


def _save(path: Path, picture: Image.Image) -> None:
    with atomic_write(path) as temporary:
        picture.save(temporary, format="PNG", optimize=True)
