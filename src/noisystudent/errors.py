"""Errors that users can meet; every message says what was wrong, the value, what is allowed and what to do next.

    NoisyStudentError              base class; the command line prints these errors without a traceback
    ├── SettingsError              a setting is unknown, of the wrong type or out of range
    ├── DataError                  a source is missing, empty, unreadable or inconsistent
    ├── ModelError                 a model is unknown, lacks a required feature, or its weights cannot be loaded
    ├── ArtifactError              a file of a run is missing, damaged or was not written by this program
    │   └── MismatchError          an artifact was made from other inputs than the current ones
    ├── TrainingError              training cannot continue (a loss that is not finite, a full disk)
    │   └── NothingSelectedError   a selection leaves a student no pseudo label
    └── WorkerError                a worker process died

Programming mistakes inside the package are ``assert`` statements; these classes report mistakes that a user can fix.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class NoisyStudentError(Exception):
    """Base class of the errors that this package raises on purpose."""

    def _render_traceback_(self) -> list[str]:
        """What IPython and Jupyter show in place of a traceback: the message says all that the user can mend."""
        return [f"{type(self).__name__}: {self}"]


class SettingsError(NoisyStudentError, ValueError):
    """A setting is unknown, of the wrong type or out of range."""


class DataError(NoisyStudentError, ValueError):
    """A source of images is missing, empty, unreadable or inconsistent with another."""


class ModelError(NoisyStudentError, ValueError):
    """A model is unknown, lacks a required feature, or its weights cannot be loaded."""


class ArtifactError(NoisyStudentError, RuntimeError):
    """A file of a run is missing, damaged or was not written by this program."""


class MismatchError(ArtifactError):
    """An artifact was made from other inputs than the current ones."""


class TrainingError(NoisyStudentError, RuntimeError):
    """Training cannot continue."""


class NothingSelectedError(TrainingError):
    """A selection leaves a student no pseudo label to learn from."""


class WorkerError(NoisyStudentError, RuntimeError):
    """A worker process died before it finished its work."""


def nearest_name(name: str, known: Iterable[str]) -> str:
    """Returns a hint such as `` Did you mean 'x'?`` with the known name closest to ``name``, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean '{close[0]}'?" if close else ""
