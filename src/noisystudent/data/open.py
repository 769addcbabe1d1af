"""From what the user typed to a source of pictures."""

from __future__ import annotations

import re
from pathlib import Path
from typing import cast, get_args

from noisystudent.data.arrays import open_npz
from noisystudent.data.builtin import DigitsPart, open_digits
from noisystudent.data.folder import FolderSource
from noisystudent.data.source import Source
from noisystudent.errors import DataError, nearest_name

_UNDERSTOOD = (
    "Understood are a folder of pictures (labeled: with a folder for each class), FILE.npz, FILE.npz:train, "
    "FILE.npz:test, digits, digits:labeled, digits:unlabeled and digits:test, the last three also with a "
    "seed, as digits:test@3."
)
_DIGITS = re.compile(r"digits(?::(?P<part>[^@]*))?(?:@(?P<seed>.*))?", re.DOTALL)
_NPZ = re.compile(r"(?P<path>.*\.npz)(?::(?P<part>[^/\\]*))?", re.DOTALL | re.IGNORECASE)


def open_source(spec: str | Path, *, labeled: bool) -> Source:
    """The source that ``spec`` names: a folder, ``FILE.npz[:train|:test]`` or ``digits[:part][@seed]``.

    ``labeled`` says whether its records carry labels; where False, a source that knows its labels keeps them
    to ``truth``. A folder that is itself named ``digits`` is given as ``./digits``. Raises ``DataError``.
    """
    text = str(spec)
    if digits := _DIGITS.fullmatch(text):
        return _digits(text, digits["part"], digits["seed"], labeled=labeled)
    path = Path(spec).expanduser()
    if path.is_dir():
        return FolderSource(spec, labeled=labeled)
    if (npz := _NPZ.fullmatch(text)) and Path(npz["path"]).expanduser().is_file():
        return open_npz(npz["path"], npz["part"] or "", labeled=labeled)
    if path.is_file():
        raise DataError(
            f"{text!r} is a file that is not understood. {_UNDERSTOOD} Unpack an archive into a folder first."
        )
    raise DataError(f"There is no source {text!r}.{_nearby(path)} {_UNDERSTOOD}")


def _digits(spec: str, part: str | None, seed: str | None, *, labeled: bool) -> Source:
    parts = get_args(DigitsPart)
    if part is not None and (part not in parts or not part):
        hint = nearest_name(part, filter(None, parts))
        raise DataError(f"There is no part {part!r} of the digits in {spec!r}.{hint} {_UNDERSTOOD}")
    if seed is not None and (part is None or not re.fullmatch(r"[0-9]{1,9}", seed)):
        raise DataError(
            f"The seed {seed!r} in {spec!r} is not understood: it is a whole number from 0 after a part, "
            "as in digits:labeled@3."
        )
    return open_digits(cast(DigitsPart, part or ""), seed=int(seed or 0), labeled=labeled)


def _nearby(path: Path) -> str:
    """A hint at a neighbor with a similar name, or nothing."""
    try:
        return nearest_name(path.name, (neighbor.name for neighbor in path.parent.iterdir()))
    except OSError:
        return ""
