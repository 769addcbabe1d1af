"""The public functions: each reads finished folders and writes the next one.

Every function takes ``settings`` as dotted names (``{"train.steps": 300}``), nested mappings (``{"train": {"steps":
300}}``), settings objects (``TrainSettings(steps=300)``), or several of these in a sequence. A setting that a function
does not use is an error. All functions raise ``NoisyStudentError`` with one clear line for a user's mistake.

torch is imported inside the functions that need it, so that the others stay light.
"""

from noisystudent.api.labeling import label, select
from noisystudent.api.measuring import compare, evaluate, robustness, table
from noisystudent.api.rounds import check, plan, plan_study, run, study
from noisystudent.api.showing import report, show_noise
from noisystudent.api.training import distill, fix, pretrain, train
from noisystudent.api.using import export, predict

__all__ = [
    "check",
    "compare",
    "distill",
    "evaluate",
    "export",
    "fix",
    "label",
    "plan",
    "plan_study",
    "predict",
    "pretrain",
    "report",
    "robustness",
    "run",
    "select",
    "show_noise",
    "study",
    "table",
    "train",
]
