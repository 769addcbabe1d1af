"""Folders of the machine that hold what can always be made again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Where indexes of other people's shards are kept: ``$XDG_CACHE_HOME/noisystudent``, or ``~/.cache/noisystudent``.

    It need not exist yet, and may be deleted at any time. A relative ``XDG_CACHE_HOME`` is passed over, as its
    specification asks.
    """
    given = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(given) if os.path.isabs(given) else Path.home() / ".cache"
    return base / "noisystudent"
