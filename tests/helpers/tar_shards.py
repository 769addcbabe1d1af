"""Generated tar files, for the tests of sources."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from data_images import noise_image, png


def image(seed: int, size: int = 12) -> bytes:
    """A PNG file of random pixels."""
    return png(noise_image(size, size, seed=seed))


def write_tar(path: Path, members: Mapping[str, bytes] | Sequence[tuple[str, bytes]], format: int = 2) -> Path:
    """Writes a tar file with these members in this order (format 0 ustar, 1 GNU, 2 pax)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pairs = members.items() if isinstance(members, Mapping) else members
    with tarfile.open(path, "w", format=format) as archive:
        for name, content in pairs:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def write_shards(folder: Path, shards: int = 2, rows: int = 3, *, labels: bool = True) -> Path:
    """Writes ``train-000.tar`` and so on, with keys ``<shard>-<row>``, alternating labels 0, 1 and different images."""
    for shard in range(shards):
        members: dict[str, bytes] = {}
        for row in range(rows):
            members[f"{shard}-{row}.png"] = image(100 * shard + row)
            if labels:
                members[f"{shard}-{row}.cls"] = str(row % 2).encode()
        write_tar(folder / f"train-{shard:03d}.tar", members)
    return folder
