"""Reads assumptions from a YAML file, and reports every mistake in one line."""

from __future__ import annotations

import itertools
from pathlib import Path

from pydantic import ValidationError

from noisystudent.cost.settings import Assumptions, DeviceAssumptions, ModelAssumptions
from noisystudent.errors import SettingsError, nearest_name
from noisystudent.settings_input import explain, flatten, nest, read_yaml, setting_fields


def read_assumptions(path: Path) -> Assumptions:
    """Reads and validates the assumptions in a YAML file.

    Raises:
        SettingsError: a name is unknown or missing, a value has the wrong type or is out of range, or a model does not
            have either gigaflops or two rates.
    """
    try:
        assumptions = Assumptions(**nest(flatten(read_yaml(path))))
    except ValidationError as error:
        raise SettingsError(_explain(error, f"file {path.name}")) from None
    _check_rates("teacher", assumptions.teacher, assumptions.devices)
    for student in assumptions.students:
        _check_rates("students", student, assumptions.devices)
    return assumptions


def _explain(error: ValidationError, origin: str) -> str:
    known = list(setting_fields(Assumptions))
    for finding in error.errors():
        if finding["type"] == "extra_forbidden":
            name = ".".join(part for part in finding["loc"] if isinstance(part, str))
            return f"unknown setting {name!r} ({origin}).{nearest_name(name, known)}"
    sections = {section for name in known for section in itertools.accumulate(name.split("."), "{}.{}".format)}
    return explain(error, dict.fromkeys(sections, origin), Assumptions)


def _check_rates(section: str, model: ModelAssumptions, devices: DeviceAssumptions) -> None:
    rates = (model.trained_per_second, model.labeled_per_second)
    if model.gigaflops is None and None in rates:
        raise SettingsError(
            f"setting {section}.gigaflops ({model.model}): it is required, unless both trained_per_second and "
            "labeled_per_second are given."
        )
    if model.gigaflops is None:
        return
    if rates != (None, None):
        raise SettingsError(
            f"setting {section}.gigaflops ({model.model}): give it, or both trained_per_second and "
            "labeled_per_second, not all three."
        )
    for name in ("teraflops", "training_utilization", "labeling_utilization"):
        if getattr(devices, name) is None:
            raise SettingsError(f"setting devices.{name}: it is required, because {section}.gigaflops is given.")
