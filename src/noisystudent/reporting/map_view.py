"""The map as the page draws it: numbers as JSON for the script, and the names and colors of its classes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from noisystudent.display.wording import shortened
from noisystudent.reporting.images import jpeg_uri
from noisystudent.reporting.records import ImageMap
from noisystudent.results.findings import Findings

CHIPS = 20  # classes with a button of their own, the most frequent ones
_LETTERS = 60  # of a key
_NAME = 24  # letters of a class


@dataclass(frozen=True, slots=True)
class MapView:
    """JSON for the script (``data``), the copies as a ``data:`` URI, and index and name of classes with a button."""

    data: Markup
    sprite: str
    chips: tuple[tuple[int, str], ...]
    images: int
    labeled: int
    out_of_class: int


def map_view(image_map: ImageMap, findings: Findings, classes: Sequence[str]) -> MapView:
    """The map of a run: places as thousandths, confidences in percent, so that the page stays small."""
    points = image_map.points
    counts = Counter(point.label for point in points)
    chips = sorted(label for label, _ in counts.most_common(CHIPS))
    content = {
        "edge": image_map.edge,
        "x": [round(1000 * point.x) for point in points],
        "y": [round(1000 * point.y) for point in points],
        "class": [point.label for point in points],
        "sure": [round(100 * point.confidence) for point in points],
        "kind": [0 if point.labeled else 2 if point.out_of_class else 1 for point in points],
        "key": [shortened(point.key, _LETTERS) for point in points],
        "names": [shortened(name, _NAME) for name in classes],
        "counts": list(findings.confidence_counts),
        "checked": findings.checked,
    }
    return MapView(
        data=script_json(content),
        sprite=jpeg_uri(image_map.sprite),
        chips=tuple((label, shortened(_name(classes, label), _NAME)) for label in chips),
        images=len(points),
        labeled=sum(point.labeled for point in points),
        out_of_class=sum(point.out_of_class for point in points),
    )


def script_json(content: object) -> Markup:
    """JSON that no parser of HTML takes for the end of a script: every ``<``, ``>`` and ``&`` is an escape sequence."""
    text = json.dumps(content, ensure_ascii=True, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _name(classes: Sequence[str], label: int) -> str:
    return classes[label] if label < len(classes) else f"class {label}"
