"""The images of a page: copies of the originals, kept in the run's folder for the day when these are gone."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from noisystudent.artifacts.folder import atomic_write
from noisystudent.artifacts.tables import read_table
from noisystudent.errors import ArtifactError, DataError
from noisystudent.reporting.images import data_uri

LoadImages = Callable[[str, list[str]], dict[str, np.ndarray]]

KEPT = "page-images.parquet"


@dataclass(frozen=True, slots=True)
class Thumbnails:
    """Data URIs by role and key; ``problem`` says why some are missing, or are the copies that the run kept."""

    uris: dict[str, dict[str, str]] = field(default_factory=dict)
    problem: str = ""


def load_thumbnails(folder: Path, wanted: Mapping[str, Iterable[str]], load_images: LoadImages | None) -> Thumbnails:
    """Loads images by role and key from the sources, and what these lack from the copies in the run's folder.

    Args:
        folder: The folder of the run.
        wanted: The keys of each role.
        load_images: From a role and keys to images; None leaves out all images.

    Returns:
        The images; a source that cannot be read becomes a sentence.
    """
    if load_images is None:
        return Thumbnails(problem="The images are not shown because the page was written without access to them.")
    uris: dict[str, dict[str, str]] = {}
    problems: list[str] = []
    kept: dict[str, dict[str, str]] | None = None
    for role, several in wanted.items():
        keys, failed = list(dict.fromkeys(several)), False
        try:
            pixels = load_images(role, keys) if keys else {}
            uris[role] = {key: data_uri(pixels[key]) for key in keys if key in pixels}
        except (DataError, OSError) as error:
            failed = True
            problems.append(f"The {role} images could not be loaded: {error}")
        missing = [key for key in keys if key not in uris.get(role, {})]
        if not missing:
            continue
        if kept is None:
            kept, damage = _read_kept_or_damage(folder)
            problems += [damage] if damage else []
        copies = {key: kept[role][key] for key in missing if key in kept.get(role, {})}
        if copies:
            uris.setdefault(role, {}).update(copies)
            problems.append(
                f"Originals of {role} images are gone or changed: their copies in the run's folder are shown."
            )
        elif not failed and len(missing) == len(keys):
            problems.append(f"The originals of the {role} images are gone or changed, and the run kept no copies.")
    return Thumbnails(uris, " ".join(problems))


def keep_thumbnails(folder: Path, thumbnails: Thumbnails) -> None:
    """Writes the images of a page into the run's folder."""
    rows = [(role, key, *_decoded(uri)) for role, by_key in thumbnails.uris.items() for key, uri in by_key.items()]
    columns = list(zip(*rows, strict=True)) or [(), (), (), ()]
    types = (pa.string(), pa.string(), pa.string(), pa.binary())
    names = ("role", "key", "format", "image")
    table = pa.table(
        {name: pa.array(list(column), kind) for name, column, kind in zip(names, columns, types, strict=True)}
    )
    with atomic_write(folder / KEPT) as temporary:
        pq.write_table(table, temporary)


def read_kept(folder: Path) -> dict[str, dict[str, str]]:
    """The images that ``keep_thumbnails`` wrote, as data URIs by role and key; none in an older run."""
    if not (folder / KEPT).exists():
        return {}
    uris: dict[str, dict[str, str]] = {}
    for row in read_table(folder / KEPT, ("role", "key", "format", "image")).to_pylist():
        if row["format"] in ("png", "jpeg"):
            encoded = base64.b64encode(row["image"]).decode("ascii")
            uris.setdefault(row["role"], {})[row["key"]] = f"data:image/{row['format']};base64,{encoded}"
    return uris


def _read_kept_or_damage(folder: Path) -> tuple[dict[str, dict[str, str]], str]:
    """What ``read_kept`` reads, or none and why; a page is worth more than its images."""
    try:
        return read_kept(folder), ""
    except ArtifactError as error:
        return {}, f"The copies of images that the run kept cannot be read: {error}"


def _decoded(uri: str) -> tuple[str, bytes]:
    head, _, content = uri.partition(",")
    return head.removeprefix("data:image/").removesuffix(";base64"), base64.b64decode(content)
