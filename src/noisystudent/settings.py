"""The base of all settings: frozen, keyword-only, unknown names refused, every value checked at birth.

Each room keeps its own settings beside the code that reads them and derives them from ``Settings``; ``config``
composes them. No torch here or in any settings module, so that ``--help`` stays quick.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

# Labels a class from which a student takes the whole pile at once, by the teacher's probabilities: between 20, where
# that is no better than the most certain fifth first, and 100, where it is (NOTEBOOK.md).
MANY_LABELS = 50


class Settings(BaseModel):
    """Base class: immutable, unknown names are errors, defaults are validated too."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)
