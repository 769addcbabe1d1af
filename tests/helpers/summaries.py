"""Synthetic summaries of runs, for tests of the page and the table."""

from noisystudent.artifacts.typed_json import from_json
from noisystudent.results.run import RunSummary


def evaluated(name: str, top1: float | None, role: str = "test") -> dict:
    scores = None if top1 is None else {"top1": top1, "top5": 1.0, "ece": 0.05, "nll": 0.25, "count": 300}
    return {
        "name": name,
        "model": "small",
        "parameters": 50_000,
        "samples_seen": 9_000,
        "seconds": 59.0,
        role: scores,
    }


def parsed_summary(content: dict) -> RunSummary:
    """The typed form of the content of a ``summary.json``."""
    return from_json(RunSummary, content, "The summary")


def summary(role: str = "test", baseline: str = "nearest neighbor") -> dict:
    rounds = [
        evaluated("round 1", 0.85, role) | {"round": 1, "worse": False, "selected": 5, "copies": 9},
        evaluated("round 2", 0.81, role) | {"round": 2, "worse": True, "selected": 5, "copies": 9},
    ]
    verdict = {"decision": "worse", "reason": "", "difference": -0.02, "interval": [-0.03, -0.01]}
    return {
        "recipe": "curriculum",
        "seed": 1,
        "classes": ["a", "b"],
        "teacher": evaluated("teacher", 0.8, role),
        "control": evaluated("control", 0.87, role),
        "rounds": rounds,
        "student": evaluated("student", 0.85, role),
        "delivered": "round-1",
        "baselines": [{"name": baseline, "top1": 0.6}],
        "verdict": verdict | {"p_value": 0.01, "labels": 300, "source": role},
    }
