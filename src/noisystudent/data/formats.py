"""The formats of image files that are read: their endings, their first bytes, and what reads them."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import PurePosixPath

from PIL import features

# The one list of formats; Pillow reads more, some by running other programs.
PILLOW_FORMAT = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".ppm": "PPM",
    ".pgm": "PPM",
    ".pbm": "PPM",
    ".pnm": "PPM",
    ".avif": "AVIF",
    ".heic": "HEIF",
    ".heif": "HEIF",
}
SUFFIXES = tuple(PILLOW_FORMAT)
FIRST_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")  # those that were always read
NAMES = "JPEG, PNG, WebP, BMP, GIF, TIFF, PPM, PGM, PBM, AVIF or HEIC"  # for messages

_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"hevm", b"hevs", b"mif1", b"msf1")
# The first bytes of a file, after ``skipped`` others, and the usual ending of such files.
_MAGIC_BYTES = (
    (0, b"\xff\xd8", "jpg"),
    (0, b"\x89PNG", "png"),
    (0, b"GIF8", "gif"),
    (0, b"BM", "bmp"),
    (8, b"WEBP", "webp"),
    (0, b"II*\0", "tif"),
    (0, b"MM\0*", "tif"),
    *((0, f"P{number}".encode(), "pnm") for number in range(1, 7)),
    (4, b"ftypavif", "avif"),
    (4, b"ftypavis", "avif"),
    *((4, b"ftyp" + brand, "heic") for brand in _HEIF_BRANDS),
)


def ending_of(content: bytes) -> str:
    """The usual ending, without a dot, of an image file that begins like ``content``; empty if it is none."""
    return next((ending for skip, magic, ending in _MAGIC_BYTES if content.startswith(magic, skip)), "")


def suffix_of(name: str) -> str:
    """The ending of a file's name in lower case, with its dot; empty without one."""
    return PurePosixPath(name).suffix.lower()


def missing_reader(suffix: str) -> str:
    """What is needed to read images whose names end in ``suffix``, one of ``SUFFIXES``; empty if they are read."""
    return _missing_reader(PILLOW_FORMAT[suffix])


@cache
def _missing_reader(format: str) -> str:
    if format == "AVIF" and not features.check("avif"):
        return "needs a Pillow with AVIF: pip install -U pillow"
    if format == "HEIF" and find_spec("pillow_heif") is None:
        return "needs pip install 'noisystudent[heif]'"
    return ""


def readable_suffixes() -> tuple[str, ...]:
    """The endings of the files that are read on this machine, with their dots, in lower case."""
    return tuple(suffix for suffix in SUFFIXES if not missing_reader(suffix))


@cache
def pillow_formats() -> tuple[str, ...]:
    """The names of Pillow's readers that may open an image, except for HEIF, which ``register_heif`` adds."""
    from PIL import TiffImagePlugin, WebPImagePlugin  # noqa: F401  # Pillow finds only readers that are imported

    names = dict.fromkeys(PILLOW_FORMAT.values())
    return tuple(name for name in names if name != "HEIF" and not _missing_reader(name))


@cache
def register_heif() -> str:
    """Adds the reader of HEIC files to Pillow; returns why that is impossible, or an empty string."""
    if reason := _missing_reader("HEIF"):
        return f"a HEIC image, which {reason}"
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        return f"a HEIC image, and its reader cannot be loaded ({error}): pip install 'noisystudent[heif]'"
    register_heif_opener()
    return ""
