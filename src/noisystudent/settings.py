"""The base class of all settings: frozen, keyword-only, unknown names refused, every value validated.

Every package keeps its settings beside the code that reads them and derives them from ``Settings``; ``config``
composes them. Settings modules do not import torch, so that ``--help`` stays fast.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

# From this number of labels per class on, students train on all pseudo labels at once, as soft labels. With 20 labels
# per class this is no better than starting with the most confident 20%; with 100 it is (NOTEBOOK.md).
MANY_LABELS = 50


class Settings(BaseModel):
    """Base class of settings: immutable; unknown names are errors; defaults are validated too."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)
