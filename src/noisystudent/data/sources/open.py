"""Opens the source that a text such as a path, a URL or a built-in name stands for."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, cast, get_args

from noisystudent.data.files import folder_contains, is_pattern, is_url, list_files
from noisystudent.data.formats import SUFFIXES, ending_of, suffix_of
from noisystudent.data.source import PassedOver, Source, printable, require_source
from noisystudent.data.sources.arrays import open_npz
from noisystudent.data.sources.builtin import DigitsPart, open_digits
from noisystudent.data.sources.folder import SYSTEM_NAMES, FolderSource, of_other_files
from noisystudent.data.sources.image_file import ImageFileSource
from noisystudent.data.tally import Tally
from noisystudent.errors import DataError, nearest_name

_UNDERSTOOD = (
    "Understood are a folder of images (labeled: with a folder per class) or one image; FILE.npz, FILE.npz:train and "
    "FILE.npz:test; tar files in the WebDataset layout and Parquet files with image bytes, each as one file, a folder "
    "of them or a pattern (train-{000..123}.tar, train-*.parquet), also behind a URL (s3://...); a table of paths as "
    ".csv, .tsv or .parquet; hf:NAME:SPLIT; digits, digits:labeled, digits:unlabeled and digits:test, the last three "
    "also with a seed, as digits:test@3."
)


class OpenedSource(Source, Protocol):
    """A source of this package, which says what it passes over."""

    passed_over: tuple[PassedOver, ...]
    notes: tuple[str, ...]


_DIGITS = re.compile(r"digits(?::(?P<part>[^@]*))?(?:@(?P<seed>.*))?", re.DOTALL)
_NPZ = re.compile(r"(?P<path>.*\.npz)(?::(?P<part>[^/\\]*))?", re.DOTALL | re.IGNORECASE)


def absolute_spec(spec: str) -> str:
    """The text of the same source from any working folder."""
    if _DIGITS.fullmatch(spec) or spec.startswith("hf:") or is_url(spec):
        return spec
    return os.path.abspath(os.path.expanduser(spec))


def open_source(spec: str | Path | Source, *, labeled: bool) -> Source:
    """Opens the source that ``spec`` names; ``docs/sources.md`` lists every kind.

    Args:
        spec: a path, a URL, a pattern or a built-in name, or a source, which is returned as it is. Write ``./digits``
            for a folder named ``digits``.
        labeled: whether the records have labels. An unlabeled source that knows its labels gives them only by
            ``truth``.

    Raises:
        DataError: the source is missing, unreadable or of an unknown kind.
        SettingsError: ``spec`` is an object that is not a source, or does not fit ``labeled``.
    """
    if not isinstance(spec, str | Path):
        require_source(spec, labeled=labeled)
        return spec
    text = str(spec)
    if digits := _DIGITS.fullmatch(text):
        return _digits(text, digits["part"], digits["seed"], labeled=labeled)
    if text.startswith("hf:") and not is_url(text):
        source = _hugging_face(text, labeled=labeled)
        source.notes += _same_name_note(text, "the data set of that name on the Hugging Face hub")
        return source
    if is_url(text):
        return _behind_url(text, labeled=labeled)
    path = Path(spec).expanduser()
    if path.is_dir():
        return _folder(text, path, labeled=labeled)
    if (npz := _NPZ.fullmatch(text)) and Path(npz["path"]).expanduser().is_file():
        return open_npz(npz["path"], npz["part"] or "", labeled=labeled)
    ending = path.suffix.lower()
    if ending in _OPENERS and (path.is_file() or is_pattern(text)):
        return _OPENERS[ending](text, labeled)
    if path.is_file():
        return _image_file(text, path, labeled=labeled)
    raise DataError(f"There is no source {text!r}.{_name_hint(path)} {_UNDERSTOOD}")


def local_path(spec: str) -> Path | None:
    """The local file or folder that the images of a source lie in; of a pattern, its first match.

    None for built-in sources, data sets of a hub and URLs of a store.
    """
    text = spec.removeprefix("file://")
    if _DIGITS.fullmatch(text) or text.startswith("hf:") or is_url(text):
        return None
    path = Path(text).expanduser()
    if path.exists() or not is_pattern(text):
        npz = _NPZ.fullmatch(text)
        return Path(npz["path"]).expanduser() if npz and not path.exists() else path
    try:
        files = list_files(text, path.suffix.lower())
    except DataError:
        return path  # opening the source says what is wrong
    return Path(files[0].name)


def _image_file(spec: str, path: Path, *, labeled: bool) -> Source:
    """Opens a single image; its ending or its first bytes say that it is one."""
    if suffix_of(path.name) not in SUFFIXES and not _begins_like_image(path):
        raise DataError(
            f"{spec!r} is a file that is not understood. {_UNDERSTOOD} Unpack an archive into a folder first."
        )
    if labeled:
        raise DataError(
            f"{spec!r} is a single image, and labeled images are needed. Put images into one folder per class and give "
            "the folder that holds these, or write a table of paths and labels."
        )
    return ImageFileSource(spec)


def _begins_like_image(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return bool(ending_of(file.read(32)))
    except OSError:
        return False


def _folder(spec: str, path: Path, *, labeled: bool) -> Source:
    """Opens a folder by its content: shards count only if there are no images and no folders beside them."""
    if (path / "dataset_dict.json").is_file() or all((path / name).is_file() for name in _SAVED_BY_DATASETS):
        return _hugging_face(spec, labeled=labeled)
    names = []
    with os.scandir(path) as entries:
        for entry in entries:
            if not entry.name.startswith(".") and entry.name.lower() not in SYSTEM_NAMES:
                if suffix_of(entry.name) in SUFFIXES or entry.is_dir():
                    return FolderSource(spec, labeled=labeled)
                names.append(entry.name)
    endings = {suffix_of(name) for name in names}
    kind = next((ending for ending in _FOLDER_ENDINGS if ending in endings), None)
    if kind is None:
        return FolderSource(spec, labeled=labeled)
    source = _OPENERS[kind](spec, labeled)
    tally = Tally()
    for name in sorted(names):
        if not name.endswith(_OWN_ENDINGS) and suffix_of(name) != kind:
            tally.add(of_other_files(suffix_of(name), set()), printable(name))
    source.passed_over += tally.passed_over
    return source


def _behind_url(url: str, *, labeled: bool) -> Source:
    ending = Path(url).suffix.lower()
    if ending in _OPENERS:
        return _OPENERS[ending](url, labeled)
    kind = next((ending for ending in _FOLDER_ENDINGS if folder_contains(url, ending)), None)
    if kind is None:
        raise DataError(
            f"There is no source {url!r}: a URL names a .tar, .parquet, .csv or .tsv file, or a folder of .tar or "
            ".parquet files. For single images give a table of their paths, or pack them with 'noisystudent pack'."
        )
    return _OPENERS[kind](url, labeled)


# Each of these imports its module only if it is needed, because pyarrow and fsspec are slow to import.


def _shards(spec: str, labeled: bool) -> OpenedSource:
    from noisystudent.data.shards.source import ShardSource

    return ShardSource(spec, labeled=labeled)


def _parquet(spec: str, labeled: bool) -> OpenedSource:
    from noisystudent.data.sources.parquet import ParquetSource, is_path_table
    from noisystudent.data.sources.path_table import PathTableSource

    return PathTableSource(spec, labeled=labeled) if is_path_table(spec) else ParquetSource(spec, labeled=labeled)


def _table(spec: str, labeled: bool) -> OpenedSource:
    from noisystudent.data.sources.path_table import PathTableSource

    return PathTableSource(spec, labeled=labeled)


def _hugging_face(spec: str, *, labeled: bool) -> OpenedSource:
    from noisystudent.data.sources.huggingface import HuggingFaceSource

    return HuggingFaceSource(spec, labeled=labeled)


_OPENERS: dict[str, Callable[[str, bool], OpenedSource]] = {
    ".tar": _shards,
    ".parquet": _parquet,
    ".csv": _table,
    ".tsv": _table,
}
_FOLDER_ENDINGS = (".tar", ".parquet")
# Files that belong to shards and to data sets, beside them.
_OWN_ENDINGS = (
    *(".index.parquet", "classes.json", "classes.txt", "shards.json", "failures.json", "inputs.json", "manifest.json"),
    *(".lock", "dataset_info.json", "dataset_infos.json", "README.md"),
)
_SAVED_BY_DATASETS = ("dataset_info.json", "state.json")


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
    source = open_digits(cast(DigitsPart, part or ""), seed=int(seed or 0), labeled=labeled)
    source.notes += _same_name_note(spec, "scikit-learn's digits")
    return source


def _same_name_note(spec: str, meaning: str) -> tuple[str, ...]:
    """Says what a built-in name means if the working folder holds a file or folder of the same name."""
    if not Path(spec).exists():
        return ()
    return (f"{spec!r} is {meaning}; for the file or folder of this name here, write './{spec}'",)


def _name_hint(path: Path) -> str:
    """A hint at a file beside ``path`` with a similar name, or an empty string."""
    try:
        return nearest_name(str(path), (str(entry) for entry in path.parent.iterdir()))
    except OSError:
        return ""
