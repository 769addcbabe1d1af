"""The base of all settings: frozen, keyword-only, unknown names refused, every value checked at birth.

Each room keeps its own settings beside the code that reads them and derives them from ``Settings``; ``config``
composes them. No torch here or in any settings module, so that ``--help`` stays quick.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Base class: immutable, unknown names are errors, defaults are validated too."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)
