"""JPEG files that lack nothing but their end marker, as some cameras and interrupted copies leave them."""

from __future__ import annotations

import io
from collections.abc import Iterator

from PIL import Image

_END = b"\xff\xd9"
# Possible ends of the compressed data. If all of it is there, none changes a pixel; if some is missing, they do.
_PADDINGS = (b"\x00", b"\x55", b"\xaa")
_PADDING_BYTES = 256
_COEFFICIENTS = 64  # of each block of 8 x 8 pixels


def with_end_marker(content: bytes) -> bytes | None:
    """The content of a JPEG file with its end marker, if only that is missing; None if any pixel is missing.

    Whether the compressed data is complete is seen from the pixels: data that follow it must not change them.
    """
    content = content.removesuffix(b"\xff")
    last_scan = _complete_scans(content)
    if last_scan is None:
        return None
    restarts = [content.rfind(bytes([0xFF, 0xD0 + number])) for number in range(8)]
    latest = max(range(8), key=restarts.__getitem__)
    following = (latest + 1) % 8 if restarts[latest] >= last_scan else 0
    decoded = {_decode(content + _ending(padding, following)) for padding in _PADDINGS}
    return content + _END if len(decoded) == 1 else None


def _ending(padding: bytes, restart: int) -> bytes:
    """An end of the file: data, the restart marker that would come next, and data again."""
    data = padding * _PADDING_BYTES
    return data + bytes([0xFF, 0xD0 + restart]) + data + _END


def _decode(content: bytes) -> bytes:
    with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
        return image.tobytes()


def _complete_scans(content: bytes) -> int | None:
    """Where the last scan begins, if the scans hold every coefficient of every component in full; else None."""
    missing: dict[int, set[int]] = {}
    last_scan = None
    for marker, start, segment in _segments(content):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            missing = {component: set(range(_COEFFICIENTS)) for component in segment[6::3]}
        elif marker == 0xDA and segment:
            count = segment[0]
            components, (first, last, bits) = segment[1 : 1 + 2 * count : 2], segment[1 + 2 * count :][:3]
            last_scan = start
            if bits & 15 == 0:
                for component in components:
                    missing.get(component, set()).difference_update(range(first, last + 1))
    return last_scan if missing and not any(missing.values()) else None


def _segments(content: bytes) -> Iterator[tuple[int, int, bytes]]:
    """The marker, the position and the content of each segment of a JPEG file."""
    position = 2
    while (position := content.find(b"\xff", position)) >= 0 and position + 4 <= len(content):
        marker = content[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if marker in (0x00, 0x01, 0xD8, 0xD9) or 0xD0 <= marker <= 0xD7:  # within data, or without content
            position += 2
            continue
        length = int.from_bytes(content[position + 2 : position + 4], "big")
        yield marker, position, content[position + 4 : position + 2 + length]
        position += 2 + max(2, length)
