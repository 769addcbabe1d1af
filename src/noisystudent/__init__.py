"""Noisy Student training: a few labels and many unlabeled images in, a better classifier and an honest verdict out.

The verbs of the command line are functions here under the same names; they are imported on first use, so that
``import noisystudent`` does not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from noisystudent.api import (
        distill,
        evaluate,
        label,
        plan,
        predict,
        report,
        run,
        show_noise,
        train,
    )
    from noisystudent.choosing import select
    from noisystudent.commands.demo import demo
    from noisystudent.data.munge import munge
    from noisystudent.data.shards.pack import pack
    from noisystudent.errors import NoisyStudentError
    from noisystudent.measuring import compare, robustness
    from noisystudent.models.predictor import Predictor

__version__ = "0.1.0"

__all__ = [
    "NoisyStudentError",
    "Predictor",
    "compare",
    "demo",
    "distill",
    "evaluate",
    "label",
    "munge",
    "pack",
    "plan",
    "predict",
    "report",
    "robustness",
    "run",
    "select",
    "show_noise",
    "train",
]

_IN_API = ("distill", "evaluate", "label", "plan", "predict", "report", "run", "show_noise", "train")
_HOME = dict.fromkeys(_IN_API, "api") | {
    "compare": "measuring",
    "demo": "commands.demo",
    "munge": "data.munge",
    "pack": "data.shards.pack",
    "robustness": "measuring",
    "select": "choosing",
    "NoisyStudentError": "errors",
    "Predictor": "models.predictor",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module's attributes are of any type
    if name not in _HOME:
        raise AttributeError(f"module 'noisystudent' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"noisystudent.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
