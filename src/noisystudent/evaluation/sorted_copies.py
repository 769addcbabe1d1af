"""Copies of images in one folder per predicted class: nothing is moved, and no file is replaced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from noisystudent.artifacts.folder import atomic_write
from noisystudent.artifacts.ownership import own_folder
from noisystudent.data.formats import SUFFIXES, ending_of, suffix_of
from noisystudent.data.output import require_output_folder
from noisystudent.data.safe_names import safe_name, safe_path
from noisystudent.data.source import Source
from noisystudent.errors import ArtifactError, SettingsError

OPTION = "--copy-to"


@dataclass
class SortedCopies:
    """A folder of copies: ``<class>/<key of the image>``, with names as in ``data/safe_names``.

    ``copied`` counts new copies, ``present`` those that were there already, ``others`` files of that name with another
    content, which are left as they are.
    """

    folder: Path
    copied: int = field(default=0, init=False)
    present: int = field(default=0, init=False)
    others: int = field(default=0, init=False)

    def add(self, source: Source, shard: int, classes: Mapping[str, str]) -> None:
        """Copies images of one shard of a source.

        Args:
            source: The source.
            shard: The number of the shard.
            classes: The class of each image to copy, by key.
        """
        if not classes:
            return
        for record in source.read(shard):
            if record.key in classes and isinstance(record.image, bytes):
                self._add(record.key, record.image, classes[record.key])

    def _add(self, key: str, content: bytes, class_name: str) -> None:
        name = key if suffix_of(key) in SUFFIXES else f"{key}.{ending_of(content[:32])}"
        target = self.folder / safe_name(class_name) / safe_path(name)
        if not target.parent.resolve().is_relative_to(self.folder.resolve()):
            raise ArtifactError(f"{target.parent} leads out of {OPTION} {self.folder}: remove that symbolic link.")
        if target.exists():
            same = target.is_file() and target.read_bytes() == content
            self.present, self.others = self.present + same, self.others + (not same)
            return
        with atomic_write(target, once=True) as temporary:
            temporary.write_bytes(content)
        self.copied += 1


def require_copies(folder: Path, source: Source) -> None:
    """Raises unless images of a source can be copied to ``folder``.

    Raises:
        SettingsError: The source has arrays instead of files; or ``folder`` is, contains or lies in the source.
        ArtifactError: It holds files that this program did not write.
    """
    first = next(iter(source.read(0)), None)
    if first is not None and not isinstance(first.image, bytes):
        raise SettingsError(f"{OPTION} copies image files, and {source.name!r} has none, only pixels. Leave it out.")
    try:
        require_output_folder(folder, [source])
    except (SettingsError, ArtifactError) as error:
        raise type(error)(str(error).replace("--out", OPTION)) from None


def open_copies(folder: Path) -> SortedCopies:
    """Makes the folder this program's own, and returns what copies into it."""
    own_folder(folder)
    return SortedCopies(folder)
