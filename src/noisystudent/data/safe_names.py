"""Names of files and folders made from text that anyone may have written, such as class names and keys of images."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

_SPECIAL = frozenset('/\\:*?"<>|%')
_ENDING = re.compile(r"(?<=.)\.[A-Za-z0-9]{1,8}\Z", re.DOTALL)
_LONGEST = 180  # bytes of a name; file systems allow 255


def safe_name(text: str) -> str:
    """One name of a file or folder for any text; different texts have different names.

    Letters of all scripts stay. Separators, characters with a meaning in a shell or on the web, control and direction
    characters, and dots and spaces at an end are written as ``%`` and the hexadecimal digits of their UTF-8 bytes, so
    that a name never leads to another folder and never looks like another one. A long name is cut and ends in a hash.
    """
    last = len(text) - 1
    name = "".join(
        _written_out(letter) if _is_unsafe(letter, at_end=position in (0, last)) else letter
        for position, letter in enumerate(text)
    )
    encoded = name.encode()
    if len(encoded) > _LONGEST:
        digits = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        return f"{encoded[:_LONGEST].decode('utf-8', 'ignore')}%{digits}"
    return name or "%"


def safe_path(key: str) -> Path:
    """The relative path for a key with ``/``: each part is a ``safe_name``, and the file keeps its ending."""
    *folders, file = key.split("/")
    ending = match[0] if (match := _ENDING.search(file)) else ""
    return Path(*map(safe_name, folders), f"{safe_name(file.removesuffix(ending))}{ending}")


def _is_unsafe(letter: str, *, at_end: bool) -> bool:
    return (
        letter in _SPECIAL
        or not letter.isprintable()  # control, direction, unassigned, all spaces but the plain one
        or (at_end and (letter == "." or letter.isspace()))
    )


def _written_out(letter: str) -> str:
    return "".join(f"%{byte:02X}" for byte in letter.encode("utf-8", "surrogatepass"))
