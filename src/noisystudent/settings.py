"""The base class of all settings: frozen, keyword-only, unknown names refused, every value validated.

Every package keeps its settings beside the code that reads them and derives them from ``Settings``; ``config``
composes them. Settings modules do not import torch, so that ``--help`` stays fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, model_validator

# From this number of labels per class on, students train on all pseudo labels at once, as soft labels. With 20 labels
# per class this is no better than starting with the most confident 20%; with 100 it is (NOTEBOOK.md).
MANY_LABELS = 50


class Settings(BaseModel):
    """Base class of settings: immutable; unknown names are errors; defaults are validated too."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


class PresetSettings(Settings):
    """Base class of settings with a field ``preset``, which names values of the others; what is given wins over it."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]]

    @model_validator(mode="wrap")
    @classmethod
    def _above_preset(cls, given: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:  # noqa: ANN401 - as pydantic
        if not isinstance(given, dict):
            return validate(given)
        preset = given.get("preset")
        settings = validate({**(cls.presets.get(preset, {}) if isinstance(preset, str) else {}), **given})
        # Values of the preset do not count as set: what else the user or a recipe sets takes precedence over them.
        object.__setattr__(settings, "__pydantic_fields_set__", set(given))
        return settings
