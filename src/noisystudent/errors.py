"""The errors that a user can meet, each saying what was wrong, the value, what is allowed and what to do.

    NoisyStudentError              everything below; the command line prints it without a traceback
    ├── SettingsError              a setting is unknown, of the wrong type or out of range
    ├── DataError                  a source is missing, empty, unreadable or inconsistent
    ├── ModelError                 a model is unknown, lacks what was asked of it, or has no weights to load
    ├── ArtifactError              a run's file is missing, damaged or was not written by this program
    │   └── MismatchError          an artifact was made from other inputs than the ones at hand
    ├── TrainingError              training cannot go on (a loss that is not finite, a full disk)
    └── WorkerError                a process that works for this one died

Programming mistakes of our own stay ``assert``; these classes are for people.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class NoisyStudentError(Exception):
    """Base of every error that this package raises on purpose."""


class SettingsError(NoisyStudentError, ValueError):
    """A setting is unknown, of the wrong type or out of range."""


class DataError(NoisyStudentError, ValueError):
    """A source of images is missing, empty, unreadable or inconsistent with another."""


class ModelError(NoisyStudentError, ValueError):
    """A model is unknown, lacks what was asked of it, or its weights cannot be had."""


class ArtifactError(NoisyStudentError, RuntimeError):
    """A file of a run is missing, damaged or not one that this program writes."""


class MismatchError(ArtifactError):
    """An artifact was made from other inputs than the ones at hand."""


class TrainingError(NoisyStudentError, RuntimeError):
    """Training cannot go on."""


class WorkerError(NoisyStudentError, RuntimeError):
    """A process that works for this one died, and what it was to do is not done."""


def nearest_name(name: str, known: Iterable[str]) -> str:
    """A hint like `` Did you mean 'x'?`` with the known name most like ``name``, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean '{close[0]}'?" if close else ""
