"""The checks of the arguments of ``noisystudent.load``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import ValidationError

from noisystudent.errors import SettingsError
from noisystudent.runtime.settings import RuntimeSettings


def refuse_given(reason: str, arguments: Mapping[str, object]) -> None:
    """Raises ``SettingsError`` if one of the arguments, which do not apply for a ``reason``, is given."""
    given = [name for name, value in arguments.items() if value is not None]
    if given:
        raise SettingsError(f"load was given {', '.join(given)}, which does not apply: {reason}. Leave it out.")


def runtime_for(device: str, batch_size: int | Literal["auto"]) -> RuntimeSettings:
    """The runtime settings of a predictor; raises ``SettingsError`` that names the argument of ``load``."""
    try:
        return RuntimeSettings.model_validate({"device": str(device), "label_batch_size": batch_size})
    except ValidationError as error:
        problem = error.errors()[0]
        name = {"label_batch_size": "batch_size"}.get(str(problem["loc"][0]), "device")
        raise SettingsError(f"load was given {name} {problem['input']!r}: {problem['msg']}.") from None


def refuse_runtime(predictor: str, runtime: RuntimeSettings) -> None:
    """Raises ``SettingsError`` for settings that a predictor, which has its own, would ignore."""
    defaults = RuntimeSettings()
    changed = [name for name in RuntimeSettings.model_fields if getattr(runtime, name) != getattr(defaults, name)]
    if changed:
        raise SettingsError(
            f"runtime.{changed[0]} {getattr(runtime, changed[0])} does not apply to {predictor}, which has a device, "
            "a precision and a batch size of its own. Leave it out, or give it to noisystudent.load or Predictor.open."
        )
